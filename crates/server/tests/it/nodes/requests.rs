//! The log of requests over several nodes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{two, two_processes};
use crate::harness::{Answer, Client, Process, eventually, text};

/// Only what these tests ask, and not how they look at the log.
const ASKED: &str = "/v1/request-log?route=/v1/bans";

/// Asks a node something, and says in which request.
fn ask(node: &Client) -> String {
    let answer = node.get("/v1/bans").secret().call();
    let id = answer.header("request-id").unwrap().to_owned();
    answer.ok();
    id
}

fn read(node: &Client, admin: &str, query: &str) -> Answer {
    node.get(&format!("{ASKED}{query}")).admin(admin).call()
}

/// Reads a page until all nodes answered for it: on a machine that has no time one is late now and then.
fn whole(mut read: impl FnMut() -> Answer) -> Answer {
    eventually(|| Some(read()).filter(is_whole))
}

/// Whether all nodes answered for a page.
fn is_whole(page: &Answer) -> bool {
    // It is refused if all that is left is with nodes that did not answer.
    page.status != 503 && page.header("silent-nodes").is_none()
}

fn ids(answer: &Answer) -> Vec<String> {
    let found: Value = serde_json::from_str(&answer.text).unwrap();
    found.as_array().unwrap().iter().map(|row| text(&row["requestId"])).collect()
}

fn number_of(node: &Client, admin: &str, name: &str) -> u64 {
    eventually(|| {
        let nodes = node.get("/v1/nodes").admin(admin).call().ok();
        nodes.as_array().unwrap().iter().find(|node| node["name"] == name)?["id"].as_u64()
    })
}

#[test]
fn pages_over_two_nodes_neither_skip_nor_repeat_at_whatever_rates_they_log() {
    let Some(nodes) = two() else { return };
    let [one, other] = &nodes;
    let admin = one.admin_token("admin");
    let numbers = ["one", "other"].map(|name| number_of(one, &admin, name));
    eventually(|| (number_of(other, &admin, "one") == numbers[0]).then_some(()));
    let mut asked = Vec::new();
    // First the one alone, then five times as often as the other, then the other alone.
    for nth in 0..30 {
        let at = match nth {
            0..8 => 0,
            8..20 => usize::from(nth % 6 == 0),
            _ => 1,
        };
        one.clock.advance_secs(1);
        asked.push((ask(&nodes[at]), at));
    }
    asked.reverse();
    let expected: Vec<_> = asked.iter().map(|(id, _)| id.clone()).collect();
    let named = whole(|| read(other, &admin, "")).ok();
    for (row, (id, at)) in named.as_array().unwrap().iter().zip(&asked) {
        let (number, name) = (numbers[*at], ["one", "other"][*at]);
        let node = json!({"id": number, "name": name});
        assert_eq!((&text(&row["requestId"]), &row["node"]), (id, &node));
    }
    for (at, number) in numbers.iter().enumerate() {
        let own: Vec<_> = asked.iter().filter(|(_, of)| *of == at).map(|(id, _)| id.clone()).collect();
        assert_eq!(ids(&whole(|| read(other, &admin, &format!("&node={number}")))), own);
    }
    assert_eq!(ids(&read(one, &admin, "&node=4000000000")), Vec::<String>::new());
    for wrong in ["&node=one", "&cursor=x", "&cursor=MTA"] {
        read(one, &admin, wrong).refused(400, "invalid");
    }
    // A backend sees its own app's of both, and not which nodes there are.
    let own = whole(|| one.get(ASKED).secret().call());
    assert_eq!(ids(&own), expected);
    assert!(own.ok().as_array().unwrap().iter().all(|row| row.get("node").is_none()));
    one.get(&format!("{ASKED}&node={}", numbers[0])).secret().call().refused(403, "forbidden");

    for (limit, reader) in [(1, one), (3, other), (7, one), (29, other), (200, one)] {
        let (mut found, mut cursor, mut meanwhile) = (Vec::new(), String::new(), Vec::new());
        loop {
            let page = whole(|| read(reader, &admin, &format!("&limit={limit}{cursor}")));
            found.extend(ids(&page));
            one.clock.advance_secs(1);
            meanwhile.extend([ask(one), ask(other), ask(other)]);
            let Some(next) = page.header("next-cursor") else { break };
            cursor = format!("&cursor={next}");
        }
        assert!(meanwhile.iter().all(|later| !found.contains(later)), "what came meanwhile is on no later page");
        // Before that, what the rounds before asked.
        assert_eq!(found[found.len() - 30..], expected, "by {limit}");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "none is there twice");
    }
}

#[test]
fn the_logs_of_two_nodes_are_exported_whole() {
    let Some(nodes) = two() else { return };
    let [one, other] = &nodes;
    let admin = one.admin_token("admin");
    number_of(other, &admin, "one");
    // More than a page and more than a piece, of which the one node has nearly all.
    let mut asked: BTreeSet<_> = (0..1_100).map(|_| ask(one)).collect();
    asked.extend((0..3).map(|_| ask(other)));
    let answer = whole(|| read(other, &admin, "&format=jsonl"));
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), answer.header("next-cursor")), (asked.len(), None));
    assert_eq!(lines.iter().map(|line| text(&line["requestId"])).collect::<BTreeSet<_>>(), asked);
    let (mut found, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = whole(|| read(one, &admin, &format!("&limit=200{cursor}")));
        found.extend(ids(&page));
        let Some(next) = page.header("next-cursor") else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, asked);
}

#[test]
fn a_node_that_does_not_answer_is_named_and_its_place_in_the_log_is_kept() {
    let is_proven = (0..5).any(|_| {
        let folder = tempfile::tempdir().unwrap();
        let Some((_database, one, other)) = two_processes(folder.path()) else { return true };
        place_is_kept(&one, &other)
    });
    assert!(is_proven, "each time the node stood still for so long that it was declared dead");
}

/// Whether the other node lived on, and not in another life; its place in the log is kept then.
fn place_is_kept(one: &Process, other: &Process) -> bool {
    let admin = one.admin_token("owner");
    let life = || {
        let nodes = one.get("/v1/nodes").admin(&admin).call().ok();
        let other = nodes.as_array().unwrap().iter().find(|node| node["asked"] == false)?.clone();
        Some((other["id"].as_u64()?.to_string(), other["since"].clone()))
    };
    let before = life().unwrap();
    let (of_one, of_other): (Vec<_>, Vec<_>) = (0..4).map(|_| (ask(one), ask(other))).unzip();
    let all: BTreeSet<_> = of_one.iter().chain(&of_other).cloned().collect();
    assert_eq!(ids(&whole(|| read(one, &admin, ""))).into_iter().collect::<BTreeSet<_>>(), all);
    other.signal("STOP");
    let page = read(one, &admin, "&limit=2");
    let own = one.get(&format!("{ASKED}&limit=2")).secret().call();
    let of_other = read(one, &admin, &format!("&node={}", before.0));
    let cookie = format!("respoked_console={admin}");
    let console = |path: &str| one.get(path).header("Cookie", &cookie).call();
    let (last, export) = (console("/console/requests?status=599"), console("/console/requests.jsonl"));
    if life().as_ref() != Some(&before) {
        return false;
    }
    assert_eq!(page.header("silent-nodes"), Some(&*before.0));
    assert_eq!(own.header("silent-nodes"), Some("some"), "a backend is not told of nodes");
    assert!(last.text.contains("Not among those looked at so far"), "more is left: {}", last.text);
    assert!(last.text.contains("cursor="), "and there is a way on: {}", last.text);
    assert_eq!(of_other.status, 503, "what is left is not the end: {}", of_other.text);
    assert!(of_other.header("retry-after").is_some());
    assert_eq!(export.status, 503, "a file has no place for what is missing: {}", export.text);
    let first = ids(&page);
    assert_eq!(first, [of_one[3].clone(), of_one[2].clone()]);
    let next = page.header("next-cursor").unwrap().to_owned();
    other.signal("CONT");
    // Once it answers again the pages behind hold all of it, and of the first nothing is there again.
    let rest = eventually(|| {
        let page = read(one, &admin, &format!("&cursor={next}"));
        if is_whole(&page) { Some(Some(ids(&page))) } else { (life().as_ref() != Some(&before)).then_some(None) }
    });
    let Some(rest) = rest else { return false };
    let whole: BTreeSet<_> = first.iter().chain(&rest).cloned().collect();
    assert_eq!((whole, first.len() + rest.len()), (all, 8));
    true
}
