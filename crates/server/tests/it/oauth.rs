//! `/oauth/introspect` and `/oauth/revoke`.

use serde_json::json;

use crate::harness::{Server, text};

#[test]
fn tokens_are_introspected() {
    let server = Server::start();
    let token = server.mint("alice");
    let form = |token: &str| format!("token={token}&token_type_hint=access_token");
    let introspect = |token: &str| {
        let request = server.post("/oauth/introspect").secret();
        request.header("Content-Type", "application/x-www-form-urlencoded").raw(form(token).as_bytes()).ok()
    };
    let answer = introspect(&token);
    assert_eq!(
        (&answer["active"], &answer["sub"], &answer["client_id"]),
        (&json!(true), &json!("alice"), &json!(server.app))
    );
    // What it has left as a tokenId, not what its session would have.
    let late = server.mint("alice");
    let activate_by = answer["exp"].as_i64().unwrap();
    assert_eq!(activate_by, 1_800_000_000 + 300);
    let app_token = text(&server.redeem(&token).ok()["token"]);
    assert_eq!(introspect(&token), json!({"active": false}));
    server.clock.advance_secs(299);
    assert_eq!(introspect(&late)["exp"], json!(activate_by));
    server.clock.advance_secs(1);
    assert_eq!(introspect(&late), json!({"active": false}), "`exp` is the moment from which it is not active");
    let answer = introspect(&app_token);
    assert_eq!(
        (&answer["active"], &answer["exp"], &answer["iat"]),
        (&json!(true), &json!(1_800_086_400), &json!(1_800_000_000))
    );
    assert_ne!(answer["jti"], json!(app_token));

    let basic = data_encoding::BASE64.encode(format!("{}:{}", server.app, server.secret).as_bytes());
    let request = server.post("/oauth/revoke").header("Authorization", &format!("Basic {basic}"));
    request.header("Content-Type", "application/x-www-form-urlencoded").raw(form(&app_token).as_bytes()).ok();
    assert_eq!(introspect(&app_token), json!({"active": false}));
    assert!(!server.alive(&app_token));
    // Revoking what is nothing is no error.
    server.post("/oauth/revoke").secret().send(json!({"token": "nonsense"})).ok();
    let waiting = server.mint("alice");
    server.post("/oauth/revoke").secret().send(json!({"token": waiting})).ok();
    server.redeem(&waiting).refused(401, "token_refused");

    let anonymous = server.post("/oauth/introspect").send(json!({"token": app_token}));
    assert_eq!((anonymous.status, &anonymous.body["error"]), (401, &json!("invalid_client")));
    assert!(anonymous.header("www-authenticate").is_some());
}
