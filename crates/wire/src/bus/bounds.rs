//! The version of frames and how long they may be, and why one is refused.

use std::ops::RangeInclusive;

use thiserror::Error;

/// The version of all that is written here: the least that can read it. A kind that is new needs no other one: a node
/// that does not know a kind passes over it (`unknown.rs`). The bytes of a kind stay as they are; other bytes are another
/// kind. What is around items has no kind: whatever changes that needs another version.
pub const VERSION: u8 = 1;

/// The versions that are read here. A node refuses what has another.
pub const VERSIONS: RangeInclusive<u8> = VERSION..=VERSION;

/// What stands behind a frame where others could send some too: by it a node knows that one of its cluster sent the frame.
pub const TAG_LEN: usize = 16;

/// The longest frame, in bytes: the longest request twelve times. With its tag it has 256 KiB, so a carrier whose messages are
/// a megabyte takes some at once.
pub const FRAME_LEN_MAX: usize = (1 << 18) - TAG_LEN;

/// The longest item, in bytes, which goes in parts if it is longer than a frame. It is a quarter of what is kept for a node.
pub const ITEM_LEN_MAX: usize = 4 << 20;

/// Why a frame is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BusCodecError {
    /// Another version wrote it.
    #[error("version {0} of what nodes send is not known, only {VERSION} is")]
    UnknownVersion(u8),
    /// It is longer than [`FRAME_LEN_MAX`], or as an item than [`ITEM_LEN_MAX`].
    #[error("it is too long: a frame has {FRAME_LEN_MAX} bytes at most, an item {ITEM_LEN_MAX}")]
    TooLong,
    /// It ends before it should.
    #[error("it ends too early")]
    CutShort,
    /// It does not end where it should.
    #[error("it goes on after its end")]
    GoesOn,
    /// It says of something what that cannot be.
    #[error("it holds something that is no {0}")]
    Invalid(&'static str),
    /// It says of something that it is of a kind that is not known here. An item is read all the same.
    #[error("it holds an unknown {0}")]
    Unknown(&'static str),
}
