//! `/v1/sessions`: those with authority over the app look at and end its sessions.

use serde_json::{Value, json};

use crate::harness::{End, NOW, Server, text};

fn list(server: &Server, query: &str) -> Vec<Value> {
    server.get(&format!("/v1/sessions{query}")).secret().call().ok().as_array().unwrap().clone()
}

#[test]
fn live_sessions_are_listed() {
    let server = Server::start();
    let alice = server.session("alice");
    server.session("bob");
    let sessions = list(&server, "");
    assert_eq!(sessions.len(), 2);
    let session = &list(&server, "?endpointId=alice")[0];
    for field in ["id", "endpointId", "roleId", "createdAt", "expiresAt", "lastSeenAt", "address"] {
        assert!(session[field].is_string(), "{field} of {session}");
    }
    assert_eq!(session["address"], "127.0.0.1");
    let shown = server.get("/v1/sessions").secret().call().text;
    assert!(!shown.contains(&alice));
    server.delete("/v1/session-tokens").token(&alice).call().ok();
    assert_eq!(list(&server, "?endpointId=alice").len(), 0);
    server.get("/v1/sessions").call().refused(401, "unauthenticated");
    server.get("/v1/sessions").token(&server.session("bob")).call().refused(403, "forbidden");
}

#[test]
fn sessions_are_found_by_address_and_by_when_they_were_opened() {
    let server = Server::start();
    server.session("alice");
    server.clock.advance_secs(60);
    server.session("bob");
    let found = |query: &str| list(&server, query).iter().map(|one| text(&one["endpointId"])).collect::<Vec<_>>();
    assert_eq!(found("?address=127.0.0.1"), ["alice", "bob"]);
    assert_eq!(found("?address=::ffff:127.0.0.1&since="), ["alice", "bob"], "the same address");
    assert!(found("?address=127.0.0.2").is_empty());
    assert_eq!(found(&format!("?since={}", NOW.plus_secs(60).to_iso())), ["bob"]);
    assert_eq!(found(&format!("?since={}", NOW.secs())), ["alice", "bob"]);
    for (wrong, field) in [("address=home", "address"), ("since=noon", "since")] {
        let refusal = server.get(&format!("/v1/sessions?{wrong}")).secret().call().refused(400, "invalid");
        assert!(refusal["validationErrors"][field].is_array(), "{refusal}");
    }
}

#[test]
fn lists_come_in_pages() {
    let server = Server::start();
    for number in 0..7 {
        server.session(&format!("user {number}"));
    }
    let mut seen = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let answer = server.get(&format!("/v1/sessions{query}")).secret().call();
        let next = answer.header("next-cursor").map(str::to_owned);
        seen.extend(answer.ok().as_array().unwrap().iter().map(|session| text(&session["endpointId"])));
        match next {
            Some(cursor) => query = format!("?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..7).map(|number| format!("user {number}")).collect::<Vec<_>>());
    for limit in ["0", "201", "-1", "many"] {
        server.get(&format!("/v1/sessions?limit={limit}")).secret().call().refused(400, "invalid");
    }
}

#[test]
fn one_session_or_many_are_ended_at_once() {
    let server = Server::start();
    let (one, two, bob) = (server.session("alice"), server.session("alice"), server.session("bob"));
    let id = text(&list(&server, "?endpointId=alice")[0]["id"]);
    server.delete(&format!("/v1/sessions/{id}")).secret().call().ok();
    assert!(!server.alive(&one) && server.alive(&two));
    server.get(&format!("/v1/sessions/{id}")).secret().call().refused(404, "not_found");

    let waiting = server.mint("alice");
    server.delete("/v1/sessions?endpointId=alice&tokens=false").secret().call().ok();
    assert!(!server.alive(&two) && server.alive(&bob));
    let again = text(&server.redeem(&waiting).ok()["token"]);
    let waiting = server.mint("alice");
    server.delete(&format!("/v1/sessions?roleId={}", server.role)).secret().call().ok();
    assert!(!server.alive(&again) && !server.alive(&bob));
    server.redeem(&waiting).refused(401, "token_refused");

    let old = server.session("carol");
    server.clock.advance_secs(100);
    let new = server.session("carol");
    server.delete("/v1/sessions?all=true&issuedBefore=1800000050").secret().call().ok();
    assert!(!server.alive(&old) && server.alive(&new));
    server.delete("/v1/sessions?all=true").secret().call().ok();
    assert!(!server.alive(&new));
    assert!(server.alive(&server.session("carol")));
    server.delete("/v1/sessions").secret().call().refused(400, "invalid");
    server.delete("/v1/sessions?all=true").call().refused(401, "unauthenticated");
}

#[test]
fn an_end_before_an_early_instant_spares_what_a_clock_set_back_makes_after_another() {
    let server = Server::start();
    let before = server.session("alice");
    // An instant to come: all that there is.
    server.delete("/v1/sessions?all=true&issuedBefore=1800003600").secret().call().ok();
    assert!(!server.alive(&before));
    server.clock.advance_secs(-1_800);
    let after = server.session("alice");
    server.delete("/v1/sessions?all=true&issuedBefore=1799990000").secret().call().ok();
    assert!(server.alive(&after), "neither end meant it");
}

#[test]
fn nothing_crosses_the_border_of_an_app() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    let foreign = text(&other["secret"]);
    let app_token = server.session("alice");
    let token = server.mint("alice");
    let id = text(&list(&server, "")[0]["id"]);
    let as_other = |method: &str, path: &str| server.request(method, path).header("App-Secret", &foreign);

    assert_eq!(as_other("GET", "/v1/sessions").call().ok(), json!([]));
    assert_eq!(as_other("GET", "/v1/tokens").call().ok(), json!([]));
    assert_eq!(as_other("GET", "/v1/roles").call().ok(), json!([]));
    as_other("GET", &format!("/v1/sessions/{id}")).call().refused(404, "not_found");
    as_other("DELETE", &format!("/v1/sessions/{id}")).call().refused(404, "not_found");
    as_other("GET", &format!("/v1/tokens/{token}")).call().refused(404, "not_found");
    as_other("DELETE", &format!("/v1/tokens/{token}")).call().refused(404, "not_found");
    as_other("GET", &format!("/v1/roles/{}", server.role)).call().refused(404, "not_found");
    as_other("DELETE", &format!("/v1/roles/{}", server.role)).call().refused(404, "not_found");
    as_other("GET", &format!("/v1/apps/{}", server.app)).call().refused(404, "not_found");
    as_other("GET", &format!("/v1/apps/{}/secrets", server.app)).call().refused(404, "not_found");
    as_other("GET", &format!("/v1/sessions?appId={}", server.app)).call().refused(403, "forbidden");
    as_other("DELETE", "/v1/sessions?all=true").call().ok();
    as_other("PUT", "/v1/endpoints/alice/ban").send(json!({})).ok();
    let active = as_other("POST", "/oauth/introspect").send(json!({"token": app_token})).ok();
    assert_eq!(active, json!({"active": false}));
    as_other("POST", "/oauth/revoke").send(json!({"token": app_token}));
    assert!(server.alive(&app_token));
    server.redeem(&token).ok();
}

#[test]
fn what_was_made_while_the_clock_stood_years_ahead_is_over_once_it_is_right() {
    const YEARS: i64 = 5 * 365 * 86_400;
    let server = Server::start();
    let before = server.session("before");
    server.clock.advance_secs(YEARS);
    assert!(!server.alive(&before), "as far as anybody can tell");
    let (session, token, admin) = (server.session("alice"), server.mint("alice"), server.admin_token("admin"));
    let mut socket = server.connect("bob");
    assert!(server.alive(&session));
    server.clock.advance_secs(-YEARS);
    assert!(server.alive(&before), "and now they can");
    assert!(!server.alive(&session));
    server.redeem(&token).refused(401, "token_refused");
    server.get("/v1/apps").admin(&admin).call().refused(401, "unauthenticated");
    assert_eq!(socket.end(), End::REVOKED);
    assert_eq!(list(&server, "").len(), 1);
    let told = server.post("/oauth/introspect").secret().send(json!({"token": session})).ok();
    assert_eq!(told, json!({"active": false}));
}

#[test]
fn a_clock_that_is_set_back_by_less_than_something_lasts_does_not_end_it() {
    let server = Server::start_with(|config| config.heartbeat_interval_secs = 1);
    let mint = |ttl: u64| {
        let body = json!({"endpointId": "alice", "roleId": server.role, "ttl": ttl});
        text(&server.post("/v1/tokens").secret().send(body).ok()["tokenId"])
    };
    let (short, token, admin) = (text(&server.redeem(&mint(60)).ok()["token"]), mint(60), server.admin_token("admin"));
    let mut socket = server.connect("alice");
    let mut second = server.connect("bob");
    for back in [2, 58] {
        server.clock.advance_secs(-back);
        assert!(server.alive(&short));
        server.get("/v1/apps").admin(&admin).call().ok();
    }
    // Heartbeats come after all sockets were looked at.
    let heartbeats = socket.heartbeats + 2;
    socket.until(|socket| (socket.heartbeats >= heartbeats).then_some(()));
    socket.publish("room", "hi");
    second.publish("room", "hi");
    server.redeem(&token).ok();
}
