//! Requests nobody should send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Server, eventually, note_secret};

#[test]
fn malformed_bodies_are_refused_and_nothing_is_written() {
    let server = Server::start();
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for body in ["{", "[]", "7", "\"text\"", "{\"a\":}", "\u{feff}{}", "{\"endpointId\": \"\u{0}\"}", deep.as_str()] {
        let request = server.post("/v1/tokens").secret().header("Content-Type", "application/json");
        let answer = request.raw(body.as_bytes());
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text);
        assert!(answer.body["error"].is_string() && answer.body["code"].is_string());
    }
    let request = server.post("/v1/tokens").secret().header("Content-Type", "application/json");
    assert_eq!(request.raw(&[0xff, 0xfe, 0x00]).status, 400);
    assert_eq!(server.get("/v1/tokens").secret().call().ok(), json!([]));
}

#[test]
fn a_body_has_a_limit() {
    let server = Server::start();
    let body = |length: usize| {
        let empty = json!({"endpointId": "alice", "roleId": server.role, "filler": ""}).to_string().len();
        json!({"endpointId": "alice", "roleId": server.role, "filler": "x".repeat(length - empty)}).to_string()
    };
    let send = |length: usize| {
        server.post("/v1/tokens").secret().header("Content-Type", "application/json").raw(body(length).as_bytes())
    };
    send(20_000).ok();
    send(20_001).refused(413, "body_too_large");
    send(200_000).refused(413, "body_too_large");
}

#[test]
fn unknown_paths_and_methods_are_answered_in_json() {
    let server = Server::start();
    for path in ["/v1", "/v1/", "/v1/nothing", "/nothing", "/v1/tokens/a/b", "/v1//tokens"] {
        let refusal = server.get(path).secret().call().refused(404, "no_such_route");
        assert!(refusal.is_object());
    }
    let refused = server.request("PATCH", "/v1/tokens").secret().send(json!({}));
    assert!(refused.header("allow").is_some());
    refused.refused(405, "method_not_allowed");
}

#[test]
fn a_browser_may_come_from_anywhere_and_read_the_limits() {
    let server = Server::start();
    let preflight = server
        .request("OPTIONS", "/v1/session-tokens")
        .header("Origin", "https://page.test")
        .header("Access-Control-Request-Method", "DELETE")
        .header("Access-Control-Request-Headers", "app-token,respoke-sdk,content-type")
        .call();
    assert!(preflight.status == 200 || preflight.status == 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://page.test"));
    for method in ["GET", "POST", "PUT", "DELETE"] {
        assert!(preflight.header("access-control-allow-methods").unwrap().contains(method));
    }
    let allowed = preflight.header("access-control-allow-headers").unwrap().to_lowercase();
    for name in ["app-token", "app-secret", "admin-token", "respoke-sdk", "content-type"] {
        assert!(allowed.contains(name));
    }
    let answer = server.get("/v1/session-tokens").header("Origin", "https://page.test").call();
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://page.test"));
    let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
    for name in ["request-id", "ratelimit-limit", "ratelimit-time-units", "ratelimit-remaining", "retry-after"] {
        assert!(exposed.contains(name), "{name} in {exposed}");
    }
}

#[test]
fn forwarded_addresses_are_believed_of_proxies_only() {
    let address = |server: &Server| {
        let token = server.mint("alice");
        let request = server.post("/v1/session-tokens").header("X-Forwarded-For", "198.51.100.7, 203.0.113.9");
        let answer = request.send(json!({"tokenId": token})).ok();
        note_secret(answer["token"].as_str().unwrap());
        let sessions = server.get("/v1/sessions").secret().call().ok();
        sessions.as_array().unwrap().last().unwrap()["address"].clone()
    };
    assert_eq!(address(&Server::start()), "127.0.0.1");
    let behind = Server::start_with(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    assert_eq!(address(&behind), "203.0.113.9", "the nearest that is no proxy of ours");
    let both = Server::start_with(|config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "203.0.113.0/24".parse().unwrap()];
    });
    assert_eq!(address(&both), "198.51.100.7");
}

#[test]
fn an_address_without_credential_is_limited() {
    let server = Server::start_with(|config| {
        config.address_requests_per_second = 1;
        config.address_requests_burst = 5;
    });
    let statuses: Vec<u16> = (0..8)
        .map(|_| {
            server.post("/v1/session-tokens").send(json!({"tokenId": "11111111-2222-4333-8444-555555555555"})).status
        })
        .collect();
    assert_eq!(&statuses[..5], [401; 5]);
    assert_eq!(&statuses[5..], [429; 3]);
    // Those with a credential go on.
    assert_ne!(server.mint("alice"), Value::Null);
}

#[test]
fn whatever_names_no_caller_counts_for_its_address() {
    let server = Server::start_with(|config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.address_requests_per_second = 1;
        config.address_requests_burst = 5;
    });
    let own = format!("/socket.io/1/xhr-polling/{}", server.sid(&format!("app-token={}", server.session("alice"))));
    let requests = [
        ("GET", "/openapi.json"),
        ("HEAD", "/openapi.json"),
        ("GET", "/nowhere"),
        ("GET", "/v1/nowhere"),
        ("GET", "/v1/apps?x=%E9"),
        ("DELETE", "/v1/tokens"),
        ("GET", "/console"),
        ("GET", "/oauth/nothing"),
        ("GET", "/socket.io/1/"),
        ("PUT", "/socket.io/1/"),
        ("GET", "/socket.io/1/?app-token=none"),
        ("GET", "/socket.io/1/xhr-polling/unknown"),
        ("POST", "/socket.io/1/xhr-polling/unknown"),
        ("GET", "/socket.io/1/xhr-polling/unknown?disconnect=1"),
        ("GET", "/socket.io/1/websocket/unknown"),
        ("GET", "/socket.io/1/nothing/unknown"),
        ("PUT", &own),
    ];
    let ask = |method: &str, path: &str, from: &str| server.request(method, path).header("X-Forwarded-For", from);
    for (nth, (method, path)) in requests.into_iter().enumerate() {
        let from = format!("192.0.2.{nth}");
        let asked_at = Instant::now();
        let statuses: Vec<u16> = (0..8).map(|_| ask(method, path, &from).call().status).collect();
        assert!(!statuses[..5].contains(&429), "{method} {path}: {statuses:?}");
        // One comes back a second, on however slow a machine.
        let came_back = usize::try_from(asked_at.elapsed().as_secs()).unwrap();
        let limited = statuses.iter().filter(|status| **status == 429).count();
        assert!(limited + came_back >= 3, "{method} {path}: {statuses:?}");
    }

    // Others than these draw nothing from it, nor do they wait for it.
    let from = "198.51.100.1";
    while ask("GET", "/nowhere", from).call().status != 429 {}
    for _ in 0..20 {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(ask("GET", path, from).call().status, 200, "{path}");
        }
        for path in ["/v1/tokens", "/socket.io/1/"] {
            let preflight = ask("OPTIONS", path, from).header("Origin", "https://page.test");
            assert_eq!(preflight.header("Access-Control-Request-Method", "POST").call().status, 204, "{path}");
        }
        ask("GET", "/v1/tokens", from).secret().call().ok();
    }
}

#[test]
fn wrong_credentials_without_end_are_slowed_down_and_right_ones_are_not() {
    let server = Server::start_with(|config| {
        config.address_requests_per_second = 100_000;
        config.address_requests_burst = 100_000;
    });
    let app_token = server.session("alice");
    let guess = || server.get("/v1/session-tokens").token("11111111-2222-4333-8444-555555555555").call();
    let statuses: Vec<u16> = (0..300).map(|_| guess().status).collect();
    assert_eq!(statuses[0], 401);
    assert!(statuses[299] == 429, "{statuses:?}");
    assert!(server.alive(&app_token));
    server.mint("bob");
}

#[test]
fn what_is_no_endpoint_id_has_no_bucket() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let limits = json!({"limits": {"endpoint": {"perSecond": 1, "burst": 1}}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(limits).ok();
    let mint = |endpoint: &str| {
        server.post("/v1/tokens").secret().send(json!({"endpointId": endpoint, "roleId": server.role}))
    };
    note_secret(mint("alice").ok()["tokenId"].as_str().unwrap());
    mint("alice").refused(429, "rate_limited");
    for _ in 0..3 {
        mint(&"x".repeat(10_000)).refused(400, "invalid");
    }
}

#[test]
fn an_address_has_its_share_of_connections() {
    let server = Server::start_with(|config| config.connections_per_address_max = 3);
    let address = server.url.strip_prefix("http://").unwrap();
    // Whether a new connection is served, and the connection.
    let connect = || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut answer = [0; 15];
        let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        let served = asked.and_then(|()| stream.read_exact(&mut answer)).is_ok();
        assert!(!served || &answer == b"HTTP/1.1 200 OK");
        (served, stream)
    };
    let mut open: Vec<_> = (0..3).map(|_| connect()).collect();
    assert!(open.iter().all(|(served, _)| *served));
    assert!(!connect().0);
    open.pop();
    let again = eventually(|| Some(connect()).filter(|(served, _)| *served));
    assert!(!connect().0);
    drop((open, again));
}

#[test]
fn tokens_that_are_none_are_slowed_down_and_others_are_not() {
    let server = Server::start();
    let token = server.mint("alice");
    let guess = || server.redeem("11111111-2222-4333-8444-555555555555");
    for _ in 0..200 {
        guess().refused(401, "token_refused");
    }
    let answers: Vec<_> = (0..3).map(|_| guess()).collect();
    assert!(answers.last().unwrap().header("retry-after").is_some());
    answers.into_iter().last().unwrap().refused(429, "throttled");
    server.redeem(&token).ok();
}
