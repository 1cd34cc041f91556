//! Endpoints: what is known of one, whether it is banned, what it has not read, and who looks on.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::answers::book::{Book, By};

pub(in crate::answers) fn tell(book: &mut Book) {
    let alice = book.session("alice");
    let read = "GET /v1/endpoints/{id}";
    book.ask("An endpoint is read", read, &["alice"], By::Secret, Value::Null);
    book.ask(
        "with all that is known",
        "GET /v1/endpoints/{id}?include=tokens,audit",
        &["bob"],
        By::Secret,
        Value::Null,
    );
    book.ask("with what is not", "GET /v1/endpoints/{id}?include=all", &["alice"], By::Secret, Value::Null);
    book.ask("to another", read, &["alice"], By::Token(&alice), Value::Null);

    for method in ["PUT", "POST"] {
        let ban = &format!("{method} /v1/endpoints/{{id}}/ban");
        book.ask(
            "An endpoint is banned",
            ban,
            &["mallory"],
            By::Secret,
            json!({"reason": "spam", "expiresAt": "2100-01-01T00:00:00.000Z"}),
        );
        book.ask("until before now", ban, &["mallory"], By::Secret, json!({"expiresAt": "2001-01-01T00:00:00.000Z"}));
    }
    book.ask("A ban is read", "GET /v1/endpoints/{id}/ban", &["mallory"], By::Secret, Value::Null);
    book.ask("where there is none", "GET /v1/endpoints/{id}/ban", &["alice"], By::Secret, Value::Null);
    book.ask("Bans are listed", "GET /v1/bans", &[], By::Secret, Value::Null);
    book.ask("to an endpoint", "GET /v1/bans", &[], By::Token(&alice), Value::Null);
    book.ask("A ban is lifted", "DELETE /v1/endpoints/{id}/ban", &["mallory"], By::Secret, Value::Null);
    book.ask("again", "DELETE /v1/endpoints/{id}/ban", &["mallory"], By::Secret, Value::Null);
    book.ask("by an endpoint", "DELETE /v1/endpoints/{id}/ban", &["mallory"], By::Token(&alice), Value::Null);

    let member = {
        let mut member = book.server.open_as("alice", &alice);
        member.register(json!({}));
        member.join("room");
        member
    };
    book.ask(
        "Something is said and kept",
        "POST /v1/groups/{id}/publish",
        &["room"],
        By::Secret,
        json!({"message": "hello", "persist": true}),
    );
    let list = "GET /v1/endpoints/{id}/conversations";
    book.ask("Conversations are listed", list, &["alice"], By::Token(&alice), Value::Null);
    book.ask("another's", list, &["bob"], By::Token(&alice), Value::Null);
    for method in ["PUT", "POST"] {
        let mark = &format!("{method} /v1/endpoints/{{id}}/conversations");
        book.ask(
            "They are marked as read",
            mark,
            &["alice"],
            By::Token(&alice),
            json!({"groups": [{"groupId": "room", "timestamp": 4_000_000_000_000_i64}]}),
        );
        book.ask("without saying which", mark, &["alice"], By::Token(&alice), json!({}));
    }
    drop(member);

    let tail = "GET /v1/endpoints/{id}/tail";
    book.ask_by_http("An endpoint looks on at another", tail, &["bob"], By::Token(&alice), Value::Null);
    let mut backend = book.server.connect_backend("pbx");
    book.ask_on(&mut backend, "A backend looks on over its socket", tail, &["bob"], Value::Null);
    look_on(book, tail);
}

/// The head of an answer that never ends.
fn look_on(book: &mut Book, operation: &str) {
    let address = book.server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let admin = &book.admin;
    let app = &book.server.app;
    write!(stream, "GET /v1/endpoints/bob/tail?appId={app} HTTP/1.1\r\nHost: x\r\nAdmin-Token: {admin}\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let status = lines.next().unwrap();
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let _length = lines.next();
    book.note_head("An admin looks on", operation, &status, &head, &lines.next().unwrap());
}
