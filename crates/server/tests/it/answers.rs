//! Whole answers: status, headers and body of every operation's success and of every refusal, as they stand in the
//! snapshots beside this file. They change only where an answer is meant to.
//!
//! Each area is a conversation with a server of its own, written down in one file (`answers/book.rs`), and held a second
//! time over a socket, where every answer has to be the same. Which operations there are, is asked of the served
//! description, and which codes, of the server's list: one that no file shows fails.

mod areas;
mod book;
mod who_may;

use std::collections::BTreeSet;
use std::path::PathBuf;

use respoke_core::code::Code;
use serde_json::Value;

use crate::harness::Server;
use book::{Book, Way};

/// Codes that no area shows, and why not.
const NOT_SHOWN: &[(Code, &str)] = &[
    (Code::Internal, "only a fault of the server's own or a damaged database causes it"),
    (Code::Overloaded, "thousands of writes have to wait at once"),
    (Code::RequestTimeout, "it takes ten seconds in which a body does not arrive"),
    (Code::AnswersUnread, "megabytes of answers have to stay unread; unread.rs does that"),
    (Code::Unavailable, "the disk has to fail; failing_disk.rs does that"),
    (Code::InDoubt, "the disk has to fail in the middle of a commit; failing_disk.rs does that"),
];

/// A test of each area, and the list of them.
macro_rules! areas {
    ($($name:ident: $tell:path,)*) => {
        const AREAS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                hold(stringify!($name), $tell);
            }
        )*
    };
}

areas! {
    tokens: areas::tokens::tell,
    sessions: areas::sessions::tell,
    admins: areas::admins::tell,
    apps: areas::apps::tell,
    roles: areas::roles::tell,
    endpoints: areas::endpoints::tell,
    groups: areas::groups::tell,
    connections: areas::connections::tell,
    words: areas::words::tell,
    logs: areas::logs::tell,
    server: areas::server::tell,
    description: areas::description::tell,
    limits: areas::limits::tell,
    who_may: who_may::tell,
}

/// Holds an area's conversation both ways.
fn hold(area: &str, tell: fn(&mut Book)) {
    let told = |way| {
        let named = Server::start_with(|config| config.node_name = Some("the only one".into()));
        let mut book = Book::on(named, way);
        tell(&mut book);
        book
    };
    let book = told(Way::Http);
    insta::with_settings!({
        snapshot_path => "snapshots/answers",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(area, book.text());
    });
    let over_sockets = told(Way::Socket);
    assert_eq!(book.entries.len(), over_sockets.entries.len());
    for (http, socket) in book.entries.iter().zip(&over_sockets.entries) {
        assert_eq!(
            (http.status, &http.body),
            (socket.status, &socket.body),
            "{}, {}: by HTTP and over a socket",
            http.title,
            http.operation
        );
    }
}

fn snapshots() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots/answers").into()
}

/// The operations of the served description, as the book has them: `POST /v1/tokens`.
fn operations(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[test]
fn every_operation_and_every_code_is_shown() {
    let mut files = BTreeSet::new();
    // Of each operation, the statuses of its answers.
    let (mut shown, mut codes) = (BTreeSet::new(), BTreeSet::new());
    for file in std::fs::read_dir(snapshots()).unwrap() {
        let path = file.unwrap().path();
        // What differs from a snapshot is laid beside it.
        if path.extension().is_none_or(|kind| kind != "snap") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        files.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
        let mut lines = text.lines().skip_while(|line| !line.starts_with("# "));
        while let Some(line) = lines.next() {
            codes.extend(
                line.trim_start()
                    .strip_prefix("\"code\": \"")
                    .and_then(|rest| rest.split('"').next())
                    .map(str::to_owned),
            );
            if line.starts_with("# ") {
                let operation =
                    lines.next().unwrap().split(" by ").next().unwrap().split('?').next().unwrap().to_owned();
                shown.insert((operation, lines.next().unwrap() == "200"));
            }
        }
    }
    let areas: BTreeSet<_> = AREAS.iter().map(|area| (*area).to_owned()).collect();
    assert_eq!(files, areas, "a file of no area is nobody's");

    let document = Server::start().get("/openapi.json").call().ok();
    let mut missing = Vec::new();
    for operation in operations(&document) {
        for (is_success, kind) in [(true, "a success"), (false, "a refusal")] {
            // Who reads these cannot be refused for what it asks.
            let is_refused = !["GET /healthz", "GET /readyz"].contains(&operation.as_str());
            // A server that is alone drains by being stopped.
            let has_success = operation != "POST /v1/nodes/{id}/drain";
            if (if is_success { has_success } else { is_refused }) && !shown.contains(&(operation.clone(), is_success))
            {
                missing.push(format!("{kind} of {operation}"));
            }
        }
    }
    assert!(missing.is_empty(), "in no area: {missing:#?}");

    for code in Code::ALL {
        let excused = NOT_SHOWN.iter().any(|(excused, _)| excused == code);
        assert_ne!(codes.contains(code.word()), excused, "{}: shown, or named among those that are not", code.word());
    }
}
