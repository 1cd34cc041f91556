//! What was written down of it all.

use serde_json::{Value, json};

use super::NOBODYS;
use crate::answers::book::{Book, By};

pub(in crate::answers) fn tell(book: &mut Book) {
    let role = book.server.create_role("caller", json!({}));
    book.name(role, "caller");
    let session = book.session("alice");
    book.server.post("/v1/endpoints/mallory/ban").secret().send(json!({"reason": "spam"})).ok();
    let audit = "GET /v1/audit";
    book.ask("The audit log is read", audit, &[], By::Secret, Value::Null);
    book.ask_by_http("by an admin, as lines", &format!("{audit}?format=jsonl&limit=2"), &[], By::Admin, Value::Null);
    book.ask("of what is no action", &format!("{audit}?action=ban"), &[], By::Secret, Value::Null);
    book.ask("in what is no format", &format!("{audit}?format=xml"), &[], By::Secret, Value::Null);
    book.ask("by an endpoint", audit, &[], By::Token(&session), Value::Null);
    book.ask("of one action", &format!("{audit}?action=endpoint.banned&limit=1"), &[], By::Secret, Value::Null);
    let requests = "GET /v1/request-log";
    book.ask(
        "The log of requests is read",
        &format!("{requests}?route=/v1/roles&limit=1"),
        &[],
        By::Secret,
        Value::Null,
    );
    book.ask_by_http("as lines", &format!("{requests}?route=/v1/roles&format=jsonl"), &[], By::Secret, Value::Null);
    book.ask("of what is no status", &format!("{requests}?status=bad"), &[], By::Secret, Value::Null);
    book.ask("of an app that is none", &format!("{requests}?appId={NOBODYS}"), &[], By::Admin, Value::Null);
    book.ask("by an endpoint", requests, &[], By::Token(&session), Value::Null);
    let mut backend = book.server.connect_backend("pbx");
    for log in [audit, requests] {
        book.ask_on(&mut backend, "as lines over a socket", &format!("{log}?format=jsonl"), &[], Value::Null);
    }
    let stats = "GET /v1/stats";
    book.ask("Figures are read", stats, &[], By::Secret, Value::Null);
    book.ask("of a stretch that is none", &format!("{stats}?range=x"), &[], By::Secret, Value::Null);
    book.ask("by an endpoint", stats, &[], By::Token(&session), Value::Null);
}
