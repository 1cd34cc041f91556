//! Tokens: minted, looked at, spent, revoked, and as OAuth sees them.

use serde_json::{Value, json};

use super::NOBODYS;
use crate::answers::book::{Book, By, secret};

pub(in crate::answers) fn tell(book: &mut Book) {
    let role = book.server.role.clone();
    let alice = json!({"endpointId": "alice", "roleId": role});
    let mint = "POST /v1/tokens";
    let minted = book.ask("A token is minted", mint, &[], By::Secret, alice.clone());
    let first = secret(&minted, "tokenId");
    book.name(first.clone(), "alice's tokenId");
    book.ask(
        "by a role's name, for a time",
        mint,
        &[],
        By::Admin,
        json!({"appId": book.server.app, "endpointId": "bob", "roleName": "member", "ttl": 60}),
    );
    let key = [("App-Secret", book.server.secret.clone()), ("Idempotency-Key", "once".to_owned())];
    let keyed: Vec<_> = key.iter().map(|(name, value)| (*name, value.as_str())).collect();
    book.ask("with a key", mint, &[], By::Headers(&keyed), alice.clone());
    book.ask(
        "with the key of another request",
        mint,
        &[],
        By::Headers(&keyed),
        json!({"endpointId": "bob", "roleId": role}),
    );
    book.ask(
        "without a credential, where the app is not in development",
        mint,
        &[],
        By::Nobody,
        json!({"appId": book.server.app, "endpointId": "alice"}),
    );
    book.ask("without its endpoint", mint, &[], By::Secret, json!({}));
    book.ask(
        "with fields that are wrong",
        mint,
        &[],
        By::Secret,
        json!({"endpointId": "x".repeat(257), "roleId": "7"}),
    );
    book.ask("for the backends' own name", mint, &[], By::Secret, json!({"endpointId": "__system__", "roleId": role}));
    book.ask("in a role that is not there", mint, &[], By::Secret, json!({"endpointId": "alice", "roleId": NOBODYS}));
    book.ask(
        "for a banned endpoint: banned",
        "PUT /v1/endpoints/{id}/ban",
        &["mallory"],
        By::Secret,
        json!({"reason": "spam"}),
    );
    book.ask("for a banned endpoint: minted", mint, &[], By::Secret, json!({"endpointId": "mallory", "roleId": role}));

    book.ask("Tokens are listed", "GET /v1/tokens?endpointId=alice&limit=1", &[], By::Secret, Value::Null);
    book.ask("by a limit that is too high", "GET /v1/tokens?limit=201", &[], By::Secret, Value::Null);
    book.ask("after a cursor that no list gave", "GET /v1/tokens?cursor=x", &[], By::Secret, Value::Null);
    let one = "GET /v1/tokens/{id}";
    book.ask("A token is looked at", one, &[&first], By::Secret, Value::Null);
    book.ask("one that is none", one, &["nonsense"], By::Secret, Value::Null);

    let replace = "PUT /v1/tokens";
    let replaced = book.ask("Tokens are replaced by one", replace, &[], By::Secret, alice.clone());
    let second = secret(&replaced, "tokenId");
    book.name(second.clone(), "alice's second tokenId");
    book.ask("without its endpoint", replace, &[], By::Secret, json!({}));
    book.ask("The first is over", one, &[&first], By::Secret, Value::Null);

    for open in ["POST /v1/session-tokens", "POST /v1/appauthsessions"] {
        let token = book.server.mint("alice");
        book.name(token.clone(), "another tokenId of alice");
        book.ask("A token is spent", open, &[], By::Nobody, json!({"tokenId": token}));
        book.ask("twice", open, &[], By::Nobody, json!({"tokenId": token}));
        book.ask("none", open, &[], By::Nobody, json!({}));
    }

    let revoke = "DELETE /v1/tokens/{id}";
    let third = book.server.mint("bob");
    book.name(third.clone(), "bob's tokenId");
    book.ask("A token is revoked", revoke, &[&third], By::Secret, Value::Null);
    book.ask("again", revoke, &[&third], By::Secret, Value::Null);
    book.ask("one that is none", revoke, &["nonsense"], By::Secret, Value::Null);

    let (introspect, end) = ("POST /oauth/introspect", "POST /oauth/revoke");
    let session = book.session("carol");
    let waiting = book.server.mint("dave");
    book.name(waiting.clone(), "dave's tokenId");
    for (title, token) in [
        ("A session is introspected", &session),
        ("A tokenId is introspected", &waiting),
        ("nonsense", &"x".to_owned()),
    ] {
        book.ask(title, introspect, &[], By::Secret, json!({"token": token}));
    }
    for (title, token) in
        [("A session is revoked", &session), ("A tokenId is revoked", &waiting), ("nonsense", &"x".to_owned())]
    {
        book.ask(title, end, &[], By::Secret, json!({"token": token}));
    }
    for operation in [introspect, end] {
        book.ask("no token", operation, &[], By::Secret, json!({}));
        book.ask("nobody asks", operation, &[], By::Nobody, json!({"token": session}));
        book.ask("one that has not the right asks", operation, &[], By::Token(&session), json!({"token": session}));
    }
}
