//! `/v1/roles`.

use serde_json::{Value, json};

use crate::harness::{Server, text};

#[test]
fn a_role_comes_back_as_real_json() {
    let server = Server::start();
    let groups = json!({"list": true, "*": {"publish": true}, "staff*": {"subscribe": true}});
    let body = json!({"name": "guest", "groups": groups, "mediaRelay": "true", "pstnOut": ["*"], "id": null});
    let role = server.post("/v1/roles/").secret().send(body).ok();
    assert_eq!((&role["groups"], &role["mediaRelay"], &role["pstnOut"]), (&groups, &json!(true), &json!(["*"])));
    assert_eq!((&role["events"], &role["callerIds"]), (&json!({}), &json!([])));
    let id = text(&role["id"]);
    assert_eq!(id, id.to_uppercase());
    // The Ruby client sends the whole role back.
    let mut whole = role.clone();
    whole["groups"] = json!({"*": {"publish": false}});
    whole["name"] = Value::Null;
    let changed = server.put(&format!("/v1/roles/{}", id.to_lowercase())).secret().send(whole).ok();
    assert_eq!((&changed["groups"], &changed["name"]), (&json!({"*": {"publish": false}}), &json!("guest")));
    let changed = server.put(&format!("/v1/roles/{id}")).secret().send(json!({"mediaRelay": false})).ok();
    assert_eq!((&changed["groups"], &changed["mediaRelay"]), (&json!({"*": {"publish": false}}), &json!(false)));

    server.post("/v1/roles").secret().send(json!({"name": "guest"})).refused(409, "conflict");
    server.post("/v1/roles").secret().send(json!({})).refused(400, "invalid");
    server.post("/v1/roles").secret().send(json!({"name": "x", "groups": {"*": 7}})).refused(400, "invalid");
    assert_eq!(server.get("/v1/roles").secret().call().ok().as_array().unwrap().len(), 2);
    assert_eq!(server.delete(&format!("/v1/roles/{id}")).secret().call().ok(), json!({"message": "Success"}));
    let gone = server.get(&format!("/v1/roles/{id}")).secret().call().refused(404, "not_found");
    assert_eq!(gone["error"], "Object 'Roles' not found.");
}

#[test]
fn a_deleted_role_ends_its_sessions() {
    let server = Server::start();
    let (app_token, token) = (server.session("alice"), server.mint("alice"));
    server.delete(&format!("/v1/roles/{}", server.role)).secret().call().ok();
    assert!(!server.alive(&app_token));
    server.redeem(&token).refused(401, "token_refused");
    // Made again under the same id it revives nothing.
    server.post("/v1/roles").secret().send(json!({"name": "member", "id": server.role})).ok();
    assert!(!server.alive(&app_token));
    assert!(server.alive(&server.session("alice")));
}
