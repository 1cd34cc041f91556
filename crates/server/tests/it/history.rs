//! `/v1/groups/{id}/history`, `/v1/group-history-search` and `/v1/endpoints/{id}/conversations`.

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, GroupName};
use respoke_core::message::NewMessage;
use respoke_core::ports::Keeping;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::amplification::limit;
use crate::harness::{NOW, Server, eventually};

/// Keeps a message as the hub does for a publication that asks for it, and returns the event.
fn say(server: &Server, group: &str, from: &str, at: i64, message: Value) -> Value {
    let event = json!({
        "header": {"type": "pubsub", "channel": group, "from": from, "fromConnection": "C", "timestamp": at,
                   "requestId": "7c5f10a4-3f1e-4b6e-9a30-5d3f6cf0a001"},
        "message": message,
    });
    let message = NewMessage {
        app_id: AppId::parse(&server.app).unwrap(),
        group: GroupName::parse(group).unwrap(),
        sender: EndpointId::parse(from).unwrap(),
        at: Timestamp::from_millis(at),
        event: RawValue::from_string(event.to_string()).unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let kept = runtime.block_on(server.broker.store().append_message(message, u64::MAX)).unwrap();
    assert_eq!(kept.map(|kept| kept.at), Keeping::Kept(Timestamp::from_millis(at)));
    event
}

/// An instant some milliseconds before the server's present.
fn ago(millis: i64) -> i64 {
    NOW.millis() - millis
}

#[test]
fn a_history_is_told_newest_first_as_it_was_pushed() {
    let server = Server::start();
    let alice = server.session("alice");
    let name = "room/1 ☎";
    let events: Vec<Value> = (0..60).map(|n| say(&server, name, "bob", ago(100 - n), json!({"n": [n]}))).collect();
    let newest = |count: usize| Value::Array(events.iter().rev().take(count).cloned().collect());
    let path = "/v1/groups/room%2F1%20%E2%98%8E/history";
    let read = |query: &str| server.get(&format!("{path}{query}")).token(&alice).call().ok();
    assert_eq!(read(""), newest(50), "fifty by default");
    assert_eq!(read("/?limit=2"), newest(2));
    assert_eq!(read("?limit=999"), newest(60), "more than can be had are as many as there are");
    let channel = "/v1/channels/room%2F1%20%E2%98%8E/history?limit=1";
    assert_eq!(server.get(channel).token(&alice).call().ok(), newest(1));
    // iOS sends a fraction, JavaScript a body with the GET.
    let before = format!("?limit=1&before={}.0002", ago(100 - 5));
    assert_eq!(read(&before), json!([events[4]]));
    let body = json!({"limit": "3", "before": ago(100 - 3)});
    let answer = server.get(path).token(&alice).send(body).ok();
    assert_eq!(answer, json!([events[2], events[1], events[0]]));
    assert_eq!(server.get("/v1/groups/nowhere/history").token(&alice).call().ok(), json!([]));
    assert_eq!(server.get(&format!("{path}?limit=1")).secret().call().ok(), newest(1));

    server.get(&format!("{path}?before=soon")).token(&alice).call().refused(400, "invalid");
    server.get(&format!("{path}?limit=-1")).token(&alice).call().refused(400, "invalid");
    let long = format!("/v1/groups/{}/history", "x".repeat(257));
    server.get(&long).token(&alice).call().refused(400, "invalid");
    server.get(path).call().refused(401, "unauthenticated");
}

#[test]
fn what_is_published_to_be_kept_is_kept() {
    let server = Server::start();
    let alice = server.session("alice");
    let publish = |message: Value, persist: bool| {
        let body = json!({"endpointId": "alice", "message": message, "persist": persist, "push": false});
        server.post("/v1/channels/room/publish/").token(&alice).send(body).ok()
    };
    let sent = publish(json!({"text": "kept\u{2028}"}), true);
    publish(json!("forgotten"), false);
    let history = server.get("/v1/groups/room/history").token(&alice).call().ok();
    let header = &history[0]["header"];
    assert_eq!((history.as_array().unwrap().len(), &history[0]["message"]), (1, &json!({"text": "kept\u{2028}"})));
    for (field, value) in [("type", "pubsub"), ("channel", "room"), ("from", "alice")] {
        assert_eq!(header[field], value, "{field}");
    }
    assert_eq!(header["timestamp"], json!(NOW.millis()));
    let list = server.get("/v1/endpoints/alice/conversations").token(&alice).call().ok();
    assert_eq!((&list[0]["latestMsg"], &list[0]["sourceId"]), (&history[0], &json!("alice")));
    assert!(sent["message"].is_string(), "{sent}");
}

/// A socket by long polling.
struct Socket<'a> {
    server: &'a Server,
    path: String,
    asked: u32,
}

impl<'a> Socket<'a> {
    /// Shakes hands and registers a connection.
    fn open(server: &'a Server, app_token: &str) -> Self {
        let query = format!("__sails_io_sdk_version=0.10.0&app-token={app_token}");
        let answer = server.get(&format!("/socket.io/1/?{query}")).call();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let sid = answer.text.split(':').next().unwrap();
        let mut socket = Self { server, path: format!("/socket.io/1/xhr-polling/{sid}"), asked: 0 };
        assert_eq!(socket.poll(), "1::");
        assert_eq!(socket.ask("post", json!({"url": "/v1/connections"})).0, 200);
        socket
    }

    fn poll(&self) -> String {
        self.server.get(&self.path).call().text
    }

    /// Sends a request and returns status and body of its ack.
    fn ask(&mut self, method: &str, request: Value) -> (u64, Value) {
        self.asked += 1;
        let packet = format!("5:{}+::{}", self.asked, json!({"name": method, "args": [request]}));
        self.server.post(&self.path).header("Content-Type", "text/plain").raw(packet.as_bytes());
        let wanted = format!("6:::{}+", self.asked);
        let ack = eventually(|| {
            let payload = self.poll();
            let at = payload.find(&wanted)? + wanted.len();
            serde_json::Deserializer::from_str(&payload[at..]).into_iter::<Value>().next()?.ok()
        });
        (ack[0]["statusCode"].as_u64().unwrap(), ack[0]["body"].clone())
    }
}

#[test]
fn a_socket_serves_it_all_and_what_is_joined_is_a_conversation() {
    let server = Server::start_with(|config| config.drain_secs = 0);
    let alice = server.session("alice");
    let events = [2, 1].map(|n| say(&server, "a room", "bob", ago(n), json!(n)));
    say(&server, "elsewhere", "bob", ago(1), json!(0));
    let mut socket = Socket::open(&server, &alice);
    let conversations = json!({"url": "/v1/endpoints/alice/conversations"});
    assert_eq!(socket.ask("get", conversations.clone()), (200, json!([])));
    assert_eq!(socket.ask("post", json!({"url": "/v1/groups/", "data": {"groups": ["a room", "empty"]}})).0, 200);
    let (_, list) = socket.ask("get", conversations.clone());
    assert_eq!((list.as_array().unwrap().len(), &list[0]["groupId"]), (1, &json!("a room")));
    assert_eq!((&list[0]["unreadCount"], &list[0]["latestMsg"]), (&json!(2), &events[1]));
    let mark = json!({"groups": [{"groupId": "a room", "timestamp": ago(2)}]});
    let put = json!({"url": "/v1/endpoints/alice/conversations", "data": mark});
    assert_eq!(socket.ask("put", put).0, 200);
    assert_eq!(socket.ask("get", conversations).1[0]["unreadCount"], 1);

    // JavaScript sends data with a GET, Android and iOS a query and a path as it is.
    let read = json!({"url": "/v1/groups/a%20room/history/", "data": {"limit": 1, "before": ago(1)}});
    assert_eq!(socket.ask("get", read), (200, json!([events[0]])));
    let read = json!({"url": format!("/v1/groups/a room/history?limit=1&before={}.5", NOW.millis()), "data": null});
    assert_eq!(socket.ask("get", read), (200, json!([events[1]])));
    let search = json!({"url": "/v1/group-histories?groupIds=a%20room&groupIds=empty&limit=1"});
    assert_eq!(socket.ask("get", search), (200, json!({"a room": [events[1]], "empty": []})));

    let (status, relay) = socket.ask("get", json!({"url": "/v1/turn"}));
    assert_eq!((status, &relay["uris"]), (200, &json!(["stun:127.0.0.1:3478"])));
    let push = json!({"url": "/v1/connections/x/push-token", "data": {"token": "t", "service": "google"}});
    assert_eq!(socket.ask("post", push).1["endpointId"], "alice");
    let report = json!({"url": "/v1/call-debugs", "data": {"debugData": {"report": {}}}});
    assert_eq!(socket.ask("post", report), (200, json!({"message": "Success"})));
}

#[test]
fn many_groups_are_searched_at_once() {
    let server = Server::start();
    let alice = server.session("alice");
    let [a1, a2] = [3, 2].map(|n| say(&server, "a", "bob", ago(n), json!(n)));
    let b1 = say(&server, "b", "bob", ago(1), json!(null));
    let search = |body: Value| server.post("/v1/group-history-search").token(&alice).send(body);
    let body = json!({"groupIds": ["a", "b", "empty", "a"], "limit": "2"});
    assert_eq!(search(body).ok(), json!({"a": [a2, a1], "b": [b1], "empty": []}));
    assert_eq!(search(json!({"groupIds": ["a"]})).ok(), json!({"a": [a2]}), "one by default");
    assert_eq!(search(json!({"groupIds": []})).ok(), json!({}));
    let query = |query: &str| server.get(&format!("/v1/group-histories{query}")).token(&alice).call();
    assert_eq!(query("?groupIds=a&groupIds=b&limit=1").ok(), json!({"a": [a2], "b": [b1]}));
    assert_eq!(query("?groupIds=a&limit=2").ok(), json!({"a": [a2, a1]}));

    query("?limit=2").refused(400, "invalid");
    search(json!({"groupIds": [""]})).refused(400, "invalid");
    search(json!({"groupIds": 7})).refused(400, "invalid");
    let many: Vec<String> = (0..1_001).map(|n| n.to_string()).collect();
    search(json!({"groupIds": many})).refused(400, "invalid");
}

#[test]
fn reading_needs_the_right_to_join() {
    let server = Server::start();
    let groups = json!({"groups": {"*": {"publish": true}, "open*": {"subscribe": true}}});
    let guest = server.session_in("guest", &server.create_role("guest", groups));
    let open = say(&server, "open house", "guest", ago(2), json!(1));
    say(&server, "closed", "guest", ago(2), json!(2));
    say(&server, "closed", "bob", ago(1), json!(3));
    let read = |group: &str| server.get(&format!("/v1/groups/{group}/history")).token(&guest).call();
    assert_eq!(read("open%20house").ok(), json!([open]));
    read("closed").refused(403, "forbidden");
    let search =
        |groups: Value| server.post("/v1/group-history-search").token(&guest).send(json!({"groupIds": groups}));
    assert_eq!(search(json!(["open house"])).ok(), json!({"open house": [open]}));
    search(json!(["open house", "closed"])).refused(403, "forbidden");
    let path = "/v1/endpoints/guest/conversations";
    let list = server.get(path).token(&guest).call().ok();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["groupId"]), (1, &json!("open house")));
    let marks = json!({"groups": [{"groupId": "closed"}, {"groupId": "open house"}]});
    server.put(path).token(&guest).send(marks).ok();
    let list = server.get(path).secret().call().ok();
    let unread: Vec<_> = list.as_array().unwrap().iter().map(|one| (&one["groupId"], &one["unreadCount"])).collect();
    assert_eq!(unread, [(&json!("closed"), &json!(1)), (&json!("open house"), &json!(0))]);
}

#[test]
fn conversations_count_what_came_after_the_mark() {
    let server = Server::start();
    let alice = server.session("alice");
    let path = "/v1/endpoints/alice/conversations";
    let list = || server.get(path).token(&alice).call().ok();
    assert_eq!(list(), json!([]));
    let second = NOW.millis() - 10_000;
    say(&server, "room", "alice", second + 1, json!("first"));
    say(&server, "room", "bob", second + 650, json!("second"));
    let third = say(&server, "room", "bob", second + 1_000, json!("third"));
    let conversation = |unread: u64| {
        json!([{"groupId": "room", "sourceId": "bob", "latestMsg": third, "unreadCount": unread,
                "timestamp": second + 1_000}])
    };
    assert_eq!(list(), conversation(2), "one knows what one said");
    // iOS: milliseconds with what floating point left of them.
    let ios = format!(r#"{{"groups":[{{"groupId":"room","timestamp":{second}.9998}}]}}"#);
    server.post(path).token(&alice).header("Content-Type", "application/json").raw(ios.as_bytes()).ok();
    assert_eq!(list(), conversation(2));
    // Android: a date without milliseconds, which are lost of the message that was read.
    let date = server_date(second);
    let android =
        json!({"groups": [{"groupId": "room", "timestamp": date}, {"groupId": "nowhere", "timestamp": date}]});
    server.put(&format!("{path}/")).token(&alice).send(android).ok();
    assert_eq!(list(), conversation(1));
    let iso = json!({"groups": [{"groupId": "room", "timestamp": Timestamp::from_millis(second + 1_000).to_iso()}]});
    server.put(path).token(&alice).send(iso).ok();
    assert_eq!(list(), conversation(0));
    // A mark in the future marks what is there.
    let future = json!({"groups": [{"groupId": "room", "timestamp": ago(-86_400_000)}]});
    server.put(path).token(&alice).send(future).ok();
    say(&server, "room", "carol", ago(-1), json!("fourth"));
    assert_eq!(list()[0]["unreadCount"], 1);

    let body = || json!({"groups": [{"groupId": "room"}]});
    let bobs = "/v1/endpoints/bob/conversations";
    server.get(bobs).token(&alice).call().refused(403, "forbidden");
    server.put(bobs).token(&alice).send(body()).refused(403, "forbidden");
    server.put(bobs).secret().send(body()).ok();
    assert_eq!(server.get(bobs).secret().call().ok()[0]["unreadCount"], 0, "all, though the clock has yet to reach it");
    let admin = server.admin_token("admin");
    assert_eq!(server.get(bobs).admin(&admin).call().ok().as_array().unwrap().len(), 1);
    for wrong in [json!({}), json!({"groups": [{}]}), json!({"groups": [{"groupId": "a", "timestamp": "soon"}]})] {
        server.put(path).token(&alice).send(wrong).refused(400, "invalid");
    }
}

#[test]
fn conversations_are_charged_for_the_messages_that_are_looked_at() {
    let server = Server::start();
    let alice = server.session("alice");
    for nth in 0..600 {
        say(&server, "room", "alice", ago(600 - nth), json!(nth));
    }
    limit(&server, json!({"endpointKilobytes": {"perSecond": 1, "burst": 1}}));
    let list = || server.get("/v1/endpoints/alice/conversations").token(&alice).call();
    assert_eq!(list().ok()[0]["unreadCount"], 0, "all are her own, and had to be looked at");
    // 600 messages are charged as 9,600 bytes, of which 2,048 are free: seven seconds at that rate.
    list().refused(429, "rate_limited");
}

#[test]
fn what_is_said_last_is_the_newest_though_the_clock_steps_back() {
    let server = Server::start();
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    bob.join("room");
    let mut said = Vec::new();
    for (nth, back) in [0, 2, 0, 3_600, 0].into_iter().enumerate() {
        server.clock.advance_secs(-back);
        // By a socket and by a backend.
        let message = json!({"endpointId": "alice", "message": nth, "persist": true});
        if nth % 2 == 0 {
            alice.post("/v1/groups/room/publish", message).ok();
        } else {
            server.post("/v1/channels/room/publish").secret().send(message).ok();
        }
        let pushed = bob.push(&format!("pubsub room alice {nth}"))["args"][0].clone();
        said.insert(0, pushed.clone());
        let history = server.get("/v1/groups/room/history").token(&bob.app_token).call().ok();
        assert_eq!(history, json!(said), "as it was pushed, what was said last first");
        let search = json!({"groupIds": ["room"]});
        let search = server.post("/v1/group-history-search").token(&bob.app_token).send(search).ok();
        assert_eq!(search, json!({"room": [pushed]}));
        let list = |of: &str, token: &str| {
            server.get(&format!("/v1/endpoints/{of}/conversations")).token(token).call().ok()[0].clone()
        };
        let conversation = list("bob", &bob.app_token);
        assert_eq!((&conversation["latestMsg"], &conversation["unreadCount"]), (&pushed, &json!(1)));
        assert_eq!(conversation["timestamp"], pushed["header"]["timestamp"]);
        assert_eq!(list("alice", &alice.app_token)["unreadCount"], 0, "whoever says it knows it");
        let mark = json!({"groups": [{"groupId": "room", "timestamp": pushed["header"]["timestamp"]}]});
        server.put("/v1/endpoints/bob/conversations").token(&bob.app_token).send(mark).ok();
        assert_eq!(list("bob", &bob.app_token)["unreadCount"], 0);
    }
    let at = said.iter().map(|event| event["header"]["timestamp"].as_i64().unwrap() - NOW.millis());
    assert_eq!(at.collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
}

#[test]
fn of_many_marks_the_newest_of_each_group_counts() {
    let server = Server::start();
    let path = "/v1/endpoints/alice/conversations";
    let name = |n: usize| format!("room {n}");
    for n in 0..150 {
        say(&server, &name(n), "bob", ago(20), json!(1));
        say(&server, &name(n), "bob", ago(10), json!(2));
    }
    // Each is named three times, the newest in the middle: 450 marks of 150 groups.
    let marks: Vec<_> = [20, 10, 15]
        .into_iter()
        .flat_map(|at| (0..150).map(move |n| json!({"groupId": name(n), "timestamp": ago(at)})))
        .collect();
    for marks in marks.chunks(225) {
        server.put(path).secret().send(json!({"groups": marks})).ok();
    }
    let list = server.get(path).secret().call().ok();
    let unread: Vec<_> = list.as_array().unwrap().iter().map(|one| one["unreadCount"].as_u64().unwrap()).collect();
    assert_eq!(unread, [0; 150]);
    let many: Vec<_> = (0..1_001).map(|_| json!({"groupId": "a"})).collect();
    server.put(path).secret().send(json!({"groups": many})).refused(400, "invalid");
}

/// An instant of [`NOW`]'s minute as Java writes it, two hours east.
fn server_date(millis: i64) -> String {
    let iso = Timestamp::from_millis(millis).plus_secs(7_200).to_iso();
    assert!(iso.starts_with("2027-01-15T"), "{iso}");
    format!("Fri Jan 15 {} GMT+02:00 2027", &iso[11..19])
}

#[test]
fn apps_do_not_read_each_others_groups() {
    let server = Server::start();
    say(&server, "room", "alice", ago(1), json!("ours"));
    let admin = server.admin_token("admin");
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    let secret = other["secret"].as_str().unwrap();
    let id = other["id"].as_str().unwrap();
    let get = |path: &str| server.get(path).header("App-Secret", secret).call();
    assert_eq!(get("/v1/groups/room/history").ok(), json!([]));
    assert_eq!(get("/v1/endpoints/alice/conversations").ok(), json!([]));
    get(&format!("/v1/groups/room/history?appId={}", server.app)).refused(403, "forbidden");
    let alice = server.session("alice");
    let path = format!("/v1/groups/room/history?appId={id}");
    server.get(&path).token(&alice).call().refused(403, "forbidden");
    server.get("/v1/groups/room/history").admin(&admin).call().refused(400, "invalid");
    let path = format!("/v1/groups/room/history?appId={}", server.app);
    assert_eq!(server.get(&path).admin(&admin).call().ok().as_array().unwrap().len(), 1);
}
