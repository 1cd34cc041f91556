//! A small parser for HTTP/1.1 answers: status line, `Content-Length`, body.
//!
//! The load generator shares the machine's cores with the server it drives, so what it spends on
//! an answer is taken from the server. This looks at the bytes once and copies nothing.
//!
//! Invariant: an answer whose end cannot be known (chunked, or without a length) is an error, never a guess.

use std::ops::Range;

use anyhow::{Context, bail};

/// Longest head that is read, in bytes; a longer one is not our server's.
const HEAD_LEN_MAX: usize = 16 * 1024;
/// Longest body that is read, in bytes; `/metrics` is the longest one asked for.
const BODY_LEN_MAX: usize = 4 * 1024 * 1024;

/// One whole answer at the beginning of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Where the body lies in the buffer.
    pub(crate) body: Range<usize>,
    /// Whether the server closes the connection after this answer.
    pub(crate) closes: bool,
}

impl Answer {
    /// Reads the answer that begins `bytes`; `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// When the bytes are no HTTP/1.1 answer, or one of unknown or excessive length.
    pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut lines = Lines { bytes, at: 0 };
        let Some(first) = lines.next() else {
            return within_head_limit(bytes);
        };
        let status = status(first)?;
        let mut body_len = None;
        let mut closes = false;
        loop {
            let Some(line) = lines.next() else {
                return within_head_limit(bytes);
            };
            if line.is_empty() {
                break;
            }
            if let Some(value) = field(line, b"content-length") {
                body_len = Some(value.parse::<usize>().context("the Content-Length is no number")?);
            } else if field(line, b"transfer-encoding").is_some() {
                bail!("the answer is chunked; the load generator reads only bodies of known length");
            } else if let Some(value) = field(line, b"connection") {
                closes = value.eq_ignore_ascii_case("close");
            }
        }
        let body_len = match body_len {
            Some(len) => len,
            None if matches!(status, 100..=199 | 204 | 304) => 0,
            None => bail!("an answer with status {status} has no Content-Length"),
        };
        if body_len > BODY_LEN_MAX {
            bail!("a body of {body_len} bytes is longer than any our server sends");
        }
        let body = lines.at..lines.at + body_len;
        Ok((bytes.len() >= body.end).then_some(Self { status, body, closes }))
    }
}

/// Says that more bytes are needed, unless there have been too many already.
fn within_head_limit<T>(bytes: &[u8]) -> anyhow::Result<Option<T>> {
    if bytes.len() > HEAD_LEN_MAX {
        bail!("the head of an answer is longer than {HEAD_LEN_MAX} bytes");
    }
    Ok(None)
}

/// The status code of a status line.
fn status(line: &[u8]) -> anyhow::Result<u16> {
    let code = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| std::str::from_utf8(code).ok())
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("no HTTP/1.1 status line: {:?}", String::from_utf8_lossy(line)))
}

/// The value of `line` when it is the header field `name` (lower case).
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a str> {
    if line.get(name.len()) != Some(&b':') || !line[..name.len()].eq_ignore_ascii_case(name) {
        return None;
    }
    std::str::from_utf8(&line[name.len() + 1..]).ok().map(str::trim)
}

/// The lines of a head, without their ends; an unfinished last line is held back.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        self.at += end + 1;
        let line = &rest[..end];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// The text of `"name":"text"` in a JSON body, without reading the rest of it.
///
/// Good enough for ids and tokens, whose text holds no escapes; the server's other fields are not looked at.
pub(crate) fn text_field<'a>(body: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let name = name.as_bytes();
    let mut from = 0;
    loop {
        let quote = from + body.get(from..)?.iter().position(|&byte| byte == b'"')?;
        let key = quote + 1;
        let key_end = key + body[key..].iter().position(|&byte| byte == b'"')?;
        let rest = body[key_end + 1..].trim_ascii_start();
        if &body[key..key_end] == name
            && let Some(rest) = rest.strip_prefix(b":")
            && let Some(text) = rest.trim_ascii_start().strip_prefix(b"\"")
        {
            let end = text.iter().position(|&byte| byte == b'"')?;
            return Some(&text[..end]);
        }
        from = key_end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINTED: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length:  15\r\n\r\n{\"tokenId\":\"A\"}HTTP";

    #[test]
    fn a_whole_answer_is_found_and_the_next_one_left() {
        let answer = Answer::parse(MINTED).unwrap().unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(&MINTED[answer.body.clone()], b"{\"tokenId\":\"A\"}");
        assert_eq!(&MINTED[answer.body.end..], b"HTTP");
        assert!(!answer.closes);
    }

    #[test]
    fn an_answer_cut_anywhere_asks_for_more() {
        let whole = MINTED.len() - 4;
        for cut in 0..whole {
            assert_eq!(Answer::parse(&MINTED[..cut]).unwrap(), None, "cut at {cut}");
        }
        assert!(Answer::parse(&MINTED[..whole]).unwrap().is_some());
    }

    #[test]
    fn an_answer_without_a_body_ends_with_its_head() {
        let bytes = b"HTTP/1.1 204 No Content\r\nconnection: Close\r\n\r\n";
        let answer = Answer::parse(bytes).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.len(), answer.closes), (204, 0, true));
    }

    #[test]
    fn an_answer_of_unknown_length_is_refused() {
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n").is_err());
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").is_err());
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n").is_err());
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert!(Answer::parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(Answer::parse(&vec![b'a'; HEAD_LEN_MAX + 1]).is_err());
    }

    #[test]
    fn a_text_field_is_found_by_its_whole_name() {
        let body = br#"{"id": 7, "tokenId" : "7C5F", "message":"token", "token":"F9B2"}"#;
        assert_eq!(text_field(body, "tokenId"), Some(&b"7C5F"[..]));
        assert_eq!(text_field(body, "token"), Some(&b"F9B2"[..]));
        assert_eq!(text_field(body, "id"), None);
        assert_eq!(text_field(body, "roleId"), None);
        assert_eq!(text_field(b"{\"token\":\"F9", "token"), None);
    }
}
