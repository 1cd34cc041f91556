//! Keys and credentials of a test's own, and what a server is told of them.

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// The key of a user, which nobody else has.
pub(super) fn user() -> KeyPair {
    KeyPair::new_user()
}

/// An operator with an account and a user in it, as `nsc` makes them.
pub(super) struct Operator {
    /// What the server is set up with.
    pub(super) set_up: String,
    /// What is in the user's file.
    pub(super) credentials: String,
    /// What of it nobody may see.
    pub(super) secret: String,
}

impl Operator {
    /// The user may do what these subjects say.
    pub(super) fn new(subjects: &str) -> Self {
        let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let operator_jwt = jwt(&operator, &operator, &json!({ "type": "operator", "version": 2 }));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        });
        let account_jwt = jwt(&operator, &account, &json!({ "type": "account", "version": 2, "limits": limits }));
        let permitted = json!({ "allow": [subjects] });
        let of_user = json!({
            "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": permitted, "sub": permitted,
        });
        let user_jwt = jwt(&account, &user, &of_user);
        let secret = user.seed().unwrap();
        let account = account.public_key();
        Self {
            set_up: format!(
                "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {account}: {account_jwt} }}\n"
            ),
            credentials: format!(
                "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{secret}\n------END USER NKEY SEED------\n"
            ),
            secret,
        }
    }
}

fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let claims = json!({
        "jti": "1", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test", "nats": nats,
    });
    let encode = |part: &[u8]| BASE64URL_NOPAD.encode(part);
    let header = encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let signature = encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}
