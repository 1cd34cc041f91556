//! Packets in the bodies of long polling, and those bodies as a script.
//!
//! A lone packet is bare. Each of several is preceded by its length, in UTF-16 code units, between two U+FFFD.
//! An XHR body is nothing else; JSONP wraps it into a call of a function, and sends it as the field `d` of a form.
//!
//! # Source
//!
//! Section 3.5 of docs/protocol.md.

use bytes::Bytes;

use crate::escape::{push_fmt, push_text};
use crate::form::{self, NotText};
use crate::frame::{FRAME_LEN_MAX, FrameError, number};

/// The longest body of a poll's `POST`, in bytes: some two hundred of the longest requests. A client brings in one what it
/// queued behind the one before. It is taken apart as it comes, and what its packets take has a bound where they wait.
pub const PAYLOAD_LEN_MAX: usize = 40 * FRAME_LEN_MAX;
/// The longest form that JSONP posts, in bytes, which triples what it encodes. It is held whole.
pub const FORM_LEN_MAX: usize = 12 * FRAME_LEN_MAX;

const MARK: char = '\u{FFFD}';
const MARK_BYTES: [u8; 3] = [0xEF, 0xBF, 0xBD];
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

/// Splits a body into packets as it comes; they are not looked at.
#[derive(Debug, Default)]
pub struct Splitter {
    state: State,
    packet: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The beginning, of which so many bytes of a mark are in `packet`.
    #[default]
    Start,
    /// The rest of a lone packet.
    Lone,
    /// A mark, but for its first bytes.
    Mark(usize),
    /// A length and then a mark, but for its first bytes.
    Length { units: Option<usize>, mark: usize },
    /// So many UTF-16 code units of a packet, after bytes that still belong to the character before.
    Packet { units: usize, more: u8 },
    /// Nothing that could be read.
    Broken,
}

impl Splitter {
    /// The next packet that is whole with these bytes, of which it takes those that it needs. None: it needs more.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`] for a packet, [`FrameError::Malformed`]; what follows is then passed over.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Result<String, FrameError>> {
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            match self.take(*byte) {
                Ok(false) => {}
                Ok(true) => return Some(self.text()),
                Err(error) => return Some(Err(self.broken(error))),
            }
        }
        None
    }

    /// What it holds of a packet that is not whole.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.packet.len()
    }

    /// The last packet, if the body ended with one that is only known now to be whole.
    ///
    /// # Errors
    ///
    /// [`FrameError::Malformed`] for a part of one.
    #[must_use]
    pub fn end(mut self) -> Option<Result<String, FrameError>> {
        match self.state {
            State::Start | State::Lone => Some(self.text()),
            State::Mark(0) | State::Broken => None,
            State::Mark(_) | State::Length { .. } | State::Packet { .. } => Some(Err(FrameError::Malformed)),
        }
    }

    /// Takes one byte. True: a packet ends with it.
    fn take(&mut self, byte: u8) -> Result<bool, FrameError> {
        match self.state {
            State::Start => {
                self.packet.push(byte);
                if !MARK_BYTES.starts_with(&self.packet) {
                    self.state = State::Lone;
                } else if self.packet.len() == MARK_BYTES.len() {
                    self.packet.clear();
                    self.state = State::Length { units: None, mark: 0 };
                }
            }
            State::Lone => self.push(byte)?,
            State::Mark(seen) if byte == MARK_BYTES[seen] => {
                self.state = if seen + 1 == MARK_BYTES.len() {
                    State::Length { units: None, mark: 0 }
                } else {
                    State::Mark(seen + 1)
                };
            }
            State::Length { units: Some(units), mark } if byte == MARK_BYTES[mark] => {
                self.state = State::Length { units: Some(units), mark: mark + 1 };
                if mark + 1 == MARK_BYTES.len() {
                    self.state = State::Packet { units, more: 0 };
                    return Ok(self.ends_here());
                }
            }
            State::Length { units, mark: 0 } if byte.is_ascii_digit() => {
                let longer =
                    units.unwrap_or(0).checked_mul(10).and_then(|units| units.checked_add((byte - b'0').into()));
                self.state = State::Length { units: Some(longer.ok_or(FrameError::Malformed)?), mark: 0 };
            }
            State::Packet { units, more } => {
                // A character's first byte tells how many follow, and how many units it is.
                let (taken, more) = match (byte, more) {
                    (0x80..=0xBF, 1..) => (0, more - 1),
                    (..=0x7F, 0) => (1, 0),
                    (0xC0..=0xDF, 0) => (1, 1),
                    (0xE0..=0xEF, 0) => (1, 2),
                    (0xF0..=0xF7, 0) => (2, 3),
                    _ => return Err(FrameError::Malformed),
                };
                self.state = State::Packet { units: units.checked_sub(taken).ok_or(FrameError::Malformed)?, more };
                self.push(byte)?;
                return Ok(self.ends_here());
            }
            State::Mark(_) | State::Length { .. } => return Err(FrameError::Malformed),
            State::Broken => {}
        }
        Ok(false)
    }

    fn push(&mut self, byte: u8) -> Result<(), FrameError> {
        if self.packet.len() == FRAME_LEN_MAX {
            return Err(FrameError::TooLong);
        }
        self.packet.push(byte);
        Ok(())
    }

    fn ends_here(&mut self) -> bool {
        let ends = matches!(self.state, State::Packet { units: 0, more: 0 });
        if ends {
            self.state = State::Mark(0);
        }
        ends
    }

    fn text(&mut self) -> Result<String, FrameError> {
        String::from_utf8(std::mem::take(&mut self.packet)).map_err(|_| self.broken(FrameError::Malformed))
    }

    fn broken(&mut self, error: FrameError) -> FrameError {
        *self = Self { state: State::Broken, packet: Vec::new() };
        error
    }
}

/// Splits a whole body into packets.
///
/// # Errors
///
/// As [`Splitter::next`], if it is so anywhere in the body.
pub fn decode(body: &str) -> Result<Vec<String>, FrameError> {
    let (mut splitter, mut rest) = (Splitter::default(), body.as_bytes());
    let mut packets = Vec::new();
    while let Some(packet) = splitter.next(&mut rest) {
        packets.push(packet?);
    }
    packets.extend(splitter.end().transpose()?);
    Ok(packets)
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
/// [`FrameError::Malformed`] without that field, or if the form is not UTF-8 text; [`FrameError::TooLong`].
pub fn decode_form(form: &[u8]) -> Result<String, FrameError> {
    if form.len() > FORM_LEN_MAX {
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
        assert_eq!(decode("1::"), Ok(vec!["1::".to_owned()]));
        assert_eq!(encode(&[""; 0]), "");
        // ä is one unit and two bytes, € one and three, 😀 two and four, U+FFFD one and three.
        let packets = ["2::", "3:::ä€😀", "3:::\u{FFFD}"];
        let body = "\u{FFFD}3\u{FFFD}2::\u{FFFD}8\u{FFFD}3:::ä€😀\u{FFFD}5\u{FFFD}3:::\u{FFFD}";
        assert_eq!(encode(&packets), body);
        assert_eq!(decode(body), Ok(packets.map(str::to_owned).to_vec()));
        // A byte order mark begins like the mark and is none.
        for lone in ["", "\u{FEFF}", "\u{FEFF}2::", "\u{FFFC}", " ", "x"] {
            assert_eq!(decode(lone), Ok(vec![lone.to_owned()]));
        }
        assert_eq!(decode("\u{FFFD}0\u{FFFD}\u{FFFD}3\u{FFFD}2::"), Ok(vec![String::new(), "2::".to_owned()]));
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
    fn a_packet_has_a_longest_length_and_a_body_any_number_of_packets() {
        let long = |len: usize| "x".repeat(len);
        assert_eq!(decode(&long(FRAME_LEN_MAX)).map(|packets| packets.len()), Ok(1));
        assert_eq!(decode(&long(FRAME_LEN_MAX + 1)), Err(FrameError::TooLong));
        let framed = |len: usize| format!("\u{FFFD}{len}\u{FFFD}{}", long(len));
        assert_eq!(decode(&framed(FRAME_LEN_MAX)).map(|packets| packets.len()), Ok(1));
        assert_eq!(decode(&framed(FRAME_LEN_MAX + 1)), Err(FrameError::TooLong));
        assert_eq!(decode(&"\u{FFFD}3\u{FFFD}2::".repeat(10_000)).map(|packets| packets.len()), Ok(10_000));
    }

    /// What is read of a body that comes in such pieces: the packets before the first that cannot be read.
    fn split<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<FrameError>) {
        let (mut splitter, mut packets) = (Splitter::default(), Vec::new());
        let mut error = None;
        for mut piece in pieces {
            while let Some(packet) = splitter.next(&mut piece) {
                match packet {
                    Ok(packet) => packets.push(packet),
                    Err(found) => assert_eq!(error.replace(found), None, "it is told once"),
                }
            }
        }
        match splitter.end() {
            None => {}
            Some(Ok(packet)) => packets.push(packet),
            Some(Err(found)) => assert_eq!(error.replace(found), None),
        }
        (packets, error)
    }

    #[test]
    fn what_comes_before_a_fault_is_read() {
        let one = "\u{FFFD}3\u{FFFD}2::".as_bytes();
        for rest in [&b"x"[..], b"\xEF\xBF\xBD", b"\xEF\xBF\xBD9\xEF\xBF\xBD2::", b"\xEF\xBF\xBD1\xEF\xBF\xBD\xFF"] {
            let found = split([one, rest]);
            assert_eq!(found, (vec!["2::".to_owned()], Some(FrameError::Malformed)), "{}", rest.escape_ascii());
        }
        assert_eq!(split([&b"\xFF"[..]]), (vec![], Some(FrameError::Malformed)));
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
        assert_eq!(decode_form(&vec![b'x'; FORM_LEN_MAX + 1]), Err(FrameError::TooLong));
    }

    proptest! {
        #[test]
        fn packets_read_back(packets in proptest::collection::vec("[0-8]::\\PC{0,30}", 1..20)) {
            let body = encode(&packets);
            prop_assert_eq!(decode(std::str::from_utf8(&body).unwrap()).unwrap(), packets);
        }

        #[test]
        fn a_body_is_read_alike_in_whatever_pieces_it_comes(
            body in "(\u{FFFD}[0-9]{1,2}\u{FFFD}[2:é😀\u{FFFD}]{0,12}){0,6}",
            cut in proptest::collection::vec(any::<u8>(), 0..3),
            piece in 1_usize..8,
        ) {
            let bytes = [body.as_bytes(), &cut].concat();
            prop_assert_eq!(split(bytes.chunks(piece)), split([&bytes[..]]));
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
