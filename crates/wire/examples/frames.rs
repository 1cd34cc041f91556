//! Reads and writes frames for a test in another language: one JSON value a line comes in, one a line goes out.
//!
//! A line is an object of one key, which says what to do; `{"error":…}` comes out where a frame cannot be read. Ids
//! are text, for JavaScript rounds the larger ones.

use std::io::{self, BufRead as _, Write as _};

use respoke_wire::ack::{self, AckContent, AckHeaders, AckStyle};
use respoke_wire::frame::{self, Packet};
use respoke_wire::{payload, tunnel};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// What the server says of its own accord.
    Constants {},
    Packet(String),
    Request(String),
    Event {
        name: String,
        argument: String,
    },
    Ack {
        id: String,
        handshake: String,
        status: u16,
        body: String,
    },
    Join(Vec<String>),
    Split(String),
    Jsonp {
        index: String,
        payload: String,
    },
    JsonpError {
        index: String,
        reason: String,
    },
    Form(String),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match answer(serde_json::from_str(&line?)?) {
            Ok(answer) => answer,
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

fn answer(line: Line) -> Result<Value, Box<dyn std::error::Error>> {
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.into());
    Ok(match line {
        Line::Constants {} => json!({
            "connect": frame::CONNECT,
            "disconnect": frame::DISCONNECT,
            "heartbeat": frame::HEARTBEAT,
            "noop": frame::NOOP,
            "notHandshaken": frame::NOT_HANDSHAKEN,
        }),
        Line::Packet(packet) => match frame::decode(&packet)? {
            Packet::Disconnect => json!({ "type": "disconnect" }),
            Packet::Connect => json!({ "type": "connect" }),
            Packet::Heartbeat => json!({ "type": "heartbeat" }),
            Packet::Event { id, data } => json!({ "type": "event", "id": id.map(|id| id.to_string()), "data": data }),
            Packet::Other => json!({ "type": "other" }),
        },
        Line::Request(data) => {
            let event = tunnel::RequestEvent::decode(&data)?;
            let request = event.request()?;
            json!({
                "method": event.method.as_str(),
                "path": request.path,
                "query": request.query,
                "headers": request.headers,
                "data": request.data,
            })
        }
        Line::Event { name, argument } => json!(text(frame::event(&name, argument.as_bytes()))?),
        Line::Ack { id, handshake, status, body } => {
            let headers =
                AckHeaders { request_id: "5bce", limit: 10, remaining: 18, retry_after_secs: None, confirmed: None };
            let answer = AckContent { status, headers, body: body.as_bytes() };
            json!(text(ack::encode(id.parse()?, AckStyle::of_handshake(&handshake), &answer))?)
        }
        Line::Join(packets) => json!(text(payload::encode(&packets))?),
        Line::Split(body) => json!(payload::decode(&body)?),
        Line::Jsonp { index, payload } => json!(text(payload::jsonp(jsonp_index(&index)?, payload.as_bytes()))?),
        Line::JsonpError { index, reason } => json!(text(payload::jsonp_error(jsonp_index(&index)?, &reason))?),
        Line::Form(form) => json!(payload::decode_form(form.as_bytes())?),
    })
}

fn jsonp_index(text: &str) -> Result<u32, &'static str> {
    payload::jsonp_index(text).ok_or("no index")
}
