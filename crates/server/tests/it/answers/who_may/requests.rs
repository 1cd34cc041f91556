//! With what each operation is asked: a path, a query and a body that are in order, made anew for what is gone afterwards.

use serde_json::{Value, json};

use super::{Scene, Who};
use crate::answers::book::Book;
use crate::harness::{PASSWORD, Socket, note_secret, text};

/// What an operation is asked with.
pub(super) struct Request {
    pub(super) params: Vec<String>,
    pub(super) query: String,
    pub(super) body: Value,
    /// Whoever has to be there meanwhile.
    _present: Option<Socket>,
}

impl Request {
    fn new(params: &[&str], query: &str, body: Value) -> Self {
        let params = params.iter().map(|param| (*param).to_owned()).collect();
        Self { params, query: query.to_owned(), body, _present: None }
    }

    /// With nothing but a path.
    fn plain(params: &[&str]) -> Self {
        Self::new(params, "", Value::Null)
    }

    fn of(params: &[&str], body: Value) -> Self {
        Self::new(params, "", body)
    }

    fn in_presence_of(self, present: Socket) -> Self {
        Self { _present: Some(present), ..self }
    }
}

impl Scene {
    /// What `own_name` is asked with by `who`, while alice is connected as `own`.
    pub(super) fn request(&mut self, book: &Book, own_name: &str, who: Who, own: &Socket) -> Request {
        let found = self
            .of_admins(book, own_name)
            .or_else(|| self.of_apps(book, own_name, who))
            .or_else(|| self.of_tokens(book, own_name))
            .or_else(|| self.of_endpoints(book, own_name))
            .or_else(|| self.of_groups(book, own_name, own))
            .or_else(|| self.of_connections(book, own_name, own))
            .or_else(|| self.of_the_rest(own_name));
        found.unwrap_or_else(|| panic!("with what is {own_name} asked?"))
    }

    fn queried(&self, params: &[&str]) -> Request {
        Request::new(params, &format!("?appId={}", self.app), Value::Null)
    }

    fn sent(&self, params: &[&str], mut body: Value) -> Request {
        body["appId"] = json!(self.app);
        Request::of(params, body)
    }

    fn of_admins(&mut self, book: &Book, own_name: &str) -> Option<Request> {
        Some(match own_name {
            "POST /v1/admin-sessions" => Request::of(&[], json!({"username": "admin", "password": PASSWORD})),
            "POST /v1/admins" => Request::of(&[], self.new_admin()),
            "PUT /v1/admins/me/password" => Request::of(&[], json!({"password": PASSWORD, "newPassword": PASSWORD})),
            "POST /v1/admins/me/totp" => Request::of(&[], json!({"password": PASSWORD})),
            "PUT /v1/admins/me/totp" => Request::of(&[], json!({"code": "000000"})),
            "DELETE /v1/admins/me/totp" => Request::of(&[], json!({"password": PASSWORD, "code": "000000"})),
            "POST /v1/nodes/{id}/drain" => Request::of(&["0"], json!({})),
            "DELETE /v1/admins/{id}" => Request::plain(&[&self.admin(book)]),
            "PUT /v1/admins/{id}" | "PATCH /v1/admins/{id}" => {
                Request::of(&[&self.admin(book)], json!({"role": "developer", "currentPassword": PASSWORD}))
            }
            "GET /v1/admins" | "GET /v1/admins/me" | "GET /v1/nodes" | "DELETE /v1/admin-sessions" => {
                Request::plain(&[])
            }
            _ => return None,
        })
    }

    fn of_apps(&mut self, book: &Book, own_name: &str, who: Who) -> Option<Request> {
        let (server, app) = (&book.server, self.app.clone());
        Some(match own_name {
            "GET /v1/apps" => Request::plain(&[]),
            "POST /v1/apps" => Request::of(&[], json!({"name": self.name()})),
            "POST /v1/apps, with limits" => {
                Request::of(&[], json!({"name": self.name(), "limits": {"groupsPerConnection": 100}}))
            }
            // An App-Secret asks for its own app; an admin's is gone afterwards.
            "DELETE /v1/apps/{id}" if matches!(who, Who::ReadOnly | Who::Developer | Who::Owner) => {
                let made = server.post("/v1/apps").admin(&self.owner).send(json!({"name": self.name()})).ok();
                Request::plain(&[&text(&made["id"])])
            }
            "DELETE /v1/apps/{id}" | "GET /v1/apps/{id}" | "GET /v1/apps/{id}/secrets" => Request::plain(&[&app]),
            "PUT /v1/apps/{id}" | "PATCH /v1/apps/{id}" => Request::of(&[&app], json!({"description": "what it is"})),
            "PUT /v1/apps/{id}, its limits" => Request::of(&[&app], json!({"limits": {"groupsPerConnection": 100}})),
            "POST /v1/apps/{id}/secrets" => Request::of(&[&app], json!({"name": self.name()})),
            "GET /v1/apps/{id}/secrets/{sid}" | "DELETE /v1/apps/{id}/secrets/{sid}" => {
                Request::plain(&[&app, &self.secret(book)])
            }
            "POST /v1/apps/{id}/secrets/{sid}/roll" => {
                Request::of(&[&app, &self.secret(book)], json!({"overlap": "now"}))
            }
            "GET /v1/roles" => self.queried(&[]),
            "POST /v1/roles" => {
                let name = self.name();
                self.sent(&[], json!({"name": name}))
            }
            "GET /v1/roles/{id}" => self.queried(&[&self.role]),
            "PUT /v1/roles/{id}" => {
                let id = server.create_role(&self.name(), json!({}));
                self.sent(&[&id], json!({"mediaRelay": true}))
            }
            "DELETE /v1/roles/{id}" => {
                let id = server.create_role(&self.name(), json!({}));
                self.queried(&[&id])
            }
            _ => return None,
        })
    }

    fn of_tokens(&mut self, book: &Book, own_name: &str) -> Option<Request> {
        let server = &book.server;
        Some(match own_name {
            "POST /oauth/introspect" | "POST /oauth/revoke" => {
                Request::of(&[], json!({"token": server.session("bob")}))
            }
            "GET /v1/tokens" | "GET /v1/sessions" => self.queried(&[]),
            "POST /v1/tokens" | "PUT /v1/tokens" => self.sent(&[], json!({"endpointId": "bob", "roleId": self.role})),
            "POST /v1/tokens, in development mode" | "PUT /v1/tokens, in development mode" => {
                Request::of(&[], json!({"endpointId": "bob", "appId": self.other}))
            }
            "GET /v1/tokens/{id}" | "DELETE /v1/tokens/{id}" => Request::plain(&[&server.mint("bob")]),
            "POST /v1/session-tokens" => Request::of(&[], json!({"tokenId": server.mint("bob")})),
            "PUT /v1/session-tokens" => Request::of(&[], json!({})),
            "GET /v1/session-tokens" | "DELETE /v1/session-tokens" => Request::plain(&[]),
            "DELETE /v1/sessions" => self.sent(&[], json!({"endpointId": "bob"})),
            "GET /v1/sessions/{id}" | "DELETE /v1/sessions/{id}" => {
                let token = server.session("bob");
                let session = server.get("/v1/session-tokens").token(&token).call().ok();
                Request::plain(&[&text(&session["id"])])
            }
            _ => return None,
        })
    }

    fn of_endpoints(&mut self, book: &Book, own_name: &str) -> Option<Request> {
        Some(match own_name {
            "GET /v1/endpoints/{id}/tail, what is said"
            | "GET /v1/endpoints/{id}/tail, what is said, over a socket" => {
                Request::new(&["bob"], &format!("?appId={}&payloads=true", self.app), Value::Null)
            }
            "GET /v1/endpoints/{id}/tail" => self.queried(&["bob"]),
            "GET /v1/endpoints/{id}" | "GET /v1/endpoints/{id}/conversations" => self.queried(&["alice"]),
            "GET /v1/endpoints/{id}/ban" | "DELETE /v1/endpoints/{id}/ban" => {
                book.server.put("/v1/endpoints/mallory/ban").secret().send(json!({})).ok();
                self.queried(&["mallory"])
            }
            "POST /v1/endpoints/{id}/ban" | "PUT /v1/endpoints/{id}/ban" => {
                self.sent(&["mallory"], json!({"reason": "spam"}))
            }
            "GET /v1/bans" => self.queried(&[]),
            "PUT /v1/endpoints/{id}/conversations" | "POST /v1/endpoints/{id}/conversations" => {
                self.sent(&["alice"], json!({"groups": [{"groupId": "room", "timestamp": 4_000_000_000_000_i64}]}))
            }
            _ => return None,
        })
    }

    fn of_groups(&mut self, book: &Book, own_name: &str, own: &Socket) -> Option<Request> {
        let mut by_connection = json!({"endpointId": "alice", "connectionId": own.connection});
        Some(match own_name {
            "GET /v1/groups" => self.queried(&[]),
            "POST /v1/groups" | "DELETE /v1/groups" => {
                by_connection["groups"] = json!(["lobby"]);
                self.sent(&[], by_connection)
            }
            "POST /v1/groups/{id}" | "POST /v1/groups/{id}/subscribers" | "DELETE /v1/groups/{id}/subscribers" => {
                self.sent(&["lobby"], by_connection)
            }
            "DELETE /v1/groups/{id}" => {
                let mut member = book.server.connect("carol");
                member.join("to-end");
                self.sent(&["to-end"], json!({})).in_presence_of(member)
            }
            "GET /v1/groups/{id}" | "GET /v1/groups/{id}/subscribers" | "GET /v1/groups/{id}/history" => {
                self.queried(&["room"])
            }
            "POST /v1/groups/{id}/publish" => self.sent(&["room"], json!({"message": "hello", "endpointId": "alice"})),
            "POST /v1/group-history-search" => self.sent(&[], json!({"groupIds": ["room"]})),
            "GET /v1/group-histories" => Request::new(&[], &format!("?appId={}&groupIds=room", self.app), Value::Null),
            _ => return None,
        })
    }

    fn of_connections(&mut self, book: &Book, own_name: &str, own: &Socket) -> Option<Request> {
        let device = json!({"token": "a device's", "service": "apple", "endpointId": "alice"});
        Some(match own_name {
            "GET /v1/connections" => self.queried(&[]),
            "POST /v1/connections" => self.sent(&[], json!({"endpointId": "alice"})),
            "POST /v1/endpoints/{id}/connections" => self.sent(&["alice"], json!({})),
            "DELETE /v1/connections/{id}" => {
                let present = book.server.connect("alice");
                self.queried(&[&present.connection]).in_presence_of(present)
            }
            "POST /v1/connections/{id}/push-token" => self.sent(&[&own.connection], device),
            "PUT /v1/connections/{id}/push-token/{push_token_id}" => {
                self.sent(&[&own.connection, &registered(book, device.clone())], device)
            }
            "DELETE /v1/connections/{id}/push-token/{push_token_id}" => {
                self.queried(&[&own.connection, &registered(book, device)])
            }
            _ => return None,
        })
    }

    fn of_the_rest(&mut self, own_name: &str) -> Option<Request> {
        Some(match own_name {
            "POST /v1/messages" => self.sent(&[], json!({"to": "alice", "message": "hello", "endpointId": "carol"})),
            "POST /v1/presence" => self.sent(&[], json!({"presence": {"type": "away"}, "endpointId": "alice"})),
            // The app is the connection's.
            "POST /v1/presenceobservers" => Request::of(&[], json!({"endpointList": ["bob"]})),
            "POST /v1/signaling" => {
                let signal = json!({"signalType": "offer", "sessionId": "call", "target": "call"});
                self.sent(&[], json!({"to": "alice", "toType": "web", "signal": signal}))
            }
            "POST /v1/call-debugs" => self.sent(&[], json!({"debugData": {}, "endpointId": "alice"})),
            "POST /v1/turn" => self.sent(&[], json!({"endpointId": "alice"})),
            "DELETE /v1/conferences/{id}" | "GET /v1/conferences/{id}/participants" => Request::plain(&["room"]),
            "DELETE /v1/conferences/{id}/participants/{endpoint}" => Request::plain(&["room", "bob"]),
            "GET /v1/call-debugs" | "GET /v1/audit" | "GET /v1/request-log" | "GET /v1/stats" | "GET /v1/turn" => {
                self.queried(&[])
            }
            "GET /healthz" | "GET /readyz" => Request::plain(&[]),
            _ => return None,
        })
    }

    fn new_admin(&mut self) -> Value {
        json!({"username": self.name(), "password": PASSWORD, "role": "read-only", "currentPassword": PASSWORD})
    }

    /// An admin of no other use: the id.
    fn admin(&mut self, book: &Book) -> String {
        let body = self.new_admin();
        text(&book.server.post("/v1/admins").admin(&self.owner).send(body).ok()["id"])
    }

    /// An App-Secret of no other use: its id.
    fn secret(&self, book: &Book) -> String {
        let path = format!("/v1/apps/{}/secrets", self.app);
        let made = book.server.post(&path).admin(&self.owner).send(json!({"name": "made"})).ok();
        note_secret(&text(&made["secret"]));
        text(&made["id"])
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("made-{}", self.made)
    }
}

/// The id of a device.
fn registered(book: &Book, device: Value) -> String {
    text(&book.server.post("/v1/connections/none/push-token").secret().send(device).ok()["id"])
}
