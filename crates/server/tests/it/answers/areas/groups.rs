//! Groups and what was said in them, under both names.

use serde_json::{Value, json};

use crate::answers::book::{Book, By};

pub(in crate::answers) fn tell(book: &mut Book) {
    for family in ["groups", "channels"] {
        in_family(book, family);
    }
    let (search, find) = ("POST /v1/group-history-search", "GET /v1/group-histories");
    let alice = book.session("alice");
    book.ask(
        "Histories are searched",
        search,
        &[],
        By::Token(&alice),
        json!({"groupIds": ["groups-kept", "channels-kept"], "limit": 1}),
    );
    book.ask("of no groups", search, &[], By::Token(&alice), json!({}));
    book.ask("by nobody", search, &[], By::Nobody, json!({"groupIds": ["groups-kept"]}));
    book.ask(
        "Histories are searched by a query",
        &format!("{find}?groupIds=groups-kept&groupIds=channels-kept&limit=1"),
        &[],
        By::Token(&alice),
        Value::Null,
    );
    book.ask("of no groups", find, &[], By::Token(&alice), Value::Null);
}

fn in_family(book: &mut Book, family: &str) {
    let all = format!("/v1/{family}");
    let one = format!("{all}/{{id}}");
    let (room, kept) = (format!("{family}-room"), format!("{family}-kept"));
    let mut alice = book.server.connect("alice");
    book.name(alice.app_token.clone(), "alice's App-Token");
    book.name(alice.connection.clone(), "alice's connection");
    let app_token = alice.app_token.clone();
    let by_alice = By::Token(&app_token);
    let silent = book.server.create_role(&format!("{family}-silent"), json!({}));
    let silent = book.server.session_in("bob", &silent);
    book.name(silent.clone(), "silent bob's App-Token");

    book.ask_on(&mut alice, "Groups are joined", &format!("POST {all}"), &[], json!({"groups": [room, kept]}));
    book.ask_on(&mut alice, "of no name", &format!("POST {all}"), &[], json!({"groups": [""]}));
    book.ask("A group is asked for by its name", &format!("POST {all}"), &[], by_alice, json!({"name": room}));
    book.ask("none", &format!("POST {all}"), &[], by_alice, json!({}));
    book.ask(
        "joined for another's connection",
        &format!("POST {all}"),
        &[],
        By::Secret,
        json!({"groups": [room], "endpointId": "nobody"}),
    );
    book.ask("Groups are listed", &format!("GET {all}"), &[], By::Secret, Value::Null);
    book.ask("to who may not", &format!("GET {all}"), &[], By::Token(&silent), Value::Null);
    for members in [one.clone(), format!("{one}/subscribers")] {
        book.ask_on(&mut alice, "A group is joined", &format!("POST {members}"), &[&room], json!({}));
        book.ask("without a connection", &format!("POST {members}"), &[&room], By::Secret, json!({}));
        book.ask("Members are listed", &format!("GET {members}"), &[&room], By::Secret, Value::Null);
        book.ask("to who may not", &format!("GET {members}"), &[&room], By::Token(&silent), Value::Null);
    }
    let publish = &format!("POST {one}/publish");
    book.ask("Something is said", publish, &[&room], by_alice, json!({"message": "hello"}));
    book.ask("and kept", publish, &[&kept], by_alice, json!({"message": {"any": ["json"]}, "persist": true}));
    book.ask("nothing", publish, &[&room], by_alice, json!({}));
    book.ask("by who may not", publish, &[&room], By::Token(&silent), json!({"message": "hello"}));
    let key = [("App-Token", app_token.as_str()), ("Idempotency-Key", family)];
    book.ask("with a key", publish, &[&kept], By::Headers(&key), json!({"message": "once", "persist": true}));
    book.ask("with its key again", publish, &[&kept], By::Headers(&key), json!({"message": "once", "persist": true}));
    book.ask("with the key of something else", publish, &[&kept], By::Headers(&key), json!({"message": "other"}));
    let history = &format!("GET {one}/history");
    book.ask("A history is read", history, &[&kept], by_alice, Value::Null);
    book.ask("before what is no time", &format!("{history}?before=soon"), &[&kept], by_alice, Value::Null);
    book.ask("by nobody", history, &[&kept], By::Nobody, Value::Null);
    let leave = &format!("DELETE {one}/subscribers");
    book.ask_on(&mut alice, "A group is left", leave, &[&room], json!({}));
    book.ask("without a connection", leave, &[&room], By::Secret, json!({}));
    book.ask_on(&mut alice, "Groups are left", &format!("DELETE {all}"), &[], json!({"groups": [room]}));
    book.ask("none", &format!("DELETE {all}"), &[], by_alice, json!({}));
    let end = &format!("DELETE {one}");
    alice.join(&room);
    book.ask("A group is ended", end, &[&room], By::Secret, Value::Null);
    book.ask("again", end, &[&room], By::Secret, Value::Null);
    book.ask("by who may not", end, &[&kept], By::Token(&silent), Value::Null);
    book.ask("of what is no name", end, &["%20"], By::Secret, Value::Null);
}
