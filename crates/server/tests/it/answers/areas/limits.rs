//! As much as one may.

use serde_json::{Value, json};

use super::refused_in_the_end;
use crate::answers::book::{Book, By};

pub(in crate::answers) fn tell(book: &mut Book) {
    let app = book.server.app.clone();
    let limit = |book: &Book, limits: Value| {
        book.server.put(&format!("/v1/apps/{app}")).admin(&book.admin).send(json!({"limits": limits})).ok();
    };
    let token = book.session("alice");
    let mut alice = book.server.connect("alice");
    book.name(alice.app_token.clone(), "alice's App-Token");
    limit(book, json!({"endpointConnections": 1, "groupsPerConnection": 1}));
    let mut second = book.server.open_as("alice", &token);
    book.ask_on(&mut second, "A second connection where one may be", "POST /v1/connections", &[], json!({}));
    book.ask_on(&mut alice, "Two groups where one may be", "POST /v1/groups", &[], json!({"groups": ["one", "two"]}));

    limit(book, json!({"keptMegabytes": 1, "app": null, "messages": null, "kilobytes": null}));
    let long = json!({"message": "x".repeat(19_000), "persist": true, "endpointId": "bob"});
    for _ in 0..60 {
        book.server.clock.advance_secs(1);
        book.server.post("/v1/groups/kept/publish").secret().send(long.clone());
    }
    let short = |text: &str| json!({"message": text, "persist": true, "endpointId": "bob"});
    let kept = book.server.get(&format!("/v1/apps/{app}")).secret().call().ok()["kept"].clone();
    assert!(kept["bytes"].as_u64() <= kept["max"].as_u64(), "{kept}");
    let report = json!({"debugData": "x".repeat(19_900)});
    book.ask("More is kept than may be", "POST /v1/call-debugs", &[], By::Secret, report);
    book.ask("What is short has room", "POST /v1/groups/{id}/publish", &["kept"], By::Secret, short("room"));

    limit(book, json!({"app": {"perSecond": 1, "burst": 2}}));
    book.ask("A bucket is drawn from", "GET /v1/groups", &[], By::Secret, Value::Null);
    let drawn = book.server.get("/v1/groups").secret().call();
    book.note("the last time", "GET /v1/groups", "App-Secret", &drawn);
    let empty = book.server.get("/v1/groups").secret().call();
    book.note("it is empty", "GET /v1/groups", "App-Secret", &empty);
    limit(book, json!({"app": null}));

    let refused = refused_in_the_end(|| book.server.get("/v1/session-tokens").token(&"X".repeat(36)).call());
    book.note("Wrong credentials, again and again", "GET /v1/session-tokens", "an App-Token that is none", &refused);
}
