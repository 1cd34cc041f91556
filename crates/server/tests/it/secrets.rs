//! `/v1/apps/{id}/secrets`.

use serde_json::json;

use crate::harness::{Server, note_secret, text};

#[test]
fn a_secret_is_rolled_without_an_outage() {
    let server = Server::start();
    let path = format!("/v1/apps/{}/secrets", server.app);
    let app_token = server.session("alice");
    let old = text(&server.get(&path).secret().call().ok()[0]["id"]);
    let rolled = server.post(&format!("{path}/{old}/roll")).secret().send(json!({"overlap": "1h"})).ok();
    let new = text(&rolled["secret"]);
    note_secret(&new);
    let mint = |secret: &str| {
        let body = json!({"endpointId": "alice", "roleId": server.role});
        server.post("/v1/tokens").header("App-Secret", secret).send(body)
    };
    mint(&server.secret).ok();
    mint(&new).ok();
    server.clock.advance_secs(3_600);
    mint(&server.secret).refused(401, "unauthenticated");
    mint(&new).ok();
    assert!(server.alive(&app_token), "what it minted lives on");
    let list = server.get(&path).header("App-Secret", &new).call();
    assert!(!list.text.contains(&new) && !list.text.contains(&server.secret));
    let list = list.ok();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["secret"]), (2, &json!("<redacted>")));
    server
        .post(&format!("{path}/{old}/roll"))
        .header("App-Secret", &new)
        .send(json!({"overlap": "3h"}))
        .refused(400, "invalid");
}

#[test]
fn revoking_a_secret_ends_what_it_minted() {
    let server = Server::start();
    let path = format!("/v1/apps/{}/secrets", server.app);
    let admin = server.admin_token("admin");
    let second = server.post(&path).admin(&admin).send(json!({"name": "second"})).ok();
    let mint = |secret: &str| {
        let body = json!({"endpointId": "alice", "roleId": server.role});
        let token = server.post("/v1/tokens").header("App-Secret", secret).send(body).ok();
        text(&server.redeem(&text(&token["tokenId"])).ok()["token"])
    };
    let (first_session, second_session) = (mint(&server.secret), mint(&text(&second["secret"])));
    let id = text(&second["id"]);
    server.delete(&format!("{path}/{id}")).admin(&admin).send(json!({"keepSessions": true})).ok();
    assert!(server.alive(&second_session));
    let first = server.get(&path).admin(&admin).call().ok();
    let first = first.as_array().unwrap().iter().find(|secret| secret["id"] != json!(id)).unwrap();
    server.delete(&format!("{path}/{}", text(&first["id"]))).admin(&admin).call().ok();
    assert!(!server.alive(&first_session) && server.alive(&second_session));
    server.get("/v1/roles").secret().call().refused(401, "unauthenticated");
    server
        .delete(&format!("{path}/{}", uuid::Uuid::from_bytes([1; 16])))
        .admin(&admin)
        .call()
        .refused(404, "not_found");
}

#[test]
fn a_secret_of_the_original_service_can_be_imported() {
    let server = Server::start();
    let path = format!("/v1/apps/{}/secrets", server.app);
    let imported = "0f0e0d0c-1111-4222-8333-444455556666";
    let body = json!({"name": "from before", "secret": imported});
    server.post(&path).secret().send(body.clone()).ok();
    server.get("/v1/roles").header("App-Secret", imported).call().ok();
    server.post(&path).secret().send(body).refused(409, "conflict");
    server.post(&path).secret().send(json!({"name": "weak", "secret": "hunter2"})).refused(400, "invalid");
}

#[test]
fn what_a_secret_minted_is_counted_before_it_is_revoked() {
    let server = Server::start();
    let secrets = format!("/v1/apps/{}/secrets", server.app);
    let first = text(&server.get(&secrets).secret().call().ok()[0]["id"]);
    let other = server.post(&secrets).secret().send(json!({"name": "other"})).ok();
    crate::harness::note_secret(&text(&other["secret"]));
    let reach = |id: &str| server.get(&format!("{secrets}/{id}")).secret().call().ok();
    server.session("alice");
    let spared = server.mint("bob");
    let body = json!({"endpointId": "carol", "roleId": server.role});
    server.post("/v1/tokens").header("App-Secret", &text(&other["secret"])).send(body).ok();
    let seen = reach(&first);
    assert_eq!((&seen["liveSessions"], &seen["outstandingTokens"]), (&json!(1), &json!(1)));
    assert_eq!((&seen["moreSessions"], &seen["moreTokens"]), (&json!(false), &json!(false)));
    assert_eq!((&seen["id"], &seen["secret"]), (&json!(first), &json!("<redacted>")));
    assert_eq!(reach(&text(&other["id"]))["outstandingTokens"], 1);
    let listed = |path: &str| {
        let list = server.get(&format!("{path}?secretId={first}")).secret().call().ok();
        list.as_array().unwrap().iter().map(|item| text(&item["endpointId"])).collect::<Vec<_>>()
    };
    assert_eq!((listed("/v1/sessions"), listed("/v1/tokens")), (vec!["alice".into()], vec!["bob".into()]));
    server.get("/v1/tokens?secretId=7").secret().call().refused(400, "invalid");
    server.get(&format!("{secrets}/{}", server.app)).secret().call().refused(404, "not_found");

    let admin = server.admin_token("admin");
    let page = format!("/console/apps/{}/secrets/{first}/reach", server.app);
    let page = server.get(&page).header("Cookie", &format!("respoked_console={admin}")).call();
    assert!(page.text.contains("1 live session and 1 outstanding token."), "{}", page.text);
    server.redeem(&spared).ok();
    assert_eq!(reach(&first)["liveSessions"], 2);
}
