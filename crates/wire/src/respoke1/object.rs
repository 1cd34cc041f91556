//! The objects that a client sends. What is in an `op` is read in `op.rs`.

use std::fmt;

use respoke_core::secret::Secret;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::body::optional_secret;

/// What the subprotocol is called.
pub const PROTOCOL: &str = "respoke.1";
/// What the names of its versions begin with.
pub const FAMILY: &str = "respoke.";
/// The longest frame of a client, in bytes.
pub const FRAME_LEN_MAX: usize = 64 * 1024;
/// The most groups, and the most observed endpoints, that a client may want back with one frame.
pub const STATE_LEN_MAX: usize = 200;
/// The longest `Idempotency-Key`, in bytes.
const KEY_LEN_MAX: usize = 255;
/// The largest id of a request: the largest whole number of which JavaScript knows no neighbour by the same name.
const ID_MAX: u64 = (1 << 53) - 1;

/// The server asks whether the client lives, or the client says that it does.
pub const ALIVE: &str = "{}";

/// The name of what is answered ahead of all others.
const PING: &str = r#""ping""#;

/// What a client sent is no object of this protocol.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this is no object of the protocol")]
pub struct NoObject;

/// What a client sends.
#[derive(Debug)]
pub enum Object<'a> {
    /// It lives.
    Alive,
    /// It says how many events have come, and nothing else.
    Got(u64),
    /// It says who it is.
    Connect {
        /// What the answer has to name.
        id: u64,
        /// What it says.
        connect: Box<Connect>,
    },
    /// A request.
    Request {
        /// What the answer has to name.
        id: u64,
        /// What is asked for, to be read by [`super::Asked::read`].
        op: Op<'a>,
        /// How many events have come, if it says so.
        got: Option<u64>,
    },
    /// It leaves.
    Leave,
}

/// What a request asks for, not read yet. It may hold what clients say to each other.
#[derive(Clone, Copy)]
pub struct Op<'a>(&'a str);

impl<'a> Op<'a> {
    /// What [`Self::text`] gave out before.
    #[must_use]
    pub const fn of(text: &'a str) -> Self {
        Self(text)
    }

    /// Whether nothing is asked for but an answer.
    #[must_use]
    pub fn is_ping(self) -> bool {
        self.0.trim_ascii_start().strip_prefix('{').is_some_and(|rest| rest.trim_ascii_start().starts_with(PING))
    }

    /// To be kept until it is read.
    #[must_use]
    pub const fn text(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

/// Who a client says it is, and what it wants to be in.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    /// A token to be redeemed.
    #[serde(default, deserialize_with = "optional_secret")]
    pub token_id: Option<Secret>,
    /// Else the token of a session.
    #[serde(default, deserialize_with = "optional_secret")]
    pub app_token: Option<Secret>,
    /// With it, the key of the last welcome.
    #[serde(default, deserialize_with = "optional_secret")]
    pub resume: Option<Secret>,
    /// And how many events have come.
    pub got: Option<u64>,
    /// The `Idempotency-Key` of the redemption.
    pub once: Option<String>,
    /// What the client calls itself.
    pub sdk: Option<String>,
    /// What it can do, as [`crate::body::connections::Capabilities`] says it.
    pub capabilities: Option<Box<RawValue>>,
    /// What it wants to be in.
    pub state: Option<State>,
}

/// What a client wants to be in, to observe and to say.
#[derive(Default, Deserialize)]
pub struct State {
    /// Groups, each to be read by [`group`].
    pub groups: Option<Vec<Box<RawValue>>>,
    /// Endpoints to observe.
    pub observe: Option<Vec<Box<RawValue>>>,
    /// What to say.
    pub presence: Option<Box<RawValue>>,
}

/// What names a group that a client wants to be in, whatever it is: what is no name is refused by whoever is to join it.
#[must_use]
pub fn group(wanted: &RawValue) -> &RawValue {
    #[derive(Deserialize)]
    struct Wanted<'a> {
        #[serde(borrow)]
        g: &'a RawValue,
    }
    serde_json::from_str(wanted.get()).map_or(wanted, |Wanted { g }| g)
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("sdk", &self.sdk).finish_non_exhaustive()
    }
}

/// Whether text can be an `Idempotency-Key`, which is a header over HTTP: what can be none there would be passed over.
#[must_use]
pub fn is_key(text: &str) -> bool {
    (1..=KEY_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The objects of a frame, each to be read by [`Object::read`]. Lines with nothing on them are none.
pub fn lines(frame: &str) -> impl Iterator<Item = &str> {
    frame.split('\n').filter(|line| !line.trim_ascii().is_empty())
}

impl<'a> Object<'a> {
    /// Reads an object. What is in an `op` is not looked at.
    ///
    /// # Errors
    ///
    /// [`NoObject`].
    pub fn read(line: &'a str) -> Result<Self, NoObject> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(default)]
            id: Option<u64>,
            #[serde(default)]
            got: Option<u64>,
            #[serde(borrow, default, deserialize_with = "there")]
            op: Option<&'a RawValue>,
            #[serde(default)]
            connect: Option<Box<Connect>>,
            #[serde(borrow, default, deserialize_with = "there")]
            bye: Option<&'a RawValue>,
        }
        /// What is there, be it `null`.
        fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
            <&RawValue>::deserialize(deserializer).map(Some)
        }
        // A struct may come as a list of its fields, too.
        if !line.trim_ascii_start().starts_with('{') {
            return Err(NoObject);
        }
        let fields: Fields<'a> = serde_json::from_str(line).map_err(|_| NoObject)?;
        if fields.id.is_some_and(|id| id > ID_MAX) {
            return Err(NoObject);
        }
        match fields {
            Fields { id: Some(id), op: Some(op), connect: None, bye: None, got } => {
                Ok(Self::Request { id, op: Op(op.get()), got })
            }
            Fields { id: Some(id), op: None, connect: Some(connect), bye: None, .. } => {
                Ok(Self::Connect { id, connect })
            }
            Fields { id: None, op: None, connect: None, bye: Some(_), .. } => Ok(Self::Leave),
            Fields { id: None, op: None, connect: None, bye: None, got: Some(got) } => Ok(Self::Got(got)),
            Fields { id: None, op: None, connect: None, bye: None, got: None } => Ok(Self::Alive),
            Fields { .. } => Err(NoObject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_is_told_apart() {
        let read = |line| Object::read(line);
        assert!(matches!(read("{}"), Ok(Object::Alive)));
        assert!(matches!(read(r#" {"got":7} "#), Ok(Object::Got(7))));
        assert!(matches!(read(r#"{"bye":{}}"#), Ok(Object::Leave)));
        assert!(matches!(
            read(r#"{"id":0,"op":{"ping":{}},"got":7,"new":[1]}"#),
            Ok(Object::Request { id: 0, got: Some(7), .. })
        ));
        assert!(matches!(read(r#"{"id":9007199254740991,"op":null}"#), Ok(Object::Request { .. })));
        let Ok(Object::Connect { id: 1, connect }) = read(
            r#"{"id":1,"connect":{"tokenId":"CANARY","sdk":"x","state":{"groups":[{"g":"a","epoch":"1","offset":3}]}}}"#,
        ) else {
            panic!("it connects");
        };
        assert_eq!(connect.token_id.as_ref().unwrap().expose(), "CANARY");
        assert_eq!(group(&connect.state.as_ref().unwrap().groups.as_ref().unwrap()[0]).get(), r#""a""#);
        assert!(!format!("{connect:?}").contains("CANARY"));
        for wrong in [
            "",
            "[]",
            "7",
            "{",
            r#"{"id":1}"#,
            r#"{"op":{}}"#,
            r#"{"connect":{}}"#,
            r#"{"id":-1,"op":{}}"#,
            r#"{"id":9007199254740992,"op":{}}"#,
            r#"{"id":"1","op":{}}"#,
            r#"{"got":"x"}"#,
            r#"{"id":1,"bye":{}}"#,
            r#"{"id":1,"op":{},"connect":{}}"#,
            r#"{"id":1,"connect":7}"#,
            r#"{"id":1,"id":2,"op":{}}"#,
            "{}{}",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_frame_holds_an_object_on_each_line_that_is_not_empty() {
        assert_eq!(lines("{}\n\r\n {\"a\":1}\r\n").collect::<Vec<_>>(), ["{}", " {\"a\":1}\r"]);
        assert_eq!(lines("").count(), 0);
    }
}
