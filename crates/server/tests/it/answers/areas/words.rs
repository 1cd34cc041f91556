//! What endpoints say to each other, calls, and what is told of them.

use serde_json::{Value, json};

use super::NOBODYS;
use crate::answers::book::{Book, By};

pub(in crate::answers) fn tell(book: &mut Book) {
    let mut alice = book.server.connect("alice");
    let bob = book.server.connect("bob");
    let token = alice.app_token.clone();
    for (text, name) in [
        (&token, "alice's App-Token"),
        (&alice.connection, "alice's connection"),
        (&bob.connection, "bob's connection"),
    ] {
        book.name(text.clone(), name);
    }
    let send = "POST /v1/messages";
    book.ask("A message is sent", send, &[], By::Token(&token), json!({"to": "bob", "message": "hello"}));
    book.ask(
        "to one connection",
        send,
        &[],
        By::Secret,
        json!({"to": "bob", "toConnection": bob.connection, "message": [1]}),
    );
    book.ask("to nobody that is there", send, &[], By::Token(&token), json!({"to": "nobody", "message": "hello"}));
    book.ask("to nobody", send, &[], By::Token(&token), json!({"message": "hello"}));
    book.ask("nothing", send, &[], By::Token(&token), json!({"to": "bob"}));
    book.ask("as another", send, &[], By::Token(&token), json!({"to": "bob", "message": "hello", "endpointId": "bob"}));

    let signal = "POST /v1/signaling";
    let offer = |to: &str, kind: &str| json!({"to": to, "toType": kind, "signal": {"signalType": "offer", "sessionId": "call", "target": "call"}});
    book.ask_on(&mut alice, "A call is offered", signal, &[], offer("bob", "web"));
    book.ask_on(&mut alice, "to nobody that is there", signal, &[], offer("nobody", "web"));
    book.ask_on(&mut alice, "to a telephone", signal, &[], offer("+1555", "did"));
    book.ask_on(&mut alice, "without a signal", signal, &[], json!({"to": "bob"}));
    book.ask("without a connection", signal, &[], By::Secret, offer("bob", "web"));
    let conference = "/v1/conferences/{id}";
    book.ask("A conference is ended", &format!("DELETE {conference}"), &["room"], By::Token(&token), Value::Null);
    book.ask(
        "its participants are listed",
        &format!("GET {conference}/participants"),
        &["room"],
        By::Token(&token),
        Value::Null,
    );
    book.ask(
        "one is removed",
        &format!("DELETE {conference}/participants/{{endpoint}}"),
        &["room", "bob"],
        By::Token(&token),
        Value::Null,
    );

    let report = "POST /v1/call-debugs";
    book.ask("A call is reported", report, &[], By::Token(&token), json!({"debugData": {"report": [1]}}));
    book.ask("nothing", report, &[], By::Token(&token), json!({}));
    book.ask("another's", report, &[], By::Token(&token), json!({"debugData": {}, "endpointId": "bob"}));
    let reports = "GET /v1/call-debugs";
    book.ask("Reports are listed", reports, &[], By::Secret, Value::Null);
    book.ask("to an endpoint", reports, &[], By::Token(&token), Value::Null);
    for method in ["GET", "POST"] {
        let turn = &format!("{method} /v1/turn");
        book.ask("Relays are asked for", turn, &[], By::Token(&token), Value::Null);
        book.ask("by nobody", turn, &[], By::Nobody, Value::Null);
        book.ask("in no app of the admin's", &format!("{turn}?appId={NOBODYS}"), &[], By::Admin, Value::Null);
    }
}
