//! `/v1/session-tokens`: redeeming, describing, extending, ending.

use std::sync::{Arc, Barrier};

use serde_json::json;

use crate::harness::{Server, note_secret, text};

#[test]
fn a_token_is_redeemed_exactly_once() {
    let server = Server::start();
    let token = server.mint("alice");
    let answer = server.redeem(&token).ok();
    assert_eq!(answer["message"], "Authorization successful");
    assert_eq!(answer.as_object().unwrap().len(), 2);
    let app_token = text(&answer["token"]);
    assert_eq!(app_token, app_token.to_uppercase());
    server.redeem(&token).refused(401, "token_refused");
    assert!(server.alive(&app_token) && server.alive(&app_token.to_lowercase()));
    // Both aliases and a form body.
    let token = server.mint("alice");
    let form = format!("tokenId={token}");
    let request = server.post("/v1/appauthsessions/").header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(
        request.header("Accept", "application/xml").raw(form.as_bytes()).ok()["message"],
        "Authorization successful"
    );
}

#[test]
fn of_many_at_once_one_is_let_in() {
    let server = Server::start();
    for _ in 0..3 {
        let token = server.mint("alice");
        let barrier = Arc::new(Barrier::new(64));
        let tries: Vec<_> = (0..64)
            .map(|_| {
                let (client, token, barrier) = (server.client.clone(), token.clone(), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    client.redeem(&token).status
                })
            })
            .collect();
        let mut statuses: Vec<_> = tries.into_iter().map(|thread| thread.join().unwrap()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses[0], 200);
        assert!(statuses[1..].iter().all(|status| *status == 401), "{statuses:?}");
    }
}

#[test]
fn unknown_late_and_malformed_tokens_are_refused_alike() {
    let server = Server::start();
    let late = server.mint("alice");
    server.clock.advance_secs(300);
    let mut answers = Vec::new();
    for token in [late.as_str(), "11111111-2222-4333-8444-555555555555", "hunter2"] {
        let mut refusal = server.redeem(token).refused(401, "token_refused");
        refusal["requestId"] = json!(null);
        answers.push(refusal);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    server.post("/v1/session-tokens").send(json!({})).refused(400, "invalid");
}

#[test]
fn a_session_is_described_extended_and_ended() {
    let server = Server::start();
    let app_token = server.session("alice");
    let session = server.get("/v1/session-tokens").token(&app_token).call().ok();
    assert_eq!((&session["endpointId"], &session["roleId"]), (&json!("alice"), &json!(server.role)));
    assert_eq!(session["expiresAt"], "2027-01-16T08:00:00.000Z");

    server.clock.advance_secs(86_000);
    let extended = server.put("/v1/session-tokens").token(&app_token).send(json!({"ttl": 3_600})).ok();
    assert_eq!(extended["id"], session["id"], "the same session");
    server.clock.advance_secs(3_599);
    assert!(server.alive(&app_token));
    server.clock.advance_secs(1);
    assert!(!server.alive(&app_token));
    server.put("/v1/session-tokens").token(&app_token).send(json!({})).refused(401, "unauthenticated");

    let app_token = server.session("alice");
    server.delete("/v1/session-tokens").token(&app_token).call().ok();
    assert!(!server.alive(&app_token));
    // A client may end a session that is over, and one that never was.
    server.delete("/v1/session-tokens").token(&app_token).call().ok();
    server.delete("/v1/session-tokens").call().ok();
}

#[test]
fn a_session_is_superseded_by_its_own_endpoint_only() {
    let server = Server::start();
    let first = server.session("alice");
    let redeem_with = |endpoint: &str, app_token: &str| {
        let body = json!({"tokenId": server.mint(endpoint)});
        text(&server.post("/v1/session-tokens").token(app_token).send(body).ok()["token"])
    };
    let second = redeem_with("alice", &first);
    assert!(!server.alive(&first) && server.alive(&second));
    let bob = redeem_with("bob", &second);
    assert!(server.alive(&second) && server.alive(&bob));
    redeem_with("alice", "11111111-2222-4333-8444-555555555555");
    redeem_with("alice", "nonsense");
}

#[test]
fn a_page_of_a_foreign_domain_is_refused() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let app_token = server.session("alice");
    let domains = json!({"permittedDomains": ["example.com"]});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(domains).ok();
    let from = |origin: &str| server.get("/v1/session-tokens").token(&app_token).header("Origin", origin).call();
    assert_eq!(from("https://example.com").ok()["endpointId"], "alice");
    from("https://evil.test").refused(403, "origin_refused");
    assert!(server.alive(&app_token), "who sends no origin is no page");
    let token = server.mint("alice");
    let redeem_from =
        |origin: &str| server.post("/v1/session-tokens").header("Origin", origin).send(json!({"tokenId": token}));
    redeem_from("https://evil.test").refused(403, "origin_refused");
    redeem_from("https://example.com").ok();
}

#[test]
fn a_repeated_redemption_is_answered_while_its_session_lives() {
    let server = Server::start();
    let redeem = |token: &str| {
        server.post("/v1/session-tokens").header("Idempotency-Key", "once").send(json!({"tokenId": token}))
    };
    let token = server.mint("alice");
    let app_token = text(&redeem(&token).ok()["token"]);
    note_secret(&app_token);
    assert_eq!(redeem(&token).ok()["token"], app_token.as_str());
    server.delete("/v1/session-tokens").token(&app_token).call().ok();
    redeem(&token).refused(401, "token_refused");

    let token = server.mint("bob");
    note_secret(redeem(&token).ok()["token"].as_str().unwrap());
    server.put("/v1/endpoints/bob/ban").secret().send(json!({"reason": "spam"})).ok();
    assert_eq!(redeem(&token).refused(401, "endpoint_banned")["details"]["reason"], "spam");
}
