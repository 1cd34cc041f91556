//! `/v1/call-debugs`.

use serde_json::{Value, json};

use crate::harness::{NOW, Server};

#[test]
fn a_call_report_is_kept_for_the_backend() {
    let server = Server::start();
    let alice = server.session("alice");
    let report =
        |n: i32| json!({"report": {"sessionId": n, "sdpsSent": [{"sdp": "v=0\r\n"}], "callStoppedReason": null}});
    for n in 0..3 {
        server.post("/v1/call-debugs/").token(&alice).send(json!({"debugData": report(n)})).ok();
    }
    server.post("/v1/call-debugs").secret().send(json!({"debugData": [1.0], "endpointId": "bob"})).ok();
    server.post("/v1/call-debugs").secret().send(json!({"debugData": false})).ok();
    let list = server.get("/v1/call-debugs").secret().call().ok();
    let told: Vec<_> =
        list.as_array().unwrap().iter().map(|one| (one["endpointId"].clone(), one["debugData"].clone())).collect();
    let by_alice = |n| (json!("alice"), report(n));
    let expected = [(Value::Null, json!(false)), (json!("bob"), json!([1.0])), by_alice(2), by_alice(1), by_alice(0)];
    assert_eq!(told, expected);
    assert_eq!(list[0]["createdAt"], json!(NOW.to_iso()));

    let first = server.get("/v1/call-debugs?limit=3").secret().call();
    let cursor = first.header("next-cursor").unwrap().to_owned();
    assert_eq!(first.ok().as_array().unwrap().len(), 3);
    let rest = server.get(&format!("/v1/call-debugs?limit=3&cursor={cursor}")).secret().call();
    assert_eq!((rest.header("next-cursor"), rest.body.as_array().unwrap().len()), (None, 2));

    let admin = server.admin_token("admin");
    assert_eq!(server.get("/v1/call-debugs").admin(&admin).call().ok().as_array().unwrap().len(), 5);
    server.get("/v1/call-debugs").token(&alice).call().refused(403, "forbidden");
    server.get("/v1/call-debugs").call().refused(401, "unauthenticated");
}

#[test]
fn a_call_report_has_an_author_and_an_end() {
    let server = Server::start();
    let alice = server.session("alice");
    let post = |body: Value| server.post("/v1/call-debugs").token(&alice).send(body);
    post(json!({})).refused(400, "invalid");
    post(json!({"debugData": null})).refused(400, "invalid");
    post(json!({"debugData": {}, "endpointId": "bob"})).refused(403, "forbidden");
    let of = |length: usize| json!({"debugData": "x".repeat(length - r#"{"debugData":""}"#.len())});
    post(of(20_000)).ok();
    post(of(20_001)).refused(413, "body_too_large");
    server.post("/v1/call-debugs").send(json!({"debugData": {}})).refused(401, "unauthenticated");
}
