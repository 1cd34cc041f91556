//! `/v1/turn`.

use respoke_core::secret::Secret;
use respoked::config::Hidden;
use serde_json::json;

use crate::harness::{NOW, Server, note_secret, text};

const TURN: &str = "turn:turn.example.com:3478?transport=udp";
const SECRET: &str = "CANARY-turn-secret";

fn server_with_turn() -> Server {
    note_secret(SECRET);
    Server::start_with(|config| {
        config.turn_uris = vec![TURN.to_owned(), "turns:turn.example.com:5349".to_owned()];
        config.turn_secret = Some(Hidden(Secret::new(SECRET.to_owned())));
        config.turn_ttl_secs = 3_600;
    })
}

#[test]
fn who_may_relay_media_gets_credentials() {
    let server = server_with_turn();
    let role = server.create_role("caller", json!({"mediaRelay": true}));
    let alice = server.session_in("alice", &role);
    let access = server.get("/v1/turn").token(&alice).call().ok();
    assert_eq!((&access["ttl"], &access["uris"][0]), (&json!(3_600), &json!(TURN)));
    let username = text(&access["username"]);
    let expiry = NOW.secs() + 3_600;
    assert!(username.starts_with(&format!("{expiry}:")) && username.ends_with(&format!(".{expiry}")), "{username}");
    assert!(!username.contains("alice"));
    assert_eq!(text(&access["password"]).len(), 28, "the base64 of twenty bytes");
    let again = server.post("/v1/turn").token(&alice).send(json!({})).ok();
    assert_eq!(again, access, "the same second, the same endpoint");

    let asterisk = server.get("/v1/turn?endpointId=alice").secret().call().ok();
    assert_eq!(asterisk, access);
    let bob = server.get("/v1/turn?endpointId=bob").secret().call().ok();
    assert_ne!(bob["username"], access["username"]);
    assert!(server.get("/v1/turn").secret().call().ok()["username"].is_string());
    server.get("/v1/turn?endpointId=bob").token(&alice).call().refused(403, "forbidden");
    server.get("/v1/turn").call().refused(401, "unauthenticated");
    let metrics = server.get("/metrics").call();
    assert!(metrics.text.contains("respoked_turn_credentials_total 5"), "{}", metrics.text);
}

#[test]
fn everybody_else_gets_a_stun_server() {
    let server = server_with_turn();
    let guest = server.session_in("guest", &server.create_role("guest", json!({})));
    let access = server.get("/v1/turn").token(&guest).call().ok();
    assert_eq!(access, json!({"ttl": 3_600, "uris": ["stun:127.0.0.1:3478"]}), "the host that was asked");

    // Without a TURN server it is so for all.
    let server = Server::start_with(|config| config.stun_uris = vec!["stun:stun.example.com".to_owned()]);
    let access = server.get("/v1/turn").secret().call().ok();
    assert_eq!(access, json!({"ttl": 86_400, "uris": ["stun:stun.example.com"]}));
}
