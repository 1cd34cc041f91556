//! The built binary on PostgreSQL, through `PgBouncer` in transaction mode: each transaction may be on another connection.

use serde_json::json;

use crate::harness::{End, Pooler, Postgres, eventually, note_secret};
use crate::postgres::serve;

#[test]
fn a_server_works_through_a_pooler_and_goes_on_there_after_a_kill() {
    let Some(database) = Postgres::new() else { return };
    let Some(mut pooler) = Pooler::to(database.server()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let address = database.url_by(pooler.config().get_ports()[0]);
    let process = serve(folder.path(), &address).with_app();

    // Many at once, so that transactions meet at the pooler.
    let sessions: Vec<String> = std::thread::scope(|scope| {
        let client = &process.client;
        let open = |user| move || (0..8).map(|_| client.session(&format!("user {user}"))).collect::<Vec<_>>();
        let opening: Vec<_> = (0..16).map(|user| scope.spawn(open(user))).collect();
        opening.into_iter().flat_map(|opening| opening.join().unwrap()).collect()
    });
    let (spent, waiting) = (process.mint("alice"), process.mint("bob"));
    let alice = process.redeem(&spent).ok()["token"].as_str().unwrap().to_owned();
    let (mut socket, mut carol) = (process.open_as("alice", &alice), process.connect_backend("carol"));
    socket.register(json!({}));
    for socket in [&mut carol, &mut socket] {
        socket.join("room");
    }
    carol.publish("room", "hello");
    socket.push("pubsub room carol hello");
    process.delete("/v1/session-tokens").token(&alice).call().ok();
    assert_eq!(socket.end(), End::REVOKED);
    assert_eq!(process.members("room"), ["carol"]);

    let mut client = process.kill();
    let process = serve(folder.path(), &address);
    client.url.clone_from(&process.url);
    assert!(!process.greeting.contains("App-Secret"), "{}", process.greeting);
    assert!(sessions.iter().all(|session| client.alive(session)), "what was answered survives");
    assert!(!client.alive(&alice), "and what was ended is over");
    client.redeem(&spent).refused(401, "token_refused");
    let bob = client.redeem(&waiting).ok()["token"].as_str().unwrap().to_owned();
    client.redeem(&waiting).refused(401, "token_refused");
    let mut socket = client.open_as("bob", &bob);
    // The pooler starts anew, and whoever was connected to it has to connect again.
    pooler.restart();
    let body = json!({"endpointId": "bob", "roleId": client.role});
    let mint = || client.post("/v1/tokens").secret().send(body.clone());
    eventually(|| mint().body["tokenId"].as_str().map(note_secret));
    socket.register(json!({}));
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
}
