//! What a request of the protocol asks for: the operation of the API that has its name, or `call`, which has all of them.
//!
//! Invariant: what is under an op's name is the body of its operation, to the letter. So nothing is read here but what over HTTP
//! stands in the path, in the query or in a header.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::object::{Op, is_key};
use crate::object;
use crate::tunnel::{Method, Request, TunnelError, check_data, path_and_query};

/// The header that a `key` is.
const KEY: &str = "Idempotency-Key";

/// Why an op is no request.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpError {
    /// It is not one name with an object under it, or that object has a field of the wrong type.
    #[error("the op is not an object with one name and an object under it")]
    Malformed,
    /// There is no op of that name.
    #[error("there is no op of this name")]
    Unknown,
    /// It lacks this field.
    #[error("a field of the op is missing")]
    Missing(&'static str),
    /// Its `key` cannot be one.
    #[error("the key of the op is not 1 to 255 visible ASCII characters")]
    Key,
    /// It is too long or too deep.
    #[error(transparent)]
    Data(TunnelError),
}

/// What a request asks for.
#[derive(Debug)]
pub enum Asked<'a> {
    /// Nothing but an answer.
    Ping,
    /// An operation.
    Operation(Method, Request<'a>),
}

impl<'a> Asked<'a> {
    /// Reads what a request asks for.
    ///
    /// # Errors
    ///
    /// [`OpError`].
    pub fn read(op: Op<'a>) -> Result<Self, OpError> {
        let op = op.text();
        let (mut named, mut count) = (None, 0);
        object::members(op, |member| {
            count += 1;
            named = Some(member);
        })
        .map_err(|_| OpError::Malformed)?;
        let Some(member) = named.filter(|_| count == 1) else { return Err(OpError::Malformed) };
        let name = member.name().ok_or(OpError::Unknown)?;
        let args = member.value;
        if !args.starts_with('{') {
            return Err(OpError::Malformed);
        }
        let fixed = |method, path| operation(method, Cow::Borrowed(path), None, None, Some(args));
        match &*name {
            "ping" => Ok(Self::Ping),
            "join" => fixed(Method::Post, "/v1/groups"),
            "leave" => fixed(Method::Delete, "/v1/groups"),
            "presence" => fixed(Method::Post, "/v1/presence"),
            "observe" => fixed(Method::Post, "/v1/presenceobservers"),
            "signal" => fixed(Method::Post, "/v1/signaling"),
            "send" => {
                let fields = Fields::of(args)?;
                operation(Method::Post, Cow::Borrowed("/v1/messages"), None, fields.key, Some(args))
            }
            "publish" => {
                let fields = Fields::of(args)?;
                let path = format!("/v1/groups/{}/publish", segment(fields.group.as_deref())?);
                operation(Method::Post, Cow::Owned(path), None, fields.key, Some(args))
            }
            "members" => {
                let fields = Fields::of(args)?;
                let path = format!("/v1/groups/{}", segment(fields.group.as_deref())?);
                operation(Method::Get, Cow::Owned(path), fields.page(), None, None)
            }
            "call" => call(args),
            _ => Err(OpError::Unknown),
        }
    }
}

/// What of an op over HTTP stands outside the body.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    group: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    limit: Option<u64>,
    #[serde(borrow)]
    cursor: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    fn of(args: &'a str) -> Result<Self, OpError> {
        serde_json::from_str(args).map_err(|_| OpError::Malformed)
    }

    fn page(&self) -> Option<String> {
        let limit = self.limit.map(|limit| format!("limit={limit}"));
        let cursor = self.cursor.as_deref().map(|cursor| format!("cursor={}", encoded(cursor)));
        match (limit, cursor) {
            (Some(limit), Some(cursor)) => Some(format!("{limit}&{cursor}")),
            (limit, cursor) => limit.or(cursor),
        }
    }
}

fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

/// A group as it stands in a path.
fn segment(group: Option<&str>) -> Result<String, OpError> {
    match group {
        None | Some("") => Err(OpError::Missing("group")),
        Some(group) => Ok(encoded(group).to_string()),
    }
}

fn call(args: &str) -> Result<Asked<'_>, OpError> {
    #[derive(Deserialize)]
    struct Call<'a> {
        #[serde(borrow)]
        method: Option<Cow<'a, str>>,
        #[serde(borrow)]
        path: Option<Cow<'a, str>>,
        #[serde(borrow)]
        body: Option<&'a RawValue>,
        #[serde(borrow)]
        key: Option<Cow<'a, str>>,
    }
    let call: Call<'_> = serde_json::from_str(args).map_err(|_| OpError::Malformed)?;
    let method = call.method.ok_or(OpError::Missing("method"))?;
    let method = Method::of_name(&method.to_ascii_lowercase()).ok_or(OpError::Data(TunnelError::UnknownMethod))?;
    let path = call.path.filter(|path| !path.is_empty()).ok_or(OpError::Missing("path"))?;
    let (path, query) = path_and_query(&path);
    let (path, query) = (Cow::Owned(path.into_owned()), query.map(Cow::into_owned));
    operation(method, path, query, call.key, call.body.map(RawValue::get))
}

fn operation<'a>(
    method: Method,
    path: Cow<'a, str>,
    query: Option<String>,
    key: Option<Cow<'a, str>>,
    data: Option<&'a str>,
) -> Result<Asked<'a>, OpError> {
    if let Some(data) = data {
        check_data(data).map_err(OpError::Data)?;
    }
    if key.as_deref().is_some_and(|key| !is_key(key)) {
        return Err(OpError::Key);
    }
    let headers = key.map(|key| (Cow::Borrowed(KEY), key)).into_iter().collect();
    Ok(Asked::Operation(method, Request { path, query: query.map(Cow::Owned), headers, data }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::respoke1::object::Object;

    /// Method, path, query, key and body of what is asked for.
    fn asked(op: &str) -> Result<String, OpError> {
        let object = format!(r#"{{"id":1,"op":{op}}}"#);
        let Ok(Object::Request { op, .. }) = Object::read(&object) else { panic!("{object}") };
        Ok(match Asked::read(op)? {
            Asked::Ping => "ping".to_owned(),
            Asked::Operation(method, Request { path, query, headers, data }) => {
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                let key: String = headers.iter().flat_map(|(name, value)| [" ", name, "=", value]).collect();
                format!("{} {path}{query}{key} {}", method.as_str(), data.unwrap_or("-"))
            }
        })
    }

    #[test]
    fn each_op_is_the_request_that_http_would_bring() {
        for (op, expected) in [
            (r#"{"ping":{}}"#, "ping"),
            (r#"{"join":{"groups":["a"]}}"#, r#"POST /v1/groups {"groups":["a"]}"#),
            (r#"{"leave":{"groups":["a"]}}"#, r#"DELETE /v1/groups {"groups":["a"]}"#),
            (
                r#"{"publish":{"group":"a/b ?ä","message":1e400,"key":"k"}}"#,
                r#"POST /v1/groups/a%2Fb%20%3F%C3%A4/publish Idempotency-Key=k {"group":"a/b ?ä","message":1e400,"key":"k"}"#,
            ),
            (r#"{"send":{"to":"b","message":{}}}"#, r#"POST /v1/messages {"to":"b","message":{}}"#),
            (r#"{"presence":{"presence":{"type":"x"}}}"#, r#"POST /v1/presence {"presence":{"type":"x"}}"#),
            (r#"{"observe":{"endpointList":["b"]}}"#, r#"POST /v1/presenceobservers {"endpointList":["b"]}"#),
            (r#"{"signal":{"to":"b","signal":{}}}"#, r#"POST /v1/signaling {"to":"b","signal":{}}"#),
            (r#"{"members":{"group":"a"}}"#, "GET /v1/groups/a -"),
            (r#"{"members":{"group":"a","limit":5,"cursor":"b&c"}}"#, "GET /v1/groups/a?limit=5&cursor=b%26c -"),
            (r#"{"call":{"method":"GET","path":"/v1/turn?a=b c"}}"#, "GET /v1/turn?a=b%20c -"),
            (r#"{"call":{"method":"put","path":"v1/x","body":[1],"key":"\u006b"}}"#, "PUT /v1/x Idempotency-Key=k [1]"),
        ] {
            assert_eq!(asked(op).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_request_is_told_why() {
        for malformed in ["null", "7", "{}", r#"{"ping":{},"join":{}}"#, r#"{"join":[]}"#, r#"{"publish":{"group":1}}"#]
        {
            assert_eq!(asked(malformed), Err(OpError::Malformed), "{malformed}");
        }
        assert_eq!(asked(r#"{"fly":{}}"#), Err(OpError::Unknown));
        assert_eq!(asked(r#"{"publish":{"message":1}}"#), Err(OpError::Missing("group")));
        assert_eq!(asked(r#"{"members":{"group":""}}"#), Err(OpError::Missing("group")));
        assert_eq!(asked(r#"{"call":{"path":"/v1/turn"}}"#), Err(OpError::Missing("method")));
        assert_eq!(asked(r#"{"call":{"method":"GET"}}"#), Err(OpError::Missing("path")));
        assert_eq!(asked(r#"{"call":{"method":"TRACE","path":"/"}}"#), Err(OpError::Data(TunnelError::UnknownMethod)));
        for key in [String::new(), "a b".to_owned(), "ä".to_owned(), "k".repeat(256)] {
            assert_eq!(asked(&format!(r#"{{"send":{{"to":"b","key":"{key}"}}}}"#)), Err(OpError::Key), "{key}");
        }
        let long = format!(r#"{{"send":{{"message":"{}"}}}}"#, "x".repeat(20_000));
        assert_eq!(asked(&long), Err(OpError::Data(TunnelError::DataTooLarge)));
        let deep = format!(r#"{{"send":{{"message":{}{}}}}}"#, "[".repeat(32), "]".repeat(32));
        assert_eq!(asked(&deep), Err(OpError::Data(TunnelError::DataTooDeep)));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,80}|\\{\"(id|op|got|connect|bye)\":.{0,30}\\}") {
            if let Ok(Object::Request { op, .. }) = Object::read(&text) {
                let _ = Asked::read(op);
            }
        }
    }
}
