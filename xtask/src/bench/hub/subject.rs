//! The servers that are compared, and how each is spoken to.
//!
//! All of them get the same work: a request with an ack, a publication that a thousand others get, an open socket. They
//! differ in the way in and in the letters around a packet, which is what this file knows.

use std::fmt;

use serde_json::{Value, json};

use super::super::scenario::Site;
use super::frame;

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Respoked,
    /// What the original service spoke through, on the Node that is installed.
    SocketIo09,
    /// The same project's present release.
    SocketIo4,
}

impl Subject {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Respoked, Self::SocketIo09, Self::SocketIo4];
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Respoked => "respoked",
            Self::SocketIo09 => "socket.io 0.9.17",
            Self::SocketIo4 => "socket.io 4.8.4",
        })
    }
}

/// The group that publications go to.
pub(in crate::bench) const GROUP: &str = "bench";
/// A line of a chat, published and sent.
pub(in crate::bench) const LINE: &str = "a line of a chat, about as long as people write them, and no longer";

/// What a client does once it is connected; peers have groups alone.
#[derive(Clone, Debug, Default)]
pub(in crate::bench) struct Guest {
    pub(in crate::bench) endpoint: String,
    /// Which of the servers it is a client of.
    pub(in crate::bench) server: usize,
    /// Whether it says that it is available.
    pub(in crate::bench) presence: bool,
    pub(in crate::bench) groups: Vec<String>,
    /// Endpoints it observes.
    pub(in crate::bench) observes: Vec<String>,
}

impl Guest {
    /// One that is alone.
    pub(in crate::bench) fn named(endpoint: String) -> Self {
        Self { endpoint, ..Self::default() }
    }
}

/// What a packet of the server is to the generator.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bench) enum Packet {
    /// The present Socket.IO opened the transport and waits for the client to say more.
    Hello,
    /// The server opened the session.
    Open,
    /// It wants to hear that the client lives.
    Heartbeat,
    /// A request was answered as it should be.
    Ack,
    /// A request was refused.
    Refused,
    /// A publication, or a change of presence.
    Push,
    /// Anything else, such as who joined a group.
    Other,
}

impl Subject {
    /// Reads what the generator has to know of a packet, and no more.
    pub(in crate::bench) fn read(self, payload: &[u8]) -> Packet {
        let is = |prefix: &str| payload.starts_with(prefix.as_bytes());
        match self {
            Self::Respoked | Self::SocketIo09 => match payload {
                b"1::" => Packet::Open,
                b"2::" => Packet::Heartbeat,
                _ if is(r#"5:::{"name":"pubsub""#) || is(r#"5:::{"name":"presence""#) => Packet::Push,
                _ if is("6:::") && (self != Self::Respoked || payload.ends_with(br#""statusCode":200}]"#)) => {
                    Packet::Ack
                }
                _ if is("6:::") => Packet::Refused,
                _ => Packet::Other,
            },
            Self::SocketIo4 => match payload {
                b"2" => Packet::Heartbeat,
                _ if is("0{") => Packet::Hello,
                _ if is("40{") => Packet::Open,
                _ if is("42[\"pubsub\"") => Packet::Push,
                _ if is("43") => Packet::Ack,
                _ => Packet::Other,
            },
        }
    }

    /// The frame that answers a heartbeat.
    pub(in crate::bench) const fn heartbeat(self) -> &'static [u8] {
        match self {
            Self::Respoked | Self::SocketIo09 => b"\x81\x83\0\0\0\x002::",
            Self::SocketIo4 => b"\x81\x81\0\0\0\x003",
        }
    }

    /// The frame that answers [`Packet::Hello`].
    pub(in crate::bench) const fn hello() -> &'static [u8] {
        b"\x81\x82\0\0\0\x0040"
    }

    /// The path of the handshake that gives a session id; the present Socket.IO needs none.
    pub(in crate::bench) fn handshake_path(self, token: &str) -> Option<String> {
        match self {
            Self::Respoked => {
                Some(format!("/socket.io/1/?__sails_io_sdk_version=0.10.0&app-token={token}&t=1795444757907"))
            }
            Self::SocketIo09 => Some("/socket.io/1/?t=1795444757907".into()),
            Self::SocketIo4 => None,
        }
    }

    /// The path of the websocket.
    pub(in crate::bench) fn websocket_path(self, session: &str) -> String {
        match self {
            Self::Respoked | Self::SocketIo09 => format!("/socket.io/1/websocket/{session}"),
            Self::SocketIo4 => "/socket.io/?EIO=4&transport=websocket".into(),
        }
    }

    /// The frames that a client sends one by one, each once the one before is acknowledged, until it is all that `guest` is.
    pub(in crate::bench) fn way_in(self, token: &str, guest: &Guest) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        match self {
            Self::Respoked => {
                let mut ask = |path: &str, data: Value| frames.push(tunnelled("post", path, token, &data));
                ask("/v1/connections", json!({ "capabilities": { "iceFinalCandidates": true } }));
                if guest.presence {
                    ask("/v1/presence", json!({ "presence": { "type": "available" } }));
                }
                if !guest.groups.is_empty() {
                    ask("/v1/groups/", json!({ "groups": guest.groups }));
                }
                if !guest.observes.is_empty() {
                    ask("/v1/presenceobservers", json!({ "endpointList": guest.observes }));
                }
            }
            Self::SocketIo09 | Self::SocketIo4 => {
                frames.extend(guest.groups.iter().map(|group| self.event("join", &json!([group]))));
            }
        }
        frames
    }

    /// A request that only its ack answers: a message to oneself. Peers send the same text back.
    pub(in crate::bench) fn echo(self, token: &str, endpoint: &str) -> Vec<u8> {
        let data = json!({ "to": endpoint, "message": LINE, "push": false, "ccSelf": false });
        match self {
            Self::Respoked => tunnelled("post", "/v1/messages", token, &data),
            Self::SocketIo09 | Self::SocketIo4 => {
                self.event("echo", &json!([argument("/v1/messages", MADE_UP_TOKEN, &data)]))
            }
        }
    }

    /// A publication to [`GROUP`].
    pub(in crate::bench) fn publication(self, token: &str) -> Vec<u8> {
        match self {
            Self::Respoked => publication_of(token, GROUP, LINE),
            Self::SocketIo09 | Self::SocketIo4 => self.event("publish", &json!([GROUP, LINE])),
        }
    }

    /// An event of a peer, with an ack.
    fn event(self, name: &str, arguments: &Value) -> Vec<u8> {
        match self {
            Self::Respoked | Self::SocketIo09 => {
                frame::text(&format!("5:{ACK_ID}+::{}", json!({ "name": name, "args": arguments })))
            }
            Self::SocketIo4 => {
                let mut whole = vec![Value::from(name)];
                whole.extend(arguments.as_array().into_iter().flatten().cloned());
                frame::text(&format!("42{ACK_ID}{}", Value::from(whole)))
            }
        }
    }
}

/// Acks need not be told apart: each client has one request under way, or counts them.
const ACK_ID: u32 = 7;
/// As long as a token, for peers, which have none.
const MADE_UP_TOKEN: &str = "00000000-0000-4000-8000-000000000000";

/// A publication of `message` to `group`.
pub(in crate::bench) fn publication_of(token: &str, group: &str, message: &str) -> Vec<u8> {
    let data = json!({ "message": message, "push": false, "persist": false });
    tunnelled("post", &format!("/v1/channels/{group}/publish"), token, &data)
}

/// Joins `group`.
pub(in crate::bench) fn join(token: &str, group: &str) -> Vec<u8> {
    tunnelled("post", "/v1/groups/", token, &json!({ "groups": [group] }))
}

/// A change of presence, which every observer gets.
pub(in crate::bench) fn presence(token: &str, kind: &str) -> Vec<u8> {
    tunnelled("post", "/v1/presence", token, &json!({ "presence": { "type": kind } }))
}

/// The first request on a new connection.
pub(in crate::bench) fn mint(site: &Site, endpoint: &str) -> Vec<u8> {
    let body = json!({ "appId": site.app_id, "endpointId": endpoint, "roleId": site.role_id, "ttl": 3600 });
    posted("/v1/tokens", &format!("App-Secret: {}\r\n", site.app_secret), &body)
}

/// Trades a tokenId for an App-Token.
pub(in crate::bench) fn redemption(token_id: &str) -> Vec<u8> {
    posted("/v1/session-tokens", "", &json!({ "tokenId": token_id }))
}

fn posted(path: &str, fields: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

/// A request over the socket, as the JavaScript client sends it.
fn tunnelled(method: &str, path: &str, token: &str, data: &Value) -> Vec<u8> {
    let event = json!({ "name": method, "args": [argument(path, token, data)] });
    frame::text(&format!("5:{ACK_ID}+::{event}"))
}

fn argument(path: &str, token: &str, data: &Value) -> String {
    json!({ "url": path, "data": data, "headers": { "App-Token": token, "Respoke-SDK": "Respoke.js/v2.1.1" } })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(frame: &[u8]) -> String {
        // Two bytes, two more for a longer payload, and the mask.
        let from = if frame[1] == 0xFE { 8 } else { 6 };
        String::from_utf8(frame[from..].to_vec()).unwrap()
    }

    #[test]
    fn packets_are_told_apart() {
        use Packet::{Ack, Heartbeat, Hello, Open, Other, Push, Refused};
        for (subject, payload, packet) in [
            (Subject::Respoked, "1::", Open),
            (Subject::Respoked, "2::", Heartbeat),
            (Subject::Respoked, r#"6:::7+[{"body":{},"headers":{},"statusCode":200}]"#, Ack),
            (Subject::Respoked, r#"6:::7+[{"body":{},"headers":{},"statusCode":429}]"#, Refused),
            (Subject::Respoked, r#"5:::{"name":"presence","args":[{}]}"#, Push),
            (Subject::Respoked, r#"5:::{"name":"join","args":[{}]}"#, Other),
            (Subject::SocketIo09, r#"6:::7+["joined"]"#, Ack),
            (Subject::SocketIo09, r#"5:::{"name":"pubsub","args":[{}]}"#, Push),
            (Subject::SocketIo4, r#"0{"sid":"x"}"#, Hello),
            (Subject::SocketIo4, r#"40{"sid":"x"}"#, Open),
            (Subject::SocketIo4, "2", Heartbeat),
            (Subject::SocketIo4, r#"42["pubsub",{}]"#, Push),
            (Subject::SocketIo4, r#"437["joined"]"#, Ack),
        ] {
            assert_eq!(subject.read(payload.as_bytes()), packet, "{subject}: {payload}");
        }
    }

    #[test]
    fn a_request_is_the_javascript_clients() {
        let frame = payload(&Subject::Respoked.echo("T", "user-1"));
        let event: Value = serde_json::from_str(frame.strip_prefix("5:7+::").unwrap()).unwrap();
        let argument: Value = serde_json::from_str(event["args"][0].as_str().unwrap()).unwrap();
        assert_eq!((&event["name"], &argument["url"]), (&json!("post"), &json!("/v1/messages")));
        assert_eq!((&argument["headers"]["App-Token"], &argument["data"]["to"]), (&json!("T"), &json!("user-1")));
    }

    #[test]
    fn peers_are_sent_as_much_as_the_server() {
        let lens = Subject::ALL.map(|subject| subject.echo(MADE_UP_TOKEN, "user-1").len());
        assert!(lens[0].abs_diff(lens[1]) <= 4 && lens[0].abs_diff(lens[2]) <= 24, "{lens:?}");
        assert_eq!(payload(&Subject::SocketIo4.publication("")), format!(r#"427["publish","bench","{LINE}"]"#));
    }

    #[test]
    fn heartbeats_are_answered_in_kind() {
        assert_eq!(Subject::SocketIo09.heartbeat(), frame::text("2::"));
        assert_eq!(Subject::SocketIo4.heartbeat(), frame::text("3"));
        assert_eq!(Subject::hello(), frame::text("40"));
    }
}
