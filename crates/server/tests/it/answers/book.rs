//! A book of answers: asks a server, and writes down what it was told.
//!
//! What chance and time decide is replaced by what it is: each replacement first checks that the text has the form of
//! it, so an id that is none any more stands in the book as it came. Times are told from the server's clock, which
//! stands still, so how far ahead they are is exact.

use std::fmt::Write as _;

use data_encoding::BASE32_NOPAD;
use respoke_core::clock::Timestamp;
use respoke_core::secret::AppSecret;
use serde_json::{Map, Value, json};

use crate::harness::{Ack, Answer, NOW, Server, Socket, note_secret, text};

/// How requests are brought.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Http,
    /// Over a backend's socket, where it can be: to `/v1`, and with a credential, since else it is the socket's own.
    Socket,
}

/// With which credential one asks.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    Nobody,
    /// With the app's App-Secret.
    Secret,
    /// With the owner's Admin-Token.
    Admin,
    /// With this App-Token.
    Token(&'a str),
    /// With headers as they are.
    Headers(&'a [(&'a str, &'a str)]),
}

/// An answer in the book.
pub(super) struct Entry {
    /// Of which operation, as the description names it: `post /v1/tokens`.
    pub(super) operation: String,
    pub(super) title: String,
    /// What was asked.
    asked: String,
    pub(super) status: u64,
    headers: String,
    pub(super) body: String,
}

pub(super) struct Book {
    pub(super) server: Server,
    /// An owner's.
    pub(super) admin: String,
    pub(super) entries: Vec<Entry>,
    /// Texts that only this server has, and what stands for them in the book.
    names: Vec<(String, String)>,
    socket: Option<Socket>,
}

/// Headers that every answer has, or all of `/v1`, as they are told. An answer's own are told with it, and what it lacks
/// of these.
const USUAL: [&str; 7] = [
    "cache-control: no-store",
    "content-length: [of the body]",
    "content-type: application/json; charset=utf-8",
    "date: [a date]",
    "ratelimit-time-units: seconds",
    "request-id: [its own]",
    "x-content-type-options: nosniff",
];

impl Book {
    pub(super) fn on(server: Server, way: Way) -> Self {
        let admin = server.admin_token("admin");
        let names =
            [(&server.app, "app"), (&server.secret, "App-Secret"), (&server.role, "role"), (&admin, "Admin-Token")];
        let names = names.map(|(text, name)| (text.clone(), format!("[{name}]"))).into();
        let socket = (way == Way::Socket).then(|| server.open(&format!("app-secret={}", server.secret)));
        Self { server, admin, entries: Vec::new(), names, socket }
    }

    /// Calls a text by a name from here on.
    pub(super) fn name(&mut self, text: impl Into<String>, name: &str) {
        let text = text.into();
        assert!(text.len() > 5, "{text} may stand anywhere");
        self.names.push((text, format!("[{name}]")));
    }

    /// A session as `endpoint`, with a name: its App-Token.
    pub(super) fn session(&mut self, endpoint: &str) -> String {
        let token = self.server.session(endpoint);
        self.name(token.clone(), &format!("{endpoint}'s App-Token"));
        token
    }

    /// Asks for `operation`, as `POST /v1/roles/{id}`, a query behind it, with `params` for what is in braces, and
    /// writes down the answer.
    pub(super) fn ask(&mut self, title: &str, operation: &str, params: &[&str], by: By<'_>, body: Value) -> Value {
        let (method, template) = operation.split_once(' ').unwrap();
        let path = filled(template, params);
        // Every bucket is full again.
        self.server.clock.advance_secs(1);
        let headers = self.headers(by);
        let tunnelled = template.starts_with("/v1/") && !matches!(by, By::Nobody);
        let (entry, value) = if let Some(socket) = self.socket.as_mut().filter(|_| tunnelled) {
            let told: Map<String, Value> = headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            let ack = socket.ask_with(&Value::Object(told), &method.to_lowercase(), &path, body.clone());
            (self.of_ack(title, operation, &body, &ack), ack.body)
        } else {
            let request = headers
                .iter()
                .fold(self.server.request(method, &path), |request, (name, value)| request.header(name, value));
            let answer = if body.is_null() { request.call() } else { request.send(body.clone()) };
            (self.of_answer(title, operation, by, &body, &answer), answer.body)
        };
        self.entries.push(entry);
        value
    }

    /// The same over a client's own socket.
    pub(super) fn ask_on(
        &mut self,
        socket: &mut Socket,
        title: &str,
        operation: &str,
        params: &[&str],
        body: Value,
    ) -> Value {
        self.ask_on_by(socket, By::Nobody, title, operation, params, body)
    }

    /// The same with a credential, which counts instead of that of the socket.
    pub(super) fn ask_on_by(
        &mut self,
        socket: &mut Socket,
        by: By<'_>,
        title: &str,
        operation: &str,
        params: &[&str],
        body: Value,
    ) -> Value {
        let (method, template) = operation.split_once(' ').unwrap();
        self.server.clock.advance_secs(1);
        let shown: Map<String, Value> =
            self.headers(by).into_iter().map(|(name, value)| (name, json!(value))).collect();
        let path = filled(template, params);
        let ack = socket.ask_with(&Value::Object(shown), &method.to_lowercase(), &path, body.clone());
        let mut entry = self.of_ack(title, operation, &body, &ack);
        entry.asked = format!("{}'s socket{}", socket.endpoint, self.asked(&body));
        entry.headers =
            format!("ratelimit: {}, {}\n", ack.headers["RateLimit-Limit"], ack.headers["RateLimit-Remaining"]);
        self.entries.push(entry);
        ack.body
    }

    /// Writes down an answer that was asked for otherwise.
    pub(super) fn note(&mut self, title: &str, operation: &str, asked: &str, answer: &Answer) {
        let mut entry = self.of_answer(title, operation, By::Nobody, &Value::Null, answer);
        asked.clone_into(&mut entry.asked);
        self.entries.push(entry);
    }

    /// Writes down an answer of which only this much was read.
    pub(super) fn note_head(&mut self, title: &str, operation: &str, status: &str, head: &[String], body: &str) {
        let mut headers = http::HeaderMap::new();
        for line in head {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(http::HeaderName::try_from(name).unwrap(), value.try_into().unwrap());
        }
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let answer =
            Answer { status, headers, text: body.to_owned(), body: serde_json::from_str(body).unwrap_or_default() };
        self.note(title, operation, "nobody", &answer);
    }

    /// Writes down what was asked for one after the other.
    pub(super) fn row(&mut self, operation: &str, told: String) {
        let operation = operation.to_owned();
        let (asked, headers) = (String::new(), String::new());
        self.entries.push(Entry { operation, title: String::new(), asked, status: 0, headers, body: told });
    }

    /// Asks by HTTP, whatever the way: for what the socket itself says, or cannot.
    pub(super) fn ask_by_http(&mut self, title: &str, operation: &str, params: &[&str], by: By<'_>, body: Value) {
        let socket = self.socket.take();
        self.ask(title, operation, params, by, body);
        self.socket = socket;
    }

    pub(super) fn headers(&self, by: By<'_>) -> Vec<(String, String)> {
        let one = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        match by {
            By::Nobody => Vec::new(),
            By::Secret => one("App-Secret", &self.server.secret),
            By::Admin => one("Admin-Token", &self.admin),
            By::Token(token) => one("App-Token", token),
            By::Headers(headers) => headers.iter().flat_map(|(name, value)| one(name, value)).collect(),
        }
    }

    fn of_answer(&self, title: &str, operation: &str, by: By<'_>, body: &Value, answer: &Answer) -> Entry {
        let request_id = answer.header("request-id").unwrap();
        let credential = match by {
            By::Nobody => "nobody".to_owned(),
            By::Secret => "App-Secret".to_owned(),
            By::Admin => "Admin-Token".to_owned(),
            By::Token(token) => self.named(token),
            By::Headers(headers) => {
                let told = headers.iter().map(|(name, value)| format!("{name}: {}", self.told("", &json!(value))));
                told.collect::<Vec<_>>().join(", ")
            }
        };
        let is_json = answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        let shown = if is_json { self.shown(&answer.body, request_id) } else { self.shown_text(answer) };
        Entry {
            operation: operation.to_owned(),
            title: title.to_owned(),
            asked: credential + &self.asked(body),
            status: answer.status.into(),
            headers: self.shown_headers(answer),
            body: shown,
        }
    }

    fn of_ack(&self, title: &str, operation: &str, body: &Value, ack: &Ack) -> Entry {
        Entry {
            operation: operation.to_owned(),
            title: title.to_owned(),
            asked: self.asked(body),
            status: ack.status,
            headers: String::new(),
            body: self.shown(&ack.body, ack.headers["Request-Id"].as_str().unwrap()),
        }
    }

    fn asked(&self, body: &Value) -> String {
        if body.is_null() { String::new() } else { format!(" {}", without_runs(&self.named(&body.to_string()))) }
    }

    /// Without line breaks.
    pub(super) fn one_line(&self, body: &Value) -> String {
        self.replaced("", body).to_string()
    }

    fn shown_headers(&self, answer: &Answer) -> String {
        let mut told: Vec<String> = Vec::new();
        let mut limits: Vec<(&str, &str)> = Vec::new();
        for (name, value) in &answer.headers {
            let value = value.to_str().unwrap();
            let value = match name.as_str() {
                "date" => {
                    assert!(value.ends_with(" GMT") && value.len() == 29, "{value} is no date");
                    "[a date]".to_owned()
                }
                "content-length" => {
                    assert_eq!(value, answer.text.len().to_string());
                    "[of the body]".to_owned()
                }
                "request-id" => {
                    assert_eq!(uuid_shape(value), Some("[uuid]"), "{value}");
                    "[its own]".to_owned()
                }
                "next-cursor" => {
                    assert!(!value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()), "{value}");
                    "[a cursor]".to_owned()
                }
                "ratelimit" | "ratelimit-limit" | "ratelimit-policy" | "ratelimit-remaining" => {
                    limits.push((name.as_str(), value));
                    continue;
                }
                _ => self.told("", &json!(value)),
            };
            told.push(format!("{name}: {value}"));
        }
        told.sort();
        limits.sort_unstable();
        let mut shown = String::new();
        if !limits.is_empty() {
            let limits: Vec<_> = limits.into_iter().map(|(_, value)| value).collect();
            let _ = writeln!(shown, "ratelimit: {}", limits.join(", "));
        }
        for own in told.iter().filter(|line| !USUAL.contains(&line.as_str())) {
            let _ = writeln!(shown, "{own}");
        }
        for lacked in USUAL.iter().filter(|line| !told.iter().any(|own| own == *line)) {
            let _ = writeln!(shown, "(no {lacked})");
        }
        shown
    }

    fn shown(&self, body: &Value, request_id: &str) -> String {
        let mut body = body.clone();
        if let Some(id) = body.get_mut("requestId").filter(|id| id.as_str() == Some(request_id)) {
            *id = json!("[its own]");
        }
        serde_json::to_string_pretty(&self.replaced("", &body)).unwrap()
    }

    /// Lines of JSON are shown as JSON is, others as they are.
    fn shown_text(&self, answer: &Answer) -> String {
        let lines = answer.text.lines().map(|line| match serde_json::from_str::<Value>(line) {
            Ok(value) => self.one_line(&value),
            Err(_) => self.named(line),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn replaced(&self, name: &str, value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| (self.named_key(name), self.replaced(name, value)));
                Value::Object(fields.collect())
            }
            // Minutes, of which nearly all are the same.
            Value::Array(points) if name == "points" => {
                let (before, last) = points.split_at(points.len() - 1);
                json!([format!("[{} more]", before.len()), self.replaced(name, &last[0])])
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.replaced(name, item)).collect()),
            Value::String(_) => json!(self.told(name, value)),
            Value::Number(number) => {
                // Seconds since the epoch, in fields that have no other sign of it, and milliseconds.
                match (name, number.as_i64()) {
                    ("createTime" | "expiryTime" | "exp" | "iat", Some(secs)) => {
                        json!(self.told_time(Timestamp::from_secs(secs)))
                    }
                    ("number" | "tookMicros" | "p50Micros" | "p99Micros", Some(1..)) => json!("[more than 0]"),
                    ("timestamp", Some(millis)) => json!(self.told_time(Timestamp::from_millis(millis))),
                    _ => value.clone(),
                }
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }

    /// The name of a field, which may be an id.
    fn named_key(&self, name: &str) -> String {
        uuid_shape(name).map_or_else(|| name.to_owned(), |shape| self.known(name).unwrap_or(shape.to_owned()))
    }

    fn known(&self, text: &str) -> Option<String> {
        self.names.iter().find(|(known, _)| known == text).map(|(_, name)| name.clone())
    }

    /// A text as the book tells it.
    fn told(&self, name: &str, value: &Value) -> String {
        let value = value.as_str().unwrap();
        if let Some(known) = self.known(value) {
            return known;
        }
        if let Some(shape) = uuid_shape(value) {
            return shape.to_owned();
        }
        if AppSecret::parse(value).is_some() {
            return "[an App-Secret]".to_owned();
        }
        if let Some(time) = Timestamp::parse(value).filter(|time| time.to_iso() == value) {
            return self.told_time(time);
        }
        match name {
            "secret" if is_shared_secret(value) => "[20 bytes]".to_owned(),
            "uri" => match value.split_once("secret=").and_then(|(before, rest)| Some((before, rest.split_once('&')?)))
            {
                Some((before, (secret, rest))) if is_shared_secret(secret) => {
                    format!("{before}secret=[20 bytes]&{rest}")
                }
                _ => value.to_owned(),
            },
            "hint" if value.strip_prefix('…').is_some_and(|end| end.len() == 4) => "[its end]".to_owned(),
            "fingerprint" if value.len() == 12 && is_hexadecimal(value) => "[a fingerprint]".to_owned(),
            "recoveryCodes" if is_recovery_code(value) => "[a recovery code]".to_owned(),
            _ => without_runs(&self.named(value)),
        }
    }

    /// A text with what has a name in it.
    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (known, name)| text.replace(known, name))
    }

    /// A time, from now on, or before. What is older than the server is told as it is.
    fn told_time(&self, time: Timestamp) -> String {
        let now = self.server.broker.now();
        match time.millis() - now.millis() {
            0 => "[now]".to_owned(),
            ahead @ 1.. if ahead % 1_000 == 0 => format!("[in {} s]", ahead / 1_000),
            ahead @ 1.. => format!("[in {ahead} ms]"),
            _ if time >= NOW => "[before]".to_owned(),
            _ => time.to_iso(),
        }
    }

    /// The whole book.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let Entry { operation, title, asked, status, headers, body, .. } = entry;
            if title.is_empty() {
                let _ = writeln!(text, "{operation}\n{body}");
                continue;
            }
            let _ = writeln!(text, "# {title}\n{operation} by {asked}\n{status}\n{headers}{body}\n");
        }
        text
    }
}

/// What a template in braces leads to with `params`.
pub(super) fn filled(template: &str, params: &[&str]) -> String {
    let mut params = params.iter();
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        path.push_str(before);
        path.push_str(params.next().unwrap_or_else(|| panic!("{template} needs more")));
        rest = behind.split_once('}').unwrap().1;
    }
    assert!(params.next().is_none(), "{template} needs less");
    path + rest
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_shared_secret(text: &str) -> bool {
    text.len() == 32 && BASE32_NOPAD.decode(text.as_bytes()).is_ok()
}

/// Four times four symbols of base32.
fn is_recovery_code(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let is_sound = |part: &&str| part.len() == 4 && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
    parts.len() == 4 && parts.iter().all(is_sound)
}

/// The same with what is one symbol again and again shortened.
fn without_runs(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let behind = rest.trim_start_matches(first);
        let run = &rest[..rest.len() - behind.len()];
        if run.len() > 40 {
            let _ = write!(shown, "[{} of {first}]", run.chars().count());
        } else {
            shown.push_str(run);
        }
        rest = behind;
    }
    shown
}

fn uuid_shape(text: &str) -> Option<&'static str> {
    let is_uuid = |digit: fn(u8) -> bool| {
        text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => digit(byte),
            })
    };
    if is_uuid(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        Some("[uuid]")
    } else if is_uuid(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)) {
        Some("[UUID]")
    } else {
        None
    }
}

/// A field that is text and secret.
pub(super) fn secret(body: &Value, field: &str) -> String {
    let secret = text(&body[field]);
    note_secret(&secret);
    secret
}
