//! Requests that come as events, and the acks that answer them.
//!
//! The event's name is the method. Its one argument holds url, headers and data, as JSON or as text that holds JSON.
//! What it says is made into what an HTTP request would have said; data stays raw JSON, read like any other body.
//!
//! Invariant: path and query hold only what a URI may hold. What comes raw is percent-encoded, never refused.
//!
//! # Source
//!
//! Section 4.6 and quirks 3, 13 and 14 of docs/protocol.md.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::escape::{push_fmt, push_json, push_text};
use crate::frame::ack_head;
use crate::input::{BODY_LEN_MAX, check_depth};

/// The most headers of a request, those without a value included. Clients send two or three.
pub const HEADERS_MAX: usize = 32;

/// What no path or query holds as it is. `%` stays: it may begin an encoded character, and if it does not, the router
/// says so.
///
/// # Source
///
/// RFC 3986, section 3.3.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Why an event is no request. Each is answered if the event has an id.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TunnelError {
    /// The event or its argument is not of the form that Sails gives it.
    #[error("the event is not a well-formed request")]
    Malformed,
    /// The event's name is no method.
    #[error("the event is not named like a method")]
    UnknownMethod,
    /// There are more headers than [`HEADERS_MAX`].
    #[error("the request has more than 32 headers")]
    TooManyHeaders,
    /// The data is longer than [`BODY_LEN_MAX`].
    #[error("the data is larger than 20000 bytes")]
    DataTooLarge,
    /// The data is nested deeper than [`crate::input::DEPTH_MAX`].
    #[error("the data is nested more than 32 levels deep")]
    DataTooDeep,
}

/// What a request does. As an event's name it is in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes or does.
    Post,
    /// Replaces.
    Put,
    /// Ends.
    Delete,
    /// Changes.
    Patch,
}

impl Method {
    /// The name in HTTP.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
        }
    }

    fn from_event(name: &str) -> Option<Self> {
        match name {
            "get" => Some(Self::Get),
            "post" => Some(Self::Post),
            "put" => Some(Self::Put),
            "delete" => Some(Self::Delete),
            "patch" => Some(Self::Patch),
            _ => None,
        }
    }
}

/// An event that is a request, its argument unwrapped from text but not read.
///
/// Text has to be copied to be unwrapped; the request borrows from that copy and copies nothing more.
pub struct Event<'a> {
    /// What the request does.
    pub method: Method,
    argument: Cow<'a, str>,
}

/// A request as HTTP would have brought it.
pub struct Request<'a> {
    /// Path, beginning with a slash, percent-encoded or not decoded yet. Scheme and host are gone.
    pub path: Cow<'a, str>,
    /// What follows the `?`, without it.
    pub query: Option<Cow<'a, str>>,
    /// Headers in the order they came; names as they were written. Those whose value was no text are left out.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The body, any JSON but `null`: within [`BODY_LEN_MAX`] and [`crate::input::DEPTH_MAX`].
    pub data: Option<&'a str>,
}

// Headers, query and data may hold tokens.
impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("method", &self.method).finish_non_exhaustive()
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Event<'a> {
    /// Reads the data of an event: `{"name":"post","args":[<argument>]}`. Further arguments mean nothing.
    ///
    /// # Errors
    ///
    /// [`TunnelError::Malformed`] and [`TunnelError::UnknownMethod`].
    pub fn decode(data: &'a str) -> Result<Self, TunnelError> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            name: Cow<'a, str>,
            #[serde(borrow, default)]
            args: First<'a>,
        }
        let named: Named<'_> = serde_json::from_str(data).map_err(|_| TunnelError::Malformed)?;
        let method = Method::from_event(&named.name).ok_or(TunnelError::UnknownMethod)?;
        let argument = named.args.0.ok_or(TunnelError::Malformed)?.get();
        let argument = if argument.starts_with('"') {
            Cow::Owned(serde_json::from_str(argument).map_err(|_| TunnelError::Malformed)?)
        } else {
            Cow::Borrowed(argument)
        };
        Ok(Self { method, argument })
    }

    /// Reads the argument: `{"url":…,"headers":{…},"data":…}`.
    ///
    /// # Errors
    ///
    /// [`TunnelError`] in every variant but [`TunnelError::UnknownMethod`].
    pub fn request(&self) -> Result<Request<'_>, TunnelError> {
        #[derive(Deserialize)]
        struct Argument<'a> {
            #[serde(borrow)]
            url: Cow<'a, str>,
            #[serde(borrow)]
            headers: Option<Headers<'a>>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
            /// What `data` was called before.
            #[serde(borrow)]
            params: Option<&'a RawValue>,
        }
        let argument: Argument<'_> = serde_json::from_str(&self.argument).map_err(|_| TunnelError::Malformed)?;
        let headers = argument.headers.unwrap_or_default();
        if headers.count > HEADERS_MAX {
            return Err(TunnelError::TooManyHeaders);
        }
        let data = argument.data.or(argument.params).map(RawValue::get);
        if let Some(data) = data {
            if data.len() > BODY_LEN_MAX {
                return Err(TunnelError::DataTooLarge);
            }
            check_depth(data.as_bytes()).map_err(|_| TunnelError::DataTooDeep)?;
        }
        let (path, query) = match argument.url {
            Cow::Borrowed(url) => path_and_query(url),
            Cow::Owned(url) => {
                let (path, query) = path_and_query(&url);
                (Cow::Owned(path.into_owned()), query.map(|query| Cow::Owned(query.into_owned())))
            }
        };
        Ok(Request { path, query, headers: headers.list, data })
    }
}

/// The first element of a list.
#[derive(Default)]
struct First<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Text that borrows if nothing in it is escaped, which a bare `Cow` never does.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The headers whose value is text, no more than are allowed, and how many there were in all.
#[derive(Default)]
struct Headers<'a> {
    list: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Headers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Headers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = Headers::default();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    headers.count += 1;
                    if headers.count <= HEADERS_MAX && value.get().starts_with('"') {
                        let Text(value) = serde_json::from_str(value.get()).map_err(A::Error::custom)?;
                        headers.list.push((name, value));
                    }
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn path_and_query(url: &str) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    let url = without_origin(url);
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let encode = |text| Cow::from(utf8_percent_encode(text, ENCODED));
    let path = match encode(path) {
        path if path.starts_with('/') => path,
        path => Cow::Owned(format!("/{path}")),
    };
    (path, query.map(encode))
}

/// What follows scheme and host, which only the Node client sends.
fn without_origin(url: &str) -> &str {
    for scheme in ["http://", "https://"] {
        if let Some((start, rest)) = url.split_at_checked(scheme.len())
            && start.eq_ignore_ascii_case(scheme)
        {
            return rest.find(['/', '?', '#']).map_or("", |end| &rest[end..]);
        }
    }
    url
}

/// How a client wants its answers. Its handshake says it, and nothing else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckStyle {
    /// An object of body, headers and status.
    Object,
    /// The body alone, as text.
    Text,
}

impl AckStyle {
    /// The style for the query of a handshake.
    ///
    /// # Source
    ///
    /// Sails looks for exactly this version; Asterisk, which sends none, crashes on an object.
    #[must_use]
    pub fn of_handshake(query: &str) -> Self {
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        match parameters.find(|(name, _)| name == "__sails_io_sdk_version") {
            Some((_, version)) if version == "0.10.0" => Self::Object,
            Some(_) | None => Self::Text,
        }
    }
}

/// The headers of an ack of [`AckStyle::Object`]. The limit is told by the second, as over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct AckHeaders<'a> {
    /// `Request-Id`.
    pub request_id: &'a str,
    /// `RateLimit-Limit`: how many requests the client may make in a second.
    pub limit: u64,
    /// `RateLimit-Remaining`: how many of them are left.
    pub remaining: u64,
    /// `Retry-After`: when to come back, if not at once.
    pub retry_after_secs: Option<u64>,
}

/// The answer to a request.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// What is told beside the body.
    pub headers: AckHeaders<'a>,
    /// A JSON object or array: clients take nothing else, and Asterisk reads what text there is.
    pub body: &'a [u8],
}

/// The ack of the request with this id.
///
/// `6:::<id>+[{"body":<body>,"headers":{…},"statusCode":<status>}]`, or `6:::<id>+["<body>"]`.
#[must_use]
pub fn ack(id: u64, style: AckStyle, answer: &Answer<'_>) -> Bytes {
    debug_assert!(matches!(answer.body.first(), Some(b'{' | b'[')), "a body is an object or an array");
    let mut out;
    match style {
        AckStyle::Object => {
            let AckHeaders { request_id, limit, remaining, retry_after_secs } = answer.headers;
            // The rest is about 170 bytes.
            out = ack_head(id, answer.body.len() + 192);
            out.extend_from_slice(br#"{"body":"#);
            push_json(&mut out, answer.body);
            out.extend_from_slice(br#","headers":{"Request-Id":""#);
            push_text(&mut out, request_id.as_bytes());
            push_fmt(&mut out, format_args!(r#"","RateLimit-Limit":{limit},"RateLimit-Time-Units":"seconds""#));
            push_fmt(&mut out, format_args!(r#","RateLimit-Remaining":{remaining}"#));
            if let Some(secs) = retry_after_secs {
                push_fmt(&mut out, format_args!(r#","Retry-After":{secs}"#));
            }
            push_fmt(&mut out, format_args!(r#"}},"statusCode":{}}}]"#, answer.status));
        }
        AckStyle::Text => {
            // Quotes double.
            out = ack_head(id, answer.body.len() + answer.body.len() / 4);
            out.push(b'"');
            push_text(&mut out, answer.body);
            out.extend_from_slice(br#""]"#);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{self, FRAME_LEN_MAX, Packet};
    use crate::input::DEPTH_MAX;

    /// The event in a frame, and the id it is answered with.
    fn event(frame: &str) -> (Option<u64>, Event<'_>) {
        match frame::decode(frame) {
            Ok(Packet::Event { id, data }) => (id, Event::decode(data).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn header<'a>(request: &'a Request<'_>, name: &str) -> Option<&'a str> {
        request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    #[test]
    fn javascript_sends_text_with_a_path() {
        let (id, event) = event(concat!(
            r#"5:1+::{"name":"post","args":["#,
            // The argument: JSON as text.
            r#""{\"url\":\"/v1/connections\",\"data\":{\"capabilities\":{\"iceFinalCandidates\":true}},"#,
            r#"\"headers\":{\"App-Token\":\"F9B2\",\"Respoke-SDK\":\"Respoke.js/v2.1.1\"}}"]}"#,
        ));
        let request = event.request().unwrap();
        assert_eq!((id, event.method), (Some(1), Method::Post));
        assert_eq!((&*request.path, request.query.as_deref()), ("/v1/connections", None));
        assert_eq!(request.data, Some(r#"{"capabilities":{"iceFinalCandidates":true}}"#));
        assert_eq!(header(&request, "App-Token"), Some("F9B2"));
        assert_eq!(header(&request, "Respoke-SDK"), Some("Respoke.js/v2.1.1"));
        // Nothing is copied beyond the text.
        let texts = request.headers.iter().flat_map(|(name, value)| [name, value]).chain([&request.path]);
        assert!(texts.into_iter().all(|text| matches!(text, Cow::Borrowed(_))));
    }

    #[test]
    fn android_sends_an_object_from_id_0_on_and_leaves_the_path_raw() {
        let (id, event) = event(
            r#"5:0+::{"name":"put","args":[{"data":{"limit":"1"},"headers":{"App-Token":"F9B2"},"url":"/v1/groups/köln süd/"}]}"#,
        );
        let request = event.request().unwrap();
        assert_eq!((id, event.method), (Some(0), Method::Put));
        assert_eq!(request.path, "/v1/groups/k%C3%B6ln%20s%C3%BCd/");
        assert_eq!(request.data, Some(r#"{"limit":"1"}"#));
    }

    #[test]
    fn ios_escapes_slashes() {
        let (_, event) = event(
            r#"5:1+::{"args":[{"headers":{"App-Token":"F9B2"},"url":"\/v1\/channels\/a b\/subscribers\/?x=1"}],"name":"get"}"#,
        );
        let request = event.request().unwrap();
        assert_eq!((&*request.path, request.query.as_deref()), ("/v1/channels/a%20b/subscribers/", Some("x=1")));
        assert_eq!(request.data, None);
    }

    #[test]
    fn go_sends_text_first_and_objects_later() {
        let (id, first) = event(
            r#"5:::{"name":"post","args":["{\"url\":\"/v1/connections\",\"headers\":{\"App-Token\":\"F9B2\"},\"data\":{\"presence\":{\"type\":\"\"}}}"]}"#,
        );
        assert_eq!((id, first.request().unwrap().data), (None, Some(r#"{"presence":{"type":""}}"#)));
        // `params` is what `data` was called before.
        let (id, later) =
            event(r#"5:1+::{"name":"post","args":[{"url":"v1/messages","params":{"to":"b"},"data":null}]}"#);
        let request = later.request().unwrap();
        assert_eq!((id, &*request.path, request.data), (Some(1), "/v1/messages", Some(r#"{"to":"b"}"#)));
    }

    #[test]
    fn asterisk_sends_text() {
        let (id, event) = event(
            r#"5:1+::{"name":"post","args":["{\"url\":\"/v1/connections\",\"headers\":{\"App-Secret\":\"9D3C\",\"Respoke-SDK\":\"Respoke-Asterisk/0.0.0\"},\"data\":{\"endpointId\":\"pbx\"}}"]}"#,
        );
        let request = event.request().unwrap();
        assert_eq!((id, header(&request, "App-Secret")), (Some(1), Some("9D3C")));
        assert_eq!(request.data, Some(r#"{"endpointId":"pbx"}"#));
    }

    #[test]
    fn node_sends_an_absolute_url_and_headers_that_are_null() {
        let (id, event) = event(concat!(
            r#"5:1+::{"name":"post","args":["{\"url\":\"http://host:3000/v1/connections\","#,
            r#"\"headers\":{\"App-Token\":\"CD44\",\"App-Secret\":null,\"Admin-Token\":null,\"n\":1,\"l\":[{}],"#,
            r#"\"Respoke-SDK\":\"Respoke-Node.js/2.0.1 (Linux)\"},\"data\":{}}"]}"#,
        ));
        let request = event.request().unwrap();
        assert_eq!((id, &*request.path, request.data), (Some(1), "/v1/connections", Some("{}")));
        assert_eq!(
            request.headers,
            [("App-Token", "CD44"), ("Respoke-SDK", "Respoke-Node.js/2.0.1 (Linux)")]
                .map(|(name, value)| (Cow::from(name), Cow::from(value)))
        );
    }

    #[test]
    fn a_url_becomes_one_that_smuggles_nothing() {
        for (url, path, query) in [
            ("", "/", None),
            ("/", "/", None),
            ("v1/groups?groups[]=a b", "/v1/groups", Some("groups%5B%5D=a%20b")),
            ("HTTPS://user:pass@host/v1/x?", "/v1/x", Some("")),
            ("http://host", "/", None),
            ("http://host?a=/b", "/", Some("a=/b")),
            ("http:/v1", "/http:/v1", None),
            ("ftp://host/v1", "/ftp://host/v1", None),
            ("//host/v1", "//host/v1", None),
            ("/v1/a\r\nHost: b\0", "/v1/a%0D%0AHost:%20b%00", None),
            ("/v1/../a/./%2e%2E", "/v1/../a/./%2e%2E", None),
            ("/v1/%zz%/100%", "/v1/%zz%/100%", None),
            ("/v1/#room?x#y", "/v1/%23room", Some("x%23y")),
            ("/v1/\"<>\\^`{|}\u{7f}", "/v1/%22%3C%3E%5C%5E%60%7B%7C%7D%7F", None),
            ("/v1/a-._~!$&'()*+,;=:@/?a-._~!$&'()*+,;=:@/?", "/v1/a-._~!$&'()*+,;=:@/", Some("a-._~!$&'()*+,;=:@/?")),
            ("/v1/日本😀", "/v1/%E6%97%A5%E6%9C%AC%F0%9F%98%80", None),
        ] {
            let (found_path, found_query) = path_and_query(url);
            assert_eq!((&*found_path, found_query.as_deref()), (path, query), "{url}");
        }
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        for name in ["", "POST", "message", "options", "head"] {
            let data = format!(r#"{{"name":"{name}","args":["{{}}"]}}"#);
            assert_eq!(Event::decode(&data).unwrap_err(), TunnelError::UnknownMethod, "{name}");
        }
        for data in [
            "",
            "{}",
            "null",
            r#"{"name":"get"}"#,
            r#"{"name":"get","args":[]}"#,
            r#"{"name":"get","args":{}}"#,
            r#"{"name":null,"args":["{}"]}"#,
            r#"{"name":"get","args":["{}"]"#,
            r#"{"name":"get","args":["\q"]}"#,
            r#"{"name":"get","args":["\ud800"]}"#,
        ] {
            assert_eq!(Event::decode(data).unwrap_err(), TunnelError::Malformed, "{data}");
        }
        for argument in [
            "{}",
            "[]",
            "null",
            "5",
            "\"x\"",
            "\"\"",
            r#"{"url":null}"#,
            r#"{"url":"/","headers":[]}"#,
            "\"{\\\"url\\\":\"",
        ] {
            let data = format!(r#"{{"name":"get","args":[{argument},{{}}]}}"#);
            assert_eq!(Event::decode(&data).unwrap().request().unwrap_err(), TunnelError::Malformed, "{argument}");
        }
    }

    fn argument(json: &str) -> Result<(), TunnelError> {
        let quoted = serde_json::to_string(json).unwrap();
        let results = [json, &quoted].map(|argument| {
            let data = format!(r#"{{"name":"post","args":[{argument}]}}"#);
            Event::decode(&data).unwrap().request().map(|_| ())
        });
        // An object and the same object as text are held to the same limits.
        assert_eq!(results[0], results[1]);
        results[0]
    }

    #[test]
    fn limits_hold_for_the_data_as_it_was_sent() {
        let long = |len: usize| argument(&format!(r#"{{"url":"/","data":{{"x":"{}"}}}}"#, "y".repeat(len - 8)));
        assert_eq!(long(BODY_LEN_MAX), Ok(()));
        assert_eq!(long(BODY_LEN_MAX + 1), Err(TunnelError::DataTooLarge));
        let deep =
            |levels: usize| argument(&format!(r#"{{"url":"/","data":{}{}}}"#, "[".repeat(levels), "]".repeat(levels)));
        assert_eq!(deep(DEPTH_MAX), Ok(()));
        assert_eq!(deep(DEPTH_MAX + 1), Err(TunnelError::DataTooDeep));
        let headers = |count: usize| {
            let headers: Vec<_> = (0..count).map(|at| format!(r#""h{at}":{}"#, ["null", "\"x\""][at % 2])).collect();
            argument(&format!(r#"{{"url":"/","headers":{{{}}}}}"#, headers.join(",")))
        };
        assert_eq!(headers(HEADERS_MAX), Ok(()));
        assert_eq!(headers(HEADERS_MAX + 1), Err(TunnelError::TooManyHeaders));
        // What is not used may be as deep as a frame is long, and overflows no stack.
        let brackets = FRAME_LEN_MAX / 2 - 20;
        assert_eq!(argument(&format!(r#"{{"url":"/","x":{}{}}}"#, "[".repeat(brackets), "]".repeat(brackets))), Ok(()));
    }

    #[test]
    fn the_longest_data_fits_into_a_frame_as_text() {
        // All quotes and backslashes: each is doubled by its own string, and both again by the text around it.
        let data = format!(r#"{{"x":"{}"}}"#, "\\\"".repeat((BODY_LEN_MAX - 8) / 2));
        assert_eq!(data.len(), BODY_LEN_MAX);
        let argument = serde_json::to_string(&format!(r#"{{"url":"/v1/messages","data":{data}}}"#)).unwrap();
        let frame = format!(r#"5:1+::{{"name":"post","args":[{argument}]}}"#);
        assert_eq!(event(&frame).1.request().unwrap().data, Some(&*data));
    }

    fn answer(body: &[u8]) -> Answer<'_> {
        let headers = AckHeaders { request_id: "5bce", limit: 10, remaining: 18, retry_after_secs: None };
        Answer { status: 400, headers, body }
    }

    #[test]
    fn an_object_holds_body_headers_and_status() {
        // A real ack of the original service.
        let mut answer = answer(br#"{"error":"Validation Error.","validationErrors":{}}"#);
        assert_eq!(
            ack(2, AckStyle::Object, &answer),
            concat!(
                r#"6:::2+[{"body":{"error":"Validation Error.","validationErrors":{}},"#,
                r#""headers":{"Request-Id":"5bce","RateLimit-Limit":10,"RateLimit-Time-Units":"seconds","#,
                r#""RateLimit-Remaining":18},"statusCode":400}]"#
            )
        );
        answer.headers.retry_after_secs = Some(3);
        answer.status = 429;
        let ack = ack(0, AckStyle::Object, &answer);
        assert!(ack.ends_with(br#""RateLimit-Remaining":18,"Retry-After":3},"statusCode":429}]"#), "{ack:?}");
    }

    #[test]
    fn text_holds_the_body_alone() {
        assert_eq!(
            ack(1, AckStyle::Text, &answer(br#"{"message":"Success"}"#)),
            r#"6:::1+["{\"message\":\"Success\"}"]"#
        );
        assert_eq!(ack(u64::MAX, AckStyle::Text, &answer(b"[]")), r#"6:::18446744073709551615+["[]"]"#);
    }

    #[test]
    fn ends_of_lines_are_escaped_in_either_style() {
        let body = "[\n\"\u{2028}\u{2029}\u{85}\"]";
        assert!(
            ack(1, AckStyle::Object, &answer(body.as_bytes()))
                .starts_with(br#"6:::1+[{"body":[ "\u2028\u2029\u0085"],"#)
        );
        assert_eq!(ack(1, AckStyle::Text, &answer(body.as_bytes())), r#"6:::1+["[\n\"\u2028\u2029\u0085\"]"]"#);
    }

    #[test]
    fn the_handshake_decides_the_style() {
        for (query, style) in [
            ("__sails_io_sdk_version=0.10.0&app-token=F9B2&t=1", AckStyle::Object),
            // Go.
            ("&&app-token=F9B2&Respoke-SDK=a%2fb&__sails_io_sdk_version=0.10.0", AckStyle::Object),
            ("", AckStyle::Text),
            ("app-secret=9D3C", AckStyle::Text),
            ("__sails_io_sdk_version=0.11.0", AckStyle::Text),
            ("__sails_io_sdk_version", AckStyle::Text),
            ("x__sails_io_sdk_version=0.10.0", AckStyle::Text),
        ] {
            assert_eq!(AckStyle::of_handshake(query), style, "{query}");
        }
    }

    #[test]
    fn a_printed_request_tells_no_secret() {
        let (_, event) = event(
            r#"5:1+::{"name":"get","args":[{"url":"/v1/x?app-token=canary","headers":{"App-Token":"canary"},"data":{"tokenId":"canary"}}]}"#,
        );
        let printed = format!("{event:?} {:?}", event.request().unwrap());
        assert!(printed.contains("/v1/x") && !printed.contains("canary"), "{printed}");
    }

    const TEXT: &str = r#"{"name":"post","args":["{\"url\":\"/v1/a\",\"headers\":{\"App-Token\":\"F9\",\"n\":null},\"data\":{\"a\":[1]}}"]}"#;
    const OBJECT: &str =
        r#"{"name":"post","args":[{"url":"/v1/a","headers":{"App-Token":"F9","n":null},"data":{"a":[1]}}]}"#;

    proptest! {
        #[test]
        fn a_request_reads_back(
            path in "(/[a-z0-9%.~ äß€😀\"\\\\]{0,8}){1,4}",
            query in proptest::option::of("[a-z0-9&=+ä ]{0,20}"),
            headers in proptest::collection::vec((any::<String>(), any::<String>()), 0..5),
            value in any::<String>(),
            as_text: bool,
        ) {
            let url = query.as_ref().map_or(path.clone(), |query| format!("{path}?{query}"));
            let headers: std::collections::BTreeMap<_, _> = headers.into_iter().collect();
            let data = serde_json::json!({ "x": value });
            let argument = serde_json::json!({ "url": url, "headers": headers, "data": data });
            let argument = if as_text { argument.to_string().into() } else { argument };
            let event = serde_json::json!({ "name": "patch", "args": [argument] }).to_string();
            let event = Event::decode(&event).unwrap();
            let request = event.request().unwrap();
            prop_assert_eq!(event.method.as_str(), "PATCH");
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            prop_assert_eq!(decode(&request.path), decode(&path));
            prop_assert_eq!(request.query.as_deref().map(decode), query.as_deref().map(decode));
            prop_assert!(request.path.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(request.data.map(ToOwned::to_owned), Some(data.to_string()));
            let found = request.headers.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
            prop_assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), headers);
        }

        #[test]
        fn both_styles_hold_the_body(id: u64, status in 100_u16..600, value in any::<String>(), pretty: bool) {
            let body = serde_json::json!({ "x": [value, {}] });
            let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
            let answer = Answer { status, ..answer(text.as_bytes()) };
            let read = |style| {
                let ack = String::from_utf8(ack(id, style, &answer).to_vec()).unwrap();
                assert!(!ack.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "{ack}");
                let json = ack.strip_prefix(&format!("6:::{id}+")).unwrap();
                serde_json::from_str::<[serde_json::Value; 1]>(json).unwrap()
            };
            let [object] = read(AckStyle::Object);
            prop_assert_eq!(&object["body"], &body);
            prop_assert_eq!(object["statusCode"].as_u64(), Some(u64::from(status)));
            let [string] = read(AckStyle::Text);
            prop_assert_eq!(string.as_str(), Some(&*text));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,100}") {
            let _ = Event::decode(&text);
            let _ = path_and_query(&text);
            let _ = AckStyle::of_handshake(&text);
            let argument = serde_json::json!({ "name": "get", "args": [text] }).to_string();
            let _ = Event::decode(&argument).map(|event| event.request().map(|_| ()));
        }

        #[test]
        fn a_damaged_event_never_panics(object: bool, at in 0_usize..200, character: char) {
            let mut characters: Vec<char> = if object { OBJECT } else { TEXT }.chars().collect();
            let at = at % characters.len();
            characters[at] = character;
            let _ = Event::decode(&String::from_iter(characters)).map(|event| event.request().map(|_| ()));
        }
    }
}
