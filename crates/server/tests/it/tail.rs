//! `/v1/endpoints/{id}` and its tail, and what a changed admin means to open sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::amplification::limit;
use crate::harness::{Client, PASSWORD, Server, Socket, eventually, note_secret, text};

/// A client that polls its socket.
struct Polling<'a> {
    client: &'a Client,
    path: String,
}

impl<'a> Polling<'a> {
    fn open(client: &'a Client, header: &str, credential: &str) -> Self {
        let shaken = client.get("/socket.io/1/").header(header, credential).call();
        assert_eq!(shaken.status, 200, "{}", shaken.text);
        let path = format!("/socket.io/1/xhr-polling/{}", shaken.text.split(':').next().unwrap());
        let polling = Self { client, path };
        assert_eq!(polling.poll(), "1::");
        polling
    }

    fn poll(&self) -> String {
        self.client.get(&self.path).call().text
    }

    /// Asks, and waits for the answer.
    fn ask(&self, method: &str, url: &str, data: &Value) -> String {
        let argument = json!({"url": url, "data": data}).to_string();
        let packet = format!("5:7+::{}", json!({"name": method, "args": [argument]}));
        let taken = self.client.post(&self.path).header("Content-Type", "text/plain").raw(packet.as_bytes());
        assert_eq!(taken.status, 200, "{}", taken.text);
        eventually(|| {
            let polled = self.poll();
            polled.contains("6:::7").then_some(polled)
        })
    }
}

/// Lines of server-sent events as they come.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(client: &Client, path: &str, header: &str, credential: &str) -> Self {
        let address = client.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{header}: {credential}\r\n\r\n").unwrap();
        let mut events = Self(BufReader::new(stream));
        assert!(events.line().unwrap().starts_with("HTTP/1.1 200"));
        while events.line().unwrap() != ": looking on" {}
        events
    }

    /// None: the stream ended.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    fn frame(&mut self) -> Value {
        loop {
            let line = self.line().expect("the stream goes on");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// Whether it ends, as chunked streams do.
    fn ends(&mut self) -> bool {
        loop {
            match self.line() {
                None => return true,
                Some(line) if line == "0" => return true,
                Some(_) => {}
            }
        }
    }
}

#[test]
fn an_endpoint_is_told_of_as_a_whole() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let nobody = server.get("/v1/endpoints/nobody?include=tokens").secret().call().ok();
    assert_eq!(
        (&nobody["connections"], &nobody["ban"], &nobody["outstandingTokens"]),
        (&json!([]), &Value::Null, &json!(0))
    );
    let alice = Polling::open(&server, "App-Token", &server.session("alice"));
    alice.ask("post", "/v1/connections", &json!({}));
    alice.ask("post", "/v1/groups", &json!({"groups": ["chat"]}));
    alice.ask("post", "/v1/presence", &json!({"presence": {"type": "away"}}));
    server.mint("alice");
    let seen = server.get("/v1/endpoints/alice?include=tokens,audit").admin(&admin).call().ok();
    let connection = &seen["connections"][0];
    assert_eq!((&connection["endpointId"], &connection["groups"]), (&json!("alice"), &json!(["chat"])));
    assert_eq!(connection["presence"]["type"], "away");
    assert_eq!((seen["sessions"].as_array().unwrap().len(), &seen["outstandingTokens"]), (1, &json!(1)));
    assert_eq!(seen["audit"][0]["object"], "alice");
    server.put("/v1/endpoints/alice/ban").secret().send(json!({"reason": "spam"})).ok();
    let seen = server.get("/v1/endpoints/alice").secret().call().ok();
    assert_eq!((&seen["ban"]["reason"], &seen["sessions"]), (&json!("spam"), &json!([])));
    let searched = ["outstandingTokens", "moreTokens", "audit"].iter().any(|field| seen.get(field).is_some());
    assert!(!searched, "what has to be searched for is told when asked for");
    server.get("/v1/endpoints/alice?include=history").secret().call().refused(400, "invalid");
    let session = server.session("bob");
    server.get("/v1/endpoints/alice").token(&session).call().refused(403, "forbidden");
    server.get("/v1/endpoints/alice").call().refused(401, "unauthenticated");
}

#[test]
fn frames_are_looked_on_at_as_they_go() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let alice = Polling::open(&server, "App-Token", &server.session("alice"));
    alice.ask("post", "/v1/connections", &json!({}));
    // An endpoint looks on at nothing, and nobody over a socket, whose answers have an end.
    let session = server.session("carol");
    server.get("/v1/endpoints/carol/tail").token(&session).call().refused(403, "forbidden");
    let backend = Polling::open(&server, "App-Secret", &server.secret);
    assert!(backend.ask("get", "/v1/endpoints/alice/tail", &json!({})).contains("read over HTTP"));
    let mut redacted = Events::open(&server, "/v1/endpoints/alice/tail", "App-Secret", &server.secret);
    let mut shown = Events::open(&server, "/v1/endpoints/alice/tail?payloads=true", "Admin-Token", &admin);
    server.post("/v1/messages").secret().send(json!({"to": "alice", "message": "words-in"})).ok();
    alice.ask("post", "/v1/messages", &json!({"to": "bob", "message": "words-out"}));
    let token = server.mint("alice");
    alice.ask("post", "/v1/session-tokens", &json!({"tokenId": token}));

    let brief = |frame: &Value| (text(&frame["direction"]), text(&frame["kind"]), text(&frame["name"]));
    let expected = [
        ("out", "event", "message"),
        ("in", "request", "POST /v1/messages"),
        ("out", "answer", "POST /v1/messages"),
        ("in", "request", "POST /v1/session-tokens"),
        ("out", "answer", "POST /v1/session-tokens"),
    ];
    for (at, (direction, kind, name)) in expected.iter().enumerate() {
        let (one, two) = (redacted.frame(), shown.frame());
        assert_eq!(brief(&one), ((*direction).to_owned(), (*kind).to_owned(), (*name).to_owned()));
        assert_eq!((brief(&one), &one["bytes"]), (brief(&two), &two["bytes"]));
        assert!(one["payload"].is_null(), "{one}");
        match at {
            0 => assert!(text(&two["payload"]).contains("words-in") && two["from"] == "__SYSTEM__"),
            1 => assert!(text(&two["payload"]).contains("words-out")),
            // Answers and what is no talk may hold tokens.
            _ => assert!(two["payload"].is_null() && !two.to_string().contains(&token), "{two}"),
        }
    }
    let rows = server.get("/v1/audit?action=endpoint.tailed").admin(&admin).call().ok();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["object"]), (1, &json!("alice")));

    // It ends with what it was begun with.
    server.delete("/v1/admin-sessions?everywhere=true").admin(&admin).call().ok();
    assert!(shown.ends());
    server.get("/v1/endpoints/alice/tail").call().refused(401, "unauthenticated");
}

#[test]
fn an_admin_who_may_only_read_looks_on_without_payloads_and_loses_connections() {
    let server = Server::start();
    let owner = server.admin_token("admin");
    let body = json!({"username": "dev", "password": PASSWORD, "role": "developer", "currentPassword": PASSWORD});
    let id = text(&server.post("/v1/admins").admin(&owner).send(body).ok()["id"]);
    let developer = server.admin_token("dev");
    note_secret(&developer);
    let socket = Polling::open(&server, "Admin-Token", &developer);
    socket.ask("post", "/v1/connections", &json!({"endpointId": "alice", "appId": server.app}));
    let connected = || server.get("/v1/connections").secret().call().ok().as_array().unwrap().len();
    assert_eq!(connected(), 1);
    let mut shown = Events::open(&server, "/v1/endpoints/alice/tail?payloads=true", "Admin-Token", &developer);
    let mut redacted = Events::open(&server, "/v1/endpoints/alice/tail", "Admin-Token", &developer);

    server
        .put(&format!("/v1/admins/{id}"))
        .admin(&owner)
        .send(json!({"role": "read-only", "currentPassword": PASSWORD}))
        .ok();
    eventually(|| (connected() == 0).then_some(()));
    assert!(shown.ends());
    let tail = "/v1/endpoints/alice/tail?payloads=true";
    server.get(tail).admin(&developer).call().refused(403, "forbidden");
    let socket = Polling::open(&server, "Admin-Token", &developer);
    let refused = socket.ask("post", "/v1/connections", &json!({"endpointId": "alice", "appId": server.app}));
    assert!(refused.contains("read-only"), "{refused}");
    // What needs no more than reading went on; it ends with the admin.
    server.delete(&format!("/v1/admins/{id}")).admin(&owner).call().ok();
    assert!(redacted.ends());
}

/// A tail that waits for two minutes: so long the app's rate is used up by what it shows. With the sockets it looks on at.
fn held_back(server: &Server, credential: &str) -> (Events, Vec<Socket>) {
    const SOCKETS: usize = 8;
    let app_token = server.session("alice");
    let mut alice: Vec<Socket> = (0..SOCKETS).map(|_| server.open_as("alice", &app_token)).collect();
    for socket in &mut alice {
        socket.register(json!({}));
    }
    let shown = Events::open(server, "/v1/endpoints/alice/tail?payloads=true", "App-Secret", credential);
    limit(server, json!({"kilobytes": {"perSecond": 1, "burst": 1}}));
    server.post("/v1/messages").secret().send(json!({"to": "alice", "message": "x".repeat(15_000)})).ok();
    for socket in &mut alice {
        socket.push("message");
    }
    (shown, alice)
}

#[test]
fn a_tail_that_is_held_back_ends_with_the_server() {
    let server = Server::start_with(|config| config.drain_secs = 300);
    let (mut shown, alice) = held_back(&server, &server.secret);
    drop(alice);
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < Duration::from_secs(120), "it took {:?}", begun.elapsed());
    assert!(shown.ends());
}

#[test]
fn a_tail_that_is_held_back_ends_with_its_client() {
    let server = Server::start();
    let (shown, _alice) = held_back(&server, &server.secret);
    assert!(server.hub.tails().any());
    drop(shown);
    eventually(|| (!server.hub.tails().any()).then_some(()));
}

#[test]
fn a_tail_that_is_held_back_shows_nothing_once_it_may_not() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let path = format!("/v1/apps/{}/secrets", server.app);
    let secret = server.post(&path).admin(&admin).send(json!({"name": "looks on"})).ok();
    note_secret(&text(&secret["secret"]));
    let (mut shown, _alice) = held_back(&server, &text(&secret["secret"]));
    server.delete(&format!("{path}/{}", text(&secret["id"]))).admin(&admin).call().ok();
    while let Some(line) = shown.line().filter(|line| line != "0") {
        assert!(!line.starts_with("data"), "{line}");
    }
}
