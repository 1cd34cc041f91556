//! Frames of HTTP/2 that bring nothing, which the library answers or passes over without a word: pings, settings, priorities,
//! unknown ones. Requests are limited where they are answered; these are counted where they are read.

/// What a client sends before its first frame.
///
/// # Source
///
/// RFC 9113 section 3.4.
const PREFACE_LEN: u32 = 24;
const FRAME_HEAD_LEN: usize = 9;
const HEADERS: u8 = 1;
/// Frames a second that are no requests.
const PER_SEC: u64 = 100;
/// How many of them may come at once.
const AT_ONCE: u64 = 2_000;
/// Frames that a request may bring along: its body, its priority, its window, its end.
const OF_REQUEST: u64 = 16;
/// Bytes of answers of which the client may tell that it took them.
const TAKEN_BYTES: u64 = 1_024;
/// Frames by which it may tell that it took a piece, however short that is: some tell of each, for its stream and for the
/// connection, and a piece may be read in two.
const OF_PIECE: u64 = 4;

/// What a client took of answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    pub(super) bytes: u64,
    /// In how many pieces, with those that are on their way.
    pub(super) pieces: u64,
}

/// Looks at frames as they are read.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; FRAME_HEAD_LEN],
    head_len: usize,
    /// Bytes of the frame, or of the preface, that are yet to come.
    rest: u32,
    /// Frames too many, as of when they were last set against time and answers.
    over: u64,
    settled_at: std::time::Instant,
    settled: Took,
}

impl Frames {
    pub(super) fn new() -> Self {
        let settled_at = std::time::Instant::now();
        Self {
            head: [0; FRAME_HEAD_LEN],
            head_len: 0,
            rest: PREFACE_LEN,
            over: 0,
            settled_at,
            settled: Took::default(),
        }
    }

    /// Counts the frames that begin in `bytes`.
    fn count(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passed = bytes.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
                bytes = &bytes[passed..];
                self.rest -= u32::try_from(passed).unwrap_or(self.rest);
                continue;
            }
            let some = bytes.len().min(FRAME_HEAD_LEN - self.head_len);
            self.head[self.head_len..self.head_len + some].copy_from_slice(&bytes[..some]);
            self.head_len += some;
            bytes = &bytes[some..];
            if self.head_len == FRAME_HEAD_LEN {
                let [a, b, c, kind, ..] = self.head;
                (self.head_len, self.rest) = (0, u32::from_be_bytes([0, a, b, c]));
                self.over = if kind == HEADERS { self.over.saturating_sub(OF_REQUEST) } else { self.over + 1 };
            }
        }
    }

    /// Looks at what was read, when so much of answers was taken on the connection so far. False: too much of it brings
    /// nothing.
    pub(super) fn look(&mut self, bytes: &[u8], took: Took) -> bool {
        self.count(bytes);
        if self.over > AT_ONCE {
            // Only now, so that a client that behaves asks for no time.
            let millis = u64::try_from(self.settled_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            let back = millis.saturating_mul(PER_SEC) / 1_000;
            if back > 0 {
                self.settled_at = std::time::Instant::now();
            }
            let told = took.bytes.saturating_sub(self.settled.bytes) / TAKEN_BYTES;
            let pieces = took.pieces.saturating_sub(self.settled.pieces);
            self.settled.bytes += told * TAKEN_BYTES;
            self.settled.pieces += pieces;
            self.over = self.over.saturating_sub(back.saturating_add(told).saturating_add(pieces * OF_PIECE));
        }
        self.over <= AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, len: u8) -> Vec<u8> {
        [&[0, 0, len, kind, 0, 0, 0, 0, 0][..], &vec![b'x'; len.into()]].concat()
    }

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.look(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Took::default()));
        frames
    }

    /// How many of them are looked at until there are too many, in pieces of that length.
    fn until_too_many(frame: &[u8], piece: usize, each: Took) -> Option<usize> {
        let (mut frames, mut took) = (begun(), Took::default());
        (0..10 * usize::try_from(AT_ONCE).unwrap()).find(|_| {
            took.bytes += each.bytes;
            took.pieces += each.pieces;
            !frame.chunks(piece).all(|piece| frames.look(piece, took))
        })
    }

    const NOTHING: Took = Took { bytes: 0, pieces: 0 };

    #[test]
    fn frames_that_bring_nothing_come_to_an_end_however_they_are_cut() {
        let atonce = usize::try_from(AT_ONCE).unwrap();
        for kind in [0, 2, 3, 4, 6, 7, 8, 9, 0xfa] {
            for (len, piece) in [(0, 9), (8, 17), (8, 1), (8, 5), (255, 100)] {
                let found = until_too_many(&frame(kind, len), piece, NOTHING).expect("there is an end");
                // Some come back while the test runs.
                assert!((atonce..5 * atonce).contains(&found), "{kind} {len} {piece}: {found}");
            }
        }
    }

    #[test]
    fn requests_and_those_who_read_answers_go_on() {
        assert_eq!(until_too_many(&frame(HEADERS, 50), 1_000, NOTHING), None);
        let request = [frame(HEADERS, 50), frame(0, 200), frame(8, 4), frame(3, 4)].concat();
        assert_eq!(until_too_many(&request, 33, NOTHING), None);
        // A window for each frame of an answer, of the stream and of the connection.
        let windows = [frame(8, 4), frame(8, 4)].concat();
        assert_eq!(until_too_many(&windows, 26, Took { bytes: 16_384, pieces: 1 }), None);
        // The same of the short ones of a tail.
        assert_eq!(until_too_many(&windows, 26, Took { bytes: 250, pieces: 1 }), None);
    }
}
