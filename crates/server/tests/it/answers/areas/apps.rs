//! Apps and their secrets.

use serde_json::{Value, json};

use super::NOBODYS;
use crate::answers::book::{Book, By, secret};
use crate::harness::text;

pub(in crate::answers) fn tell(book: &mut Book) {
    let id = book.server.app.clone();
    book.ask("Apps are listed", "GET /v1/apps", &[], By::Admin, Value::Null);
    book.ask("to a backend: its own", "GET /v1/apps", &[], By::Secret, Value::Null);
    book.ask("to nobody", "GET /v1/apps", &[], By::Nobody, Value::Null);
    let create = "POST /v1/apps";
    let made = book.ask("An app is made", create, &[], By::Admin, json!({"name": "another", "developmentMode": true}));
    let another = text(&made["id"]);
    book.name(another.clone(), "another app");
    book.name(secret(&made, "secret"), "another App-Secret");
    book.ask(
        "In development anybody mints",
        "POST /v1/tokens",
        &[],
        By::Nobody,
        json!({"appId": another, "endpointId": "alice"}),
    );
    book.ask("without a name", create, &[], By::Admin, json!({}));
    book.ask("by a backend", create, &[], By::Secret, json!({"name": "x"}));
    book.ask("with all that there is to set", create, &[], By::Admin, json!({
        "name": "all",
        "description": "as much as can be said",
        "permittedDomains": ["example.com"],
        "maxTtl": 7_200,
        "activationWindow": 60,
        "sessionExpiry": "keep",
        "limits": {"app": {"perSecond": 5, "burst": 10}, "connections": 7, "endpointConnects": null, "keptMegabytes": 3},
    }));
    book.ask("An app is read", "GET /v1/apps/{id}", &[&id], By::Secret, Value::Null);
    book.ask("by an admin", "GET /v1/apps/{id}", &[&id], By::Admin, Value::Null);
    book.ask("one that is none", "GET /v1/apps/{id}", &[NOBODYS], By::Admin, Value::Null);
    for method in ["PUT", "PATCH"] {
        let update = &format!("{method} /v1/apps/{{id}}");
        book.ask(
            "An app is changed",
            update,
            &[&another],
            By::Admin,
            json!({"description": "changed", "limits": {"membersPerGroup": 3}}),
        );
        book.ask("to what it cannot be", update, &[&another], By::Admin, json!({
            "name": "", "maxTtl": 0, "permittedDomains": ["*"], "limits": {"app": {"perSecond": 0}, "connections": 0}
        }));
        book.ask("one that is none", update, &[NOBODYS], By::Admin, json!({"name": "x"}));
    }

    let (list, create) = ("GET /v1/apps/{id}/secrets", "POST /v1/apps/{id}/secrets");
    let made = book.ask("A secret is made", create, &[&another], By::Admin, json!({"name": "second"}));
    let second = text(&made["id"]);
    book.name(second.clone(), "the second secret");
    book.name(secret(&made, "secret"), "the second App-Secret");
    book.ask(
        "that ends before it begins",
        create,
        &[&another],
        By::Admin,
        json!({"name": "x", "expiresAt": "2001-01-01T00:00:00.000Z"}),
    );
    book.ask("in another's app", create, &[&another], By::Secret, json!({"name": "x"}));
    book.ask("Secrets are listed", list, &[&another], By::Admin, Value::Null);
    book.ask("of no app", list, &[NOBODYS], By::Admin, Value::Null);
    let read = "GET /v1/apps/{id}/secrets/{sid}";
    book.ask("A secret is read", read, &[&another, &second], By::Admin, Value::Null);
    book.ask("one that is none", read, &[&another, NOBODYS], By::Admin, Value::Null);
    let roll = "POST /v1/apps/{id}/secrets/{sid}/roll";
    let rolled = book.ask("A secret is rolled", roll, &[&another, &second], By::Admin, json!({"overlap": "1h"}));
    book.name(secret(&rolled, "secret"), "the third App-Secret");
    book.ask("for what is no time", roll, &[&another, &second], By::Admin, json!({"overlap": "soon"}));
    book.ask("one that is none", roll, &[&another, NOBODYS], By::Admin, json!({}));
    let revoke = "DELETE /v1/apps/{id}/secrets/{sid}";
    book.ask("A secret is revoked", revoke, &[&another, &second], By::Admin, Value::Null);
    book.ask("with what it does not take", revoke, &[&another, &second], By::Admin, json!({"everywhere": true}));
    book.ask("one that is none", revoke, &[&another, NOBODYS], By::Admin, Value::Null);

    book.ask("An app is deleted", "DELETE /v1/apps/{id}", &[&another], By::Admin, Value::Null);
    book.ask("again", "DELETE /v1/apps/{id}", &[&another], By::Admin, Value::Null);
    book.ask("by its backend", "DELETE /v1/apps/{id}", &[&id], By::Secret, Value::Null);
}
