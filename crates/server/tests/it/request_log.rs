//! `/v1/request-log`, and both logs as lines.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server, text};

fn rows(server: &Server, admin: &str, query: &str) -> Vec<Value> {
    let answer = server.get(&format!("/v1/request-log{query}")).admin(admin).call().ok();
    answer.as_array().unwrap().clone()
}

#[test]
fn requests_are_told_without_what_they_carried() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let token = server.mint("alice");
    let session = text(&server.redeem(&token).ok()["token"]);
    let refused = server.redeem(&token).refused(401, "token_refused");
    server.get("/v1/session-tokens?canary=canary").token(&session).call().ok();
    server.get("/v1/nowhere/canary").call().refused(404, "no_such_route");

    let newest = rows(&server, &admin, "?limit=4");
    let brief: Vec<_> = newest
        .iter()
        .map(|row| (text(&row["route"]), row["status"].clone(), text(&row["caller"]), row["endpointId"].clone()))
        .collect();
    assert_eq!(
        brief,
        [
            ("unmatched".to_owned(), json!(404), "anonymous".to_owned(), Value::Null),
            ("/v1/session-tokens".to_owned(), json!(200), "endpoint".to_owned(), json!("alice")),
            ("/v1/session-tokens".to_owned(), json!(401), "anonymous".to_owned(), Value::Null),
            ("/v1/session-tokens".to_owned(), json!(200), "anonymous".to_owned(), json!("alice")),
        ]
    );
    assert_eq!(newest[2]["requestId"], refused["requestId"]);
    assert_eq!(newest[2]["code"], "token_refused");
    assert!(newest.iter().all(|row| row["tookMicros"].is_u64()));
    let whole = server.get("/v1/request-log").admin(&admin).call().text;
    for secret in [&token, &session, &server.secret, &admin, "canary", PASSWORD] {
        assert!(!whole.contains(secret), "{whole}");
    }

    assert_eq!(rows(&server, &admin, "?status=4xx").len(), 2);
    assert_eq!(rows(&server, &admin, "?status=404").len(), 1);
    assert_eq!(rows(&server, &admin, "?endpointId=alice").len(), 3);
    assert_eq!(rows(&server, &admin, "?route=/v1/tokens").len(), 1);
    let id = text(&refused["requestId"]);
    assert_eq!(rows(&server, &admin, &format!("?requestId={id}")).len(), 1);
    for wrong in ["?status=9xx", "?requestId=7", "?cursor=x", "?format=xml", "?limit=201"] {
        server.get(&format!("/v1/request-log{wrong}")).admin(&admin).call().refused(400, "invalid");
    }
    let first = server.get("/v1/request-log?limit=3").admin(&admin).call();
    let cursor = first.header("next-cursor").unwrap().to_owned();
    let second = server.get(&format!("/v1/request-log?limit=3&cursor={cursor}")).admin(&admin).call().ok();
    let last = first.ok()[2]["number"].as_u64().unwrap();
    assert_eq!(second[0]["number"].as_u64(), Some(last - 1));
}

#[test]
fn an_app_secret_sees_the_requests_of_its_own_app() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    let other_secret = text(&other["secret"]);
    crate::harness::note_secret(&other_secret);
    server.mint("alice");
    server.get("/v1/roles").header("App-Secret", &other_secret).call().ok();
    let own = server.get("/v1/request-log").secret().call().ok();
    assert!(own.as_array().unwrap().iter().all(|row| row["appId"] == json!(server.app)), "{own}");
    assert_eq!(own.as_array().unwrap().len(), 1);
    let foreign = format!("/v1/request-log?appId={}", text(&other["id"]));
    server.get(&foreign).secret().call().refused(403, "forbidden");
    server.get("/v1/request-log").call().refused(401, "unauthenticated");
    let session = server.session("alice");
    server.get("/v1/request-log").token(&session).call().refused(403, "forbidden");
}

#[test]
fn the_log_of_requests_is_bounded_and_can_be_off() {
    let server = Server::start_with(|config| config.request_log_max = 5);
    let admin = server.admin_token("admin");
    (0..10).for_each(|_| drop(server.get("/healthz").call()));
    assert_eq!(rows(&server, &admin, "").len(), 5);
    let server = Server::start_with(|config| config.request_log_max = 0);
    let admin = server.admin_token("admin");
    assert!(rows(&server, &admin, "").is_empty());
}

#[test]
fn both_logs_are_exported_as_lines() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    for nth in 0..210 {
        server.mint(&format!("e{nth}"));
    }
    for path in ["/v1/audit", "/v1/request-log"] {
        let answer = server.get(&format!("{path}?format=jsonl")).admin(&admin).call();
        assert!(answer.header("content-type").unwrap().starts_with("application/x-ndjson"));
        assert!(answer.header("next-cursor").is_none());
        let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() > 210, "{path}: {}", lines.len());
        let numbers: Vec<u64> = lines.iter().map(|line| line["number"].as_u64().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] == pair[1] + 1), "none is missing and none is there twice");
        let short = server.get(&format!("{path}?format=jsonl&limit=205")).admin(&admin).call();
        assert!(short.text.lines().count() == 205 && short.header("next-cursor").is_some(), "{path}");
    }
    // The two are linked by the request's id.
    let row = rows(&server, &admin, "?route=/v1/tokens&limit=1").remove(0);
    let audit = format!("/v1/audit?requestId={}", text(&row["requestId"]));
    let found = server.get(&audit).admin(&admin).call().ok();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["action"]), (1, &json!("token.issued")));
}
