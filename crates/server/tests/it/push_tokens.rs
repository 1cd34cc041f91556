//! `/v1/connections/{id}/push-token`.

use respoke_core::id::{AppId, EndpointId};
use serde_json::{Value, json};

use crate::harness::{Process, Server, contents, data_folder, eventually, text};

/// The texts that an endpoint's devices are reached by.
fn devices(server: &Server, endpoint: &str) -> Vec<String> {
    let (app, endpoint) = (AppId::parse(&server.app).unwrap(), EndpointId::parse(endpoint).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let tokens = runtime.block_on(server.broker.store().push_tokens(app, &endpoint)).unwrap();
    tokens.iter().map(|token| token.text.expose().to_owned()).collect()
}

fn device(token: &str) -> Value {
    json!({"token": token, "service": "apple"})
}

const PATH: &str = "/v1/connections/7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001/push-token";

#[test]
fn a_device_follows_its_user() {
    let server = Server::start();
    let (alice, bob) = (server.session("alice"), server.session("bob"));
    let made = server.post(PATH).token(&alice).send(device("first")).ok();
    assert_eq!((&made["endpointId"], &made["service"]), (&json!("alice"), &json!("apple")));
    assert!(made.get("token").is_none());
    let id = text(&made["id"]);
    assert_eq!((id.clone(), devices(&server, "alice")), (id.to_uppercase(), vec!["first".to_owned()]));
    let path = format!("{PATH}/{id}");
    assert_eq!(server.put(&path).token(&alice).send(device("renewed")).ok()["id"], json!(id));
    assert_eq!(devices(&server, "alice"), ["renewed"]);
    // Another user signs in on the device.
    assert_eq!(server.put(&path).token(&bob).send(device("renewed")).ok()["id"], json!(id));
    assert_eq!((devices(&server, "alice"), devices(&server, "bob")), (vec![], vec!["renewed".to_owned()]));
    // It is no longer hers to remove, and trying is no error.
    server.delete(&path).token(&alice).call().ok();
    assert_eq!(devices(&server, "bob").len(), 1);
    let alias = format!("/v1/endpointconnections/x/push-token/{id}/");
    server.delete(&alias).token(&bob).call().ok();
    server.delete(&alias).token(&bob).call().ok();
    assert!(devices(&server, "bob").is_empty());
}

#[test]
fn an_id_that_is_not_known_fails_no_registration() {
    let server = Server::start();
    let alice = server.session("alice");
    let put = |id: &str| server.put(&format!("{PATH}/{id}")).token(&alice).send(device("text")).ok();
    let forgotten = "0F0E0D0C-1111-4222-8333-444455556666";
    assert_eq!(put(forgotten)["id"], json!(forgotten));
    let fresh = put("undefined");
    assert_eq!((text(&fresh["id"]).len(), devices(&server, "alice").len()), (36, 1), "the device is still one");
    server.delete(&format!("{PATH}/undefined")).token(&alice).call().ok();

    // In another app the same id is another device.
    let admin = server.admin_token("admin");
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    let mut body = device("elsewhere");
    body["endpointId"] = json!("mallory");
    let path = format!("{PATH}/{}", text(&fresh["id"]));
    server.put(&path).header("App-Secret", other["secret"].as_str().unwrap()).send(body).ok();
    assert_eq!(devices(&server, "alice"), ["text"]);
}

#[test]
fn a_backend_names_the_endpoint_and_an_endpoint_only_itself() {
    let server = Server::start();
    let alice = server.session("alice");
    let named = |endpoint: &str| json!({"token": "text", "service": "google", "endpointId": endpoint});
    let id = text(&server.post(PATH).secret().send(named("jo doe")).ok()["id"]);
    assert_eq!(devices(&server, "jo doe"), ["text"]);
    server.post(PATH).secret().send(device("text")).refused(400, "invalid");
    server.post(PATH).token(&alice).send(named("bob")).refused(403, "forbidden");
    server.post(PATH).token(&alice).send(named("alice")).ok();
    server.post(PATH).send(named("alice")).refused(401, "unauthenticated");
    server.delete(&format!("{PATH}/{id}")).secret().call().ok();

    for wrong in [
        json!({"token": "text"}),
        json!({"service": "apple"}),
        json!({"token": "", "service": "apple"}),
        json!({"token": "a\nb", "service": "apple"}),
        json!({"token": "x".repeat(4_097), "service": "apple"}),
        json!({"token": "text", "service": "pigeon"}),
        json!({"token": ["CANARY"], "service": "apple"}),
    ] {
        let refusal = server.post(PATH).token(&alice).send(wrong).refused(400, "invalid");
        assert!(!refusal.to_string().contains("CANARY"));
    }
}

#[test]
fn neither_push_tokens_nor_reports_nor_turn_credentials_are_logged() {
    // These are kept: devices and reports in the database, the secret in its operator's file. The log has none of them.
    let (data, _folder) = data_folder();
    let secret = data.with_extension("turn-secret");
    std::fs::create_dir_all(data.parent().unwrap()).unwrap();
    std::fs::write(&secret, "kept-shared-secret\n").unwrap();
    let turn = ["--turn-uris", "turn:turn.example.com", "--turn-secret-file", secret.to_str().unwrap()];
    let server = Process::spawn(&data, &turn).with_app();
    let body = json!({"token": "kept-device-text", "service": "apple", "endpointId": "alice"});
    server.post(PATH).secret().send(body).ok();
    server.post("/v1/call-debugs").secret().send(json!({"debugData": "kept-report-text"})).ok();
    let password = text(&server.get("/v1/turn").secret().call().ok()["password"]);
    let log = eventually(|| {
        let log = String::from_utf8(contents(&data.with_extension("log"))).unwrap();
        log.contains("/v1/turn").then_some(log)
    });
    server.kill();
    for secret in ["kept-device-text", "kept-report-text", "kept-shared-secret", &password] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
