//! The acks that answer the requests of [`crate::tunnel`], in the two styles that clients want.
//!
//! # Source
//!
//! Section 3.6 of docs/protocol.md.

use bytes::Bytes;
use respoke_core::ops::Confirmed;

use crate::escape::{push_fmt, push_json, push_text};

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
    /// `Respoke-Confirmed`: how many nodes have followed what was changed, if others had to.
    pub confirmed: Option<Confirmed>,
}

/// The answer to a request.
#[derive(Clone, Copy)]
pub struct AckContent<'a> {
    /// The HTTP status.
    pub status: u16,
    /// What is told beside the body.
    pub headers: AckHeaders<'a>,
    /// A JSON object or array; clients take nothing else.
    pub body: &'a [u8],
}

/// The ack of the request with this id.
///
/// `6:::<id>+[{"body":<body>,"headers":{…},"statusCode":<status>}]`, or `6:::<id>+["<body>"]`.
#[must_use]
pub fn encode(id: u64, style: AckStyle, answer: &AckContent<'_>) -> Bytes {
    debug_assert!(matches!(answer.body.first(), Some(b'{' | b'[')), "a body is an object or an array");
    let mut out;
    match style {
        AckStyle::Object => {
            let AckHeaders { request_id, limit, remaining, retry_after_secs, confirmed } = answer.headers;
            // The rest is about 170 bytes.
            out = head(id, answer.body.len() + 192);
            out.extend_from_slice(br#"{"body":"#);
            push_json(&mut out, answer.body);
            out.extend_from_slice(br#","headers":{"Request-Id":""#);
            push_text(&mut out, request_id.as_bytes());
            push_fmt(&mut out, format_args!(r#"","RateLimit-Limit":{limit},"RateLimit-Time-Units":"seconds""#));
            push_fmt(&mut out, format_args!(r#","RateLimit-Remaining":{remaining}"#));
            if let Some(secs) = retry_after_secs {
                push_fmt(&mut out, format_args!(r#","Retry-After":{secs}"#));
            }
            if let Some(confirmed) = confirmed {
                push_fmt(&mut out, format_args!(r#","Respoke-Confirmed":"{confirmed}""#));
            }
            push_fmt(&mut out, format_args!(r#"}},"statusCode":{}}}]"#, answer.status));
        }
        AckStyle::Text => {
            // Quotes double.
            out = head(id, answer.body.len() + answer.body.len() / 4);
            out.push(b'"');
            push_text(&mut out, answer.body);
            out.extend_from_slice(br#""]"#);
        }
    }
    out.into()
}

/// An ack up to its one argument, with room for that and the closing bracket. An ack without an argument breaks Android.
fn head(id: u64, argument_len: usize) -> Vec<u8> {
    // The longest id has 20 digits.
    let mut out = Vec::with_capacity("6:::+[]".len() + 20 + argument_len);
    push_fmt(&mut out, format_args!("6:::{id}+["));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(body: &[u8]) -> AckContent<'_> {
        let headers =
            AckHeaders { request_id: "5bce", limit: 10, remaining: 18, retry_after_secs: None, confirmed: None };
        AckContent { status: 400, headers, body }
    }

    #[test]
    fn an_object_holds_body_headers_and_status() {
        // A real ack of the original service.
        let mut answer = answer(br#"{"error":"Validation Error.","validationErrors":{}}"#);
        assert_eq!(
            encode(2, AckStyle::Object, &answer),
            concat!(
                r#"6:::2+[{"body":{"error":"Validation Error.","validationErrors":{}},"#,
                r#""headers":{"Request-Id":"5bce","RateLimit-Limit":10,"RateLimit-Time-Units":"seconds","#,
                r#""RateLimit-Remaining":18},"statusCode":400}]"#
            )
        );
        answer.headers.retry_after_secs = Some(3);
        answer.status = 429;
        let ack = encode(0, AckStyle::Object, &answer);
        assert!(ack.ends_with(br#""RateLimit-Remaining":18,"Retry-After":3},"statusCode":429}]"#), "{ack:?}");
        answer.headers.retry_after_secs = None;
        answer.headers.confirmed = Some(Confirmed { by: 2, of: 3 });
        answer.status = 200;
        let ack = encode(0, AckStyle::Object, &answer);
        assert!(ack.ends_with(br#""RateLimit-Remaining":18,"Respoke-Confirmed":"2/3"},"statusCode":200}]"#), "{ack:?}");
    }

    #[test]
    fn text_holds_the_body_alone() {
        assert_eq!(
            encode(1, AckStyle::Text, &answer(br#"{"message":"Success"}"#)),
            r#"6:::1+["{\"message\":\"Success\"}"]"#
        );
        assert_eq!(encode(u64::MAX, AckStyle::Text, &answer(b"[]")), r#"6:::18446744073709551615+["[]"]"#);
    }

    #[test]
    fn ends_of_lines_are_escaped_in_either_style() {
        let body = "[\n\"\u{2028}\u{2029}\u{85}\"]";
        assert!(
            encode(1, AckStyle::Object, &answer(body.as_bytes()))
                .starts_with(br#"6:::1+[{"body":[ "\u2028\u2029\u0085"],"#)
        );
        assert_eq!(encode(1, AckStyle::Text, &answer(body.as_bytes())), r#"6:::1+["[\n\"\u2028\u2029\u0085\"]"]"#);
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

    proptest! {
        #[test]
        fn both_styles_hold_the_body(id: u64, status in 100_u16..600, value in any::<String>(), pretty: bool) {
            let body = serde_json::json!({ "x": [value, {}] });
            let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
            let answer = AckContent { status, ..answer(text.as_bytes()) };
            let read = |style| {
                let ack = String::from_utf8(encode(id, style, &answer).to_vec()).unwrap();
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
    }
}
