//! Slips of the pen in requests that end or delete something: nothing is ended by them.

use serde_json::{Value, json};

use crate::harness::{Server, text};

/// A query or a body.
#[derive(Clone, Copy, Debug)]
enum Slip {
    Query(&'static str),
    Body(&'static str),
}

const SLIPS: &[Slip] = &[
    Slip::Query("issued_before=1"),
    Slip::Query("issuedbefore=1"),
    Slip::Query("=&x"),
    Slip::Body(r#"{"issued_before":null}"#),
    Slip::Body(r#"{"endpointID":"alice"}"#),
    Slip::Body("dry_run=true"),
];

#[test]
fn what_ends_something_refuses_what_it_does_not_know_by_name() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let alice = server.session("alice");
    let session = text(&server.get("/v1/session-tokens").token(&alice).call().ok()["id"]);
    let token = server.mint("alice");
    let secrets = format!("/v1/apps/{}/secrets", server.app);
    let secret = text(&server.post(&secrets).admin(&admin).send(json!({"name": "second"})).ok()["id"]);
    let own = text(&server.get("/v1/admins/me").admin(&admin).call().ok()["id"]);
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    let app = text(&other["id"]);
    for (method, path) in [
        ("DELETE", "/v1/sessions?all=true"),
        ("DELETE", "/v1/sessions?endpointId=alice"),
        ("DELETE", &format!("/v1/sessions/{session}")),
        ("DELETE", &format!("/v1/tokens/{token}")),
        ("DELETE", "/v1/admin-sessions"),
        ("DELETE", "/v1/adminsessions?everywhere=true"),
        ("DELETE", &format!("/v1/admins/{own}")),
        ("DELETE", "/v1/admins/me/totp"),
        ("DELETE", &format!("/v1/apps/{app}")),
        ("DELETE", &format!("{secrets}/{secret}")),
        ("POST", &format!("{secrets}/{secret}/roll")),
        ("POST", "/v1/endpoints/alice/ban"),
        ("PUT", "/v1/endpoints/alice/ban"),
        ("DELETE", "/v1/endpoints/alice/ban"),
        ("DELETE", "/v1/groups/room"),
        ("DELETE", "/v1/channels/room"),
    ] {
        for slip in SLIPS {
            let (path, body) = match slip {
                Slip::Query(query) => (format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }), ""),
                Slip::Body(body) => (path.to_owned(), *body),
            };
            let request = server.request(method, &path).admin(&admin);
            let kind = if body.contains('{') { "application/json" } else { "application/x-www-form-urlencoded" };
            let refusal = request.header("Content-Type", kind).raw(body.as_bytes()).refused(400, "invalid");
            let errors = refusal["validationErrors"].as_object().unwrap();
            let [(name, _)] = errors.iter().collect::<Vec<_>>()[..] else { panic!("{errors:?}") };
            let slip = format!("{slip:?}").replace('\\', "");
            assert!(slip.contains(name.as_str()), "{method} {path} {slip} {errors:?}");
        }
    }
    // All of it is still there.
    assert!(server.alive(&alice));
    server.redeem(&token).ok();
    server.get(&format!("{secrets}/{secret}")).admin(&admin).call().ok();
    server.get(&format!("/v1/apps/{app}")).admin(&admin).call().ok();
    server.get("/v1/endpoints/alice/ban").secret().call().refused(404, "not_found");
}

#[test]
fn what_ends_something_refuses_contradictions() {
    let server = Server::start();
    let alice = server.session("alice");
    for (path, body) in [
        ("/v1/sessions?all=true&endpointId=bob", json!({})),
        ("/v1/sessions?all=true", json!({"endpointId": "bob"})),
        ("/v1/sessions?endpointId=alice", json!({"endpointId": "bob"})),
        ("/v1/sessions?endpointId=alice&endpointId=bob", json!({})),
        ("/v1/sessions?all=true&all=false", json!({})),
        ("/v1/sessions?all=true", json!({"all": false})),
        ("/v1/sessions?all=true&issuedBefore=", json!({})),
        ("/v1/sessions?all=true&issuedBefore=null", json!({})),
        ("/v1/sessions?all=true&issuedBefore=yesterday", json!({})),
        ("/v1/sessions?all=true&issuedBefore=9999999999999999", json!({})),
        ("/v1/sessions?all=maybe", json!({})),
        ("/v1/sessions?all=false", json!({})),
    ] {
        server.delete(path).secret().send(body).refused(400, "invalid");
    }
    for expires in [json!(""), json!("null"), json!("soon"), json!(0)] {
        server.post("/v1/endpoints/alice/ban").secret().send(json!({"expiresAt": expires})).refused(400, "invalid");
    }
    assert!(server.alive(&alice));
    // A `null` says nothing, and so contradicts nothing.
    server.delete("/v1/sessions?all=true").secret().send(json!({"all": null, "issuedBefore": null})).ok();
    assert!(!server.alive(&alice));
}

#[test]
fn the_routes_of_existing_clients_stay_lenient() {
    let server = Server::start();
    let alice = server.session("alice");
    let more = json!({"headers": {"App-Secret": null}, "x": 1});
    for path in ["/v1/session-tokens?t=1", "/v1/appauthsessions"] {
        server.delete(path).token(&alice).send(more.clone()).ok();
    }
    let mut bob = server.connect("bob");
    bob.join("room");
    for (path, data) in [
        ("/v1/groups?t=1", json!({"groups": ["room"], "x": 1})),
        ("/v1/channels/room/subscribers?t=1", json!({"endpointId": "bob", "x": 1})),
        ("/v1/connections/bob/?t=1", more.clone()),
    ] {
        bob.delete(path, data).ok();
    }
    let role = server.create_role("spare", json!({}));
    server.delete(&format!("/v1/roles/{role}?t=1")).secret().send(more).ok();
    server.delete("/v1/connections/x/push-token/y?t=1").secret().send(Value::Object(serde_json::Map::new())).ok();
    // RFC 6749, section 3.2: what is not known is ignored.
    let oauth = json!({"token": "x", "token_type_hint": "y", "z": 1});
    server.post("/oauth/revoke").secret().send(oauth).ok();
}
