//! Sockets close when what they stand on ends, and those that stand on something else stay.

mod kept;

use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use crate::harness::{End, Server, Socket, eventually, note_secret, text};

/// Alice in a session that a second secret minted, and a backend as carol that observes her and is in her group.
struct Scene {
    alice: Socket,
    carol: Socket,
    admin: String,
    second: Value,
    // Dropped last: it waits for its sockets to go.
    server: Server,
}

impl Scene {
    fn set() -> Self {
        let server = Server::start();
        let admin = server.admin_token("admin");
        let secrets = format!("/v1/apps/{}/secrets", server.app);
        let second = server.post(&secrets).secret().send(json!({"name": "second"})).ok();
        note_secret(second["secret"].as_str().unwrap());
        let body = json!({"endpointId": "alice", "roleId": server.role});
        let minted = server.post("/v1/tokens").header("App-Secret", second["secret"].as_str().unwrap()).send(body).ok();
        let app_token = text(&server.redeem(minted["tokenId"].as_str().unwrap()).ok()["token"]);
        let mut alice = server.open_as("alice", &app_token);
        alice.register(json!({}));
        let mut carol = server.connect_backend("carol");
        alice.join("room");
        carol.join("room");
        carol.post("/v1/presenceobservers", json!({"endpointList": ["alice"]})).ok();
        alice.post("/v1/presence", json!({"presence": {"type": "available"}})).ok();
        carol.push("presence alice available");
        Self { alice, carol, admin, second, server }
    }

    /// Alice's socket is closed and she is nowhere any more; carol hears of it and stays.
    fn assert_alice_gone(mut self) {
        assert_eq!(self.alice.end(), End::REVOKED);
        assert_eq!(self.server.members("room"), ["carol"]);
        assert_eq!(self.server.connected(), ["carol"]);
        self.carol.push("leave room alice");
        self.carol.push("presence alice unavailable");
        let observed = self.carol.post("/v1/presenceobservers", json!({"endpointList": ["alice"]})).ok();
        assert_eq!(observed, json!([{"endpointId": "alice", "connectionStates": {}}]));
        self.server
            .post("/v1/session-tokens")
            .send(json!({"tokenId": self.alice.app_token}))
            .refused(401, "token_refused");
    }

    fn assert_alice_stays(mut self) {
        self.alice.publish("room", "still here");
        self.carol.push("pubsub room alice still here");
        assert_eq!(self.server.connected(), ["alice", "carol"]);
    }
}

#[test]
fn a_session_ended_by_its_id_closes_its_socket() {
    let scene = Scene::set();
    let sessions = scene.server.get("/v1/sessions?endpointId=alice").secret().call().ok();
    let mut other = scene.server.connect("alice");
    scene.server.delete(&format!("/v1/sessions/{}", text(&sessions[0]["id"]))).secret().call().ok();
    other.get("/v1/groups").ok();
    let closed = || scene.server.figure("respoked_sockets_closed_total{reason=\"session_ended\"}");
    eventually(|| (closed() == 1).then_some(()));
    other.delete("/v1/connections/alice", Value::Null).ok();
    scene.assert_alice_gone();
}

#[test]
fn sessions_ended_by_endpoint_role_or_time_close_their_sockets() {
    let scene = Scene::set();
    scene.server.delete("/v1/sessions?endpointId=alice").secret().call().ok();
    scene.assert_alice_gone();

    let scene = Scene::set();
    scene.server.delete(&format!("/v1/sessions?roleId={}", scene.server.role)).secret().call().ok();
    scene.assert_alice_gone();

    let scene = Scene::set();
    scene.server.delete("/v1/sessions?all=true").secret().call().ok();
    scene.assert_alice_gone();

    let scene = Scene::set();
    scene.server.clock.advance_secs(100);
    let mut later = scene.server.connect("later");
    scene.server.delete("/v1/sessions?all=true&issuedBefore=1800000050").secret().call().ok();
    later.get("/v1/session-tokens").ok();
    later.delete("/v1/connections/later", Value::Null).ok();
    scene.assert_alice_gone();

    let scene = Scene::set();
    scene.server.delete("/v1/sessions?endpointId=bob").secret().call().ok();
    scene.server.delete("/v1/sessions?all=true&issuedBefore=1799999999").secret().call().ok();
    scene.assert_alice_stays();
}

#[test]
fn signing_out_and_its_oauth_counterpart_close_the_socket() {
    let scene = Scene::set();
    scene.server.delete("/v1/session-tokens").token(&scene.alice.app_token).call().ok();
    scene.assert_alice_gone();

    let mut scene = Scene::set();
    scene.alice.request("delete", "/v1/session-tokens", Value::Null);
    scene.assert_alice_gone();

    let scene = Scene::set();
    let question = json!({"token": scene.alice.app_token});
    assert_eq!(scene.server.post("/oauth/revoke").secret().send(question).status, 200);
    scene.assert_alice_gone();
}

#[test]
fn a_revoked_secret_takes_along_what_it_minted_unless_told_otherwise() {
    let path = |scene: &Scene| format!("/v1/apps/{}/secrets/{}", scene.server.app, text(&scene.second["id"]));
    let scene = Scene::set();
    scene.server.delete(&path(&scene)).admin(&scene.admin).call().ok();
    scene.assert_alice_gone();

    let scene = Scene::set();
    scene.server.delete(&path(&scene)).admin(&scene.admin).send(json!({"keepSessions": true})).ok();
    scene.assert_alice_stays();
}

#[test]
fn a_deleted_role_closes_the_sockets_of_its_sessions() {
    let scene = Scene::set();
    scene.server.delete(&format!("/v1/roles/{}", scene.server.role)).secret().call().ok();
    scene.assert_alice_gone();
}

#[test]
fn a_ban_closes_the_endpoints_sockets_whoever_opened_them() {
    let scene = Scene::set();
    scene.server.put("/v1/endpoints/alice/ban").secret().send(json!({})).ok();
    scene.assert_alice_gone();

    // A backend that speaks for the endpoint, too; but not on its other socket.
    let server = Server::start();
    let (mut as_alice, mut as_bob) = (server.connect_backend("alice"), server.connect_backend("bob"));
    server.put("/v1/endpoints/alice/ban").secret().send(json!({"reason": "spam"})).ok();
    assert_eq!(as_alice.end(), End::REVOKED);
    assert_eq!(server.connected(), ["bob"]);
    as_bob.get("/v1/groups").ok();
    let mut again = server.open(&format!("app-secret={}", server.secret));
    again.post("/v1/connections", json!({"endpointId": "alice"})).refused(401, "endpoint_banned");
    server.delete("/v1/endpoints/alice/ban").secret().call().ok();
    again.post("/v1/connections", json!({"endpointId": "alice"})).ok();
}

#[test]
fn newer_sessions_take_the_place_of_older_ones() {
    let scene = Scene::set();
    let body = json!({"tokenId": scene.server.mint("alice")});
    let opened = scene.server.post("/v1/session-tokens").token(&scene.alice.app_token).send(body).ok();
    note_secret(opened["token"].as_str().unwrap());
    scene.assert_alice_gone();

    let scene = Scene::set();
    let body = json!({"endpointId": "alice", "roleId": scene.server.role, "endSessions": true});
    scene.server.put("/v1/tokens").secret().send(body).ok();
    scene.assert_alice_gone();

    let scene = Scene::set();
    scene.server.put("/v1/tokens").secret().send(json!({"endpointId": "alice", "roleId": scene.server.role})).ok();
    scene.assert_alice_stays();
}

#[test]
fn an_expired_session_closes_its_socket_and_an_extended_one_does_not() {
    let scene = Scene::set();
    scene.server.clock.advance_secs(86_400);
    scene.assert_alice_gone();

    let mut scene = Scene::set();
    let clock = &scene.server.clock;
    let mut one = scene.server.connect("one");
    clock.advance_secs(1);
    let mut two = scene.server.connect("two");
    clock.advance_secs(85_999);
    scene.alice.ask("put", "/v1/session-tokens", json!({"ttl": 3_600})).ok();
    clock.advance_secs(400);
    assert_eq!(one.end(), End::REVOKED);
    // The next one to expire is found when all were looked at that had expired with the first.
    clock.advance_secs(1);
    assert_eq!(two.end(), End::REVOKED);
    scene.alice.publish("room", "still here");
    scene.carol.push("pubsub room alice still here");
    clock.advance_secs(3_199);
    assert_eq!(scene.alice.end(), End::REVOKED);
    assert_eq!(scene.server.connected(), ["carol"]);
}

#[test]
fn development_mode_ends_with_its_sockets() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let switch = |on: bool| {
        let path = format!("/v1/apps/{}", server.app);
        server.put(&path).admin(&admin).send(json!({"developmentMode": on})).ok();
    };
    switch(true);
    let token = server.post("/v1/tokens").send(json!({"appId": server.app, "endpointId": "dev"})).ok();
    let app_token = text(&server.redeem(token["tokenId"].as_str().unwrap()).ok()["token"]);
    let mut developer = server.open_as("dev", &app_token);
    developer.register(json!({}));
    let mut alice = server.connect("alice");
    switch(false);
    assert_eq!(developer.end(), End::REVOKED);
    assert_eq!(server.connected(), ["alice"]);
    alice.get("/v1/groups").ok();
}

#[test]
fn a_deleted_app_closes_all_of_its_sockets_and_no_others() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    note_secret(other["secret"].as_str().unwrap());
    let mut foreign = server.open(&format!("app-secret={}", text(&other["secret"])));
    foreign.endpoint = "alice".to_owned();
    foreign.register(json!({"endpointId": "alice"}));
    let mut by_admin = server.open(&format!("admin-token={admin}"));
    by_admin.post("/v1/connections", json!({"endpointId": "root", "appId": server.app})).ok();
    let mut idle_admin = server.open(&format!("admin-token={admin}"));
    let (mut alice, mut backend) = (server.connect("alice"), server.connect_backend("backend"));
    let mut unregistered = server.open_as("bob", &server.session("bob"));

    server.delete(&format!("/v1/apps/{}", server.app)).admin(&admin).call().ok();
    for socket in [&mut alice, &mut backend, &mut by_admin, &mut unregistered] {
        assert_eq!(socket.end(), End::REVOKED);
    }
    foreign.post("/v1/messages", json!({"to": "alice", "message": "x"})).ok();
    idle_admin.get(&format!("/v1/apps/{}", text(&other["id"]))).ok();
    assert_eq!((server.figure("respoked_sockets"), server.figure("respoked_hub_connections")), (2, 1));
}

#[test]
fn an_admins_socket_ends_with_the_sign_in() {
    let server = Server::start();
    let (first, second) = (server.admin_token("admin"), server.admin_token("admin"));
    let connect = |token: &str| {
        let mut socket = server.open(&format!("admin-token={token}"));
        socket.endpoint = "root".to_owned();
        socket.register(json!({"endpointId": "root"}));
        socket
    };
    let (mut one, mut two) = (connect(&first), connect(&second));
    server.delete("/v1/adminsessions").admin(&first).call().ok();
    assert_eq!(one.end(), End::REVOKED);
    two.get("/v1/apps").ok();
    assert_eq!(server.connected(), ["root"]);
    server.clock.advance_secs(12 * 3_600);
    assert_eq!(two.end(), End::REVOKED);
    assert!(server.connected().is_empty());
}

#[test]
fn a_backends_socket_ends_with_its_secret() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let path = format!("/v1/apps/{}/secrets", server.app);
    let mut old = server.connect_backend("backend");
    let alice = server.connect("alice");
    let first = text(&server.get(&path).secret().call().ok()[0]["id"]);
    let rolled = server.post(&format!("{path}/{first}/roll")).secret().send(json!({"overlap": "1h"})).ok();
    note_secret(rolled["secret"].as_str().unwrap());
    let mut new = server.open(&format!("app-secret={}", text(&rolled["secret"])));
    old.get("/v1/roles").ok();
    server.clock.advance_secs(3_600);
    assert_eq!(old.end(), End::REVOKED);
    new.get("/v1/roles").ok();
    assert!(server.alive(&alice.app_token), "what the old one minted lives on");

    server.delete(&format!("{path}/{}", text(&rolled["id"]))).admin(&admin).call().ok();
    assert_eq!(new.end(), End::REVOKED);
    assert_eq!(server.figure("respoked_hub_connections"), 1);
}

#[test]
fn a_revoked_client_that_polls_is_told_goodbye() {
    let server = Server::start();
    let app_token = server.session("alice");
    let poller = server.poller(&format!("app-token={app_token}"));
    poller.ask(1, "post", "/v1/connections", &json!({})).1.ok();
    server.delete("/v1/sessions?all=true").secret().call().ok();
    eventually(|| server.connected().is_empty().then_some(()));
    assert_eq!(poller.poll(), ["0::"]);
    assert_eq!(poller.poll(), ["7:::1+0"], "its session id is forgotten");
}

#[test]
fn nothing_a_revoked_client_asks_is_done() {
    let server = Server::start();
    let mut alice = server.connect("alice");
    let mut bob = server.connect("bob");
    for _ in 0..10 {
        server.delete("/v1/sessions?endpointId=alice").secret().call().ok();
        // Its requests may arrive before its close is written.
        for _ in 0..5 {
            alice.request("post", "/v1/messages", json!({"to": "bob", "message": "after"}));
        }
        assert_eq!(alice.end(), End::REVOKED);
        assert_eq!(bob.pushed(), Vec::<String>::new());
        alice = server.connect("alice");
    }
}

#[test]
fn a_socket_that_is_revoked_while_it_registers_is_not_left_behind() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2);
    let server = Server::start_on(runtime, |_| {});
    for _ in 0..40 {
        let mut alice = server.open_as("alice", &server.session("alice"));
        let (barrier, client) = (Arc::new(Barrier::new(2)), server.client.clone());
        let ready = barrier.clone();
        let revoking = std::thread::spawn(move || {
            ready.wait();
            client.delete("/v1/sessions?endpointId=alice").secret().call().ok();
        });
        barrier.wait();
        alice.request("post", "/v1/connections", json!({}));
        revoking.join().unwrap();
        assert_eq!(alice.end(), End::REVOKED);
        assert_eq!(server.figure("respoked_hub_connections"), 0);
    }
}

#[test]
fn a_backend_that_registers_for_an_endpoint_while_it_is_banned_is_not_left_behind() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2);
    let server = Server::start_on(runtime, |_| {});
    for _ in 0..40 {
        let mut backend = server.open(&format!("app-secret={}", server.secret));
        let (barrier, client) = (Arc::new(Barrier::new(2)), server.client.clone());
        let ready = barrier.clone();
        let banning = std::thread::spawn(move || {
            ready.wait();
            client.put("/v1/endpoints/alice/ban").secret().send(json!({})).ok();
        });
        barrier.wait();
        let id = backend.request("post", "/v1/connections", json!({"endpointId": "alice"}));
        banning.join().unwrap();
        eventually(|| (server.figure("respoked_hub_connections") == 0).then_some(()));
        drop((backend, id));
        server.delete("/v1/endpoints/alice/ban").secret().call().ok();
    }
}

#[test]
fn a_socket_registers_by_what_it_was_opened_with_alone() {
    let server = Server::start();
    let (alice, bob) = (server.session("alice"), server.session("bob"));
    let secret = server.secret.clone();
    let mut socket = server.open_as("alice", &alice);
    socket.ask_with(&json!({"App-Token": bob}), "post", "/v1/connections", json!({})).refused(403, "forbidden");
    socket
        .ask_with(&json!({"App-Secret": secret}), "post", "/v1/connections", json!({"endpointId": "bob"}))
        .refused(403, "forbidden");
    assert!(server.connected().is_empty());
    socket.ask_with(&json!({"App-Token": alice, "Admin-Token": null}), "post", "/v1/connections", json!({})).ok();
    let mut backend = server.open(&format!("app-secret={secret}"));
    backend.ask_with(&json!({"App-Token": bob}), "post", "/v1/connections", json!({})).refused(403, "forbidden");
    let repeated = json!({"App-Secret": secret, "App-Token": null});
    backend.ask_with(&repeated, "post", "/v1/endpoints/pbx/connections", json!({"clientType": "asterisk"})).ok();
    assert_eq!(server.connected(), ["alice", "pbx"]);
}
