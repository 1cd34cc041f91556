//! Who may ask for what: each operation, asked with each kind of credential and with nothing else.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::book::{Book, By};

/// What no credential of anybody's looks like, and what one does that is nobody's.
const WRONG: &str = "CANARY-wrong";
/// Parameters of paths: an endpoint or group, or no object of anybody's.
const NOBODYS: &str = "00000000-0000-4000-8000-000000000000";

pub(super) fn tell(book: &mut Book) {
    let described = book.server.get("/openapi.json").call().ok();
    let (mut alice, mut admin) = (book.server.session("alice"), book.admin.clone());
    for operation in super::operations(&described) {
        // How often figures may be read is told elsewhere.
        if operation == "GET /metrics" {
            continue;
        }
        tell_one(book, &operation, &alice, &admin);
        match operation.as_str() {
            "DELETE /v1/session-tokens" | "DELETE /v1/appauthsessions" => alice = book.server.session("alice"),
            "DELETE /v1/admin-sessions" | "DELETE /v1/adminsessions" => admin = book.server.admin_token("admin"),
            _ => {}
        }
    }
}

fn tell_one(book: &mut Book, operation: &str, alice: &str, admin: &str) {
    let (_, template) = operation.split_once(' ').unwrap();
    let by_admin = [("Admin-Token", admin)];
    let wrong = [("App-Secret", WRONG)];
    let callers = [
        ("nobody", By::Nobody),
        ("wrong", By::Headers(&wrong)),
        ("App-Token", By::Token(alice)),
        ("App-Secret", By::Secret),
        ("Admin-Token", By::Headers(&by_admin)),
    ];
    // To those it is given, it goes on and on.
    let callers = if template.ends_with("/tail") { &callers[..3] } else { &callers };
    let params: Vec<&str> = template.matches('{').map(|_| NOBODYS).collect();
    let body = if operation.starts_with("GET ") { Value::Null } else { json!({}) };
    // Over a socket nobody looks on, it is registered as the one who opened it, and where an App-Token is not looked at,
    // the socket's own credential is.
    let is_of_http = template.ends_with("/tail")
        || (operation.starts_with("POST ") && template.ends_with("connections"))
        || ["POST /v1/tokens", "PUT /v1/tokens"].contains(&operation);
    let mut told = String::new();
    for (name, by) in callers.iter().copied() {
        // Failed attempts are forgotten.
        book.server.clock.advance_secs(30);
        if is_of_http {
            book.ask_by_http(name, operation, &params, by, body.clone());
        } else {
            book.ask(name, operation, &params, by, body.clone());
        }
        let entry = book.entries.pop().unwrap();
        // Successes are told of elsewhere.
        let refusal = if entry.status == 200 { String::new() } else { refusal(&entry.body) };
        let _ = writeln!(told, "    {name:<12} {}{refusal}", entry.status);
    }
    book.row(operation, told);
}

/// What a refusal says, in a line.
fn refusal(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    let error = body["error"].as_str().unwrap();
    let said = body["error_description"].as_str().map_or_else(String::new, |said| format!(": {said}"));
    let fields = body["validationErrors"].as_object().map_or_else(String::new, |fields| {
        format!(" {}", fields.keys().map(String::as_str).collect::<Vec<_>>().join(" "))
    });
    format!(" {} ({error}{said}){fields}", body["code"].as_str().unwrap())
}
