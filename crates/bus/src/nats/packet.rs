//! What one message of NATS holds: some frames for one node, or a sign of life of one to itself.
//!
//! The first byte says which. Each frame follows its length in four bytes, big-endian.

use bytes::{Buf as _, Bytes};
use respoke_core::ports::Node;

const FRAMES: u8 = 1;
const SIGN: u8 = 2;

/// Before each frame.
pub(super) const FRAME_HEAD_LEN: usize = 4;
/// Before all of them.
pub(super) const PACKET_HEAD_LEN: usize = 1;

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Frames(Frames),
    /// Who gave the sign, and its number.
    Sign(Node, u64),
}

/// Frames, one after the other. Where the bytes do not hold what they say, it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frames(Bytes);

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.0.try_get_u32().ok()?).ok()?;
        (len <= self.0.len()).then(|| self.0.split_to(len))
    }
}

/// Adds a frame to a message. Frames have far less than four gigabytes.
pub(super) fn add_frame(out: &mut Vec<u8>, frame: &[u8]) {
    if out.is_empty() {
        out.push(FRAMES);
    }
    let Ok(len) = u32::try_from(frame.len()) else { return };
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(frame);
}

/// A sign of life.
pub(super) fn sign(node: Node, number: u64) -> Bytes {
    let mut out = vec![SIGN];
    out.extend_from_slice(&node.id.0.to_be_bytes());
    out.extend_from_slice(&node.incarnation.0.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.into()
}

impl Packet {
    /// What the bytes are. None: nothing that is known.
    pub(super) fn read(mut bytes: Bytes) -> Option<Self> {
        use respoke_core::ports::{Incarnation, NodeId};

        match bytes.try_get_u8().ok()? {
            FRAMES => Some(Self::Frames(Frames(bytes))),
            SIGN => {
                let id = NodeId(bytes.try_get_u32().ok()?);
                let incarnation = Incarnation(bytes.try_get_u64().ok()?);
                Some(Self::Sign(Node { id, incarnation }, bytes.try_get_u64().ok()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::ports::{Incarnation, NodeId};

    use super::*;

    fn read(bytes: &[u8]) -> Option<Vec<Bytes>> {
        match Packet::read(Bytes::copy_from_slice(bytes))? {
            Packet::Frames(frames) => Some(frames.collect()),
            Packet::Sign(..) => None,
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut out = Vec::new();
        for frame in [&b"one"[..], b"", &vec![7; 70_000]] {
            add_frame(&mut out, frame);
        }
        assert_eq!(out[..12], [1, 0, 0, 0, 3, b'o', b'n', b'e', 0, 0, 0, 0]);
        assert_eq!(read(&out), Some(vec!["one".into(), "".into(), vec![7; 70_000].into()]));
        let node = Node { id: NodeId(3), incarnation: Incarnation(u64::MAX) };
        assert_eq!(Packet::read(sign(node, 9)), Some(Packet::Sign(node, 9)));
    }

    #[test]
    fn of_what_is_cut_off_the_whole_frames_are_read() {
        let mut out = Vec::new();
        add_frame(&mut out, b"one");
        add_frame(&mut out, b"two");
        assert_eq!(read(&out[..out.len() - 1]), Some(vec!["one".into()]));
        assert_eq!(read(&[1, 0, 0]), Some(vec![]));
        assert_eq!(read(&[1, 255, 255, 255, 255, 1]), Some(vec![]));
        for unknown in [&[][..], &[0], &[3, 0], &[2, 0]] {
            assert_eq!(Packet::read(Bytes::copy_from_slice(unknown)), None);
        }
    }
}
