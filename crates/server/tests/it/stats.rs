//! `/v1/stats`.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Process, Server, data_folder, eventually, is_postgres_asked, text};

/// The sum of a figure over all points.
fn sum(stats: &Value, figure: &str) -> u64 {
    stats["points"].as_array().unwrap().iter().map(|point| point[figure].as_u64().unwrap()).sum()
}

#[test]
fn what_happens_is_counted_at_once_and_kept_by_the_minute() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let stats = |query: &str| server.get(&format!("/v1/stats{query}")).admin(&admin).call().ok();
    server.session("alice");
    server.mint("bob");
    server.redeem("00000000-0000-4000-8000-000000000000").refused(401, "token_refused");
    server.post("/v1/groups/chat/publish").secret().send(json!({"message": "x"})).ok();
    server.post("/v1/messages").secret().send(json!({"to": "bob", "message": "x"})).ok();
    let own = format!("?appId={}", server.app);
    for query in ["", &own] {
        let hour = stats(query);
        assert_eq!((hour["points"].as_array().unwrap().len(), &hour["spanSecs"]), (60, &json!(60)));
        for (figure, count) in [("minted", 2), ("redeemed", 1), ("publications", 1), ("messages", 1)] {
            assert_eq!(sum(&hour, figure), count, "{figure} of {query:?}");
        }
        let last = &hour["points"][59];
        assert!(last["p50Micros"].as_u64().unwrap() <= last["p99Micros"].as_u64().unwrap());
        assert!(hour["points"][0]["p50Micros"].is_null());
    }
    assert_eq!(stats("")["points"][59]["refused"]["token_refused"], 1);
    for (range, count) in [("24h", 144), ("30d", 120)] {
        let stats = stats(&format!("?range={range}"));
        assert_eq!((stats["points"].as_array().unwrap().len(), sum(&stats, "minted")), (count, 2));
    }
    // The minute that is over moves back by one.
    server.clock.advance_secs(60);
    eventually(|| (stats("")["points"][58]["minted"] == 2).then_some(()));
    assert_eq!(sum(&stats(""), "minted"), 2);

    assert_eq!(sum(&server.get("/v1/stats").secret().call().ok(), "minted"), 2);
    assert_eq!(server.get("/v1/stats").secret().call().ok()["appId"], json!(server.app));
    server.get("/v1/stats?range=7d").admin(&admin).call().refused(400, "invalid");
    server.get("/v1/stats").call().refused(401, "unauthenticated");
    let session = server.session("alice");
    server.get("/v1/stats").token(&session).call().refused(403, "forbidden");
}

#[test]
fn longer_stretches_survive_a_restart() {
    let (data, _folder) = data_folder();
    let server = Process::spawn(&data, &[]).with_app();
    server.mint("alice");
    let app = server.app.clone();
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
    let server = Process::spawn(&data, &[]);
    let admin = server.admin_token("owner");
    // Where other nodes may serve, the last hour is in the database.
    let of_last_hour = u64::from(is_postgres_asked());
    for (query, minted) in [("range=1h", of_last_hour), ("range=24h", 1), ("range=30d", 1)] {
        let stats = server.get(&format!("/v1/stats?appId={app}&{query}")).admin(&admin).call().ok();
        assert_eq!(sum(&stats, "minted"), minted, "{query}");
        assert_eq!(text(&stats["range"]), query[6..]);
    }
}

#[test]
fn what_is_live_now_is_told_now() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let _alice = server.connect("alice");
    for query in ["", &format!("?appId={}", server.app), "?range=30d"] {
        let stats = server.get(&format!("/v1/stats{query}")).admin(&admin).call().ok();
        assert_eq!(stats["points"].as_array().unwrap().last().unwrap()["connections"], 1, "{query:?}");
    }
}

#[test]
fn pages_and_probes_are_no_traffic() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let stats = || sum(&server.get("/v1/stats").admin(&admin).call().ok(), "requests");
    let before = stats();
    let cookie = format!("respoked_console={admin}");
    for path in ["/healthz", "/readyz", "/metrics", "/docs", "/try", "/console", "/console/dashboard", "/console/no"] {
        server.get(path).header("Cookie", &cookie).call();
    }
    assert_eq!(stats(), before + 1, "the first asking for the figures alone");
}

#[test]
fn what_an_admin_does_with_an_app_is_the_apps() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let app = &server.app;
    server.put(&format!("/v1/apps/{app}")).admin(&admin).send(json!({"description": "x"})).ok();
    server.get(&format!("/v1/apps/{app}/secrets")).admin(&admin).call().ok();
    server.get(&format!("/v1/roles?appId={app}")).admin(&admin).call().ok();
    let said = json!({"to": "bob", "message": "x", "appId": app});
    server.post("/v1/messages").admin(&admin).send(said).ok();
    let unknown = "7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001";
    server.get(&format!("/v1/roles?appId={unknown}")).admin(&admin).call().refused(404, "not_found");
    let own = server.get(&format!("/v1/stats?appId={app}")).admin(&admin).call().ok();
    assert_eq!((sum(&own, "requests"), sum(&own, "messages")), (4, 1));
    let strange = server.get("/v1/request-log?route=/v1/roles&status=404").admin(&admin).call().ok();
    assert_eq!(strange[0]["appId"], Value::Null);
}

#[test]
fn what_is_answered_while_draining_is_counted() {
    let (data, _folder) = data_folder();
    let server = Process::spawn(&data, &[]).with_app();
    let body = json!({"endpointId": "late", "roleId": server.role}).to_string();
    let mut late = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nApp-Secret: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        server.secret,
        body.len()
    );
    late.write_all(head.as_bytes()).unwrap();
    // The server asks for the body: the request has begun.
    let mut asked = [0; 12];
    late.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100");
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let app = server.app.clone();
    server.signal("TERM");
    eventually(|| TcpStream::connect(&address).is_err().then_some(()));
    late.write_all(body.as_bytes()).unwrap();
    assert_eq!(server.wait(), 0);
    let server = Process::spawn(&data, &[]);
    let admin = server.admin_token("owner");
    let stats = server.get(&format!("/v1/stats?appId={app}&range=24h")).admin(&admin).call().ok();
    assert_eq!(sum(&stats, "minted"), 1);
}
