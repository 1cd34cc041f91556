//! Hundreds who sign in under made-up names, and the admin who has to come in beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::harness::{Answer, Client, PASSWORD, Process, Server, data_folder, eventually};

fn sign_in(client: &Client, from: &str, username: &str, password: &str) -> Answer {
    let body = json!({"username": username, "password": password});
    client.post("/v1/admin-sessions").header("X-Forwarded-For", from).send(body)
}

/// Many who never stop, each from an address of its own.
struct Flood {
    over: Arc<AtomicBool>,
    guessers: Vec<std::thread::JoinHandle<()>>,
}

impl Flood {
    /// Begins it, and returns once some were told that too many wait.
    fn begin(client: &Client, guessers: usize) -> Self {
        let (over, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let begin = |nth: usize| {
            let (client, over, refused) = (client.clone(), over.clone(), refused.clone());
            std::thread::spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let from = format!("198.51.{}.{}", 100 + nth / 200, nth % 200);
                    let answer = sign_in(&client, &from, &format!("name {nth} {round}"), "CANARY-no-password");
                    refused.fetch_add(usize::from(answer.status == 503), Ordering::Relaxed);
                }
            })
        };
        let guessers = (0..guessers).map(begin).collect();
        let flood = Self { over: over.clone(), guessers };
        eventually(|| (refused.load(Ordering::Relaxed) > 20).then_some(()));
        flood
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for guesser in self.guessers.drain(..) {
            guesser.join().unwrap();
        }
    }
}

#[test]
fn an_admin_at_a_known_address_comes_in_every_time() {
    let server = Server::start_with(|config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
    let home = "203.0.113.7";
    sign_in(&server, home, "admin", PASSWORD).ok();
    let flood = Flood::begin(&server, 150);
    for _ in 0..13 {
        let token = sign_in(&server, home, "admin", PASSWORD).ok();
        let token = token["token"].as_str().unwrap();
        // What asks for the password once more waits for no stranger either.
        let change = json!({"password": PASSWORD, "newPassword": PASSWORD});
        let changing = server.put("/v1/admins/me/password").admin(token).header("X-Forwarded-For", home);
        changing.send(change).ok();
    }
    drop(flood);
}

#[test]
fn what_is_known_is_known_after_a_restart() {
    let (data, _folder) = data_folder();
    let flags = ["--trusted-proxies", "127.0.0.1"];
    let home = "203.0.113.7";
    let server = Process::spawn(&data, &flags);
    sign_in(&server, home, "owner", PASSWORD).ok();
    server.kill();
    let server = Process::spawn(&data, &flags);
    // Everybody else has to wait, because of those who guess, and longer than it takes to look.
    let guess = |nth: u64| {
        let answer = sign_in(&server, &format!("198.51.100.{nth}"), "owner", "CANARY-guess");
        answer.header("retry-after").map_or(0, |secs| secs.parse::<u64>().unwrap())
    };
    // Twenty are free, and each takes a busy machine a while.
    assert!((0..20).all(|nth| guess(nth) == 0));
    let mut others = 20..;
    eventually(|| (guess(others.next()? % 250) >= 4).then_some(()));
    sign_in(&server, "192.0.2.1", "owner", PASSWORD).refused(429, "throttled");
    sign_in(&server, home, "owner", PASSWORD).ok();
}

#[test]
fn who_comes_by_the_setup_link_is_known_at_once() {
    for in_browser in [true, false] {
        let server = Server::start_with(|config| config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]);
        let home = "203.0.113.7";
        let setup = if in_browser {
            let setup = server.post("/console/setup").header("Sec-Fetch-Site", "same-origin");
            let setup = setup.header("Content-Type", "application/x-www-form-urlencoded");
            setup.header("X-Forwarded-For", home).raw(format!("token={}", server.setup_token).as_bytes())
        } else {
            let setup = server.post("/v1/admin-sessions").header("X-Forwarded-For", home);
            setup.send(json!({"setupToken": server.setup_token}))
        };
        assert!([200, 303].contains(&setup.status), "{}", setup.text);
        eventually(|| {
            let guess = |nth: usize| sign_in(&server, &format!("198.51.100.{nth}"), "admin", "CANARY-guess").status;
            (0..30).any(|nth| guess(nth) == 429).then_some(())
        });
        sign_in(&server, "192.0.2.1", "admin", PASSWORD).refused(429, "throttled");
        sign_in(&server, home, "admin", PASSWORD).ok();
    }
}
