//! The packets of Socket.IO 0.9, one to a WebSocket text frame: `<type>:<id>[+]:<endpoint>[:<data>]`.
//!
//! The endpoint, a name space, is always empty here. An event with an id is a request and gets an ack; an event
//! without one gets none. What an event holds is read apart, by [`crate::tunnel`], so that its id is known, and can be
//! answered, however bad the rest is.
//!
//! # Source
//!
//! Section 3.3 of docs/protocol.md.

use bytes::Bytes;
use thiserror::Error;

use crate::escape::{push_json, push_text};

/// The longest packet of a client, in bytes.
///
/// A report about a call reaches 19.7 kB inside two layers of JSON, the outer of which doubles the quotes of the inner.
pub const FRAME_LEN_MAX: usize = 100 * 1024;

/// The server's first packet, and the answer to a client that sends it too.
pub const CONNECT: &str = "1::";
/// Asks a client whether it lives. A client's own is never answered.
pub const HEARTBEAT: &str = "2::";
/// Ends a session.
pub const DISCONNECT: &str = "0::";
/// Ends a long poll that had nothing to say.
pub const NOOP: &str = "8::";
/// The session is not known: reason 1, client not handshaken; advice 0, reconnect.
pub const NOT_HANDSHAKEN: &str = "7:::1+0";

/// What a client sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The client ends its session; nothing is answered.
    Disconnect,
    /// Some clients open the session from their side as well.
    Connect,
    /// The client lives.
    Heartbeat,
    /// A request.
    Event {
        /// What the ack has to name. From 0 on; without it there is no ack.
        ///
        /// A client that sends an id without `+` asks for an empty ack, but understands a full one.
        id: Option<u64>,
        /// The event in JSON, for [`crate::tunnel::RequestEvent::decode`].
        data: &'a str,
    },
    /// A packet of another type, or for another endpoint: understood, not used.
    Other,
}

impl std::fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disconnect => f.write_str("Disconnect"),
            Self::Connect => f.write_str("Connect"),
            Self::Heartbeat => f.write_str("Heartbeat"),
            // The data may hold tokens.
            Self::Event { id, data } => {
                f.debug_struct("Event").field("id", id).field("data.len", &data.len()).finish_non_exhaustive()
            }
            Self::Other => f.write_str("Other"),
        }
    }
}

/// Why a frame or payload cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// It is longer than [`FRAME_LEN_MAX`], or a form than [`crate::payload::FORM_LEN_MAX`].
    #[error("the frame is too long")]
    TooLong,
    /// It is not of the form that Socket.IO 0.9 gives it.
    #[error("the frame is malformed")]
    Malformed,
}

/// Reads a packet.
///
/// # Errors
///
/// [`FrameError::TooLong`] and [`FrameError::Malformed`]. The data of an event is not looked at.
pub fn decode(text: &str) -> Result<Packet<'_>, FrameError> {
    if text.len() > FRAME_LEN_MAX {
        return Err(FrameError::TooLong);
    }
    let (kind, rest) = text.split_once(':').ok_or(FrameError::Malformed)?;
    let (id, rest) = rest.split_once(':').ok_or(FrameError::Malformed)?;
    let id = match id.strip_suffix('+').unwrap_or(id) {
        "" => None,
        digits => Some(number(digits).ok_or(FrameError::Malformed)?),
    };
    // The last part may be missing with its colon.
    let (endpoint, data) = rest.split_once(':').unwrap_or((rest, ""));
    Ok(match (kind, endpoint) {
        ("0", "") => Packet::Disconnect,
        // With whatever endpoint, and the query that may hang on it: there is one session to open and keep.
        ("1", _) => Packet::Connect,
        ("2", _) => Packet::Heartbeat,
        ("5", "") => Packet::Event { id, data },
        ("0" | "3" | "4" | "5" | "6" | "7" | "8", _) => Packet::Other,
        _ => return Err(FrameError::Malformed),
    })
}

/// Digits and nothing else, unlike what `str::parse` takes.
pub(crate) fn number(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// A push: `5:::{"name":"<name>","args":[<argument>]}`.
///
/// `argument` is JSON. There is no id, for clients are never asked for acks.
///
/// # Source
///
/// The three colons are what Go and Asterisk look for, the four parts what Android does (section 3.3 of
/// docs/protocol.md).
#[must_use]
pub fn event(name: &str, argument: &[u8]) -> Bytes {
    const HEAD: &[u8] = br#"5:::{"name":""#;
    const MIDDLE: &[u8] = br#"","args":["#;
    const TAIL: &[u8] = b"]}";
    let mut out = Vec::with_capacity(HEAD.len() + name.len() + MIDDLE.len() + argument.len() + TAIL.len());
    out.extend_from_slice(HEAD);
    push_text(&mut out, name.as_bytes());
    out.extend_from_slice(MIDDLE);
    push_json(&mut out, argument);
    out.extend_from_slice(TAIL);
    out.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(id: Option<u64>, data: &str) -> Packet<'_> {
        Packet::Event { id, data }
    }

    #[test]
    fn what_each_client_sends_is_understood() {
        // JavaScript, Node, Asterisk, iOS: type 5, id 1, `+` for a data ack, no endpoint.
        assert_eq!(decode(r#"5:1+::{"name":"post"}"#), Ok(request(Some(1), r#"{"name":"post"}"#)));
        // Android counts from 0.
        assert_eq!(decode("5:0+::{}"), Ok(request(Some(0), "{}")));
        // A very old Android leaves the `+` out.
        assert_eq!(decode("5:7::{}"), Ok(request(Some(7), "{}")));
        // Go's first request wants no ack. Colons in the data are data.
        assert_eq!(decode(r#"5:::{"a":"b::c"}"#), Ok(request(None, r#"{"a":"b::c"}"#)));
        // Heartbeats: the echo of most clients, and Android's own.
        assert_eq!(decode("2::"), Ok(Packet::Heartbeat));
        assert_eq!(decode("2:::"), Ok(Packet::Heartbeat));
        // A client that opens too, one with the query that the protocol has a place for.
        assert_eq!(decode("1::"), Ok(Packet::Connect));
        assert_eq!(decode("1::/x?y"), Ok(Packet::Connect));
        assert_eq!(decode("0::"), Ok(Packet::Disconnect));
    }

    #[test]
    fn what_is_not_used_is_told_from_what_is_malformed() {
        for text in ["3:::text", "4:::{}", "6:::1", "6:::1+[]", "7:::1+0", "8::", "0::/room", "5:1+:/room:{}"] {
            assert_eq!(decode(text), Ok(Packet::Other), "{text}");
        }
        for text in ["", ":", "::", "5", "5:1+", "9::", "a::", "05::", " 5:::{}", "5:x+::{}", "5:++::{}", "5:-1+::{}"] {
            assert_eq!(decode(text), Err(FrameError::Malformed), "{text}");
        }
        // The first id that is no longer one.
        assert_eq!(decode("5:18446744073709551615+::"), Ok(request(Some(u64::MAX), "")));
        assert_eq!(decode("5:18446744073709551616+::"), Err(FrameError::Malformed));
    }

    #[test]
    fn a_frame_has_a_longest_length() {
        let long = |len: usize| format!("5:::{}", "x".repeat(len - 4));
        assert!(decode(&long(FRAME_LEN_MAX)).is_ok());
        assert_eq!(decode(&long(FRAME_LEN_MAX + 1)), Err(FrameError::TooLong));
    }

    #[test]
    fn pushes_are_written_to_the_letter() {
        assert_eq!(event("pubsub", br#"{"a":[1]}"#), &br#"5:::{"name":"pubsub","args":[{"a":[1]}]}"#[..]);
        // What would cut a packet; and the same between tokens.
        let json = "{\"a\":\n\"\u{85}\u{2028}\u{2029}\"}";
        assert_eq!(
            event("message", json.as_bytes()),
            &br#"5:::{"name":"message","args":[{"a": "\u0085\u2028\u2029"}]}"#[..]
        );
    }

    #[test]
    fn what_the_server_says_is_of_the_form_it_reads() {
        assert_eq!(decode(CONNECT), Ok(Packet::Connect));
        assert_eq!(decode(HEARTBEAT), Ok(Packet::Heartbeat));
        assert_eq!(decode(DISCONNECT), Ok(Packet::Disconnect));
        assert_eq!(decode(NOOP), Ok(Packet::Other));
        assert_eq!(decode(NOT_HANDSHAKEN), Ok(Packet::Other));
    }

    #[test]
    fn a_printed_packet_tells_no_secret() {
        let printed = format!("{:?}", decode(r#"5:1+::{"App-Token":"canary"}"#));
        assert!(printed.contains("Event") && !printed.contains("canary"), "{printed}");
    }

    proptest! {
        #[test]
        fn a_request_reads_back(id in proptest::option::of(any::<u64>()), plus: bool, data in "\\PC{0,80}") {
            let number = id.map_or(String::new(), |id| id.to_string());
            let text = format!("5:{number}{}::{data}", if plus { "+" } else { "" });
            prop_assert_eq!(decode(&text), Ok(request(id, &data)));
        }

        #[test]
        fn a_push_holds_its_argument(name in "[a-z]{1,10}", value in "\\PC{0,80}") {
            let argument = serde_json::json!({ "header": {}, "body": value });
            let pushed = event(&name, argument.to_string().as_bytes());
            let Ok(Packet::Event { id: None, data }) = decode(std::str::from_utf8(&pushed).unwrap()) else {
                panic!("{pushed:?}");
            };
            let read: serde_json::Value = serde_json::from_str(data).unwrap();
            prop_assert_eq!(read, serde_json::json!({ "name": name, "args": [argument] }));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,100}|[0-9]?:?[0-9]{0,30}\\+?:?[/a-z]{0,3}:?.{0,20}") {
            let _ = decode(&text);
        }

        #[test]
        fn a_damaged_frame_never_panics(at in 0_usize..40, character: char) {
            let mut characters: Vec<char> = r#"5:12+::{"name":"post","args":["{}"]}"#.chars().collect();
            let at = at % characters.len();
            characters[at] = character;
            let _ = decode(&String::from_iter(characters));
        }
    }
}
