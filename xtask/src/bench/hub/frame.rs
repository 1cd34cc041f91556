//! WebSocket frames as the generator needs them: whole text frames, and the close.
//!
//! Frames are masked with zeros, which is a mask like any other to the server and leaves the payload as it is written.
//!
//! # Source
//!
//! RFC 6455, section 5.2.

use anyhow::{bail, ensure};

/// The longest payload that is read; no server under test sends longer ones.
const PAYLOAD_LEN_MAX: usize = 1 << 20;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Says that two, or eight, bytes of length follow.
const LEN_16: u8 = 0x7E;
const LEN_64: u8 = 0x7F;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;

/// A frame of a server.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bench) enum Frame<'a> {
    Text(&'a [u8]),
    Close,
}

/// Appends a client's text frame.
pub(in crate::bench) fn push_text(out: &mut Vec<u8>, payload: &[u8]) {
    out.push(FIN | TEXT);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..LEN_16), _) => out.push(MASKED | len),
        (_, Ok(len)) => {
            out.push(MASKED | LEN_16);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(MASKED | LEN_64);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// A client's text frame.
pub(in crate::bench) fn text(payload: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    push_text(&mut out, payload.as_bytes());
    out
}

/// The frame that begins `bytes`, and its length; `None` when more bytes are needed.
///
/// # Errors
///
/// When it is a fragment, masked, neither text nor close, or too long.
pub(in crate::bench) fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Frame<'_>, usize)>> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    ensure!(first & FIN != 0 && second & MASKED == 0, "a server's frame is whole and not masked");
    let (len, head) = match second {
        LEN_16 => match rest.first_chunk::<2>() {
            Some(len) => (u16::from_be_bytes(*len).into(), 4),
            None => return Ok(None),
        },
        LEN_64 => match rest.first_chunk::<8>() {
            Some(len) => (usize::try_from(u64::from_be_bytes(*len))?, 10),
            None => return Ok(None),
        },
        len => (len.into(), 2),
    };
    ensure!(len <= PAYLOAD_LEN_MAX, "a frame of {len} bytes is longer than any server here sends");
    let Some(payload) = bytes.get(head..head + len) else { return Ok(None) };
    let frame = match first & 0x0F {
        TEXT => Frame::Text(payload),
        CLOSE => Frame::Close,
        other => bail!("a frame of kind {other} is not expected"),
    };
    Ok(Some((frame, head + len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server sends it: the same without mask.
    fn served(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push_text(&mut frame, payload);
        frame[1] &= !MASKED;
        let mask = frame.len() - payload.len() - 4;
        frame.drain(mask..mask + 4);
        frame
    }

    #[test]
    fn frames_of_every_length_are_read_back() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'a'; len];
            let mut frame = served(&payload);
            let whole = frame.len();
            frame.extend_from_slice(b"\x81");
            assert_eq!(parse(&frame).unwrap(), Some((Frame::Text(&payload), whole)), "{len}");
            for cut in [0, 1, 2, 3, 5, 9, whole.saturating_sub(1)].into_iter().filter(|&cut| cut < whole) {
                assert_eq!(parse(&frame[..cut]).unwrap(), None, "{len} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_client_masks_and_a_server_does_not() {
        assert_eq!(text("2::"), b"\x81\x83\0\0\0\x002::");
        assert!(parse(&text("2::")).is_err());
        assert!(parse(b"\x01\x032::").is_err(), "a fragment");
        assert!(parse(b"\x89\x00").is_err(), "a ping, which existing clients do not all understand");
        assert_eq!(parse(b"\x88\x02\x03\xe8").unwrap(), Some((Frame::Close, 4)));
    }
}
