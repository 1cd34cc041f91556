//! Connections, the devices behind them, and who is there.

use serde_json::{Value, json};

use super::NOBODYS;
use crate::answers::book::{Book, By};
use crate::harness::text;

pub(in crate::answers) fn tell(book: &mut Book) {
    let token = book.session("alice");
    let mut alice = book.server.open_as("alice", &token);
    for (path, params) in [
        ("/v1/connections", &[] as &[&str]),
        ("/v1/endpointconnections", &[]),
        ("/v1/endpoints/{id}/connections", &["alice"]),
    ] {
        let create = &format!("POST {path}");
        let made = book.ask_on(
            &mut alice,
            "A connection is registered",
            create,
            params,
            json!({"clientType": "web", "capabilities": {"trickleIce": true}}),
        );
        alice.connection = text(&made["id"]);
        book.name(alice.connection.clone(), "alice's connection");
        book.ask("without a socket", create, params, By::Nobody, json!({}));
        book.ask_by_http(
            "for another, without a socket",
            create,
            params,
            By::Token(&token),
            json!({"endpointId": "bob"}),
        );
        book.ask_on(&mut alice, "as what is no client", create, params, json!({"clientType": "x".repeat(65)}));
    }
    book.ask("Connections are listed", "GET /v1/connections?limit=1", &[], By::Secret, Value::Null);
    book.ask("to an endpoint", "GET /v1/connections", &[], By::Token(&token), Value::Null);

    for family in ["connections", "endpointconnections"] {
        let path = format!("/v1/{family}/{{id}}/push-token");
        let (create, replace, remove) = (
            &format!("POST {path}"),
            &format!("PUT {path}/{{push_token_id}}"),
            &format!("DELETE {path}/{{push_token_id}}"),
        );
        let device = json!({"token": "a device's", "service": "apple"});
        let made = book.ask("A device is registered", create, &[NOBODYS], By::Token(&token), device.clone());
        let id = text(&made["id"]);
        book.name(id.clone(), "device");
        book.ask("of no service", create, &[NOBODYS], By::Token(&token), json!({"token": "text", "service": "x"}));
        book.ask("for nobody", create, &[NOBODYS], By::Secret, device.clone());
        book.ask("A device has another token", replace, &[NOBODYS, &id], By::Token(&token), device);
        book.ask("none", replace, &[NOBODYS, &id], By::Token(&token), json!({}));
        book.ask("A device is removed", remove, &[NOBODYS, &id], By::Token(&token), Value::Null);
        book.ask("by nobody", remove, &[NOBODYS, &id], By::Nobody, Value::Null);
    }

    let say = "POST /v1/presence";
    book.ask_on(&mut alice, "A presence is said", say, &[], json!({"presence": {"type": "away", "status": "lunch"}}));
    book.ask_on(&mut alice, "none", say, &[], json!({}));
    book.ask("without a connection", say, &[], By::Secret, json!({"presence": {"type": "away"}}));
    for path in ["/v1/presenceobservers", "/v1/presence-observers"] {
        let observe = &format!("POST {path}");
        book.ask_on(&mut alice, "Contacts are observed", observe, &[], json!({"endpointList": ["alice", "nobody"]}));
        book.ask_on(&mut alice, "none", observe, &[], json!({}));
        book.ask("without a connection", observe, &[], By::Secret, json!({"endpointList": ["alice"]}));
    }
    book.ask("An endpoint is read", "GET /v1/endpoints/{id}", &["alice"], By::Secret, Value::Null);

    for family in ["connections", "endpointconnections"] {
        let end = &format!("DELETE /v1/{family}/{{id}}");
        let mut bob = book.server.connect("bob");
        let connection = bob.connection.clone();
        book.name(connection.clone(), "bob's connection");
        book.ask("A connection is ended", end, &[&connection], By::Secret, Value::Null);
        bob.end();
        book.ask("one that is none", end, &[NOBODYS], By::Secret, Value::Null);
        book.ask("another's", end, &[&connection], By::Token(&token), Value::Null);
    }
}
