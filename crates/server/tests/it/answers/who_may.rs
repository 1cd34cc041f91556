//! Who may do what: each operation, asked in earnest by each kind of caller, with a path and a body that are in order. So
//! what is refused is refused for who asks. Those who may do least ask with nothing, too: that shows whether an operation
//! asks who they are before it looks at what they sent.
//!
//! What the table says is held against what is promised: the served description names the credentials that each operation
//! takes, and a read-only admin changes nothing.

mod requests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::book::{Book, By};
use crate::harness::{PASSWORD, PATIENCE, Socket, note_secret, text};
use requests::Request;

/// What no credential of anybody's looks like.
const WRONG: &str = "CANARY-wrong";

/// Who asks, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    /// Shows a credential that is none.
    Wrong,
    /// An endpoint in session, by HTTP.
    Endpoint,
    /// The same over its own socket, on which it is connected.
    OwnSocket,
    /// The same in a role that permits nothing.
    Powerless,
    /// The app's backend.
    Backend,
    /// Another app's.
    OtherBackend,
    ReadOnly,
    Developer,
    Owner,
}

impl Who {
    const ALL: [Self; 10] = [
        Self::Nobody,
        Self::Wrong,
        Self::Endpoint,
        Self::OwnSocket,
        Self::Powerless,
        Self::Backend,
        Self::OtherBackend,
        Self::ReadOnly,
        Self::Developer,
        Self::Owner,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Wrong => "wrong",
            Self::Endpoint => "App-Token",
            Self::OwnSocket => "own socket",
            Self::Powerless => "powerless App-Token",
            Self::Backend => "App-Secret",
            Self::OtherBackend => "other App-Secret",
            Self::ReadOnly => "read-only",
            Self::Developer => "developer",
            Self::Owner => "owner",
        }
    }

    /// The security scheme of the description that this caller uses. None: the description does not tell this caller from
    /// others.
    fn credential(self) -> Option<&'static str> {
        match self {
            Self::Nobody => Some(""),
            Self::Endpoint | Self::OwnSocket => Some("App-Token"),
            Self::Backend => Some("App-Secret"),
            Self::Owner => Some("Admin-Token"),
            Self::Wrong | Self::Powerless | Self::OtherBackend | Self::ReadOnly | Self::Developer => None,
        }
    }
}

/// Operations that are not described, and what described ones do besides: `POST /v1/tokens, in development mode`.
const BESIDES: [&str; 9] = [
    "DELETE /v1/conferences/{id}",
    "GET /v1/conferences/{id}/participants",
    "DELETE /v1/conferences/{id}/participants/{endpoint}",
    "POST /v1/apps, with limits",
    "PUT /v1/apps/{id}, its limits",
    "GET /v1/endpoints/{id}/tail, what is said",
    "GET /v1/endpoints/{id}/tail, what is said, over a socket",
    "POST /v1/tokens, in development mode",
    "PUT /v1/tokens, in development mode",
];

/// What a read-only admin may send that is no `GET`.
const READ_ONLY_MAY: [&str; 13] = [
    // Sign in and out, and keep the own account safe.
    "POST /v1/admin-sessions",
    "DELETE /v1/admin-sessions",
    "PUT /v1/admins/me/password",
    "POST /v1/admins/me/totp",
    "PUT /v1/admins/me/totp",
    "DELETE /v1/admins/me/totp",
    // What asks for no admin: the tokenId opens the session, and who has none has none to leave.
    "POST /v1/session-tokens",
    "DELETE /v1/session-tokens",
    // Questions that are long, or are asked like this by existing clients.
    "POST /oauth/introspect",
    "POST /v1/group-history-search",
    "POST /v1/turn",
    // These are refused to everybody.
    "DELETE /v1/conferences/{id}",
    "DELETE /v1/conferences/{id}/participants/{endpoint}",
];

/// The callers' credentials, and what they ask about.
struct Scene {
    app: String,
    role: String,
    /// An app of the account's where pages mint without a credential.
    other: String,
    other_secret: String,
    /// A role that permits nothing, and an App-Token in it.
    powerless: (String, String),
    owner: String,
    developer: String,
    read_only: String,
    /// Made so far, for names that nobody has.
    made: u32,
}

pub(super) fn tell(book: &mut Book) {
    let described = book.server.get("/openapi.json").call().ok();
    let mut scene = Scene::set(book);
    // Of each row, the operations that are so named.
    let mut rows: Vec<(Vec<String>, String)> = Vec::new();
    let mut let_in = BTreeMap::<String, Vec<&'static str>>::new();
    let operations = super::operations(&described);
    for asked in operations.iter().map(String::as_str).chain(BESIDES) {
        // How often figures may be read is told elsewhere.
        if asked == "GET /metrics" {
            continue;
        }
        let own_name = by_its_own_name(asked);
        let answers = scene.ask_all(book, asked, &own_name);
        let admitted = let_in.entry(asked.split(',').next().unwrap().to_owned()).or_default();
        admitted.extend(answers.iter().filter(|(_, answer)| answer.lets_in()).filter_map(|(who, _)| who.credential()));
        let (_, by_reader) = answers.iter().find(|(who, _)| *who == Who::ReadOnly).unwrap();
        assert!(
            asked.starts_with("GET ") || !by_reader.lets_in() || READ_ONLY_MAY.contains(&own_name.as_str()),
            "a read-only admin may {asked}: {}",
            by_reader.said
        );
        let mut told = table(&answers);
        if !asked.contains(',') {
            told.push_str(&scene.ask_with_nothing(book, asked, &own_name));
        }
        match rows.iter_mut().find(|(names, known)| *known == told && by_its_own_name(&names[0]) == own_name) {
            Some((names, _)) => names.push(asked.to_owned()),
            None => rows.push((vec![asked.to_owned()], told)),
        }
    }
    for (names, told) in rows {
        book.row(&names.join("\n"), told);
    }
    hold_against(&described, &operations, &let_in);
}

/// Compares who was let in with what is described.
fn hold_against(described: &Value, operations: &[String], let_in: &BTreeMap<String, Vec<&str>>) {
    let mut wrong = Vec::new();
    for operation in operations.iter().filter(|operation| *operation != "GET /metrics") {
        let (method, path) = operation.split_once(' ').unwrap();
        let ways = described["paths"][path][method.to_lowercase()]["security"].as_array().unwrap();
        let names: Vec<&str> =
            ways.iter().map(|way| way.as_object().unwrap().keys().next().map_or("", String::as_str)).collect();
        for credential in ["", "App-Token", "App-Secret", "Admin-Token"] {
            let is_described = names.contains(&credential);
            // Where nobody need show a credential, one that is not looked at does no harm.
            let is_let_in = let_in[operation].contains(&credential);
            if is_let_in != is_described && (is_described || !names.contains(&"")) {
                wrong.push(format!("{operation} by '{credential}': let in {is_let_in}, described {is_described}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What an operation is called that has other names for older clients.
fn by_its_own_name(operation: &str) -> String {
    const OLDER: [(&str, &str); 4] = [
        ("/v1/adminsessions", "/v1/admin-sessions"),
        ("/v1/appauthsessions", "/v1/session-tokens"),
        ("/v1/channels", "/v1/groups"),
        ("/v1/endpointconnections", "/v1/connections"),
    ];
    OLDER.iter().fold(operation.to_owned(), |operation, (older, own)| operation.replace(older, own))
}

/// An answer, as far as it is about who asked.
struct Told {
    status: u64,
    said: String,
}

impl Told {
    /// Whether this caller is one of those to whom the operation is open.
    fn lets_in(&self) -> bool {
        self.status != 403 && !self.said.starts_with("401 unauthenticated")
    }

    fn of(status: u64, body: &str) -> Self {
        if status == 200 {
            return Self { status, said: "200".to_owned() };
        }
        let body: Value = serde_json::from_str(body).unwrap();
        let code = body["code"].as_str().unwrap();
        let why = body["error"].as_str().unwrap().strip_prefix("not permitted: ");
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        let fields = if code == "invalid" { format!(" {body}") } else { String::new() };
        Self { status, said: format!("{status} {code}{why}{fields}") }
    }
}

/// Callers who are answered alike stand together.
fn table(answers: &[(Who, Told)]) -> String {
    let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
    for (who, Told { said, .. }) in answers {
        match lines.iter_mut().find(|(known, _)| known == said) {
            Some((_, names)) => names.push(who.name()),
            None => lines.push((said, vec![who.name()])),
        }
    }
    lines.into_iter().fold(String::new(), |mut table, (said, names)| {
        let _ = writeln!(table, "    {said}: {}", names.join(", "));
        table
    })
}

impl Scene {
    fn set(book: &Book) -> Self {
        let server = &book.server;
        let owner = book.admin.clone();
        let other = server.post("/v1/apps").admin(&owner).send(json!({"name": "other"})).ok();
        let (other, other_secret) = (text(&other["id"]), text(&other["secret"]));
        note_secret(&other_secret);
        server.put(&format!("/v1/apps/{other}")).admin(&owner).send(json!({"developmentMode": true})).ok();
        for (name, role) in [("dev", "developer"), ("look", "read-only")] {
            let admin = json!({"username": name, "password": PASSWORD, "role": role, "currentPassword": PASSWORD});
            server.post("/v1/admins").admin(&owner).send(admin).ok();
        }
        let mut scene = Self {
            app: server.app.clone(),
            role: server.role.clone(),
            other,
            other_secret,
            powerless: (server.create_role("powerless", json!({})), String::new()),
            owner,
            developer: String::new(),
            read_only: String::new(),
            made: 0,
        };
        scene.sign_in(book);
        scene
    }

    /// What was done may have ended who did it.
    fn sign_in(&mut self, book: &Book) {
        self.owner = book.server.admin_token("admin");
        self.developer = book.server.admin_token("dev");
        self.read_only = book.server.admin_token("look");
    }

    fn ask_all(&mut self, book: &mut Book, asked: &str, own_name: &str) -> Vec<(Who, Told)> {
        let token = book.server.session("alice");
        self.powerless.1 = book.server.session_in("alice", &self.powerless.0);
        let mut own = book.server.connect("alice");
        own.join("room");
        let mut answers = Vec::new();
        let is_over_a_socket = asked.ends_with(", over a socket");
        // Who shows nothing on a socket is whose socket it is.
        for who in Who::ALL.into_iter().filter(|who| *who != Who::Nobody || !is_over_a_socket) {
            let request = self.request(book, own_name, who, &own);
            answers.push((who, self.ask(book, asked, who, &request, &token, &mut own)));
            if who == Who::Wrong {
                // Failed attempts are forgotten.
                book.server.clock.advance_secs(30);
            }
        }
        if own_name.starts_with("DELETE /v1/admin-sessions") || own_name.starts_with("PUT /v1/admins/me/password") {
            self.sign_in(book);
        }
        if own_name.contains("/secrets") {
            self.clear_secrets(book);
        }
        answers
    }

    fn ask(&self, book: &mut Book, asked: &str, who: Who, request: &Request, token: &str, own: &mut Socket) -> Told {
        let wrong = [("App-Secret", WRONG)];
        let other = [("App-Secret", self.other_secret.as_str())];
        let admin = |token| [("Admin-Token", token)];
        let (read_only, developer, owner) = (admin(&*self.read_only), admin(&*self.developer), admin(&*self.owner));
        let by = match who {
            Who::Nobody => By::Nobody,
            Who::Wrong => By::Headers(&wrong),
            Who::Endpoint | Who::OwnSocket => By::Token(token),
            Who::Powerless => By::Token(&self.powerless.1),
            Who::Backend => By::Secret,
            Who::OtherBackend => By::Headers(&other),
            Who::ReadOnly => By::Headers(&read_only),
            Who::Developer => By::Headers(&developer),
            Who::Owner => By::Headers(&owner),
        };
        let operation = asked.split(',').next().unwrap();
        let params: Vec<&str> = request.params.iter().map(String::as_str).collect();
        let with_query = format!("{operation}{}", request.query);
        let is_tail = operation.ends_with("/tail");
        // It is registered as the one who opened the socket, and where an App-Token is not looked at, the socket's own
        // credential is.
        let is_of_http = (operation.starts_with("POST ") && operation.ends_with("connections"))
            || ["POST /v1/tokens", "PUT /v1/tokens"].contains(&operation);
        if who == Who::OwnSocket && operation.contains(" /v1/") {
            book.ask_on(own, who.name(), &with_query, &params, request.body.clone());
        } else if asked.ends_with(", over a socket") {
            book.ask_on_by(own, by, who.name(), &with_query, &params, request.body.clone());
        } else if is_tail {
            return look_on(book, by, &super::book::filled(with_query.split_once(' ').unwrap().1, &params));
        } else if is_of_http {
            book.ask_by_http(who.name(), &with_query, &params, by, request.body.clone());
        } else {
            book.ask(who.name(), &with_query, &params, by, request.body.clone());
        }
        let entry = book.entries.pop().unwrap();
        Told::of(entry.status, &entry.body)
    }

    /// What those who may do least are told who say nothing: who they are is to be asked before what they sent, or is not.
    fn ask_with_nothing(&mut self, book: &mut Book, operation: &str, own_name: &str) -> String {
        self.powerless.1 = book.server.session_in("alice", &self.powerless.0);
        let own = book.server.connect("alice");
        let body = if operation.starts_with("GET ") { Value::Null } else { json!({}) };
        let answers = [Who::Nobody, Who::Powerless].map(|who| {
            let request = self.request(book, own_name, who, &own);
            let params: Vec<&str> = request.params.iter().map(String::as_str).collect();
            let by = if who == Who::Nobody { By::Nobody } else { By::Token(&self.powerless.1) };
            book.ask_by_http(who.name(), operation, &params, by, body.clone());
            let entry = book.entries.pop().unwrap();
            let told = Told::of(entry.status, &entry.body).said;
            let code: Vec<&str> = told.split(' ').take(2).collect();
            format!("{} {}", who.name(), code.join(" "))
        });
        format!("    with nothing: {}\n", answers.join(", "))
    }

    /// There may be a few only.
    fn clear_secrets(&self, book: &Book) {
        let path = format!("/v1/apps/{}/secrets", self.app);
        let listed = book.server.get(&path).admin(&self.owner).call().ok();
        for secret in listed.as_array().unwrap() {
            if secret["name"].as_str().unwrap().starts_with("made") && secret["revokedAt"].is_null() {
                book.server.delete(&format!("{path}/{}", text(&secret["id"]))).admin(&self.owner).call();
            }
        }
    }
}

/// Asks for an answer that goes on and on for who may look, and reads how it begins.
fn look_on(book: &Book, by: By<'_>, path: &str) -> Told {
    book.server.clock.advance_secs(1);
    let mut stream = TcpStream::connect(book.server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers = book.headers(by).into_iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = headers.collect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let _head = lines.by_ref().take_while(|line| !line.is_empty()).last();
    let body = if status == 200 { String::new() } else { lines.collect() };
    Told::of(status, &body)
}
