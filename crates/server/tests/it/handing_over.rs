//! A client shakes hands with one node, and its websocket or first poll comes to another.

use std::cell::Cell;
use std::ops::Index;
use std::time::{Duration, Instant};

use respoked::config::Config;
use serde_json::json;

use crate::harness::{End, Server, Socket, are_nodes_asked, eventually};

/// Nodes over one database, with no proxy before them: a test says to which it goes.
struct Cluster(Vec<Server>);

impl Cluster {
    /// None: the tests are not run on PostgreSQL.
    fn of(count: usize) -> Option<Self> {
        Self::with(count, |_| {})
    }

    /// The same with other settings.
    fn with(count: usize, change: impl FnOnce(&mut Config)) -> Option<Self> {
        if !are_nodes_asked() {
            return None;
        }
        let mut nodes = vec![Server::start_with(|config| {
            config.drain_secs = 1;
            change(config);
        })];
        while nodes.len() < count {
            let another = nodes[0].beside(|_| {});
            nodes.push(another);
        }
        Some(Self(nodes))
    }
}

impl Index<usize> for Cluster {
    type Output = Server;

    fn index(&self, node: usize) -> &Server {
        &self.0[node]
    }
}

/// What whoever is not known is told before it is sent away.
const UNKNOWN: End = End { goodbye: false, code: Some(1001) };

/// How long a node waits for another to hand a client over. Whoever is refused sooner is refused for another reason.
const HANDED_OVER_WITHIN: Duration = Duration::from_millis(250);

/// Has a client come, with the session id that it was given, where it is to be fetched from another node. On a busy machine that
/// may be late: then it is told what one is told whose session id is not known, and shakes hands again, as clients do.
fn fetched<T>(shake_hands: impl Fn() -> String, come: impl Fn(&str) -> Option<T>) -> (String, T) {
    eventually(|| {
        let sid = shake_hands();
        let since = Instant::now();
        let came = come(&sid);
        assert!(came.is_some() || since.elapsed() >= HANDED_OVER_WITHIN, "it was refused, and not for being late");
        came.map(|came| (sid, came))
    })
}

/// A websocket that was greeted. None: its session id is not known.
fn greeted(mut socket: Socket) -> Option<Socket> {
    match socket.packet().as_deref() {
        Some("1::") => Some(socket),
        Some("7:::1+0") => {
            assert_eq!(socket.end(), UNKNOWN);
            None
        }
        other => panic!("{other:?}"),
    }
}

/// Whether a websocket that was opened with a session id is of its client.
fn is_opened(mut socket: Socket) -> bool {
    match socket.packet().as_deref() {
        Some("1::") => true,
        Some("7:::1+0") => {
            assert_eq!(socket.end(), UNKNOWN);
            false
        }
        // Another one took its place.
        None => false,
        other => panic!("{other:?}"),
    }
}

fn sockets(cluster: &Cluster, node: usize) -> u64 {
    cluster[node].figure("respoked_sockets")
}

#[test]
fn a_websocket_comes_to_another_node_than_the_handshake() {
    let Some(cluster) = Cluster::of(3) else { return };
    let (token, secret) = (cluster[0].session("alice"), cluster[0].secret.clone());
    let shake_hands = || cluster[0].sid(&format!("app-token={token}"));
    let sid = shake_hands();
    let elsewhere = cluster[1].sid(&format!("app-token={token}"));
    assert!(sid.len() == 32 && sid.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert!(sid[..8] != elsewhere[..8], "a session id names its node: {sid} {elsewhere}");
    assert_eq!([0, 1, 2].map(|node| sockets(&cluster, node)), [1, 1, 0]);

    // With the first, and with others only if that comes too late.
    let first = Cell::new(Some(sid));
    let (sid, mut alice) =
        fetched(|| first.take().unwrap_or_else(shake_hands), |sid| greeted(cluster[2].websocket(sid)));
    // A node that was asked, and heard of it late, forgets its client then.
    eventually(|| ([0, 1, 2].map(|node| sockets(&cluster, node)) == [0, 1, 1]).then_some(()));
    "alice".clone_into(&mut alice.endpoint);
    alice.app_token.clone_from(&token);
    // What the handshake said holds: who it is, and how it wants its answers.
    alice.register(json!({}));
    let mut bob = cluster[1].open(&format!("app-secret={secret}"));
    "bob".clone_into(&mut bob.endpoint);
    bob.register(json!({"endpointId": "bob"}));
    bob.post("/v1/messages", json!({"to": "alice", "message": "hello"})).ok();
    alice.push("message bob hello");

    // It was handed over once, and has a transport now.
    for node in [0, 1] {
        assert!(!is_opened(cluster[node].websocket(&sid)), "on node {node}");
    }
    bob.post("/v1/messages", json!({"to": "alice", "message": "again"})).ok();
    alice.push("message bob again");
}

#[test]
fn what_the_handshake_showed_goes_along() {
    let Some(cluster) = Cluster::with(2, |config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()])
    else {
        return;
    };
    let server = &cluster[0];
    // Another SDK, which gets answers as text; a page; an address that a proxy names.
    let domains = json!({"permittedDomains": ["page.test"]});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&server.admin_token("admin")).send(domains).ok();
    let token = server.session("alice");
    let handshake = |origin: &str| {
        let path = format!("/socket.io/1/?app-token={token}");
        server.get(&path).header("Origin", origin).header("X-Forwarded-For", "192.0.2.7").call()
    };
    assert_eq!(handshake("https://evil.test").status, 403);
    let shake_hands = || handshake("https://page.test").text.split(':').next().unwrap().to_owned();
    let (_, mut alice) = fetched(shake_hands, |sid| greeted(cluster[1].websocket(sid)));
    alice.send(r#"5:1+::{"name":"post","args":["{\"url\":\"/v1/connections\",\"data\":{}}"]}"#);
    let [text]: [String; 1] = serde_json::from_value(alice.until_ack(1)).unwrap();
    let connection: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&connection["endpointId"], &connection["ipAddress"]), (&json!("alice"), &json!("192.0.2.7")));
}

#[test]
fn a_hundred_at_once_come_to_other_nodes() {
    let Some(cluster) = Cluster::of(3) else { return };
    let query = format!("app-secret={}", cluster[0].secret);
    let opened: Vec<_> = std::thread::scope(|scope| {
        let (cluster, query) = (&cluster, &query);
        let come = |nth: usize| {
            move || {
                let shake_hands = || cluster[nth % 3].sid(query);
                fetched(shake_hands, |sid| greeted(cluster[(nth + 1) % 3].websocket(sid))).1
            }
        };
        let coming: Vec<_> = (0..100).map(|nth| scope.spawn(come(nth))).collect();
        coming.into_iter().map(|coming| coming.join().unwrap()).collect()
    });
    assert_eq!(opened.len(), 100);
    // A node that was asked, and heard of it late, forgets that client then.
    eventually(|| ((0..3).map(|node| sockets(&cluster, node)).sum::<u64>() == 100).then_some(()));
}

#[test]
fn one_session_id_that_many_come_with_at_once_is_one_clients() {
    let Some(cluster) = Cluster::of(3) else { return };
    let query = format!("app-secret={}", cluster[0].secret);
    let come_at_once = || {
        let sid = cluster[0].sid(&query);
        let came = std::thread::scope(|scope| {
            let (cluster, sid) = (&cluster, &sid);
            let come = |nth: usize| {
                move || {
                    let since = Instant::now();
                    (is_opened(cluster[1 + nth % 2].websocket(sid)), since.elapsed())
                }
            };
            let coming: Vec<_> = (0..8).map(|nth| scope.spawn(come(nth))).collect();
            coming.into_iter().map(|coming| coming.join().unwrap()).collect::<Vec<_>>()
        });
        let has: Vec<_> = [1, 2].into_iter().filter(|node| sockets(&cluster, *node) > 0).collect();
        assert!(has.len() <= 1, "two nodes have it");
        eventually(|| (sockets(&cluster, 0) + sockets(&cluster, 1) + sockets(&cluster, 2) == 0).then_some(()));
        // On the node that has it, others may come in time to take its place: they are that client, too.
        let is_opened = came.iter().any(|(is_opened, _)| *is_opened);
        // The others find nobody who was given up for one who got it too late.
        let is_late = came.iter().any(|(_, took)| *took >= HANDED_OVER_WITHIN);
        assert!(is_opened || is_late, "nobody has it, and none was late");
        is_opened
    };
    for _ in 0..5 {
        eventually(|| come_at_once().then_some(()));
    }
}

#[test]
fn a_first_poll_comes_to_another_node_and_the_others_follow_it() {
    let Some(cluster) = Cluster::of(3) else { return };
    let query = format!("app-secret={}", cluster[0].secret);
    let sid = cluster[0].sid(&query);
    // What a client brings before it has polled is no reason to fetch it.
    let brought = cluster[1].post(&format!("/socket.io/1/xhr-polling/{sid}")).raw(b"2::");
    assert_eq!((brought.status, brought.text.as_str()), (200, "7:::1+0"));
    let first = Cell::new(Some(sid));
    let shake_hands = || first.take().unwrap_or_else(|| cluster[0].sid(&query));
    let (sid, poller) = fetched(shake_hands, |sid| cluster[1].try_poller_at(sid));
    poller.ask(1, "post", "/v1/connections", &json!({"endpointId": "alice"})).1.ok();

    // A client that polls is not handed over: a proxy that leads polls elsewhere has it shake hands again.
    for node in [0, 2] {
        let poll = cluster[node].get(&poller.path()).call();
        assert_eq!((poll.status, poll.text.as_str()), (200, "7:::1+0"), "on node {node}");
        assert!(!is_opened(cluster[node].websocket(&sid)), "on node {node}");
    }
    poller.ask(2, "get", "/v1/groups", &json!({})).1.ok();
    // Where its proxy leads both to one node, a websocket takes the place of the polls as it does with one node.
    assert!(is_opened(cluster[1].websocket(&sid)));
}

#[test]
fn a_client_that_polls_at_the_node_that_its_session_id_names_stays_there() {
    let Some(cluster) = Cluster::of(2) else { return };
    let poller = cluster[0].poller(&format!("app-secret={}", cluster[0].secret));
    assert!(!is_opened(cluster[1].websocket(&poller.sid)));
    assert_eq!(cluster[1].get(&poller.path()).call().text, "7:::1+0");
    poller.ask(1, "get", "/v1/groups", &json!({})).1.ok();
    assert_eq!([0, 1].map(|node| sockets(&cluster, node)), [1, 0]);
}

#[test]
fn a_proxy_that_carries_no_websockets_costs_a_client_nothing() {
    let Some(cluster) = Cluster::of(3) else { return };
    let sid = cluster[0].sid(&format!("app-secret={}", cluster[0].secret));
    // It comes without what would make it a websocket, and nobody is asked for its client.
    assert_eq!(cluster[1].get(&format!("/socket.io/1/websocket/{sid}")).call().status, 426);
    assert_eq!(sockets(&cluster, 0), 1);
    let first = Cell::new(Some(sid));
    let shake_hands = || first.take().unwrap_or_else(|| cluster[0].sid(&format!("app-secret={}", cluster[0].secret)));
    let (_, poller) = fetched(shake_hands, |sid| cluster[2].try_poller_at(sid));
    poller.ask(1, "get", "/v1/groups", &json!({})).1.ok();
}

#[test]
fn what_ended_between_the_two_opens_nothing() {
    let Some(cluster) = Cluster::of(2) else { return };
    let server = &cluster[0];
    let (alice, bob) = (server.session("alice"), server.session("bob"));
    let sids = [&alice, &bob].map(|token| server.sid(&format!("app-token={token}")));
    server.delete("/v1/session-tokens").token(&alice).call().ok();
    server.post("/v1/endpoints/bob/ban").secret().send(json!({})).ok();
    for (sid, who) in sids.iter().zip(["alice", "bob"]) {
        assert!(!is_opened(cluster[1].websocket(sid)), "{who}");
        assert_eq!(cluster[1].get(&format!("/socket.io/1/xhr-polling/{sid}")).call().text, "7:::1+0", "{who}");
    }
    assert_eq!([0, 1].map(|node| sockets(&cluster, node)), [0, 0]);
}

#[test]
fn what_the_handshake_showed_is_proved_anew() {
    let Some(cluster) = Cluster::of(2) else { return };
    let server = &cluster[0];
    let (admin, app) = (server.admin_token("admin"), format!("/v1/apps/{}", server.app));
    let path = format!("/socket.io/1/?app-token={}", server.session("alice"));
    let of_page = server.get(&path).header("Origin", "https://evil.test").call().text;
    // Sockets that are open stay so in both cases, and nobody opens another.
    server.put(&app).admin(&admin).send(json!({"permittedDomains": ["page.test"], "sessionExpiry": "keep"})).ok();
    assert!(!is_opened(cluster[1].websocket(of_page.split(':').next().unwrap())), "a page that may not");
    let kept = server.get(&path).call().text;
    server.clock.advance_secs(100_000);
    assert!(!is_opened(cluster[1].websocket(kept.split(':').next().unwrap())), "a session that expired");
}

#[test]
fn a_session_id_of_a_node_that_is_gone_or_of_none_is_not_known() {
    let Some(mut cluster) = Cluster::of(2) else { return };
    let query = format!("app-secret={}", cluster[0].secret);
    let (gone, other) = (cluster[0].sid(&query), cluster[1].sid(&query));
    drop(cluster.0.remove(0));
    assert!(!is_opened(cluster[0].websocket(&gone)));
    assert_eq!(cluster[0].get(&format!("/socket.io/1/xhr-polling/{gone}")).call().text, "7:::1+0");
    let damaged = [&other[1..], &format!("{other}00"), &format!("f{}", &other[1..]), &other.to_uppercase(), "%00", "é"];
    for sid in damaged.into_iter().filter(|sid| *sid != other) {
        let poll = cluster[0].get(&format!("/socket.io/1/xhr-polling/{}", sid.replace('é', "%C3%A9"))).call();
        assert_eq!((poll.status, poll.text.as_str()), (200, "7:::1+0"), "{sid}");
    }
    assert!(is_opened(cluster[0].websocket(&other)));
}

#[test]
fn a_stranger_has_others_asked_as_often_as_its_address_may_ask() {
    const MAY: usize = 20;
    let few = |config: &mut Config| (config.address_requests_per_second, config.address_requests_burst) = (1, 20);
    let Some(cluster) = Cluster::with(2, few) else { return };
    let sid = cluster[0].sid(&format!("app-secret={}", cluster[0].secret));
    let poll = |sid: &str| cluster[1].get(&format!("/socket.io/1/xhr-polling/{sid}")).call();
    let upgrade = |sid: &str| {
        let request = cluster[1].get(&format!("/socket.io/1/websocket/{sid}"));
        let request = request.header("Connection", "Upgrade").header("Upgrade", "websocket");
        request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==").call()
    };
    let answers: Vec<_> = (0..MAY + 5).map(|nth| poll(&format!("{}{nth:024x}", &sid[..8])).status).collect();
    assert_eq!(answers, [vec![200; MAY], vec![429; 5]].concat());
    // Beyond that nobody is asked, whatever is said.
    assert_eq!((poll(&sid).status, upgrade(&sid).status), (429, 429));
    assert_eq!([0, 1].map(|node| sockets(&cluster, node)), [1, 0]);
}

#[test]
fn a_node_that_is_about_to_end_hands_over_who_shook_hands_before() {
    let Some(cluster) = Cluster::with(2, |config| config.drain_secs = 10) else { return };
    let query = format!("app-secret={}", cluster[0].secret);
    let admin = cluster[0].admin_token("admin");
    // Until it knows where clients can go, it has no reason to wait for them.
    let id = eventually(|| {
        let nodes = cluster[0].get("/v1/nodes").admin(&admin).call().ok();
        let nodes = nodes.as_array().unwrap();
        let own = nodes.iter().find(|node| node["asked"] == true).unwrap()["id"].clone();
        (nodes.iter().filter(|node| node["state"] == "serving").count() == 2).then_some(own)
    });
    let (sids, mut held) = ([(); 20].map(|()| cluster[0].sid(&query)), cluster[0].open(&query));
    cluster[1].post(&format!("/v1/nodes/{id}/drain")).admin(&admin).send(json!({})).ok();
    assert_eq!(held.end(), End { goodbye: false, code: Some(1001) });
    // A proxy that has not noticed yet goes on leading clients there.
    let late = cluster[0].sid(&query);
    // None can shake hands again at a node that ends. So whoever comes too late is let go, and not all do.
    let come = |sid: &String| {
        let since = Instant::now();
        let is_opened = is_opened(cluster[1].websocket(sid));
        assert!(is_opened || since.elapsed() >= HANDED_OVER_WITHIN, "it was refused, and not for being late");
        is_opened
    };
    assert!(sids.iter().chain([&late]).map(come).filter(|is_opened| *is_opened).count() > 0, "none was handed over");
}
