//! Connections as such: what comes over them that is no request, how they end, and who has to go when all are taken.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, eventually, note_secret, request_packet};

/// Less than the server waits for a first head, or for a body.
const NOT_WAITED: Duration = Duration::from_secs(9);
/// That it does not wait is shown by the fastest of so many tries: a server that waits does so each time.
const TRIES: usize = 3;

fn link(server: &Server) -> TcpStream {
    let link = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    link.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    link
}

/// What comes until the connection ends.
fn rest(mut link: TcpStream) -> String {
    let mut text = String::new();
    link.read_to_string(&mut text).unwrap();
    text
}

/// What is answered to `sent` by a server that hears no more after it.
fn half(server: &Server, sent: &str) -> String {
    let mut link = link(server);
    link.write_all(sent.as_bytes()).unwrap();
    link.shutdown(Shutdown::Write).unwrap();
    rest(link)
}

fn request(method: &str, path: &str, credential: &str, body: &Value) -> String {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\n{credential}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn field(answer: &str, name: &str) -> String {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    body[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
}

#[test]
fn who_says_no_more_with_the_end_of_a_body_is_answered() {
    let server = Server::start();
    let secret = format!("App-Secret: {}\r\n", server.secret);
    let body = json!({"endpointId": "alice", "roleId": server.role});
    let sent = request("POST", "/v1/tokens", &secret, &body);
    let (begun, end) = sent.as_bytes().split_at(sent.len() - 20);
    for _ in 0..10 {
        let mut link = link(&server);
        let mut other = self::link(&server);
        link.write_all(begun).unwrap();
        // Answered behind what was begun, which is waited for by then.
        other.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(rest(other).starts_with("HTTP/1.1 200 OK"));
        link.write_all(end).unwrap();
        link.shutdown(Shutdown::Write).unwrap();
        assert!(rest(link).starts_with("HTTP/1.1 200 OK"));
    }
}

#[test]
fn who_says_no_more_and_listens_is_answered() {
    let server = Server::start();
    let secret = format!("App-Secret: {}\r\n", server.secret);
    let succeeds = |method: &str, path: &str, credential: &str, body: &Value| {
        let answer = half(&server, &request(method, path, credential, body));
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{method} {path}: {answer}");
        answer
    };
    // Those that wait for the disk, those that wait for another thread, and those that wait for nothing.
    let minted = succeeds("POST", "/v1/tokens", &secret, &json!({"endpointId": "alice", "roleId": server.role}));
    let token = field(&minted, "tokenId");
    note_secret(&token);
    let redeemed = succeeds("POST", "/v1/session-tokens", "", &json!({"tokenId": token}));
    let app_token = field(&redeemed, "token");
    note_secret(&app_token);
    assert!(server.alive(&app_token), "what was spent was answered");
    let own = format!("App-Token: {app_token}\r\n");
    succeeds("GET", "/v1/groups/room/history", &own, &Value::Null);
    succeeds("GET", "/v1/audit", &secret, &Value::Null);
    let password = json!({"username": "admin", "password": crate::harness::PASSWORD});
    note_secret(&field(&succeeds("POST", "/v1/admin-sessions", "", &password), "token"));
    for path in ["/healthz", "/metrics", "/openapi.json", "/console/sign-in", "/readyz"] {
        succeeds("GET", path, "", &Value::Null);
    }
    succeeds("GET", &format!("/socket.io/1/?app-token={app_token}"), "", &Value::Null);
    // One after the other on one connection, the last of them too.
    let both = half(
        &server,
        &[request("GET", "/healthz", "", &Value::Null), request("GET", "/readyz", "", &Value::Null)].concat(),
    );
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
}

#[test]
fn who_hangs_up_within_a_body_is_not_waited_for() {
    let server = Server::start();
    let took = |_| {
        let started = Instant::now();
        let whole = request("POST", "/v1/session-tokens", "", &json!({"tokenId": "x"}));
        let answer = half(&server, &whole[..whole.len() - 3]);
        assert!(answer.starts_with("HTTP/1.1 400") && field(&answer, "code") == "malformed", "{answer}");
        let answer =
            half(&server, "POST /v1/session-tokens HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{");
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        started.elapsed()
    };
    assert!((0..TRIES).map(took).any(|took| took < NOT_WAITED));
}

#[test]
fn a_poll_that_was_given_up_takes_nothing_along() {
    let server = Server::start();
    let poller = server.poller(&format!("app-token={}", server.session("alice")));
    poller.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    // It is told nothing at once, whether it is gone or polls again.
    let poll = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", poller.path());
    assert!(half(&server, &poll).ends_with("8::"));
    let mut gone = link(&server);
    gone.write_all(poll.as_bytes()).unwrap();
    drop(gone);
    // The connection of the poll that is gone, and then what waits is for the next one.
    eventually(|| (server.figure("respoked_connections") <= 3).then_some(()));
    server.post("/v1/messages").secret().send(json!({"to": "alice", "message": "x"})).ok();
    assert!(poller.poll()[0].starts_with("5:::{\"name\":\"message\""));
}

#[test]
fn what_is_no_request_is_answered_like_all_others() {
    let server = Server::start();
    let headers = |count: usize| "X-1: 1\r\n".repeat(count);
    let cases = [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n".to_owned(), 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_owned(), 400, "malformed"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n".to_owned(), 400, "malformed"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", headers(200)), 431, "head_too_large"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(200_000)), 431, "head_too_large"),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000)), 431, "head_too_large"),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nX: 1\r\nHost: b\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET /socket.io/1/ HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET /console HTTP/1.1\r\n\r\n".to_owned(), 400, "malformed"),
    ];
    let count = cases.len();
    for (sent, status, code) in cases {
        let shown = &sent[..sent.len().min(60)];
        let mut link = link(&server);
        link.write_all(sent.as_bytes()).unwrap();
        link.shutdown(Shutdown::Write).unwrap();
        let answer = rest(link);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        let head = answer.split_once("\r\n\r\n").unwrap().0.to_lowercase();
        for header in ["content-length: ", "date: ", "connection: close"] {
            assert!(head.contains(header), "{header} is not in {head}");
        }
        if shown.contains("/console") {
            assert!(head.contains("text/html"), "{head}");
        } else {
            assert_eq!(field(&answer, "code"), code, "{shown}");
            assert!(head.contains(&format!("request-id: {}", field(&answer, "requestId"))), "{head}");
        }
    }
    // They are counted like others, too.
    let refused: u64 = ["malformed", "head_too_large"]
        .iter()
        .map(|code| server.figure(&format!("respoked_refusals_total{{reason=\"{code}\"}}")))
        .sum();
    assert_eq!(refused, count as u64);
}

#[test]
fn an_answer_without_a_body_is_not_taken_for_one_to_what_is_no_request() {
    let server = Server::start();
    let poller = server.poller(&format!("app-token={}", server.session("alice")));
    // A packet that is too long.
    let packet = "x".repeat(100 * 1_024 + 1);
    let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nOrigin: https://page.test\r\n", poller.path());
    let bad = format!("{head}Content-Length: {}\r\n\r\n{packet}", packet.len());
    let answers = half(&server, &[bad, request("GET", "/healthz", "", &Value::Null)].concat());
    let (refused, next) = answers.split_once("\r\n\r\n").unwrap();
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(refused.to_lowercase().contains("access-control-allow-origin: https://page.test"), "{refused}");
    assert!(next.starts_with("HTTP/1.1 200 OK"), "{next}");
    assert!(!server.figures().contains("respoked_refusals_total{reason=\"malformed\"}"));
}

#[test]
fn when_all_places_are_taken_the_longest_silent_goes() {
    let server = Server::start_with(|config| config.connections_max = 40);
    let app_token = server.session("alice");
    let socket = server.connect("bob");
    let poller = server.poller(&format!("app-token={app_token}"));
    let mut polling = link(&server);
    polling.write_all(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", poller.path()).as_bytes()).unwrap();
    // An answer that its client had, so that it is as silent as the others, and silent last.
    let served = || {
        let mut link = link(&server);
        link.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = [0; 15];
        link.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        link
    };
    let crowd = |_| {
        let silent: Vec<_> = (0..100).map(|_| link(&server)).collect();
        let started = Instant::now();
        let newcomers: Vec<_> = (0..20).map(|_| served()).collect();
        (started.elapsed() < NOT_WAITED).then_some((silent, newcomers))
    };
    let (silent, newcomers) = (0..TRIES).find_map(crowd).expect("they need not wait");
    // Those that came last are there still; the first ones are gone.
    for mut newcomer in newcomers {
        newcomer.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = [0; 15];
        while newcomer.read_exact(&mut answer[..1]).is_ok() && answer[0] != b'}' {}
    }
    for mut link in silent.into_iter().take(60) {
        assert!(matches!(link.read(&mut [0]), Ok(0) | Err(_)));
    }
    // A socket and a poll wait as long as they like.
    let mut socket = socket;
    socket.get("/v1/groups").ok();
    let packet = request_packet(2, "post", "/v1/connections", &json!({}));
    assert_eq!(poller.bring(packet.as_bytes()).text, "1");
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains("6:::2+") {
        let mut some = [0; 1_024];
        let count = polling.read(&mut some).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&told));
        told.extend_from_slice(&some[..count]);
    }
}
