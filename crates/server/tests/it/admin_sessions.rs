//! `/v1/admin-sessions`.

use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server};

#[test]
fn an_admin_signs_in_and_out() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    assert_eq!(server.get("/v1/apps").admin(&admin).call().ok().as_array().unwrap().len(), 1);
    server.delete("/v1/adminsessions/").admin(&admin).call().ok();
    server.get("/v1/apps").admin(&admin).call().refused(401, "unauthenticated");
    let admin = server.admin_token("admin");
    server.clock.advance_secs(12 * 3_600);
    server.get("/v1/apps").admin(&admin).call().refused(401, "unauthenticated");
}

#[test]
fn guessing_is_slowed_down() {
    let server = Server::start();
    let sign_in = |username: &str, password: &str| {
        server.post("/v1/adminsessions").send(json!({"username": username, "password": password}))
    };
    let mut unknown = sign_in("nobody", PASSWORD).refused(401, "bad_login");
    let mut wrong = sign_in("admin", "wrong").refused(401, "bad_login");
    (unknown["requestId"], wrong["requestId"]) = (Value::Null, Value::Null);
    assert_eq!(unknown, wrong, "which of the two was wrong is not told");
    for _ in 0..4 {
        sign_in("admin", "wrong").refused(401, "bad_login");
    }
    let throttled = sign_in("admin", PASSWORD);
    assert!(throttled.header("retry-after").is_some());
    throttled.refused(429, "throttled");
    server.clock.advance_secs(1);
    sign_in("admin", PASSWORD).ok();
    sign_in("other", PASSWORD).refused(401, "bad_login");
    sign_in("", "").refused(401, "bad_login");
    server.post("/v1/adminsessions").send(json!({"username": "third"})).refused(400, "invalid");
}

#[test]
fn guesses_made_at_once_are_slowed_down_like_others() {
    let server = Server::start();
    let barrier = Arc::new(Barrier::new(40));
    let tries: Vec<_> = (0..40)
        .map(|number| {
            let (client, barrier) = (server.client.clone(), barrier.clone());
            std::thread::spawn(move || {
                let body = json!({"username": "admin", "password": format!("CANARY-guess-{number}")});
                barrier.wait();
                client.post("/v1/admin-sessions").send(body).status
            })
        })
        .collect();
    let statuses: Vec<_> = tries.into_iter().map(|thread| thread.join().unwrap()).collect();
    // Five are free.
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert_eq!(looked_at, 5, "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
}
