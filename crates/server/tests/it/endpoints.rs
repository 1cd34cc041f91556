//! `/v1/endpoints/{id}/ban`.

use serde_json::json;

use crate::harness::Server;

#[test]
fn a_banned_endpoint_gets_no_token_and_keeps_no_session() {
    let server = Server::start();
    let name = "Jo%20Doe%2Fjo%40example.com";
    let endpoint = "Jo Doe/jo@example.com";
    let (app_token, token) = (server.session(endpoint), server.mint(endpoint));
    let path = format!("/v1/endpoints/{name}/ban");
    let body = json!({"reason": "spam", "expiresAt": "2027-01-15T09:00:00Z"});
    assert_eq!(server.put(&path).secret().send(body).ok()["endpointId"], endpoint);
    assert!(!server.alive(&app_token));
    let refusal = server.redeem(&token).refused(401, "endpoint_banned");
    assert!(refusal["details"]["message"].as_str().unwrap().contains("suspended"), "{refusal}");
    assert_eq!(refusal["details"]["reason"], "spam");
    let body = json!({"endpointId": endpoint, "roleId": server.role});
    server.post("/v1/tokens").secret().send(body.clone()).refused(401, "endpoint_banned");
    server.session("somebody else");
    assert_eq!(server.get("/v1/bans").secret().call().ok().as_array().unwrap().len(), 1);
    assert_eq!(server.get(&path).secret().call().ok()["reason"], "spam");

    server.clock.advance_secs(3_600);
    server.post("/v1/tokens").secret().send(body.clone()).ok();
    server.get(&path).secret().call().refused(404, "not_found");
    server.post(&path).secret().send(json!({})).ok();
    server.post("/v1/tokens").secret().send(body.clone()).refused(401, "endpoint_banned");
    server.delete(&path).secret().call().ok();
    server.delete(&path).secret().call().refused(404, "not_found");
    server.post("/v1/tokens").secret().send(body).ok();
    assert!(!server.alive(&app_token), "what a ban ended stays ended");
    server.put(&path).secret().send(json!({"expiresAt": "2020-01-01T00:00:00Z"})).refused(400, "invalid");
}
