//! How often a client may send what is no request: heartbeats, pings, packets that cannot be read, pieces of nothing.
//!
//! Requests are limited by the app's rates and refused one by one. Nothing answers these, so there is no refusal either:
//! who sends far too many is closed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Seconds' worth of them that may come at once: what waited while the network stood still, or a client had a bad moment.
const BURST_SECS: u64 = 50;
const SECOND_MICROS: u64 = 1_000_000;

/// What one client has sent of them lately, as the time from its beginning at which that would have been in order.
#[derive(Debug, Default)]
pub(crate) struct IdleFrames(AtomicU64);

impl IdleFrames {
    /// Counts `frames` that came `since` the client's beginning. False: that is more than `per_sec` lets through.
    pub(crate) fn count(&self, frames: u32, since: Duration, per_sec: u32) -> bool {
        let now = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let take = u64::from(frames) * SECOND_MICROS / u64::from(per_sec.max(1));
        let after = |before: u64| before.max(now).saturating_add(take);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(after(before)));
        after(before.unwrap_or_else(|before| before)).saturating_sub(now) <= BURST_SECS * SECOND_MICROS
    }
}

/// Shorter pieces of a message, but for its last one, are counted. Whoever sends a long message in pieces sends longer ones.
const PIECE_LEN_USUAL: u64 = 128;

/// Counts the pieces of messages that bring them hardly further, which the websocket's library takes in without a word.
///
/// # Source
///
/// RFC 6455 section 5.2.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// The beginning of a frame's header.
    head: [u8; 10],
    head_len: u8,
    /// Whether a message was there in part when more had to be waited for.
    stood: bool,
    /// Bytes of the frame that are yet to come.
    rest: u64,
    counted: u32,
    /// Bytes that came so far of a message that is not whole, about.
    part: u32,
}

impl Pieces {
    /// Looks at bytes as they are read.
    pub(crate) fn look(&mut self, mut bytes: &[u8]) {
        while let Some((byte, after)) = bytes.split_first() {
            if self.rest > 0 {
                let passed = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[passed..];
                self.rest -= passed as u64;
                self.passed(passed);
                continue;
            }
            bytes = after;
            self.head[usize::from(self.head_len)] = *byte;
            self.head_len += 1;
            let len = match (self.head_len, self.head[1] & 0x7F) {
                (2, len @ ..126) => u64::from(len),
                (4, 126) => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
                (10, 127) => self.head[2..].iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
                _ => continue,
            };
            let (is_last, is_control, is_masked) =
                (self.head[0] & 0x80 != 0, self.head[0] & 0x08 != 0, self.head[1] & 0x80 != 0);
            self.rest = len.saturating_add(if is_masked { 4 } else { 0 });
            self.head_len = 0;
            self.counted += u32::from(!is_last && !is_control && len < PIECE_LEN_USUAL);
            self.passed(1);
        }
    }

    /// So many bytes of the frame of that head went by.
    fn passed(&mut self, bytes: usize) {
        let (is_last, is_control) = (self.head[0] & 0x80 != 0, self.head[0] & 0x08 != 0);
        if is_control {
            return;
        }
        let whole = is_last && self.rest == 0;
        self.part = if whole { 0 } else { self.part.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)) };
    }

    /// More has to be waited for. Returns how much there is of a message that is not whole, if that is to be noted.
    pub(crate) fn wait(&mut self) -> Option<u32> {
        let before = std::mem::replace(&mut self.stood, self.part > 0);
        (before || self.stood).then_some(self.part)
    }

    /// Whether a message was there in part when it was waited last.
    pub(crate) const fn stood(&self) -> bool {
        self.stood
    }

    /// How many there were since it was asked last.
    pub(crate) fn take(&mut self) -> u32 {
        std::mem::take(&mut self.counted)
    }

    /// How many there are so far of a message that is not whole.
    pub(crate) const fn counted(&self) -> u32 {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_that_lives_is_never_too_much_and_a_flood_is() {
        let at = Duration::from_millis;
        let living = IdleFrames::default();
        for tick in 0..100_000 {
            assert!(living.count(1, at(tick * 50), 20), "{tick}");
        }
        // What waited for a minute comes at once.
        assert!(living.count(60, at(100_000 * 50), 20));
        let flooding = IdleFrames::default();
        let taken = (0..2_000).take_while(|tick| flooding.count(1, at(*tick), 20)).count();
        assert!((1_000..1_100).contains(&taken), "{taken}");
        // It has to wait before more is taken.
        assert!(!flooding.count(1, at(1_021), 20) && flooding.count(1, at(60_000), 20));
        assert!(!IdleFrames::default().count(u32::MAX, Duration::ZERO, 1));
    }

    /// A frame of so many bytes.
    fn frame(first: u8, len: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![first];
        match len {
            ..126 => frame.push(mask | u8::try_from(len).unwrap()),
            126..65_536 => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        // A payload that looks like heads of short pieces.
        frame.extend(vec![0; len + if masked { 4 } else { 0 }]);
        frame
    }

    proptest! {
        #[test]
        fn short_pieces_are_counted_however_they_are_read(
            frames in proptest::collection::vec(
                (prop::sample::select(vec![0x00_u8, 0x01, 0x80, 0x81, 0x89, 0x8A]),
                 prop::sample::select(vec![0_usize, 1, 125, 126, 127, 128, 300, 65_535, 65_536]), any::<bool>()),
                0..12,
            ),
            read in 1_usize..700,
        ) {
            let expected = frames.iter().filter(|(first, len, _)| *first < 0x02 && *len < 128).count();
            let bytes: Vec<u8> = frames.into_iter().flat_map(|(first, len, masked)| frame(first, len, masked)).collect();
            let mut pieces = Pieces::default();
            bytes.chunks(read).for_each(|chunk| pieces.look(chunk));
            prop_assert_eq!(pieces.counted() as usize, expected);
            prop_assert_eq!((pieces.take() as usize, pieces.take()), (expected, 0));
        }

        #[test]
        fn a_message_stands_from_its_first_piece_to_its_last(
            pieces in proptest::collection::vec((0_usize..200, any::<bool>(), any::<bool>()), 1..8),
            read in 1_usize..700,
        ) {
            let (mut seen, mut sent) = (Pieces::default(), 0);
            let last = pieces.len() - 1;
            for (nth, (len, masked, pinged)) in pieces.into_iter().enumerate() {
                let opcode = u8::from(nth == 0) | if nth == last { 0x80 } else { 0 };
                frame(opcode, len, masked).chunks(read).for_each(|chunk| seen.look(chunk));
                sent += len;
                if pinged {
                    frame(0x89, 5, masked).chunks(read).for_each(|chunk| seen.look(chunk));
                }
                let part = seen.wait();
                prop_assert_eq!(seen.stood(), nth < last);
                if nth == last {
                    prop_assert_eq!(part, (nth > 0).then_some(0), "that it is over is noted once");
                } else {
                    // With the heads.
                    let part = part.unwrap() as usize;
                    prop_assert!((sent + 1..=sent + 5 * (nth + 1)).contains(&part), "{} of {}", part, sent);
                }
            }
            prop_assert_eq!(seen.wait(), None);
        }

        #[test]
        fn bytes_that_are_no_frames_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            Pieces::default().look(&bytes);
        }
    }
}
