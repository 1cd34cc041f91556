//! JSON and text on their way into a frame.
//!
//! Existing clients cut a packet at whatever their regular expressions take for the end of a line. JSON escapes the
//! ordinary ends of lines inside strings; here the others are escaped too, and those between tokens are replaced.
//!
//! Invariant: nothing that leaves here holds an end of a line in any reading.
//!
//! # Source
//!
//! Section 3.3 of docs/protocol.md: U+2028, U+2029 and U+0085 cut packets of the JavaScript and iOS clients.

use std::io::Write as _;

/// How many bytes are looked at together: a block without anything special costs one comparison for all.
const BLOCK: usize = 32;

/// Appends JSON, which means the same afterwards.
pub(crate) fn push_json(out: &mut Vec<u8>, json: &[u8]) {
    push(out, json, |byte| byte < b' ', |out, _| out.push(b' '));
}

/// Appends text as the inside of a JSON string that may also stand in a script: `<` cannot begin a tag.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    push(
        out,
        text,
        |byte| byte < b' ' || matches!(byte, b'"' | b'\\' | b'<'),
        |out, byte| match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
        },
    );
}

/// Appends what is formatted, as it is: for numbers and constants.
pub(crate) fn push_fmt(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes whatever is written, or ends the process.
    let _ = out.write_fmt(text);
}

/// Copies `bytes`; ends of lines of more than one byte are escaped, bytes that are `special` handed to `replace`.
fn push(out: &mut Vec<u8>, bytes: &[u8], special: impl Fn(u8) -> bool, replace: impl Fn(&mut Vec<u8>, u8)) {
    // Both bytes lead other characters as well, and never stand inside one.
    let suspect = |byte: u8| byte == 0xC2 || byte == 0xE2 || special(byte);
    let mut rest = bytes;
    while let Some(at) = position(rest, suspect) {
        let (plain, from_suspect) = rest.split_at(at);
        out.extend_from_slice(plain);
        let len = match from_suspect {
            [0xC2, 0x85, ..] => {
                out.extend_from_slice(b"\\u0085");
                2
            }
            [0xE2, 0x80, last @ (0xA8 | 0xA9), ..] => {
                out.extend_from_slice(if *last == 0xA8 { b"\\u2028" } else { b"\\u2029" });
                3
            }
            [lead @ (0xC2 | 0xE2), ..] => {
                out.push(*lead);
                1
            }
            [byte, ..] => {
                replace(out, *byte);
                1
            }
            [] => 0,
        };
        rest = &from_suspect[len..];
    }
    out.extend_from_slice(rest);
}

/// The first byte that is `suspect`, found block by block: without an early way out a block is compared at once.
fn position(bytes: &[u8], suspect: impl Fn(u8) -> bool) -> Option<usize> {
    let block = bytes.chunks(BLOCK).position(|block| block.iter().fold(false, |any, byte| any | suspect(*byte)))?;
    let start = block * BLOCK;
    bytes[start..].iter().position(|byte| suspect(*byte)).map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: &str) -> String {
        let mut out = Vec::new();
        push_json(&mut out, value.as_bytes());
        String::from_utf8(out).unwrap()
    }

    fn text(value: &str) -> String {
        let mut out = Vec::new();
        push_text(&mut out, value.as_bytes());
        String::from_utf8(out).unwrap()
    }

    fn has_line_end(text: &str) -> bool {
        text.contains(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
    }

    #[test]
    fn every_end_of_a_line_is_escaped_and_its_neighbours_are_not() {
        assert_eq!(json("{\"a\":\"\u{2028}\u{2029}\u{85}\"}"), r#"{"a":"\u2028\u2029\u0085"}"#);
        // The same lead bytes: ©, ’, …, €.
        assert_eq!(json("\"\u{a9}\u{84}\u{86}’…€\u{2027}\u{202a}\""), "\"\u{a9}\u{84}\u{86}’…€\u{2027}\u{202a}\"");
        // Between tokens, as a client may send what is passed on.
        assert_eq!(json("{\r\n\t\"a\": 1\n}"), "{   \"a\": 1 }");
    }

    #[test]
    fn text_becomes_the_inside_of_a_string_that_ends_no_script() {
        assert_eq!(text("a\"b\\c\n\r\t\u{1}\u{1f}"), r#"a\"b\\c\n\r\t\u0001\u001f"#);
        assert_eq!(text("</script><!--\u{2028}"), r"\u003c/script>\u003c!--\u2028");
    }

    /// Text in which what is special is common.
    fn thorny() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![
                any::<char>(),
                Just('a'),
                proptest::sample::select(vec!['"', '\\', '<', '\n', '\r', '\u{85}', '\u{a9}', '’']),
                proptest::sample::select(vec!['\u{2028}', '\u{2029}', '\u{2027}', '\u{202a}', '😀', '\u{0}']),
            ],
            0..100,
        )
        .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn escaped_text_reads_back(value in thorny()) {
            let escaped = text(&value);
            prop_assert!(!has_line_end(&escaped) && !escaped.contains('<'));
            prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{escaped}\"")).unwrap(), value);
        }

        #[test]
        fn escaped_json_means_the_same(key in thorny(), value in thorny()) {
            let before = serde_json::json!({ "list": [1, null, { key: value }] });
            for written in [before.to_string(), serde_json::to_string_pretty(&before).unwrap()] {
                let escaped = json(&written);
                prop_assert!(!has_line_end(&escaped));
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), &before);
            }
        }
    }
}
