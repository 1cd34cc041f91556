//! Packets in the bodies of long polling, and those bodies as a script.
//!
//! A lone packet is bare. Each of several is preceded by its length, in UTF-16 code units, between two U+FFFD.
//! An XHR body is nothing else; JSONP wraps it into a call of a function, and sends it as the field `d` of a form.
//!
//! # Source
//!
//! Section 4.5 of docs/protocol.md.

use bytes::Bytes;

use crate::escape::{push_fmt, push_text};
use crate::form::{self, NotText};
use crate::frame::{FRAME_LEN_MAX, FrameError, number};

/// The longest body of a poll's `POST`, in bytes: a client that was cut off sends what it kept in one.
pub const PAYLOAD_LEN_MAX: usize = 4 * FRAME_LEN_MAX;
/// The most packets in one body: as many requests as a client may have waiting.
pub const PACKETS_MAX: usize = 100;

const MARK: char = '\u{FFFD}';
/// Two marks of three bytes, and as many digits as a length has.
const HEAD_LEN: usize = 2 * 3 + 6;

/// What a `POST` of packets is answered.
pub const RECEIVED: &str = "1";

/// Joins packets into a body; none at all give an empty one.
#[must_use]
pub fn encode(packets: &[impl AsRef<[u8]>]) -> Bytes {
    if let [packet] = packets {
        return Bytes::copy_from_slice(packet.as_ref());
    }
    let len = packets.iter().map(|packet| HEAD_LEN + packet.as_ref().len()).sum();
    let mut out = Vec::with_capacity(len);
    for packet in packets {
        let packet = packet.as_ref();
        push_fmt(&mut out, format_args!("{MARK}{}{MARK}", utf16_len(packet)));
        out.extend_from_slice(packet);
    }
    out.into()
}

/// How many UTF-16 code units the UTF-8 text takes: one for each character, one more for each beyond U+FFFF.
fn utf16_len(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(byte & 0xC0 != 0x80) + usize::from(*byte >= 0xF0)).sum()
}

/// Splits a body into packets, which are not looked at.
///
/// # Errors
///
/// [`FrameError`]; then no packet of the body is used.
pub fn decode(body: &str) -> Result<Vec<&str>, FrameError> {
    if body.len() > PAYLOAD_LEN_MAX {
        return Err(FrameError::TooLong);
    }
    if !body.starts_with(MARK) {
        return Ok(vec![body]);
    }
    let mut packets = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        if packets.len() == PACKETS_MAX {
            return Err(FrameError::TooMany);
        }
        let (packet, after) = split_packet(rest).ok_or(FrameError::Malformed)?;
        packets.push(packet);
        rest = after;
    }
    Ok(packets)
}

fn split_packet(rest: &str) -> Option<(&str, &str)> {
    let (digits, rest) = rest.strip_prefix(MARK)?.split_once(MARK)?;
    let units = usize::try_from(number(digits)?).ok()?;
    rest.split_at_checked(utf16_index(rest, units)?)
}

/// Where the first `units` UTF-16 code units of `text` end, unless inside a character or behind the end.
fn utf16_index(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(character.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

/// The number of a JSONP callback, from the query's `jsonp` (handshake) or `i` (polls): digits and nothing else, for
/// it becomes part of a script.
#[must_use]
pub fn jsonp_index(text: &str) -> Option<u32> {
    number(text).and_then(|index| u32::try_from(index).ok())
}

/// A body, or the answer to a handshake, as a script: `io.j[<index>]("<payload>");`.
///
/// It may hold any character, so its type must name the charset UTF-8.
#[must_use]
pub fn jsonp(index: u32, payload: &[u8]) -> Bytes {
    script(index, r#"(""#, payload, r#"");"#)
}

/// A refused handshake as a script: `io.j[<index>](new Error("<reason>"));`.
#[must_use]
pub fn jsonp_error(index: u32, reason: &str) -> Bytes {
    script(index, r#"(new Error(""#, reason.as_bytes(), r#""));"#)
}

fn script(index: u32, before: &str, text: &[u8], after: &str) -> Bytes {
    // Quotes double; what needs more makes the vector grow.
    let mut out = Vec::with_capacity(text.len() + text.len() / 4 + 32);
    push_fmt(&mut out, format_args!("io.j[{index}]{before}"));
    push_text(&mut out, text);
    out.extend_from_slice(after.as_bytes());
    out.into()
}

/// The body inside a form that JSONP posts: the field `d`, a JSON string.
///
/// # Errors
///
/// [`FrameError::Malformed`] without that field, or if the form is not UTF-8 text; [`FrameError::TooLong`] if the form, which triples what it encodes, is
/// longer than three bodies.
pub fn decode_form(form: &[u8]) -> Result<String, FrameError> {
    if form.len() > 3 * PAYLOAD_LEN_MAX {
        return Err(FrameError::TooLong);
    }
    let mut pairs = form::pairs(form).map_err(|NotText| FrameError::Malformed)?;
    let (_, json) = pairs.find(|(name, _)| name == "d").ok_or(FrameError::Malformed)?;
    serde_json::from_str(&json).map_err(|_| FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lone_packet_is_bare_and_several_are_counted_in_utf_16() {
        assert_eq!(encode(&["1::"]), "1::");
        assert_eq!(decode("1::"), Ok(vec!["1::"]));
        assert_eq!(encode(&[""; 0]), "");
        // ä is one unit and two bytes, € one and three, 😀 two and four, U+FFFD one and three.
        let packets = ["2::", "3:::ä€😀", "3:::\u{FFFD}"];
        let body = "\u{FFFD}3\u{FFFD}2::\u{FFFD}8\u{FFFD}3:::ä€😀\u{FFFD}5\u{FFFD}3:::\u{FFFD}";
        assert_eq!(encode(&packets), body);
        assert_eq!(decode(body), Ok(packets.to_vec()));
    }

    #[test]
    fn a_length_that_does_not_fit_is_malformed() {
        for body in [
            "\u{FFFD}",
            "\u{FFFD}3",
            "\u{FFFD}\u{FFFD}2::",
            "\u{FFFD}4\u{FFFD}2::",
            "\u{FFFD}2\u{FFFD}2::",
            "\u{FFFD}-3\u{FFFD}2::",
            "\u{FFFD}+3\u{FFFD}2::",
            "\u{FFFD}3.0\u{FFFD}2::",
            "\u{FFFD}99999999999999999999\u{FFFD}2::",
            "\u{FFFD}3\u{FFFD}2::x",
            // The half of a pair.
            "\u{FFFD}5\u{FFFD}3:::😀",
        ] {
            assert_eq!(decode(body), Err(FrameError::Malformed), "{body}");
        }
    }

    #[test]
    fn a_body_has_a_longest_length_and_a_largest_number_of_packets() {
        assert_eq!(decode(&"x".repeat(PAYLOAD_LEN_MAX)).map(|packets| packets.len()), Ok(1));
        assert_eq!(decode(&"x".repeat(PAYLOAD_LEN_MAX + 1)), Err(FrameError::TooLong));
        let many = |count: usize| "\u{FFFD}3\u{FFFD}2::".repeat(count);
        assert_eq!(decode(&many(PACKETS_MAX)).map(|packets| packets.len()), Ok(PACKETS_MAX));
        assert_eq!(decode(&many(PACKETS_MAX + 1)), Err(FrameError::TooMany));
    }

    #[test]
    fn a_script_calls_back_and_cannot_be_broken_out_of() {
        assert_eq!(jsonp(0, b"1::"), r#"io.j[0]("1::");"#);
        assert_eq!(
            jsonp(12, "5:::{\"a\":\"\\n</script>\u{2028}\"}".as_bytes()),
            r#"io.j[12]("5:::{\"a\":\"\\n\u003c/script>\u2028\"}");"#
        );
        assert_eq!(jsonp_error(3, "handshake unauthorized"), r#"io.j[3](new Error("handshake unauthorized"));"#);
        assert_eq!((jsonp_index("0"), jsonp_index("4294967295")), (Some(0), Some(u32::MAX)));
        for text in ["", "+1", "-1", "1.0", "1]", "4294967296", "１"] {
            assert_eq!(jsonp_index(text), None, "{text}");
        }
    }

    #[test]
    fn a_posted_form_holds_the_body_as_a_json_string() {
        // `d="5:1+::{\"name\":\"get\"}"`, encoded as browsers encode forms.
        let form = b"d=%225%3A1%2B%3A%3A%7B%5C%22name%5C%22%3A%5C%22get%5C%22%7D%22";
        assert_eq!(decode_form(form).as_deref(), Ok(r#"5:1+::{"name":"get"}"#));
        assert_eq!(decode_form(b"i=1&d=%22%E2%82%AC+%5Cu20ac%22").as_deref(), Ok("€ €"));
        for form in
            [&b""[..], b"e=%22%22", b"d=", b"d=5", b"d=%22", b"d=%22\xFF%5Cq%22", b"d=%22%FF%22", b"d=%22%22&x=%FF"]
        {
            assert_eq!(decode_form(form), Err(FrameError::Malformed), "{}", form.escape_ascii());
        }
        assert_eq!(decode_form(&vec![b'x'; 3 * PAYLOAD_LEN_MAX + 1]), Err(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn packets_read_back(packets in proptest::collection::vec("[0-8]::\\PC{0,30}", 1..20)) {
            let body = encode(&packets);
            prop_assert_eq!(decode(std::str::from_utf8(&body).unwrap()).unwrap(), packets);
        }

        #[test]
        fn lengths_are_those_of_utf_16(text in any::<String>()) {
            prop_assert_eq!(utf16_len(text.as_bytes()), text.encode_utf16().count());
        }

        #[test]
        fn a_script_holds_its_body(body in any::<String>(), index: u32) {
            let script = String::from_utf8(jsonp(index, body.as_bytes()).to_vec()).unwrap();
            let start = format!("io.j[{index}](");
            let json = script.strip_prefix(&start).and_then(|rest| rest.strip_suffix(");")).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(json).unwrap(), body);
        }

        #[test]
        fn a_form_reads_back(body in any::<String>()) {
            let json = serde_json::to_string(&body).unwrap();
            let form = form_urlencoded::Serializer::new(String::new()).append_pair("d", &json).finish();
            prop_assert_eq!(decode_form(form.as_bytes()).unwrap(), body);
        }

        #[test]
        fn arbitrary_bodies_never_panic(body in "[\u{FFFD}0-9:x😀]{0,40}|\\PC{0,60}", form in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&body);
            let _ = decode_form(&form);
        }

        #[test]
        fn a_damaged_body_never_panics(at in 0_usize..20, character: char) {
            let mut characters: Vec<char> = "\u{FFFD}3\u{FFFD}2::\u{FFFD}6\u{FFFD}3:::😀".chars().collect();
            let at = at % characters.len();
            characters[at] = character;
            let _ = decode(&String::from_iter(characters));
        }
    }
}
