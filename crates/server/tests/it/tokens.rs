//! `/v1/tokens`.

use serde_json::{Value, json};

use crate::harness::{Server, text};

fn is_upper_uuid(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok_and(|uuid| uuid.get_version_num() == 4) && text == text.to_uppercase()
}

#[test]
fn a_token_is_answered_as_recorded() {
    let server = Server::start();
    let body = json!({"appId": server.app, "endpointId": "alice", "roleId": server.role, "ttl": "3600"});
    let answer = server.post("/v1/tokens/").secret().send(body);
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(answer.text.ends_with('}') && answer.text.rfind("tokenId") > answer.text.rfind("createdAt"));
    let token = answer.ok();
    let mut keys: Vec<_> = token.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "accountId",
            "appId",
            "createTime",
            "createdAt",
            "endpointId",
            "expiryTime",
            "forDevelopment",
            "id",
            "roleId",
            "tokenId"
        ]
    );
    assert_eq!(token["createTime"], 1_800_000_000);
    assert_eq!(token["expiryTime"], 1_800_003_600);
    assert_eq!(token["createdAt"], "2027-01-15T08:00:00.000Z");
    assert_eq!(
        (&token["appId"], &token["endpointId"], &token["roleId"]),
        (&json!(server.app), &json!("alice"), &json!(server.role))
    );
    assert_eq!((&token["forDevelopment"], &token["id"]), (&json!(false), &token["tokenId"]));
    assert!(is_upper_uuid(&text(&token["tokenId"])) && is_upper_uuid(&text(&token["accountId"])));
}

#[test]
fn a_ttl_is_brought_within_the_bounds() {
    let server = Server::start();
    let life = |ttl: Value| {
        let body = json!({"endpointId": "alice", "roleId": server.role, "ttl": ttl});
        let token = server.post("/v1/tokens").secret().send(body).ok();
        token["expiryTime"].as_i64().unwrap() - token["createTime"].as_i64().unwrap()
    };
    assert_eq!(
        [life(json!(null)), life(json!(86_000)), life(json!(30)), life(json!(90_000_000))],
        [86_400, 86_000, 60, 86_400]
    );
    for ttl in [json!(0), json!(-5), json!(1.5), json!("soon"), json!([60]), json!(1e300)] {
        let body = json!({"endpointId": "alice", "roleId": server.role, "ttl": ttl});
        let refusal = server.post("/v1/tokens").secret().send(body).refused(400, "invalid");
        assert!(refusal["validationErrors"]["ttl"].is_array(), "{refusal}");
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let server = Server::start();
    let mint = |body: Value| server.post("/v1/tokens").secret().send(body);
    let refusal = mint(json!({"roleId": server.role})).refused(400, "invalid");
    assert_eq!(refusal["error"], "Validation Error.");
    assert_eq!(refusal["validationErrors"], json!({"endpointId": ["endpointId is a missing required parameter."]}));
    mint(json!({"endpointId": "alice"})).refused(400, "invalid");
    mint(json!({"endpointId": "", "roleId": server.role})).refused(400, "invalid");
    mint(json!({"endpointId": 7, "roleId": server.role})).refused(400, "invalid");
    let unknown =
        mint(json!({"endpointId": "alice", "roleId": uuid::Uuid::from_bytes([9; 16])})).refused(404, "not_found");
    assert_eq!(unknown["error"], "Object 'Roles' not found.");
    mint(json!({"endpointId": "alice", "roleName": "nobody"})).refused(404, "not_found");
    let other = "11111111-2222-4333-8444-555555555555";
    mint(json!({"appId": other, "endpointId": "alice", "roleId": server.role})).refused(403, "forbidden");
    mint(json!({"endpointId": "alice", "roleName": "member", "roleId": null, "headers": {"x": 1}})).ok();
}

#[test]
fn a_credential_is_needed_and_all_wrong_ones_look_alike() {
    let server = Server::start();
    let body = || json!({"appId": server.app, "endpointId": "alice", "roleId": server.role});
    let mut bodies: Vec<Value> = Vec::new();
    let unknown = respoke_core::secret::AppSecret::random();
    for secret in [None, Some("hunter2"), Some(unknown.secret().expose()), Some("0f0e0d0c-1111-4222-8333-444455556666")]
    {
        let mut request = server.post("/v1/tokens");
        if let Some(secret) = secret {
            request = request.header("App-Secret", secret);
        }
        let mut refusal = request.send(body()).refused(401, "unauthenticated");
        refusal["requestId"] = Value::Null;
        bodies.push(refusal);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    // Unset credentials of the Node client are the literal word.
    server.post("/v1/tokens").secret().header("Admin-Token", "null").header("App-Token", "undefined").send(body()).ok();
    let query = format!("/v1/tokens?App-Secret={}", server.secret);
    server.post(&query).send(body()).ok();
    server.put(&query.to_lowercase()).send(body()).ok();
}

#[test]
fn development_mode_needs_no_credential_while_it_is_on() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let mint = || server.post("/v1/tokens").send(json!({"appId": server.app, "endpointId": "dev", "ttl": 21_600}));
    mint().refused(401, "unauthenticated");
    let switch = |on: bool| {
        server.put(&format!("/v1/apps/{}", server.app)).admin(&admin).send(json!({"developmentMode": on})).ok()
    };
    switch(true);
    let token = mint().ok();
    assert_eq!((&token["forDevelopment"], &token["roleId"]), (&json!(true), &Value::Null));
    // Nobody in particular may end what others have.
    let waiting = server.mint("alice");
    let body = json!({"appId": server.app, "endpointId": "alice", "endSessions": true});
    server.put("/v1/tokens").send(body).refused(401, "unauthenticated");
    server.redeem(&waiting).ok();
    // A role cannot be taken by naming it.
    let body = json!({"appId": server.app, "endpointId": "dev", "roleId": server.role});
    assert_eq!(server.post("/v1/tokens").send(body).ok()["roleId"], Value::Null);
    // A stale App-Token rides along.
    let body = json!({"appId": server.app, "endpointId": "dev"});
    server.post("/v1/tokens").token("11111111-2222-4333-8444-555555555555").send(body).ok();
    let session = text(&server.redeem(&text(&token["tokenId"])).ok()["token"]);
    assert!(server.alive(&session));
    switch(false);
    assert!(!server.alive(&session));
    mint().refused(401, "unauthenticated");
}

#[test]
fn replacing_spends_the_others() {
    let server = Server::start();
    let before = server.mint("alice");
    let bystander = server.mint("bob");
    let session = server.session("alice");
    let replace = |more: Value| {
        let mut body = json!({"endpointId": "alice", "roleId": server.role});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        text(&server.put("/v1/tokens").secret().send(body).ok()["tokenId"])
    };
    let first = replace(json!({}));
    let second = replace(json!({}));
    for spent in [before, first] {
        server.redeem(&spent).refused(401, "token_refused");
    }
    assert!(server.alive(&session));
    let third = replace(json!({"endSessions": true}));
    assert!(!server.alive(&session));
    server.redeem(&second).refused(401, "token_refused");
    server.redeem(&third).ok();
    server.redeem(&bystander).ok();
}

#[test]
fn outstanding_tokens_are_listed_inspected_and_revoked() {
    let server = Server::start();
    let alice = server.mint("alice");
    let bob = server.mint("bob");
    server.redeem(&server.mint("alice")).ok();

    let list = server.get("/v1/tokens?endpointId=alice").secret().call();
    assert!(!list.text.contains(&alice), "the text of others' tokens is not shown");
    let list = list.ok();
    assert_eq!(list.as_array().unwrap().len(), 1);
    let id = text(&list[0]["id"]);
    assert_eq!((&list[0]["endpointId"], &list[0]["state"]), (&json!("alice"), &json!("outstanding")));
    assert_eq!(
        server.get(&format!("/v1/tokens?roleId={}", server.role)).secret().call().ok().as_array().unwrap().len(),
        2
    );

    for named in [&id, &alice, &alice.to_lowercase()] {
        assert_eq!(server.get(&format!("/v1/tokens/{named}")).secret().call().ok()["id"], json!(id));
    }
    server.delete(&format!("/v1/tokens/{id}")).secret().call().ok();
    assert_eq!(server.get(&format!("/v1/tokens/{id}")).secret().call().ok()["state"], "revoked");
    server.redeem(&alice).refused(401, "token_refused");
    server.delete(&format!("/v1/tokens/{bob}")).secret().call().ok();
    server.redeem(&bob).refused(401, "token_refused");

    server.get("/v1/tokens/11111111-2222-4333-8444-555555555555").secret().call().refused(404, "not_found");
    server.get(&format!("/v1/tokens/{id}")).call().refused(401, "unauthenticated");
}

#[test]
fn an_idempotency_key_mints_once() {
    let server = Server::start();
    let mint = |key: &str, endpoint: &str| {
        let body = json!({"endpointId": endpoint, "roleId": server.role});
        server.post("/v1/tokens").secret().header("Idempotency-Key", key).send(body)
    };
    let first = mint("CANARY-key-1", "alice").ok();
    assert_eq!(mint("CANARY-key-1", "alice").ok(), first);
    mint("CANARY-key-1", "bob").refused(422, "idempotency_key_reused");
    assert_ne!(mint("CANARY-key-2", "alice").ok()["tokenId"], first["tokenId"]);
    mint(&"x".repeat(256), "alice").refused(400, "invalid");
    // A keyed redemption whose answer was lost can be repeated; without the key it is a second use.
    let redeem = |key: Option<&str>| {
        let mut request = server.post("/v1/session-tokens");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        request.send(json!({"tokenId": first["tokenId"]}))
    };
    let opened = redeem(Some("CANARY-key-3")).ok();
    assert_eq!(redeem(Some("CANARY-key-3")).ok(), opened);
    redeem(None).refused(401, "token_refused");
    redeem(Some("CANARY-key-4")).refused(401, "token_refused");
}
