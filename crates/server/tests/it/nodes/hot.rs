//! Groups whose messages are kept, published to from three nodes: they are heard in the order of the history.

use std::collections::HashMap;

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId, RequestId};
use respoke_core::message::NewMessage;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ends::three;
use crate::harness::{Server, Socket, eventually, text};

/// Who publishes at each node, how much each, and who listens there.
const PUBLISHERS: usize = 3;
const EACH: usize = 60;
const LISTENERS: usize = 2;

/// Publishes without waiting for the answers.
fn publish(socket: &mut Socket, who: &str) {
    let body = |n: usize| json!({"message": format!("{who} {n}"), "persist": true});
    let asked: Vec<_> = (0..EACH).map(|n| socket.request("post", "/v1/channels/room/publish", body(n))).collect();
    for id in asked {
        socket.ack(id).ok();
    }
}

/// What a listener hears: as of when, and what.
fn hear(socket: &mut Socket, count: usize) -> Vec<(i64, String)> {
    let said = |push: Value| {
        let argument = &push["args"][0];
        (argument["header"]["timestamp"].as_i64().unwrap(), text(&argument["message"]))
    };
    (0..count).map(|_| said(socket.push("pubsub room"))).collect()
}

/// What is said next to the group or to the listener alone.
fn next_said(socket: &mut Socket) -> String {
    loop {
        let push = socket.push("");
        let said = match push["name"].as_str() {
            Some("pubsub") => text(&push["args"][0]["message"]),
            Some("message") => text(&push["args"][0]["body"]),
            _ => continue,
        };
        if !said.starts_with("ready") {
            return said;
        }
    }
}

/// One listener at each node, who heard something that was kept.
fn listeners(nodes: &[Server; 3]) -> Vec<Socket> {
    let mut listeners: Vec<_> = nodes.iter().map(|node| node.connect("listener")).collect();
    for listener in &mut listeners {
        listener.join("room");
    }
    // Each node knows of each listener. On a busy machine that may take longer than who connects waits for.
    for (nth, node) in nodes.iter().enumerate() {
        let (mut socket, ready) = (node.connect("first"), format!("message first ready {nth}"));
        let mut heard = [false; 3];
        eventually(|| {
            socket.post("/v1/messages", json!({"to": "listener", "message": format!("ready {nth}")})).ok();
            for (heard, listener) in heard.iter_mut().zip(&mut listeners) {
                *heard |= listener.pushed().contains(&ready);
            }
            (heard == [true; 3]).then_some(())
        });
    }
    let mut first = nodes[0].connect("first");
    first.post("/v1/channels/room/publish", json!({"message": "first", "persist": true})).ok();
    for listener in &mut listeners {
        listener.push("pubsub room");
    }
    listeners
}

/// Keeps a message as a node does that dies before it sends it.
fn keep(server: &Server, message: &str) {
    let event = json!({
        "header": {"type": "pubsub", "channel": "room", "from": "dead", "timestamp": 1,
                   "requestId": RequestId::random().to_string(), "messageId": MessageId::random().to_string()},
        "message": message,
    });
    let kept = NewMessage {
        app_id: AppId::parse(&server.app).unwrap(),
        group: GroupName::parse("room").unwrap(),
        sender: EndpointId::parse("dead").unwrap(),
        at: Timestamp::from_millis(1),
        event: RawValue::from_string(event.to_string()).unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(server.broker.store().append_message(kept, u64::MAX)).unwrap().kept().unwrap();
}

/// Everything that is kept, oldest first.
fn history(server: &Server) -> Vec<(i64, String)> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/groups/room/history?limit=200{before}");
        let page = server.get(&path).secret().call().ok();
        let page = page.as_array().unwrap();
        let of = |event: &Value| (event["header"]["timestamp"].as_i64().unwrap(), text(&event["message"]));
        all.extend(page.iter().map(of));
        let Some((oldest, _)) = all.last().filter(|_| !page.is_empty()) else { break };
        before = format!("&before={oldest}");
    }
    all.reverse();
    all
}

#[test]
fn a_hot_group_is_heard_in_the_order_of_its_history_at_every_node() {
    let Some(nodes) = three() else { return };
    let mut listeners: Vec<Vec<Socket>> =
        nodes.iter().map(|node| (0..LISTENERS).map(|_| node.connect("listener")).collect()).collect();
    for listener in listeners.iter_mut().flatten() {
        listener.join("room");
    }
    // Each node has heard of one, and knows where the group stands.
    let mut first = nodes[0].connect("first");
    first.post("/v1/channels/room/publish", json!({"message": "first", "persist": true})).ok();
    for listener in listeners.iter_mut().flatten() {
        listener.push("pubsub room");
    }
    let count = nodes.len() * PUBLISHERS * EACH;
    let all: Vec<_> = std::thread::scope(|scope| {
        for (nth, node) in nodes.iter().enumerate() {
            for one in 0..PUBLISHERS {
                let mut socket = node.connect("publisher");
                scope.spawn(move || publish(&mut socket, &format!("{nth}.{one}")));
            }
        }
        let hearing: Vec<_> =
            listeners.iter_mut().flatten().map(|socket| scope.spawn(move || hear(socket, count))).collect();
        hearing.into_iter().map(|hearing| hearing.join().unwrap()).collect()
    });
    let kept = history(&nodes[2]);
    assert_eq!(kept.len(), count + 1);
    assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0), "each as of an instant of its own");
    for (nth, heard) in all.iter().enumerate() {
        assert!(heard.is_sorted(), "listener {nth} heard something before what was kept before it");
        assert_eq!(*heard, kept[1..], "listener {nth}");
    }
    nodes[0].database().unwrap().run_inside(
        "DO $$ BEGIN ASSERT (SELECT array_agg(\"offset\" ORDER BY at) = array_agg(nth ORDER BY nth)
            FROM (SELECT \"offset\", at, row_number() OVER (ORDER BY at) AS nth FROM respoked.messages) m); END $$",
    );
}

/// What is said between two kept messages, to others than the group, has its place between them.
#[test]
fn each_senders_messages_stay_in_order_at_every_node() {
    let Some(nodes) = three() else { return };
    let mut listeners = listeners(&nodes);
    let senders = 2 * nodes.len();
    std::thread::scope(|scope| {
        for sender in 0..senders {
            let mut socket = nodes[sender % nodes.len()].connect(&format!("sender-{sender}"));
            scope.spawn(move || {
                let said = |n: usize| format!("{sender} {n}");
                let asked: Vec<_> = (0..EACH)
                    .map(|n| match n % 3 {
                        0 => {
                            let kept = json!({"message": said(n), "persist": true});
                            socket.request("post", "/v1/channels/room/publish", kept)
                        }
                        1 => socket.request("post", "/v1/messages", json!({"to": "listener", "message": said(n)})),
                        _ => socket.request("post", "/v1/channels/room/publish", json!({"message": said(n)})),
                    })
                    .collect();
                for id in asked {
                    socket.ack(id).ok();
                }
            });
        }
    });
    for (nth, listener) in listeners.iter_mut().enumerate() {
        let mut heard: HashMap<String, Vec<usize>> = HashMap::new();
        for _ in 0..senders * EACH {
            let push = next_said(listener);
            let (sender, n) = push.split_once(' ').unwrap();
            heard.entry(sender.to_owned()).or_default().push(n.parse().unwrap());
        }
        assert_eq!(heard.len(), senders);
        for (sender, heard) in heard {
            assert_eq!(heard, (0..EACH).collect::<Vec<_>>(), "of {sender}, at node {nth}");
        }
    }
}

#[test]
fn what_a_node_kept_and_did_not_send_is_heard_from_the_history_in_its_place() {
    let Some(nodes) = three() else { return };
    let mut listeners = listeners(&nodes);
    let mut sender = nodes[1].connect("sender");
    for message in ["lost 1", "lost 2"] {
        keep(&nodes[0], message);
    }
    sender.post("/v1/channels/room/publish", json!({"message": "behind", "persist": true})).ok();
    sender.post("/v1/messages", json!({"to": "listener", "message": "to the endpoint"})).ok();
    for listener in &mut listeners {
        let heard: Vec<_> = (0..4).map(|_| next_said(listener)).collect();
        assert_eq!(heard, ["lost 1", "lost 2", "behind", "to the endpoint"]);
    }
    let kept: Vec<_> = history(&nodes[2]).into_iter().map(|(_, said)| said).collect();
    assert_eq!(kept, ["first", "lost 1", "lost 2", "behind"]);

    // What is not there is waited for no longer.
    keep(&nodes[0], "removed");
    let removed = "DELETE FROM respoked.messages WHERE convert_from(event, 'UTF8') LIKE '%removed%'";
    nodes[0].database().unwrap().run_inside(removed);
    sender.post("/v1/channels/room/publish", json!({"message": "last", "persist": true})).ok();
    for listener in &mut listeners {
        assert_eq!(text(&listener.push("pubsub room")["args"][0]["message"]), "last");
    }
}
