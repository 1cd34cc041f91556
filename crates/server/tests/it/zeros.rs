//! The character U+0000, which PostgreSQL keeps in no text: all databases answer alike.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server};

/// Requests that say it where it can be kept in no text or is looked for in vain, and how they are answered.
#[test]
fn a_text_that_not_every_database_keeps_is_refused_or_is_not_there() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let alice = server.session("alice");
    let app = format!("/v1/apps/{}", server.app);
    let (secrets, role) = (format!("{app}/secrets"), format!("/v1/roles/{}", server.role));
    let push = "/v1/connections/7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001/push-token";
    let zero = "a\0b";
    let person = json!({"username": zero, "password": PASSWORD, "role": "owner", "currentPassword": PASSWORD});
    let cases: [(&str, &str, Value, u16, &str); 21] = [
        ("POST", "/v1/apps", json!({"name": zero}), 400, "invalid"),
        ("POST", "/v1/apps", json!({"name": "b", "description": zero}), 400, "invalid"),
        ("PUT", &app, json!({"name": zero}), 400, "invalid"),
        ("PUT", &app, json!({"description": zero}), 400, "invalid"),
        ("PUT", &app, json!({"permittedDomains": [zero]}), 400, "invalid"),
        ("POST", "/v1/roles", json!({"appId": server.app, "name": zero}), 400, "invalid"),
        ("PUT", &role, json!({"appId": server.app, "name": zero}), 400, "invalid"),
        ("POST", &secrets, json!({"name": zero}), 400, "invalid"),
        ("POST", &secrets, json!({"name": "b", "secret": zero}), 400, "invalid"),
        ("POST", "/v1/admins", person, 400, "invalid"),
        ("POST", "/v1/admin-sessions", json!({"username": zero, "password": PASSWORD}), 401, "bad_login"),
        ("POST", "/v1/tokens", json!({"appId": server.app, "endpointId": zero, "roleId": server.role}), 400, "invalid"),
        ("POST", "/v1/tokens", json!({"appId": server.app, "endpointId": "a", "roleName": zero}), 404, "not_found"),
        ("PUT", "/v1/endpoints/bob/ban", json!({"appId": server.app, "reason": zero}), 400, "invalid"),
        ("PUT", "/v1/endpoints/b%00b/ban", json!({"appId": server.app}), 400, "invalid"),
        ("GET", &format!("/v1/endpoints/b%00b/ban?appId={}", server.app), json!(null), 400, "invalid"),
        ("GET", &format!("/v1/sessions?endpointId=b%00b&appId={}", server.app), json!(null), 400, "invalid"),
        ("GET", &format!("/v1/endpoints/b%00b?appId={}", server.app), json!(null), 400, "invalid"),
        ("GET", &format!("/v1/call-debugs?cursor=%00&appId={}", server.app), json!(null), 400, "invalid"),
        ("GET", "/v1/audit?action=%00", json!(null), 400, "invalid"),
        ("GET", "/v1/apps/%00", json!(null), 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let request = server.request(method, path).admin(&admin);
        let answer = if body.is_null() { request.call() } else { request.send(body.clone()) };
        assert_eq!((answer.status, answer.body["code"].as_str()), (status, Some(code)), "{method} {path} {body}");
    }
    let text = json!({"token": zero, "service": "google"});
    server.post(push).token(&alice).send(text).refused(400, "invalid");
    let found = server.get("/v1/audit?object=b%00b").admin(&admin).call().ok();
    assert!(found.as_array().is_some_and(Vec::is_empty), "{found}");

    // What is kept as bytes may say it.
    let group = "/v1/channels/b%00b";
    server.post(&format!("{group}/publish")).secret().send(json!({"message": zero, "endpointId": "bob"})).ok();
    server.post("/v1/call-debugs").token(&alice).send(json!({"debugData": zero})).ok();
}
