//! Answers to requests.

use std::borrow::Cow;

use bytes::Bytes;
use respoke_core::code::{Again, Code};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::escape::push_fmt;

/// A refusal as clients read it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused<'a> {
    /// The stable word.
    pub code: Cow<'a, str>,
    /// For people.
    pub text: Cow<'a, str>,
    /// What the same request, sent again, would do.
    pub retry: &'static str,
    /// Seconds after which it is worth another try, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Under what the log has it.
    pub request_id: Cow<'a, str>,
    /// What is wrong, by field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<&'a RawValue>,
    /// The reason given with a ban.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
}

impl<'a> Refused<'a> {
    /// The same refusal as HTTP would have answered it, by [`crate::body::problem::ProblemBody`]. None: it is none.
    #[must_use]
    pub fn of_body(body: &'a [u8], after: Option<u64>) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            #[serde(borrow)]
            error: Cow<'a, str>,
            #[serde(borrow)]
            code: Cow<'a, str>,
            #[serde(borrow)]
            request_id: Cow<'a, str>,
            #[serde(borrow)]
            details: Option<Details<'a>>,
            #[serde(borrow)]
            validation_errors: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Details<'a> {
            #[serde(borrow)]
            reason: Cow<'a, str>,
        }
        let body: Body<'a> = serde_json::from_slice(body).ok()?;
        Some(Self {
            text: body.error,
            retry: retry(&body.code),
            code: body.code,
            after,
            request_id: body.request_id,
            fields: body.validation_errors,
            reason: body.details.map(|details| details.reason),
        })
    }
}

fn retry(code: &str) -> &'static str {
    match Code::of(code).map(Code::again) {
        Some(Again::Never) => "no",
        Some(Again::Later) => "later",
        Some(Again::Unknown) | None => "unknown",
    }
}

/// `{"id":7,"ok":…}`, with the cursor of the next page if the list goes on.
#[must_use]
pub fn ok(id: u64, body: &[u8], next: Option<&str>) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + 48 + next.map_or(0, str::len));
    push_fmt(&mut out, format_args!(r#"{{"id":{id},"ok":"#));
    out.extend_from_slice(body);
    if let Some(next) = next {
        out.extend_from_slice(br#","next":"#);
        // Text always serializes.
        let _ = serde_json::to_writer(&mut out, next);
    }
    out.push(b'}');
    on_one_line(out)
}

/// `{"id":7,"error":{…}}`.
#[must_use]
pub fn error(id: u64, refused: &Refused<'_>) -> Bytes {
    let mut out = Vec::with_capacity(256);
    push_fmt(&mut out, format_args!(r#"{{"id":{id},"error":"#));
    // Text, numbers and JSON always serialize.
    let _ = serde_json::to_writer(&mut out, refused);
    out.push(b'}');
    on_one_line(out)
}

/// JSON that means the same and is one line: ends of lines stand between its tokens alone.
pub(super) fn on_one_line(mut json: Vec<u8>) -> Bytes {
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line_and_holds_the_body_to_the_letter() {
        assert_eq!(ok(7, b"{\"a\":\r\n1e400}", None), r#"{"id":7,"ok":{"a":  1e400}}"#);
        assert_eq!(ok(0, b"[]", Some("a\"b")), r#"{"id":0,"ok":[],"next":"a\"b"}"#);
    }

    #[test]
    fn a_refusal_says_what_its_body_says() {
        let body = br#"{"error":"Too Many Requests","code":"rate_limited","requestId":"r"}"#;
        assert_eq!(
            error(7, &Refused::of_body(body, Some(2)).unwrap()),
            r#"{"id":7,"error":{"code":"rate_limited","text":"Too Many Requests","retry":"later","after":2,"requestId":"r"}}"#
        );
        let body = br#"{"error":"e","code":"invalid","requestId":"r","validationErrors":{"to":["to is\n missing"]},"details":{"message":"m","reason":"spam"}}"#;
        assert_eq!(
            error(7, &Refused::of_body(body, None).unwrap()),
            r#"{"id":7,"error":{"code":"invalid","text":"e","retry":"no","requestId":"r","fields":{"to":["to is\n missing"]},"reason":"spam"}}"#
        );
        assert_eq!((retry("in_doubt"), retry("unheard of")), ("unknown", "unknown"));
        assert!(Refused::of_body(b"[]", None).is_none());
    }
}
