//! `/v1/messages`: to whom, by whom.

use serde_json::{Value, json};

use crate::harness::{Client, Process, Server, data_folder, note_secret, text};

const NOTHING: Vec<String> = Vec::new();

#[test]
fn a_message_reaches_every_connection_of_the_receiver() {
    let server = Server::start();
    let (mut alice, mut other) = (server.connect("alice"), server.connect("alice"));
    let (mut bob, mut tablet) = (server.connect("bob"), server.connect("bob"));
    let sent = alice.post("/v1/messages", json!({"to": "bob", "message": {"deep": [1, null]}})).ok();
    assert_eq!(sent["message"], "success");
    let push = bob.push("message alice {\"deep\":[1,null]}");
    let header = &push["args"][0]["header"];
    assert_eq!((&header["to"], &header["fromConnection"]), (&json!("bob"), &json!(alice.connection)));
    assert_eq!(header["messageId"], sent["messageId"]);
    assert_eq!(tablet.pushed(), ["message alice {\"deep\":[1,null]}"]);
    assert_eq!((alice.pushed(), other.pushed()), (NOTHING, NOTHING));

    for name in ["toConnection", "connectionId"] {
        alice.post("/v1/messages", json!({"to": "bob", name: bob.connection, "message": "one"})).ok();
        assert_eq!((bob.pushed(), tablet.pushed()), (vec!["message alice one".to_owned()], NOTHING));
    }
    alice.post("/v1/messages", json!({"to": "nobody", "message": "x"})).ok();
    alice.post("/v1/messages", json!({"to": "alice", "message": "to myself", "ccSelf": true})).ok();
    assert_eq!((alice.pushed(), other.pushed()), (NOTHING, vec!["message alice to myself".to_owned()]));
    let refusal = alice.post("/v1/messages", json!({})).refused(400, "invalid");
    let expected = json!({
        "to": ["to is a missing required parameter."], "message": ["message is a missing required parameter."]
    });
    assert_eq!(refusal["validationErrors"], expected);
}

#[test]
fn a_copy_to_oneself_names_the_receiver() {
    let server = Server::start();
    let (mut alice, mut other, mut bob) = (server.connect("alice"), server.connect("alice"), server.connect("bob"));
    alice.post("/v1/messages", json!({"to": "bob", "message": "hi", "ccSelf": true})).ok();
    let copy = other.push("message alice hi");
    let header = &copy["args"][0]["header"];
    assert_eq!((&header["toOriginal"], &header["from"]), (&json!("bob"), &json!("alice")));
    assert!(bob.push("message alice hi")["args"][0]["header"].get("toOriginal").is_none());
    assert_eq!((alice.pushed(), other.pushed(), bob.pushed()), (NOTHING, NOTHING, NOTHING));
}

#[test]
fn nobody_is_who_backends_speak_as() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let mut backend = server.open(&format!("app-secret={}", server.secret));
    let path = format!("/v1/apps/{}", server.app);
    for name in ["__SYSTEM__", "__system__", " __System__ ", "__SYS\u{200b}TEM__", "\u{feff}__SYSTEM__"] {
        let mint = json!({"endpointId": name, "roleId": server.role, "appId": server.app});
        server.post("/v1/tokens").secret().send(mint.clone()).refused(400, "endpoint_reserved");
        server.put("/v1/tokens").secret().send(mint.clone()).refused(400, "endpoint_reserved");
        server.post("/v1/tokens").admin(&admin).send(mint.clone()).refused(400, "endpoint_reserved");
        server.put(&path).admin(&admin).send(json!({"developmentMode": true})).ok();
        server.post("/v1/tokens").send(mint).refused(400, "endpoint_reserved");
        server.put(&path).admin(&admin).send(json!({"developmentMode": false})).ok();

        let who = json!({"endpointId": name});
        backend.post("/v1/connections", who.clone()).refused(400, "endpoint_reserved");
        let message = json!({"endpointId": name, "to": "bob", "message": 1});
        server.post("/v1/messages").secret().send(message).refused(400, "endpoint_reserved");
        let publication = json!({"endpointId": name, "message": 1});
        server.post("/v1/groups/room/publish").secret().send(publication).refused(400, "endpoint_reserved");
        let signal = json!({"from": name, "to": "bob", "signal": {"signalType": "bye"}});
        server.post("/v1/signaling").secret().send(signal).refused(400, "endpoint_reserved");
        // What ends such an endpoint's is not refused: it may have tokens of before.
        let ended = form_urlencoded::Serializer::new(String::new()).append_pair("endpointId", name).finish();
        server.delete(&format!("/v1/sessions?{ended}")).secret().call().ok();
    }
    let path = "/v1/endpoints/__SYSTEM__/connections";
    backend.post(path, Value::Null).refused(400, "endpoint_reserved");
    // Names that only contain it are anybody's, and backends speak as before.
    server.session("__SYSTEM__2");
    let mut bob = server.connect("bob");
    server.post("/v1/messages").secret().send(json!({"to": "bob", "message": "x"})).ok();
    assert_eq!(bob.pushed(), ["message __SYSTEM__ x"]);
}

#[test]
fn a_backend_speaks_for_whom_it_names() {
    let server = Server::start();
    let (mut alice, mut backend) = (server.connect("alice"), server.connect_backend("backend"));
    backend.post("/v1/messages", json!({"to": "alice", "endpointId": "BATMAN", "message": 1})).ok();
    backend.post("/v1/messages", json!({"to": "alice", "message": 2})).ok();
    server.post("/v1/messages").secret().send(json!({"to": "alice", "message": 3})).ok();
    server.post("/v1/messages").secret().send(json!({"to": "alice", "endpointId": "BATMAN", "message": 4})).ok();
    let mut bare = server.open(&format!("app-secret={}", server.secret));
    bare.post("/v1/messages", json!({"to": "alice", "message": 5})).ok();
    bare.post("/v1/connections", json!({})).refused(400, "invalid");
    // An endpoint speaks as itself, over either door.
    alice.post("/v1/messages", json!({"to": "alice", "endpointId": "BATMAN", "message": 6})).ok();
    server
        .post("/v1/messages")
        .token(&alice.app_token)
        .send(json!({"to": "alice", "endpointId": "X", "message": 7}))
        .ok();
    let expected = ["BATMAN 1", "backend 2", "__SYSTEM__ 3", "BATMAN 4", "__SYSTEM__ 5", "alice 7"];
    assert_eq!(alice.pushed(), expected.map(|rest| format!("message {rest}")));
}

#[test]
fn an_admin_names_the_app_where_there_are_several() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let mut alice = server.connect("alice");
    let mut only = server.open(&format!("admin-token={admin}"));
    only.post("/v1/connections", json!({"endpointId": "root"})).ok();
    only.post("/v1/messages", json!({"to": "alice", "message": "the only app"})).ok();
    assert_eq!(alice.pushed(), ["message root the only app"]);
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    note_secret(other["secret"].as_str().unwrap());
    let mut socket = server.open(&format!("admin-token={admin}"));
    socket.post("/v1/connections", json!({"endpointId": "root"})).refused(400, "invalid");
    socket.post("/v1/connections", json!({"appId": server.app})).refused(400, "invalid");
    socket.post("/v1/connections", json!({"endpointId": "root", "appId": server.app})).ok();
    // On a socket the app is the connection's, unless another is named.
    socket.post("/v1/messages", json!({"to": "alice", "message": "here"})).ok();
    socket.post("/v1/messages", json!({"to": "alice", "message": "there", "appId": text(&other["id"])})).ok();
    assert_eq!(alice.pushed(), ["message root here"]);
    server.post("/v1/messages").admin(&admin).send(json!({"to": "alice", "message": "x"})).refused(400, "invalid");
}

#[test]
fn a_backend_ends_a_connection_by_its_id() {
    let server = Server::start();
    let (mut alice, mut other, mut backend) =
        (server.connect("alice"), server.connect("alice"), server.connect_backend("x"));
    backend.delete(&format!("/v1/connections/{}", alice.connection), Value::Null).ok();
    assert_eq!(alice.end(), crate::harness::End::REVOKED);
    assert_eq!(server.connected(), ["alice", "x"]);
    server.delete(&format!("/v1/connections/{}", alice.connection)).secret().call().refused(404, "not_found");
    // An endpoint ends its own, whatever it names.
    other.delete(&format!("/v1/connections/{}", backend.connection), Value::Null).ok();
    assert_eq!(server.connected(), ["x"]);
    other.post("/v1/groups", json!({"groups": ["room"]})).refused(409, "not_connected");
    other.register(json!({}));
    assert_eq!(server.connected(), ["alice", "x"]);
    server.get("/v1/connections").token(&other.app_token).call().refused(403, "forbidden");
    let shown = server.get("/v1/connections?endpointId=alice").secret().call().ok();
    let connection = &shown[0];
    assert_eq!((&connection["id"], &connection["type"]), (&json!(other.connection), &json!("websocket")));
    assert_eq!((&connection["clientType"], &connection["ipAddress"]), (&json!("WEB"), &json!("127.0.0.1")));
    assert_eq!((&connection["appId"], &connection["roleId"]), (&json!(server.app), &json!(server.role)));
}

#[test]
fn a_message_with_a_key_is_said_once() {
    let server = Server::start();
    let (mut bob, mut alice) = (server.connect("bob"), server.connect("alice"));
    bob.join("room");
    let own = server.session("carol");
    let message = json!({"to": "bob", "message": "x"});
    let publication = |persist: bool| json!({"message": "x", "persist": persist});
    let signal = json!({"to": "bob", "signal": {"signalType": "modify"}});
    for (nth, (path, body, pushed)) in [
        ("/v1/messages", message.clone(), "message carol x"),
        ("/v1/groups/room/publish", publication(false), "pubsub room carol x"),
        ("/v1/channels/room/publish", publication(true), "pubsub room carol x"),
        ("/v1/groups/room/publish", publication(true), "pubsub room carol x"),
        ("/v1/signaling", signal.clone(), "signal carol modify"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key {nth}").replace(' ', "-");
        let say =
            |path: &str, body: &Value| server.post(path).token(&own).header("Idempotency-Key", &key).send(body.clone());
        let first = say(path, &body).ok();
        for _ in 0..3 {
            assert_eq!(say(&format!("{path}/"), &body).ok(), first, "the answer is the same");
        }
        assert_eq!(bob.pushed(), [pushed]);
        // Who had to sign in anew meanwhile is the same to say it, and nobody else is.
        let anew = server.session("carol");
        let repeated = server.post(path).token(&anew).header("Idempotency-Key", &key).send(body.clone()).ok();
        assert_eq!((repeated, bob.pushed()), (first, Vec::new()));
        let dora = server.session("dora");
        server.post(path).token(&dora).header("Idempotency-Key", &key).send(body.clone()).ok();
        assert_eq!(bob.pushed().len(), 1);
        let mut other = body.clone();
        other["x"] = json!(1);
        say(path, &other).refused(422, "idempotency_key_reused");
        say(&format!("{path}?t=1"), &body).refused(422, "idempotency_key_reused");
        server.post(path).token(&own).header("Idempotency-Key", "").send(body.clone()).refused(400, "invalid");
        assert_eq!(bob.pushed(), Vec::<String>::new());
        // Without a key, and with another's, it is said each time.
        for _ in 0..2 {
            server.post(path).token(&own).send(body.clone()).ok();
        }
        server.post(path).secret().header("Idempotency-Key", &key).send(body.clone()).ok();
        assert_eq!(bob.pushed().len(), 3);
    }
    // Over a socket, by the header inside the request.
    for (path, body) in
        [("/v1/messages", &message), ("/v1/groups/room/publish", &publication(true)), ("/v1/signaling", &signal)]
    {
        let headers = json!({"Idempotency-Key": "tunnelled"});
        let first = alice.ask_with(&headers, "post", path, body.clone()).ok();
        assert_eq!(alice.ask_with(&headers, "post", path, body.clone()).ok(), first);
        // The same request by HTTP is the same, too.
        let token = alice.app_token.clone();
        let again = server.post(path).token(&token).header("Idempotency-Key", "tunnelled");
        assert_eq!(again.raw(serde_json::to_string(body).unwrap().as_bytes()).ok(), first);
        let mut other = body.clone();
        other["x"] = json!(1);
        alice.ask_with(&headers, "post", path, other).refused(422, "idempotency_key_reused");
        assert_eq!(bob.pushed().len(), 1, "{path}");
    }
    let history = server.get("/v1/groups/room/history").secret().call().ok();
    assert_eq!(history.as_array().unwrap().len(), 2 * 5 + 1, "each is kept as often as it was said");

    // Many at once are one.
    let client = server.client.clone();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let say =
            || client.post("/v1/messages").token(&own).header("Idempotency-Key", "at-once").send(message.clone()).ok();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(say)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
    assert_eq!(bob.pushed(), ["message carol x"]);
    // What is refused takes no key.
    let refused = json!({"to": "", "message": 1});
    let say =
        |body: &Value| server.post("/v1/messages").token(&own).header("Idempotency-Key", "refused").send(body.clone());
    say(&refused).refused(400, "invalid");
    say(&message).ok();
}

#[test]
fn a_message_with_a_key_is_said_once_over_a_kill() {
    let (data, _folder) = data_folder();
    let process = Process::spawn(&data, &[]).with_app();
    let say = |client: &Client, path: &str, persist: bool| {
        let body = json!({"to": "bob", "message": "x", "persist": persist});
        client.post(path).secret().header("Idempotency-Key", "k").send(body).ok()
    };
    let paths = [("/v1/messages", false), ("/v1/groups/a/publish", true), ("/v1/groups/b/publish", false)];
    let first = paths.map(|(path, persist)| say(&process, path, persist));
    let mut client = process.kill();
    let restarted = Process::spawn(&data, &[]);
    client.url.clone_from(&restarted.url);
    assert_eq!(paths.map(|(path, persist)| say(&client, path, persist)), first);
    let history = client.get("/v1/groups/a/history").secret().call().ok();
    assert_eq!(history.as_array().unwrap().len(), 1);
}
