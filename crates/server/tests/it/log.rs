//! What the log says at its most verbose: which request a line is about, and no secret.

use serde_json::json;

use crate::harness::{PASSWORD, Process, contents, data_folder, text};

#[test]
fn a_whole_login_is_logged_with_its_spans_and_without_a_secret() {
    let (data, _folder) = data_folder();
    let server = Process::spawn(&data, &[]).with_app();
    let admin = server.admin_token("owner");
    let minted = server.post("/v1/tokens").secret().send(json!({"endpointId": "jo", "roleId": server.role}));
    let mint_id = minted.header("request-id").unwrap().to_owned();
    let token_id = text(&minted.ok()["tokenId"]);
    let redeemed = server.redeem(&token_id);
    let redeem_id = redeemed.header("request-id").unwrap().to_owned();
    let app_token = text(&redeemed.ok()["token"]);
    let by_query = server.get(&format!("/v1/session-tokens?app-token={app_token}")).call();
    assert_eq!(by_query.status, 200);
    server.post("/v1/session-tokens").send(json!({"tokenId": token_id})).refused(401, "token_refused");
    server.get("/v1/apps").admin(&admin).call().ok();
    let mut jo = server.open_as("jo", &app_token);
    jo.register(json!({}));
    let said = jo.post("/v1/messages", json!({"to": "jo", "message": "CANARY-said"}));
    assert_eq!(said.status, 200, "{}", said.body);
    let message_id = said.headers["Request-Id"].as_str().unwrap().to_owned();
    let (app, secret) = (server.app.clone(), server.secret.clone());
    drop(jo);
    server.signal("TERM");
    assert_eq!(server.wait(), 0);

    let log = String::from_utf8(contents(&data.with_extension("log"))).unwrap();
    for (request, operation) in
        [(mint_id, "tokens::create"), (redeem_id, "session_tokens::create"), (message_id, "messages::create")]
    {
        let span = format!("request{{request.id={request} operation=\"{operation}\" app={app} endpoint=\"jo\"}}");
        let of_it: Vec<_> = log.lines().filter(|line| line.contains(&request)).collect();
        let answered = of_it.iter().filter(|line| line.contains(": answered ")).collect::<Vec<_>>();
        let [answered] = answered[..] else { panic!("{operation}: {of_it:#?}") };
        assert!(answered.contains(&span), "{answered}");
        assert_eq!(answered.matches(&request).count(), 1, "the span alone says which request it is: {answered}");
    }
    for (what, secret) in [
        ("the password", PASSWORD),
        ("the App-Secret", &secret),
        ("the Admin-Token", &admin),
        ("the tokenId", &token_id),
        ("the App-Token", &app_token),
        ("what was said", "CANARY-said"),
    ] {
        let found = log.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{what} is in the log");
    }
}
