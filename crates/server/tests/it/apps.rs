//! `/v1/apps`.

use serde_json::json;

use crate::harness::{Server, text};

#[test]
fn an_app_is_created_changed_and_deleted() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let created = server.post("/v1/apps").admin(&admin).send(json!({"name": "chat", "description": "talk"})).ok();
    let path = format!("/v1/apps/{}", text(&created["id"]));
    let secret = text(&created["secret"]);
    assert!(secret.starts_with("rspk_"));
    let app = server.get(&path).admin(&admin).call().ok();
    for (field, value) in [
        ("name", json!("chat")),
        ("description", json!("talk")),
        ("locked", json!(false)),
        ("permittedDomains", json!(null)),
        ("developmentMode", json!(false)),
        ("secret", json!("<redacted>")),
        ("maxTtl", json!(86_400)),
        ("activationWindow", json!(300)),
        ("sessionExpiry", json!("end")),
    ] {
        assert_eq!(app[field], value, "{field}");
    }
    let change =
        json!({"name": "talk", "maxTtl": "7200", "limits": {"app": null, "endpoint": {"perSecond": 5, "burst": 9}}});
    let changed = server.put(&path).admin(&admin).send(change).ok();
    assert_eq!((&changed["name"], &changed["maxTtl"]), (&json!("talk"), &json!(7_200)));
    assert_eq!(changed["limits"]["app"], json!(null));
    assert_eq!(changed["limits"]["endpoint"], json!({"perSecond": 5, "burst": 9}));
    assert_eq!(changed["limits"]["address"], app["limits"]["address"], "what is absent stays");
    assert_eq!(changed["limits"]["connections"], json!(100_000));
    let limits =
        json!({"connections": null, "membersPerGroup": "7", "connects": {"perSecond": 8}, "endpointMessages": null});
    let change = json!({"sessionExpiry": "keep", "limits": limits});
    let changed = server.put(&path).admin(&admin).send(change).ok();
    assert_eq!(changed["sessionExpiry"], "keep");
    for (limit, value) in [
        ("connections", json!(null)),
        ("connects", json!({"perSecond": 8, "burst": 8})),
        ("endpointConnects", json!({"perSecond": 10, "burst": 100})),
        ("messages", json!(null)),
        ("endpointMessages", json!(null)),
        ("endpointConnections", json!(100)),
        ("groupsPerConnection", json!(1_000)),
        ("membersPerGroup", json!(7)),
        ("app", json!(null)),
    ] {
        assert_eq!(changed["limits"][limit], value, "{limit}");
    }
    assert_eq!(server.get("/v1/apps").admin(&admin).call().ok().as_array().unwrap().len(), 2);
    let own = server.get("/v1/apps").header("App-Secret", &secret).call().ok();
    assert_eq!((own.as_array().unwrap().len(), &own[0]["id"]), (1, &created["id"]));

    server.delete(&path).header("App-Secret", &secret).call().refused(403, "forbidden");
    server.delete(&path).admin(&admin).call().ok();
    server.get(&path).admin(&admin).call().refused(404, "not_found");
    server.get("/v1/apps").header("App-Secret", &secret).call().refused(401, "unauthenticated");
}

#[test]
fn deleting_an_app_ends_its_sessions() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let (app_token, token) = (server.session("alice"), server.mint("alice"));
    server.delete(&format!("/v1/apps/{}", server.app)).admin(&admin).call().ok();
    assert!(!server.alive(&app_token));
    server.redeem(&token).refused(401, "token_refused");
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let path = format!("/v1/apps/{}", server.app);
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("x".repeat(129))),
        ("maxTtl", json!(59)),
        ("activationWindow", json!(0)),
        ("permittedDomains", json!(["not a host"])),
        ("limits", json!({"app": {"perSecond": 0, "burst": 1}})),
        ("limits", json!({"endpointMessages": {"perSecond": 1, "burst": 1_000_001}})),
        ("limits", json!({"addressConnects": {}})),
        ("limits", json!({"connections": 0})),
        ("limits", json!({"membersPerGroup": 10_000_001})),
        ("sessionExpiry", json!("never")),
        ("developmentMode", json!("perhaps")),
    ] {
        let refusal = server.put(&path).admin(&admin).send(json!({field: value})).refused(400, "invalid");
        assert!(refusal["validationErrors"].is_object(), "{refusal}");
    }
    let raised = json!({"limits": {"app": null}});
    server.put(&path).secret().send(raised).refused(403, "forbidden");
    server.put(&path).secret().send(json!({"description": "by its own secret"})).ok();
    server.post("/v1/apps").admin(&admin).send(json!({})).refused(400, "invalid");
    server.post("/v1/apps").secret().send(json!({"name": "x"})).refused(403, "forbidden");
    server.post("/v1/apps").send(json!({"name": "x"})).refused(401, "unauthenticated");
}

#[test]
fn a_permitted_domain_matches_what_it_means_or_is_refused() {
    let server = Server::start();
    let (admin, alice) = (server.admin_token("admin"), server.session("alice"));
    let path = format!("/v1/apps/{}", server.app);
    let may = |origin: &str| {
        let answer = server.get("/v1/session-tokens").token(&alice).header("Origin", origin).call();
        let handshake = server.get(&format!("/socket.io/1/?app-token={alice}")).header("Origin", origin).call();
        assert_eq!(answer.status == 200, handshake.status == 200, "{origin}");
        answer.status == 200
    };
    for (typed, kept, covered, other) in [
        ("localhost:8100", "localhost:8100", "http://localhost:8100", "http://localhost"),
        ("::1", "[::1]", "http://[::1]:3000", "http://[::2]:3000"),
        ("[::1]:3000", "[::1]:3000", "http://[::1]:3000", "http://[::1]"),
        (".Example.com", ".example.com", "https://a.example.com", "https://aexample.com"),
        (".example.com", ".example.com", "https://example.com", "https://example.org"),
        ("https://a.b/", "https://a.b", "https://a.b", "http://a.b"),
        ("*", "*", "https://anywhere.test", ""),
    ] {
        let change = json!({"permittedDomains": [typed]});
        let app = server.put(&path).admin(&admin).send(change).ok();
        assert_eq!(app["permittedDomains"], json!([kept]));
        assert!(may(covered), "{typed} and {covered}");
        assert!(other.is_empty() || !may(other), "{typed} and {other}");
    }
    for wrong in ["", "a.test/x", "a.test:0", "m\u{fc}nchen.de", "1.2.3.256", "*a.test", "a.test,b.test"] {
        let change = json!({"permittedDomains": ["good.test", wrong]});
        let refusal = server.put(&path).admin(&admin).send(change.clone()).refused(400, "invalid");
        let told = refusal["validationErrors"]["permittedDomains"][0].as_str().unwrap();
        assert!(told.starts_with("permittedDomains[1] "), "{told}");
        let app = json!({"name": "x", "permittedDomains": change["permittedDomains"]});
        server.post("/v1/apps").admin(&admin).send(app).refused(400, "invalid");
    }
    server.put(&path).admin(&admin).send(json!({"permittedDomains": vec!["a.test"; 101]})).refused(400, "invalid");
    assert!(may("https://anywhere.test"), "what was refused changed nothing");
}

#[test]
fn an_apps_limits_are_kept_and_told() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let limits = json!({"limits": {"app": {"perSecond": 1, "burst": 2}}});
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(limits).ok();
    let call = || server.get("/v1/tokens").secret().call();
    let first = call();
    assert_eq!(first.header("ratelimit-limit"), Some("1"));
    assert_eq!(first.header("ratelimit-time-units"), Some("seconds"));
    assert_eq!(first.header("ratelimit-remaining"), Some("1"));
    call();
    let limited = call();
    assert!(limited.header("retry-after").is_some() && limited.header("ratelimit").is_some());
    let body = limited.refused(429, "rate_limited");
    assert_eq!((&body["error"], &body["rateLimit"]), (&json!("Too Many Requests"), &json!(null)));
    // Switched off, nothing is refused, and the header still divides.
    server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(json!({"limits": {"app": null}})).ok();
    for _ in 0..20 {
        let answer = call();
        assert_eq!((answer.status, answer.header("ratelimit-limit")), (200, Some("1000")));
    }
}
