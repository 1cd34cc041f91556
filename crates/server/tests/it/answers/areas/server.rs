//! The server itself: whether it is well, what it describes, and what is no request.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::refused_in_the_end;
use crate::answers::book::{Book, By};
use crate::harness::Answer;

pub(in crate::answers) fn tell(book: &mut Book) {
    for path in ["/healthz", "/readyz", "/docs/style.css", "/try/script.js", "/try/style.css"] {
        let answer = book.server.get(path).call();
        let answer = if answer.body.is_null() { in_outline(answer) } else { answer };
        book.note(path, &format!("GET {path}"), "nobody", &answer);
    }
    for path in ["/docs", "/try", "/openapi.json"] {
        let answer = book.server.get(path).call();
        let answer = in_outline(answer);
        book.note(path, &format!("GET {path}"), "nobody", &answer);
    }
    let figures = figures(book.server.get("/metrics").call());
    book.note("Figures are read", "GET /metrics", "nobody", &figures);
    let refused = refused_in_the_end(|| book.server.get("/metrics").call());
    book.note("too often", "GET /metrics", "nobody", &refused);

    let secret = book.server.secret.clone();
    let by = By::Secret;
    book.ask("Nothing is there", "GET /v1/nothing", &[], by, Value::Null);
    book.ask("nothing is there for that method", "PATCH /v1/roles", &[], by, json!({}));
    let answer = book.server.post("/v1/roles").secret().send(deep());
    book.note("A body is too deep", "POST /v1/roles", "App-Secret, 40 arrays within each other", &answer);
    book.ask("A body is too large", "POST /v1/roles", &[], by, json!({"name": "x".repeat(20_000)}));
    let answer = book.server.post("/v1/roles").secret().header("Content-Type", "application/json").raw(b"{");
    book.note("A body is no JSON", "POST /v1/roles", "App-Secret", &answer);
    let answer = book.server.get("/v1/roles?limit=%FF").secret().call();
    book.note("A query is no text", "GET /v1/roles", "App-Secret", &answer);
    let answer = book.server.get("/v1/roles/%FF").secret().call();
    book.note("A path is no text", "GET /v1/roles/{id}", "App-Secret", &answer);
    let preflight = book.server.request("OPTIONS", "/v1/roles").header("Origin", "https://page.test");
    let answer = preflight.header("Access-Control-Request-Method", "DELETE").call();
    book.note("A page asks whether it may", "OPTIONS /v1/roles", "nobody", &answer);
    let answer =
        book.server.get("/v1/roles").header("App-Secret", &secret).header("Origin", "https://page.test").call();
    book.note("and does", "GET /v1/roles", "App-Secret, Origin: https://page.test", &answer);
    let answer = book.server.get("/v1/roles//").secret().call();
    book.note("Slashes at the end are no matter", "GET /v1/roles", "App-Secret", &answer);

    let admin = book.server.admin_token("admin");
    let mut nodes = book.server.get("/v1/nodes").admin(&admin).call();
    // Where all else is asked over a socket, there is one.
    nodes.body[0]["sockets"] = json!(0);
    nodes.text = nodes.text.replace("\"sockets\":1", "\"sockets\":0");
    // It looks at its feed once a second, whenever it is asked.
    let age = nodes.body[0]["feedAgeMillis"].take().as_u64().unwrap();
    assert!(age < 5_000);
    nodes.body[0]["feedAgeMillis"] = json!(0);
    assert_eq!(nodes.header("content-length"), Some(&*nodes.text.len().to_string()));
    nodes.text = nodes.text.replace(&format!("\"feedAgeMillis\":{age}"), "\"feedAgeMillis\":0");
    nodes.headers.insert("content-length", nodes.text.len().into());
    book.name(book.server.url.trim_start_matches("http://").to_owned(), "its address");
    book.note("The nodes that serve", "GET /v1/nodes", "Admin-Token", &nodes);
    book.ask("by a backend", "GET /v1/nodes", &[], By::Secret, Value::Null);
    let drain = "POST /v1/nodes/{id}/drain";
    book.ask("A server that is alone drains by being stopped", drain, &["0"], By::Admin, json!({}));
    book.ask("there is no such node", drain, &["7"], By::Admin, json!({}));

    raw(book, "A head is too large", &format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(70_000)));
    raw(book, "It is no HTTP", "nonsense\r\n\r\n");
    raw(book, "There is no host", "GET /v1/roles HTTP/1.1\r\nConnection: close\r\n\r\n");
}

/// An answer of which it is told what it is, that it is whole, and about how long.
fn in_outline(answer: Answer) -> Answer {
    let text = &answer.text;
    assert_eq!(answer.header("content-length"), Some(&*text.len().to_string()));
    let braces = || (text.matches('{').count(), text.matches('}').count());
    let kind = match answer.header("content-type").unwrap().split(';').next().unwrap() {
        "text/html" => {
            assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>"), "{text}");
            "a page"
        }
        "application/json" => {
            assert!(answer.body.is_object(), "{text}");
            "a document"
        }
        kind @ ("text/css" | "text/javascript") => {
            let (opened, closed) = braces();
            assert!(opened > 0 && opened == closed, "{text}");
            if kind == "text/css" { "a style sheet" } else { "a script" }
        }
        other => panic!("what is {other}?"),
    };
    // What grows by a sentence is the same still; what is cut short, or doubles, is not.
    let more_than = text.len().next_power_of_two() / 2;
    with_text(answer, format!("[{kind} of {more_than} to {} bytes]", 2 * more_than))
}

/// An answer with another text in the place of its own.
fn with_text(answer: Answer, text: String) -> Answer {
    let mut headers = answer.headers;
    if headers.contains_key("content-length") {
        headers.insert("content-length", text.len().into());
    }
    Answer { body: json!(text), text, headers, ..answer }
}

/// Figures without their numbers. Of requests one is enough: which others there were is no matter here.
fn figures(answer: Answer) -> Answer {
    let mut names = BTreeSet::new();
    for line in answer.text.lines() {
        let Some((name, number)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else {
            names.insert(line.to_owned());
            continue;
        };
        assert!(number.parse::<f64>().is_ok(), "{line}");
        if !name.starts_with("respoked_http_requests_total{") || name.contains("\"/healthz\"") {
            names.insert(name.to_owned());
        }
    }
    let text: Vec<_> = names.into_iter().map(|line| format!("    {line}")).collect();
    with_text(answer, text.join("\n"))
}

/// Deeper than is read.
fn deep() -> Value {
    (0..40).fold(json!(0), |inner, _| json!([inner])).as_array().map(|deep| json!({"name": deep})).unwrap()
}

/// Writes down the answer to bytes as they are.
fn raw(book: &mut Book, title: &str, request: &str) {
    let mut stream = TcpStream::connect(book.server.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // It may be answered before all of it is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..len]);
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut head = head.split("\r\n").map(str::to_owned);
    let status = head.next().unwrap();
    book.note_head(title, "bytes", &status, &head.collect::<Vec<_>>(), body);
}
