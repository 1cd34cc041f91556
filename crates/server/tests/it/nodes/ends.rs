//! Three nodes agree who came first, and what is over.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::harness::{Answer, Client, PATIENCE, Server, are_nodes_asked, eventually};

/// Who tries to redeem one token, all at the same moment.
const TRIES: usize = 256;
const TOKENS: usize = 6;

/// Three nodes that serve as one, and let one address show as many wrong credentials as it likes. None: not on PostgreSQL.
pub(super) fn three() -> Option<[Server; 3]> {
    if !are_nodes_asked() {
        return None;
    }
    let first = Server::start_with(|config| {
        config.failed_credentials_free = 1_000_000;
        (config.address_requests_per_second, config.address_requests_burst) = (100_000, 100_000);
    });
    let (second, third) = (first.beside(|_| {}), first.beside(|_| {}));
    let admin = first.admin_token("admin");
    first.unlimited(&admin);
    for node in [&first, &second, &third] {
        eventually(|| {
            let nodes = node.get("/v1/nodes").admin(&admin).call().ok();
            (nodes.as_array().unwrap().iter().filter(|node| node["state"] == "serving").count() == 3).then_some(())
        });
    }
    Some([first, second, third])
}

/// What those are answered who redeem a token at the same moment, spread over nodes.
fn race(nodes: &[Server; 3], token: &str) -> Vec<Answer> {
    let (gate, waiting) = (RwLock::new(()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // It is opened as well if something fails before all are here: nobody waits for ever.
        let closed = gate.write().unwrap();
        let one = |nth: usize| {
            let (client, gate, waiting) = (&nodes[nth % nodes.len()].client, &gate, &waiting);
            scope.spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                let _open = gate.read().unwrap();
                client.redeem(token)
            })
        };
        let tries: Vec<_> = (0..TRIES).map(one).collect();
        eventually(|| (waiting.load(Ordering::SeqCst) == TRIES).then_some(()));
        drop(closed);
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn of_256_who_redeem_one_token_at_three_nodes_one_is_let_in() {
    let Some(nodes) = three() else { return };
    for nth in 0..TOKENS {
        let token = nodes[nth % nodes.len()].mint("alice");
        let (let_in, refused): (Vec<_>, Vec<_>) =
            race(&nodes, &token).into_iter().partition(|answer| answer.status == 200);
        assert_eq!(let_in.len(), 1, "{let_in:?}");
        for answer in refused {
            answer.refused(401, "token_refused");
        }
        let session = let_in[0].body["token"].as_str().unwrap();
        assert!(nodes.iter().all(|node| node.alive(session)));
    }
}

/// Who shows sessions at a node, again and again.
struct Shower<'a> {
    node: &'a Client,
    sessions: &'a [String],
    is_over: &'a AtomicBool,
    /// How many looks were made, by all.
    looks: &'a AtomicUsize,
}

impl Shower<'_> {
    /// How many are accepted that were shown after their end was answered.
    fn show(&self) -> usize {
        let (deadline, mut accepted, mut since) = (Instant::now() + PATIENCE, 0, 0);
        while since < 3 {
            assert!(Instant::now() < deadline, "nobody said that the end was answered");
            // Read before anything is shown: what is shown then comes after the answer.
            let is_over = self.is_over.load(Ordering::SeqCst);
            let alive = self.sessions.iter().filter(|session| self.node.alive(session)).count();
            if is_over {
                accepted += alive;
                since += 1;
            }
            self.looks.fetch_add(1, Ordering::SeqCst);
        }
        accepted
    }
}

/// Ends sessions at one node while they are shown at all three. Whether all confirmed it; if so, none is accepted after that.
fn end(nodes: &[Server; 3], sessions: &[String], end: impl FnOnce() -> Answer) -> bool {
    let (is_over, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let show = |node: &'_ Server| {
            let client = node.client.clone();
            let (is_over, looks) = (&is_over, &looks);
            scope.spawn(move || Shower { node: &client, sessions, is_over, looks }.show())
        };
        let showers: Vec<_> = nodes.iter().map(show).collect();
        // By now they are remembered at the nodes.
        eventually(|| (looks.load(Ordering::SeqCst) >= 12).then_some(()));
        let ended = end();
        is_over.store(true, Ordering::SeqCst);
        let accepted: usize = showers.into_iter().map(|shower| shower.join().unwrap()).sum();
        let confirmed = ended.header("respoke-confirmed").map(str::to_owned);
        ended.ok();
        let is_full = confirmed.as_deref() == Some("3/3");
        assert!(!is_full || accepted == 0, "{accepted} were accepted after all confirmed their end");
        is_full
    })
}

/// Has something end in each way, in turn at each node, until all have confirmed it so many times. On a machine that has no time
/// some ends are answered before: those prove nothing.
fn until_confirmed(nodes: &[Server; 3], way: impl Fn(&Server, usize) -> bool) {
    const CONFIRMED: usize = 3;
    let mut confirmed = 0;
    for nth in 0..20 {
        confirmed += usize::from(way(&nodes[nth % nodes.len()], nth));
        if confirmed == CONFIRMED {
            return;
        }
    }
    panic!("of twenty ends {confirmed} were confirmed by all");
}

/// So many sessions of one endpoint, opened at all nodes in turn.
fn sessions(nodes: &[Server; 3], endpoint: &str, role: &str) -> Vec<String> {
    (0..6).map(|nth| nodes[nth % nodes.len()].session_in(endpoint, role)).collect()
}

#[test]
fn what_all_confirmed_to_be_over_is_accepted_nowhere() {
    let Some(nodes) = three() else { return };
    until_confirmed(&nodes, |node, nth| {
        let who = format!("alice{nth}");
        let sessions = sessions(&nodes, &who, &node.role);
        end(&nodes, &sessions, || node.delete(&format!("/v1/sessions?endpointId={who}")).secret().call())
    });
    until_confirmed(&nodes, |node, _| {
        let one = [node.session("bob")];
        end(&nodes, &one, || node.delete("/v1/session-tokens").token(&one[0]).call())
    });
}

#[test]
fn what_a_ban_or_a_role_takes_away_is_let_in_nowhere() {
    let Some(nodes) = three() else { return };
    // Tokens that were not redeemed are over as well, at whichever node.
    let is_let_in = |token: &String| nodes.iter().any(|node| node.redeem(token).status == 200);
    let tokens = |endpoint: &str, role: &str| -> Vec<String> {
        let mut client = nodes[0].client.clone();
        role.clone_into(&mut client.role);
        (0..6).map(|_| client.mint(endpoint)).collect()
    };
    until_confirmed(&nodes, |node, nth| {
        let who = format!("carol{nth}");
        let (sessions, tokens) = (sessions(&nodes, &who, &node.role), tokens(&who, &node.role));
        let is_full = end(&nodes, &sessions, || node.put(&format!("/v1/endpoints/{who}/ban")).secret().send(json!({})));
        assert!(!is_full || !tokens.iter().any(is_let_in));
        is_full
    });
    until_confirmed(&nodes, |node, nth| {
        let role = node.create_role(&format!("role {nth}"), json!({}));
        let (sessions, tokens) = (sessions(&nodes, "dave", &role), tokens("dave", &role));
        let is_full = end(&nodes, &sessions, || node.delete(&format!("/v1/roles/{role}")).secret().call());
        assert!(!is_full || !tokens.iter().any(is_let_in));
        is_full
    });
}
