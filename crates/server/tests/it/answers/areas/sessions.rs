//! Sessions, for their holders and for those with authority over the app.

use serde_json::{Value, json};

use super::NOBODYS;
use crate::answers::book::{Book, By};
use crate::harness::text;

pub(in crate::answers) fn tell(book: &mut Book) {
    for path in ["/v1/session-tokens", "/v1/appauthsessions"] {
        let session = book.session("alice");
        let (read, extend, end) = (&format!("GET {path}"), &format!("PUT {path}"), &format!("DELETE {path}"));
        book.ask("A session is described", read, &[], By::Token(&session), Value::Null);
        book.ask("without one", read, &[], By::Nobody, Value::Null);
        book.ask("to a backend, which has none", read, &[], By::Secret, Value::Null);
        book.ask("A session is extended", extend, &[], By::Token(&session), json!({"ttl": 3_600}));
        book.ask("beyond the app's maximum", extend, &[], By::Token(&session), json!({"ttl": 1_000_000_000}));
        book.ask("for no time", extend, &[], By::Token(&session), json!({"ttl": 0}));
        book.ask("without one", extend, &[], By::Nobody, json!({"ttl": 60}));
        book.ask("A session ends", end, &[], By::Token(&session), Value::Null);
        book.ask("again", end, &[], By::Token(&session), Value::Null);
        book.ask("and is no more", read, &[], By::Token(&session), Value::Null);
        book.ask("by a wrong credential", end, &[], By::Headers(&[("App-Secret", "wrong")]), Value::Null);
    }

    book.session("alice");
    book.session("bob");
    let list = book.ask("Sessions are listed", "GET /v1/sessions?limit=2", &[], By::Secret, Value::Null);
    let id = text(&list[0]["id"]);
    book.name(id.clone(), "alice's session");
    book.ask("those of an address", "GET /v1/sessions?address=192.0.2.1", &[], By::Secret, Value::Null);
    book.ask("of what is no address", "GET /v1/sessions?address=x", &[], By::Secret, Value::Null);
    book.ask("since what is no time", "GET /v1/sessions?since=soon", &[], By::Secret, Value::Null);
    book.ask("A session is read", "GET /v1/sessions/{id}", &[&id], By::Secret, Value::Null);
    book.ask("one that is none", "GET /v1/sessions/{id}", &[NOBODYS], By::Secret, Value::Null);
    book.ask("A session is ended", "DELETE /v1/sessions/{id}", &[&id], By::Secret, Value::Null);
    book.ask(
        "with fields that it has not",
        "DELETE /v1/sessions/{id}",
        &[&id],
        By::Secret,
        json!({"everywhere": true}),
    );
    book.ask("one that is none", "DELETE /v1/sessions/{id}", &["x"], By::Secret, Value::Null);
    let many = "DELETE /v1/sessions";
    book.ask("An endpoint's sessions are ended", many, &[], By::Secret, json!({"endpointId": "bob"}));
    book.ask("a role's", many, &[], By::Secret, json!({"roleId": book.server.role}));
    book.ask("all", many, &[], By::Secret, json!({"all": true}));
    book.ask("nobody's", many, &[], By::Secret, Value::Null);
    book.ask("two at once", many, &[], By::Secret, json!({"endpointId": "bob", "all": true}));

    let app = "PUT /v1/apps/{id}";
    let id = book.server.app.clone();
    let session = book.session("alice");
    book.ask(
        "Pages of one domain may use the app",
        app,
        &[&id],
        By::Admin,
        json!({"permittedDomains": ["example.com"]}),
    );
    let origin = [("App-Token", session.as_str()), ("Origin", "https://evil.test")];
    book.ask_by_http("A page of another asks", "GET /v1/session-tokens", &[], By::Headers(&origin), Value::Null);
    book.ask_by_http("ends its session", "DELETE /v1/session-tokens", &[], By::Headers(&origin), Value::Null);
    book.ask_by_http("ends its session", "DELETE /v1/appauthsessions", &[], By::Headers(&origin), Value::Null);
    let origin = [("App-Token", session.as_str()), ("Origin", "https://example.com")];
    book.ask_by_http("A page of this domain asks", "GET /v1/session-tokens", &[], By::Headers(&origin), Value::Null);
    book.ask("The endpoint is banned", "PUT /v1/endpoints/{id}/ban", &["alice"], By::Secret, json!({"reason": "spam"}));
    book.ask("and has no session", "GET /v1/session-tokens", &[], By::Token(&session), Value::Null);
}
