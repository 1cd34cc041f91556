//! What a request makes others receive, and what it is answered with, has rates: however it is asked for, no more goes out
//! than they say. Counted in frames and bytes, not timed: what comes back meanwhile is taken into account.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Ack, Server, Socket};

/// How many receive what the attacker causes.
const CROWD: usize = 12;
/// Frames at once; one a second comes back.
const BURST: u64 = 100;
/// Requests of each kind: each causes a dozen frames at least.
const TRIES: usize = 40;

/// Sets limits of the server's app and takes all others away.
pub(crate) fn limit(server: &Server, limits: Value) {
    let admin = server.admin_token("admin");
    server.unlimited(&admin);
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(json!({"limits": limits})).ok();
}

fn delivered(server: &Server) -> u64 {
    server.hub.view().figures.delivered.load(Ordering::Relaxed)
}

/// A dozen connections of one endpoint, each in the room, each saying a presence and observing all the others.
fn crowd(server: &Server, endpoint: &str) -> Vec<Socket> {
    let app_token = server.session(endpoint);
    let mut crowd: Vec<Socket> = (0..CROWD).map(|_| server.open_as(endpoint, &app_token)).collect();
    for socket in &mut crowd {
        socket.register(json!({}));
        socket.join("room");
        socket.post("/v1/presence", json!({"presence": {"type": "here"}})).ok();
        socket.post("/v1/presenceobservers", json!({"endpointList": ["crowd", "alice"]})).ok();
    }
    crowd
}

/// What one does again and again.
type Kind = (&'static str, fn(&Server, &mut Socket) -> Ack);

const KINDS: &[Kind] = &[
    ("a publication", |_, alice| alice.post("/v1/groups/room/publish", json!({"message": "x"}))),
    ("a message", |_, alice| alice.post("/v1/messages", json!({"to": "crowd", "message": "x"}))),
    ("a copy of it", |_, alice| alice.post("/v1/messages", json!({"to": "nobody", "message": "x", "ccSelf": true}))),
    ("a signal", |_, alice| {
        alice.post("/v1/signaling", json!({"to": "crowd", "signal": {"signalType": "info", "sessionId": "1"}}))
    }),
    ("a presence", |_, alice| alice.post("/v1/presence", json!({"presence": {"type": "away"}}))),
    ("coming and going", |_, alice| {
        let joined = alice.post("/v1/groups", json!({"groups": ["room"]}));
        alice.delete("/v1/groups", json!({"groups": ["room"]})).ok();
        joined
    }),
    ("observing", |_, alice| alice.post("/v1/presenceobservers", json!({"endpointList": ["crowd", "crowd"]}))),
    ("registering anew", |_, alice| alice.post("/v1/connections", json!({}))),
    ("coming and being gone", |server, alice| {
        let mut other = server.open_as("alice", &alice.app_token);
        let registered = other.post("/v1/connections", json!({}));
        if registered.status == 200 { other.post("/v1/groups", json!({"groups": ["room"]})) } else { registered }
    }),
];

/// Returns once those who were left have been told: the last to go is told of after all others.
fn all_are_told(server: &Server) {
    let mut last = server.connect("last");
    last.join("farewell");
    let mut witness = server.connect("witness");
    witness.join("farewell");
    drop(last);
    witness.push("leave farewell last");
}

#[test]
fn no_kind_of_request_makes_others_receive_more_than_the_rate() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let _crowd = crowd(&server, "crowd");
    let mut alice = server.connect("alice");
    let mut others: Vec<Socket> = (0..CROWD).map(|_| server.open_as("alice", &alice.app_token)).collect();
    for other in &mut others {
        other.register(json!({}));
    }
    for (nth, (kind, ask)) in KINDS.iter().enumerate() {
        // Another rate each time, so that each kind begins with a full bucket.
        let burst = BURST + nth as u64;
        limit(&server, json!({"endpointDeliveries": {"perSecond": 1, "burst": burst}}));
        let (before, begun) = (delivered(&server), Instant::now());
        let acks: Vec<Ack> = (0..TRIES).map(|_| ask(&server, &mut alice)).collect();
        let (done, refused): (Vec<_>, Vec<_>) = acks.into_iter().partition(|ack| ack.status == 200);
        assert!(!done.is_empty() && !refused.is_empty(), "{kind}: {} done", done.len());
        for ack in refused {
            assert!(ack.headers["Retry-After"].as_u64().is_some_and(|secs| secs >= 1), "{kind}: {}", ack.headers);
            ack.refused(429, "rate_limited");
        }
        all_are_told(&server);
        let (caused, refilled) = (delivered(&server) - before, begun.elapsed().as_secs() + 1);
        // The witness, the last one and the farewell are two frames, of other endpoints.
        assert!(caused <= burst + refilled + 2, "{kind}: {caused} frames by {} requests", done.len());
        assert!(caused >= CROWD as u64, "{kind}: {caused} frames");
    }
}

/// What a backend does again and again: its name, method, path and body.
type BackendKind = (&'static str, &'static str, fn(usize) -> String, fn(usize) -> Value);

#[test]
fn a_backend_draws_from_the_apps_rate_and_another_app_is_no_matter_of_it() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let _crowd = crowd(&server, "crowd");
    let kinds: [BackendKind; 5] = [
        (
            "joining",
            "POST",
            |_| "/v1/groups".to_owned(),
            |nth| json!({"groups": [format!("hall {nth}")], "endpointId": "crowd"}),
        ),
        ("ending", "DELETE", |nth| format!("/v1/groups/hall%20{nth}"), |_| json!({})),
        (
            "presence",
            "POST",
            |_| "/v1/presence".to_owned(),
            |_| json!({"endpointId": "crowd", "presence": {"type": "away"}}),
        ),
        ("publishing", "POST", |_| "/v1/channels/room/publish".to_owned(), |_| json!({"message": "x"})),
        ("a message", "POST", |_| "/v1/messages".to_owned(), |_| json!({"to": "crowd", "message": "x"})),
    ];
    for nth in 0..8 {
        let body = json!({"groups": [format!("hall {nth}")], "endpointId": "crowd"});
        server.post("/v1/groups").secret().send(body).ok();
    }
    for (nth, (kind, method, path, body)) in kinds.into_iter().enumerate() {
        let burst = 20 + nth as u64;
        limit(&server, json!({"deliveries": {"perSecond": 1, "burst": burst}}));
        let (before, begun) = (delivered(&server), Instant::now());
        // Who joins does so in other groups than those that are ended.
        let tries = if kind == "joining" { 10..18 } else { 0..8 };
        let answers = tries.map(|nth| server.request(method, &path(nth)).secret().send(body(nth)));
        let answers: Vec<_> = answers.collect();
        assert_eq!(answers[0].status, 200, "{kind}: {}", answers[0].text);
        assert_eq!(answers[7].status, 429, "{kind}: {}", answers[7].text);
        // What costs more than the bucket holds is done once when that is full, and paid off afterwards; how long that
        // takes, who asks for the same again is told.
        let drawn = answers.iter().find_map(|answer| answer.header("retry-after")).unwrap().parse::<u64>().unwrap();
        if kind == "joining" {
            // Their leaving was paid for as well.
            server.delete("/v1/groups").secret().send(body(10)).ok();
        }
        let (caused, refilled) = (delivered(&server) - before, begun.elapsed().as_secs() + 1);
        assert!(caused > 0 && caused <= drawn.max(burst) + refilled, "{kind}: {caused} frames of {drawn}");
    }
    let admin = server.admin_token("admin");
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    let mut client = (*server).clone();
    client.secret = other["secret"].as_str().unwrap().to_owned();
    client.post("/v1/messages").secret().send(json!({"to": "crowd", "message": "x"})).ok();
}

#[test]
fn who_observes_those_that_went_a_moment_ago_pays_for_hearing_of_it() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let mut alice = server.connect("alice");
    limit(&server, json!({"endpointDeliveries": {"perSecond": 1, "burst": BURST}}));
    let (before, begun) = (delivered(&server), Instant::now());
    // However slow the machine, some of them are not told of yet when they are observed.
    for nth in 0..1_000 {
        let name = format!("gone {nth}");
        let app_token = server.session(&name);
        let mut gone: Vec<Socket> = (0..CROWD).map(|_| server.open_as(&name, &app_token)).collect();
        for socket in &mut gone {
            socket.register(json!({}));
        }
        for socket in &mut gone {
            socket.delete("/v1/connections/own", Value::Null).ok();
        }
        let observed = alice.post("/v1/presenceobservers", json!({"endpointList": [name, name]}));
        if observed.status == 429 {
            all_are_told(&server);
            let (caused, refilled) = (delivered(&server) - before, begun.elapsed().as_secs() + 1);
            assert!(caused >= BURST - CROWD as u64 && caused <= BURST + refilled + 2, "{caused} frames");
            return;
        }
        observed.ok();
    }
    panic!("{} frames, and not one was paid for", delivered(&server) - before);
}

#[test]
fn those_who_come_to_a_group_at_once_pay_for_hearing_of_each_other() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let app_token = server.session("alice");
    let mut alice: Vec<Socket> = (0..CROWD).map(|_| server.open_as("alice", &app_token)).collect();
    for socket in &mut alice {
        socket.register(json!({}));
    }
    // So many that others get their turn while they are counted.
    let groups: Vec<_> = (0..130).map(|nth| format!("hall {nth}")).collect();
    limit(&server, json!({"endpointDeliveries": {"perSecond": 10, "burst": 10}}));
    let (before, begun) = (delivered(&server), Instant::now());
    let join = |socket: &mut Socket| socket.request("post", "/v1/groups", json!({"groups": groups}));
    let ids: Vec<_> = alice.iter_mut().map(join).collect();
    let joined = alice.iter_mut().zip(ids).map(|(socket, id)| u64::from(socket.ack(id).status == 200)).sum::<u64>();
    assert!(joined > 0);
    // A dozen frames are more than the bucket holds, and have to wait until it is full.
    let refused = alice[0].post("/v1/messages", json!({"to": "alice", "message": "x"}));
    let drawn = refused.headers["Retry-After"].as_u64().map_or(0, |secs| 10 * secs);
    for socket in &mut alice {
        socket.delete("/v1/groups", json!({"groups": groups})).ok();
    }
    let (caused, refilled) = (delivered(&server) - before, 10 * (begun.elapsed().as_secs() + 1));
    assert!(caused <= drawn + 10 + refilled, "{caused} frames by {joined}, of {drawn}");
}

#[test]
fn what_is_held_of_who_observes_and_who_is_in_groups_is_paid_for_once() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    limit(&server, json!({"endpointKilobytes": {"perSecond": 1, "burst": 100}}));
    // Nobody has these names, so nobody is told anything.
    let names = |round: usize| (0..60).map(|name| format!("{round} {name}")).collect::<Vec<_>>();
    let observe = |names| ("/v1/presenceobservers", json!({"endpointList": names}));
    let join = |names| ("/v1/groups", json!({"groups": names}));
    let is_paid_for = |socket: &mut Socket, ask: &dyn Fn(Vec<String>) -> (&'static str, Value)| {
        let begun = Instant::now();
        let mut ask = |round| {
            let (path, data) = ask(names(round));
            socket.post(path, data)
        };
        let refused = (0..100).find(|round| ask(*round).status == 429).unwrap();
        let bytes = refused * 60 * 500;
        assert!(refused > 0 && bytes as u64 <= (100 + begun.elapsed().as_secs() + 1) * 1_024, "{refused}");
        ask(0).ok();
    };
    is_paid_for(&mut alice, &observe);
    is_paid_for(&mut bob, &join);
}

#[test]
fn a_group_of_more_than_the_burst_can_be_spoken_to_but_not_on_and_on() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let mut crowd = crowd(&server, "crowd");
    let mut alice = server.connect("alice");
    limit(&server, json!({"endpointDeliveries": {"perSecond": 2, "burst": 3}}));
    alice.publish("room", "first");
    crowd[CROWD - 1].push("pubsub room alice first");
    let refused = alice.post("/v1/groups/room/publish", json!({"message": "second"}));
    let secs = refused.headers["Retry-After"].as_i64().unwrap();
    assert!((1..=6).contains(&secs), "twelve are owed, two a second: {secs}");
    refused.refused(429, "rate_limited");
    server.clock.advance_secs(secs);
    alice.publish("room", "third");
    crowd[CROWD - 1].push("pubsub room alice third");
}

/// Bytes that go out at once; a kilobyte a second comes back.
const KILOBYTES: u64 = 48;

#[test]
fn no_kind_of_answer_is_given_beyond_the_rate() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let mut crowd = crowd(&server, "crowd");
    for socket in crowd.iter_mut().take(3) {
        let message = json!({"message": "x".repeat(6_000), "persist": true});
        socket.post("/v1/groups/room/publish", message).ok();
    }
    for nth in 0..40 {
        crowd[0].join(&format!("{nth} {}", "n".repeat(200)));
    }
    let reader = server.create_role(
        "reader",
        json!({"groups": {"*": {"subscribe": true, "create": true, "publish": true, "getsubscribers": true}, "list": true}}),
    );
    let app_token = server.session_in("crowd", &reader);
    let kinds = [
        ("GET", "/v1/groups/room/history", Value::Null),
        ("POST", "/v1/group-history-search", json!({"groupIds": ["room"], "limit": 3})),
        ("GET", "/v1/group-histories?groupIds=room&limit=3", Value::Null),
        ("GET", "/v1/endpoints/crowd/conversations", Value::Null),
        ("GET", "/v1/groups", Value::Null),
    ];
    for (nth, (method, path, body)) in kinds.into_iter().enumerate() {
        let kilobytes = KILOBYTES + nth as u64;
        limit(&server, json!({"endpointKilobytes": {"perSecond": 1, "burst": kilobytes}}));
        let (mut bytes, mut last, mut refused) = (0, 0, 0);
        let begun = Instant::now();
        for _ in 0..40 {
            let request = server.request(method, path).token(&app_token);
            let answer = if body.is_null() { request.call() } else { request.send(body.clone()) };
            if answer.status == 200 {
                assert!(answer.text.len() > 4_000, "{path}: {}", answer.text);
                // So much is paid for by the request itself.
                last = answer.text.len() as u64 - 2_048;
                bytes += last;
            } else {
                assert!(answer.header("retry-after").is_some(), "{path}: {}", answer.text);
                answer.refused(429, "rate_limited");
                refused += 1;
            }
        }
        assert!(refused > 0, "{path}");
        let most = (kilobytes + begun.elapsed().as_secs() + 1) * 1_024 + last;
        assert!(bytes > 0 && bytes <= most, "{path}: {bytes} bytes of {most}");
        // What is answered shortly is answered on.
        assert!(server.alive(&app_token));
    }
}

#[test]
fn the_bytes_of_what_is_said_count_as_well() {
    let server = Server::start();
    server.unlimited(&server.admin_token("admin"));
    let _crowd = crowd(&server, "crowd");
    let mut alice = server.connect("alice");
    limit(&server, json!({"endpointKilobytes": {"perSecond": 1, "burst": 300}}));
    let begun = Instant::now();
    let message = "x".repeat(4_000);
    let said = (0..20).map(|_| alice.post("/v1/groups/room/publish", json!({"message": message})));
    let done = said.filter(|ack| ack.status == 200).count();
    let bytes = done * CROWD * message.len();
    assert!(done > 0 && bytes as u64 <= (300 + begun.elapsed().as_secs() + 1) * 1_024, "{done}");
}

#[test]
fn documents_that_all_may_read_are_not_read_without_end() {
    for what in ["/openapi.json", "/console/assets/htmx"] {
        is_not_read_without_end(what);
    }
}

/// Asks for a document, whose path begins so, until it is refused.
fn is_not_read_without_end(what: &str) {
    let server = Server::start();
    let page = server.get("/console/sign-in").call().text;
    let path = page.split('"').find(|part| part.starts_with(what)).unwrap_or(what);
    let begun = Instant::now();
    let (mut bytes, mut last) = (0, 0);
    let refused = loop {
        let answer = server.get(path).call();
        if answer.status != 200 {
            break answer;
        }
        last = answer.text.len() as u64;
        bytes += last - 2_048;
        assert!(bytes < 1 << 30, "there is no end to it");
    };
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(bytes <= (16_384 + 4_096 * (begun.elapsed().as_secs() + 1)) * 1_024 + last, "{bytes}");
    server.get("/healthz").call().ok();
    server.get("/readyz").call().ok();
    assert_eq!(server.get("/metrics").call().status, 200);
    server.session("alice");
}
