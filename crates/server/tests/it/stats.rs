//! `/v1/stats`.

use serde_json::{Value, json};

use crate::harness::{Process, Server, data_folder, eventually, text};

/// The sum of a figure over all points.
fn sum(stats: &Value, figure: &str) -> u64 {
    stats["points"].as_array().unwrap().iter().map(|point| point[figure].as_u64().unwrap()).sum()
}

#[test]
fn what_happens_is_counted_at_once_and_kept_by_the_minute() {
    let server = Server::start();
    let admin = server.admin_token("admin");
    let stats = |query: &str| server.get(&format!("/v1/stats{query}")).admin(&admin).call().ok();
    server.session("alice");
    server.mint("bob");
    server.redeem("00000000-0000-4000-8000-000000000000").refused(401, "token_refused");
    server.post("/v1/groups/chat/publish").secret().send(json!({"message": "x"})).ok();
    server.post("/v1/messages").secret().send(json!({"to": "bob", "message": "x"})).ok();
    let own = format!("?appId={}", server.app);
    for query in ["", &own] {
        let hour = stats(query);
        assert_eq!((hour["points"].as_array().unwrap().len(), &hour["spanSecs"]), (60, &json!(60)));
        for (figure, count) in [("minted", 2), ("redeemed", 1), ("publications", 1), ("messages", 1)] {
            assert_eq!(sum(&hour, figure), count, "{figure} of {query:?}");
        }
        let last = &hour["points"][59];
        assert!(last["p50Micros"].as_u64().unwrap() <= last["p99Micros"].as_u64().unwrap());
        assert!(hour["points"][0]["p50Micros"].is_null());
    }
    assert_eq!(stats("")["points"][59]["refused"]["token_refused"], 1);
    for (range, count) in [("24h", 144), ("30d", 120)] {
        let stats = stats(&format!("?range={range}"));
        assert_eq!((stats["points"].as_array().unwrap().len(), sum(&stats, "minted")), (count, 2));
    }
    // The minute that is over moves back by one.
    server.clock.advance_secs(60);
    eventually(|| (stats("")["points"][58]["minted"] == 2).then_some(()));
    assert_eq!(sum(&stats(""), "minted"), 2);

    assert_eq!(sum(&server.get("/v1/stats").secret().call().ok(), "minted"), 2);
    assert_eq!(server.get("/v1/stats").secret().call().ok()["appId"], json!(server.app));
    server.get("/v1/stats?range=7d").admin(&admin).call().refused(400, "invalid");
    server.get("/v1/stats").call().refused(401, "unauthenticated");
    let session = server.session("alice");
    server.get("/v1/stats").token(&session).call().refused(403, "forbidden");
}

#[test]
fn longer_stretches_survive_a_restart() {
    let (data, _folder) = data_folder();
    let server = Process::spawn(&data, &[]).with_app();
    server.mint("alice");
    let app = server.app.clone();
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
    let server = Process::spawn(&data, &[]);
    let admin = server.admin_token("owner");
    for (query, minted) in [("range=1h", 0), ("range=24h", 1), ("range=30d", 1)] {
        let stats = server.get(&format!("/v1/stats?appId={app}&{query}")).admin(&admin).call().ok();
        assert_eq!(sum(&stats, "minted"), minted, "{query}");
        assert_eq!(text(&stats["range"]), query[6..]);
    }
}
