//! Roles.

use serde_json::{Value, json};

use super::NOBODYS;
use crate::answers::book::{Book, By};
use crate::harness::text;

pub(in crate::answers) fn tell(book: &mut Book) {
    let create = "POST /v1/roles";
    let role = json!({
        "name": "caller",
        "groups": {"*": {"publish": true, "subscribe": true}, "room": {"create": true}},
        "events": {"subscribe": true},
        "mediaRelay": true,
        "pstnOut": ["+1"],
        "callerIds": ["+1555"],
        "conferences": {"*": {"join": true}},
    });
    let made = book.ask("A role is made", create, &[], By::Secret, role.clone());
    let id = text(&made["id"]);
    book.name(id.clone(), "caller");
    book.ask("of a name that is taken", create, &[], By::Secret, role);
    book.ask("without a name", create, &[], By::Secret, json!({}));
    book.ask("by an endpoint", create, &[], By::Nobody, json!({"name": "x"}));
    book.ask("by an admin", create, &[], By::Admin, json!({"name": "other", "appId": book.server.app}));
    book.ask("Roles are listed", "GET /v1/roles?limit=2", &[], By::Secret, Value::Null);
    book.ask("to nobody", "GET /v1/roles", &[], By::Nobody, Value::Null);
    book.ask("A role is read", "GET /v1/roles/{id}", &[&id], By::Secret, Value::Null);
    book.ask("one that is none", "GET /v1/roles/{id}", &[NOBODYS], By::Secret, Value::Null);
    book.ask(
        "A role is changed",
        "PUT /v1/roles/{id}",
        &[&id],
        By::Secret,
        json!({"name": "listener", "groups": {"list": true}}),
    );
    book.ask("to a name that is taken", "PUT /v1/roles/{id}", &[&id], By::Secret, json!({"name": "member"}));
    book.ask("one that is none", "PUT /v1/roles/{id}", &[NOBODYS], By::Secret, json!({"name": "x"}));
    book.ask("A role is deleted", "DELETE /v1/roles/{id}", &[&id], By::Secret, Value::Null);
    book.ask("again", "DELETE /v1/roles/{id}", &[&id], By::Secret, Value::Null);
}
