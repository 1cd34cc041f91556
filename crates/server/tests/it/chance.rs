//! What is random comes in, as the time does: a server says again what one of the same seed said, to the letter.

use std::sync::Arc;

use respoke_core::chance::SeededChance;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::harness::{Answer, NOW, PASSWORD, Server, note_secret, text};
use crate::totp::code_at;

/// What a server of a seed said.
struct Told {
    server: Server,
    said: Vec<String>,
}

impl Told {
    fn of(seed: u64) -> Self {
        let chance = Arc::new(SeededChance::of(seed));
        let server = Server::start_by(Builder::new_current_thread(), chance, |_| {});
        let first = [&server.app, &server.secret, &server.role, &server.setup_token].map(Clone::clone);
        Self { server, said: first.to_vec() }
    }

    /// Notes an answer, and reads it.
    fn note(&mut self, answer: Answer) -> Value {
        let headers = ["request-id", "set-cookie"].map(|name| answer.header(name).unwrap_or_default().to_owned());
        self.said.push(format!("{} {headers:?} {}", answer.status, answer.text.replace(&self.server.url, "")));
        answer.body
    }

    fn send(&mut self, method: &str, path: &str, admin: &str, body: Value) -> Value {
        let request = self.server.request(method, path);
        let request = if admin.is_empty() { request.secret() } else { request.admin(admin) };
        let answer = request.send(body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        ["token", "tokenId", "secret"].iter().filter_map(|name| answer.body[name].as_str()).for_each(note_secret);
        self.note(answer)
    }

    /// Has everything made that is drawn, and notes it.
    fn make_everything(&mut self) {
        // Admins: sessions, passwords' salts, second factors.
        let sign_in = |username| json!({"username": username, "password": PASSWORD});
        let unknown = self.server.post("/v1/admin-sessions").send(sign_in("nobody"));
        assert_eq!(unknown.status, 401, "{}", unknown.text);
        self.note(unknown);
        let admin = text(&self.send("POST", "/v1/admin-sessions", "", sign_in("admin"))["token"]);
        let other = json!({"username": "jo", "password": PASSWORD, "role": "developer", "currentPassword": PASSWORD});
        self.send("POST", "/v1/admins", &admin, other);
        let jo = text(&self.send("POST", "/v1/admin-sessions", "", sign_in("jo"))["token"]);
        let secret = text(&self.send("POST", "/v1/admins/me/totp", &jo, json!({"password": PASSWORD}))["secret"]);
        self.send("PUT", "/v1/admins/me/totp", &jo, json!({"code": code_at(&secret, NOW)}));
        for admin in
            Builder::new_current_thread().build().unwrap().block_on(self.server.broker.store().admins()).unwrap()
        {
            let sealed = admin.second_factor.map(|second| second.sealed.to_bytes());
            self.said.push(format!("{} {:?}", admin.password_hash, sealed));
        }
        let form = format!("username=admin&password={PASSWORD}&next=/console/audit");
        let request = self.server.post("/console/sign-in").header("Content-Type", "application/x-www-form-urlencoded");
        let signed_in = request.header("Sec-Fetch-Site", "same-origin").raw(form.as_bytes());
        let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        note_secret(cookie.split_once('=').unwrap().1);
        self.note(signed_in);
        let secrets = format!("/console/apps/{}/secrets", self.server.app);
        let page = self.server.get(&secrets).header("Cookie", &cookie).call();
        assert!(page.status == 200 && page.text.contains("name=\"once\""), "{}", page.text);
        self.note(page);

        // Apps, their secrets and roles.
        self.send("POST", "/v1/apps", &admin, json!({"name": "another"}));
        let secrets = format!("/v1/apps/{}/secrets", self.server.app);
        let made = self.send("POST", &secrets, &admin, json!({"name": "backend"}));
        self.send("POST", &format!("{secrets}/{}/roll", text(&made["id"])), &admin, json!({}));
        self.send("POST", "/v1/roles", "", json!({"name": "guest"}));

        // Tokens, sessions, devices.
        let minted = json!({"endpointId": "alice", "roleId": self.server.role});
        let token = text(&self.send("POST", "/v1/tokens", "", minted)["tokenId"]);
        let redeemed = self.server.redeem(&token);
        let session = text(&self.note(redeemed)["token"]);
        let device = json!({"token": "a device's", "service": "apple"});
        let device = self.server.post("/v1/connections/any/push-token").token(&session).send(device);
        assert_eq!(device.status, 200, "{}", device.text);
        self.note(device);

        // Sockets, and what they are told.
        let mut alice = self.server.connect("alice");
        let mut bob = self.server.connect("bob");
        alice.join("room");
        bob.join("room");
        bob.publish("room", "hello");
        let (joined, heard) = (alice.push("join").to_string(), alice.push("pubsub").to_string());
        self.said.extend([alice.app_token.clone(), alice.connection.clone(), bob.connection.clone(), joined, heard]);
        let handshake = self.server.handshake(&format!("app-token={session}"));
        assert_eq!(handshake.status, 200, "{}", handshake.text);
        self.note(handshake);

        // And what was written down of it all.
        self.send("GET", "/v1/audit", &admin, json!({}));
    }
}

#[test]
fn a_server_of_the_same_seed_says_the_same_to_the_letter() {
    let told = |seed| {
        let mut told = Told::of(seed);
        told.make_everything();
        told.said
    };
    let (first, second, other) = (told(7), told(7), told(8));
    // Piece by piece: what differs is then told alone.
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first, second);
    }
    assert_eq!(first.len(), second.len());
    // Of another seed nothing is the same, down to the request's id.
    for (nth, (first, other)) in first.iter().zip(&other).enumerate() {
        assert_ne!(first, other, "{nth}");
    }
}
