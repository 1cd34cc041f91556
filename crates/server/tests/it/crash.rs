//! The built binary, killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::harness::{Client, Process, data_folder, text};

/// What clients were told before the server died.
#[derive(Default)]
struct Told {
    minted: Vec<String>,
    redeemed: Vec<(String, String)>,
}

#[test]
fn what_was_answered_survives_a_kill() {
    let (data, _folder) = data_folder();
    let mut process = Process::spawn(&data, &[]).with_app();
    let admin = process.admin_token("owner");
    let off = json!({"limits": {"app": null, "endpoint": null, "address": null}});
    process.put(&format!("/v1/apps/{}", process.app)).admin(&admin).send(off).ok();
    for _ in 0..3 {
        let told = Arc::new(Mutex::new(Told::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (client, told, stop) = (process.client.clone(), told.clone(), stop.clone());
                std::thread::spawn(move || load(&client, number, &told, &stop))
            })
            .collect();
        crate::harness::eventually(|| (told.lock().unwrap().redeemed.len() > 200).then_some(()));
        let client = process.kill();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }

        // Every token that was redeemed is shown once more.
        let restarted = Process::spawn(&data, &["--failed-credentials-free", "1000000"]);
        let mut again = client;
        again.url.clone_from(&restarted.url);
        let told = told.lock().unwrap();
        assert!(!told.minted.is_empty());
        for token in &told.minted {
            again.redeem(token).ok();
        }
        for (token, app_token) in &told.redeemed {
            assert!(again.alive(app_token));
            again.redeem(token).refused(401, "token_refused");
        }
        process = restarted;
        process.client = again;
    }
}

/// Mints two tokens and redeems one of them, until the server is gone, and notes each answer.
fn load(client: &Client, number: usize, told: &Mutex<Told>, stop: &AtomicBool) {
    let agent = ureq::Agent::new_with_defaults();
    let post = |path: &str, body: serde_json::Value| -> Option<serde_json::Value> {
        let request = agent.post(format!("{}{path}", client.url)).header("App-Secret", &client.secret);
        request.send_json(body).ok()?.body_mut().read_json().ok()
    };
    let mint = || {
        let body = json!({"endpointId": format!("user {number}"), "roleId": client.role});
        post("/v1/tokens", body).map(|minted| text(&minted["tokenId"]))
    };
    while !stop.load(Ordering::Relaxed) {
        let Some(waiting) = mint() else { return };
        told.lock().unwrap().minted.push(waiting);
        // A redemption that was sent and not answered may have happened or not; it is not noted.
        let Some(token) = mint() else { return };
        let Some(redeemed) = post("/v1/session-tokens", json!({"tokenId": token})) else { return };
        told.lock().unwrap().redeemed.push((token, text(&redeemed["token"])));
    }
}
