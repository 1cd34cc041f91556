//! How much an app keeps of what its clients say.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server, eventually, note_secret, text};

#[test]
fn an_app_that_keeps_all_it_may_keeps_no_more_and_says_so() {
    let server = Server::start_with(|config| config.kept_bytes_per_app_max = 50_000);
    let admin = server.admin_token("admin");
    server.unlimited(&admin);
    let path = format!("/v1/apps/{}", server.app);
    let kept = || server.get(&path).admin(&admin).call().ok()["kept"].clone();
    assert_eq!(kept(), json!({"bytes": 0, "max": 50_000}));
    let (mut alice, mut bob) = (server.connect("alice"), server.connect("bob"));
    for member in [&mut alice, &mut bob] {
        member.join("room");
    }
    let publish = |message: String| json!({"message": message, "persist": true});
    let long = "x".repeat(9_000);
    // Long ones, as far as they fit, and then short ones. How many that are is the database's affair: each counts with what it
    // takes there, and long ones take more in PostgreSQL.
    let mut said = Vec::new();
    for text in [&long[..], &long[..500]] {
        loop {
            let message = format!("{} {text}", said.len());
            let ack = alice.post("/v1/groups/room/publish", publish(message.clone()));
            if ack.status != 200 {
                ack.refused(403, "quota_exceeded");
                break;
            }
            said.push(message);
        }
    }
    assert!((4..=5).contains(&said.iter().filter(|message| message.len() > 9_000).count()));
    let bytes = kept()["bytes"].as_u64().unwrap();
    assert!((48_500..=50_000).contains(&bytes), "{bytes}");
    // Who was refused was not heard; what is not to be kept is.
    alice.post("/v1/groups/room/publish", json!({"message": "not kept"})).ok();
    let heard: Vec<_> = bob.pushed().iter().map(|push| push.chars().take(20).collect::<String>()).collect();
    assert_eq!(heard.iter().filter(|push| push.starts_with("pubsub")).count(), said.len() + 1, "{heard:?}");
    let report = json!({"debugData": {"log": long}});
    alice.post("/v1/call-debugs", report.clone()).refused(403, "quota_exceeded");
    let device = json!({"token": "t".repeat(4_000), "service": "google"});
    let push_token = format!("/v1/connections/{}/push-token", alice.connection);
    alice.post(&push_token, device).refused(403, "quota_exceeded");
    server.get("/v1/groups/room/history").token(&alice.app_token).call().ok();
    let form = format!("username=admin&password={PASSWORD}");
    let request = server.post("/console/sign-in").header("Content-Type", "application/x-www-form-urlencoded");
    let signed_in = request.header("Sec-Fetch-Site", "same-origin").raw(form.as_bytes());
    let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    note_secret(cookie.split_once('=').unwrap().1);
    let page = server.get(&format!("/console/apps/{}", server.app)).header("Cookie", &cookie).call();
    assert!(page.text.contains("0.0 MiB") && page.text.contains("Megabytes kept"), "{}", page.text);

    // Room comes back soon after its groups were ended.
    server.delete("/v1/groups/room").secret().call().ok();
    eventually(|| (kept()["bytes"] == json!(0)).then_some(()));
    for member in [&mut alice, &mut bob] {
        member.join("room");
    }
    for message in said {
        alice.post("/v1/groups/room/publish", publish(message)).ok();
    }

    // The app can have a limit of its own, below and above the server's.
    let limit = |megabytes: Value| {
        let change = json!({"limits": {"keptMegabytes": megabytes}});
        server.put(&path).admin(&admin).send(change).ok()["limits"]["keptMegabytes"].clone()
    };
    assert_eq!(limit(json!(1)), json!(1));
    assert_eq!(kept()["max"], json!(1 << 20));
    alice.post("/v1/groups/room/publish", publish(long.clone())).ok();
    assert_eq!(limit(Value::Null), Value::Null);
    alice.post("/v1/call-debugs", report.clone()).refused(403, "quota_exceeded");
    server.put(&path).admin(&admin).send(json!({"limits": {"keptMegabytes": 0}})).refused(400, "invalid");
    // Another app has room of its own.
    let other = server.post("/v1/apps").admin(&admin).send(json!({"name": "other"})).ok();
    let mut client = server.client.clone();
    client.secret = text(&other["secret"]);
    client.post("/v1/channels/room/publish").secret().send(publish(long)).ok();
}
