//! Items of which something is of a kind that only another build knows. Only as much of them is read as tells what the receiver
//! has to do. So nothing behind them waits.

use ::bytes::Bytes;

use super::bounds::BusCodecError;
use super::bytes::{Coded, Piece, Reader};
use super::delivery::COUNTED;

// The kinds of items that are told apart when something in them is unknown.
pub(super) const DELIVERY: u8 = 0;
pub(super) const NEWS: u8 = 1;
pub(super) const QUESTION: u8 = 2;
pub(super) const ANSWER: u8 = 3;

/// An item of which something is of an unknown kind.
#[derive(Clone, Debug)]
pub struct Unknown {
    /// What it is to who gets it.
    pub is: UnknownIs,
    /// All of it.
    pub(super) bytes: Piece,
}

/// What an item is of which something is of an unknown kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownIs {
    /// A question, which cannot be answered.
    Question {
        /// The asker's number of it.
        ask: u64,
    },
    /// An answer, which is none.
    Answer {
        /// The asker's number of the question.
        ask: u64,
    },
    /// Something about what the sender is there for: that is not known any more.
    News,
    /// Something that was counted. It is told often, and nobody waits for it.
    Counted,
    /// Anything else. It is missed.
    Other,
}

impl Unknown {
    /// Reads the head of an item that was found to be unknown.
    pub(super) fn read(item: &[u8]) -> Result<Self, BusCodecError> {
        let mut from = Reader::new(item);
        let is = match u8::read(&mut from)? {
            QUESTION => UnknownIs::Question { ask: Coded::read(&mut from)? },
            ANSWER => UnknownIs::Answer { ask: Coded::read(&mut from)? },
            NEWS => UnknownIs::News,
            DELIVERY if u8::read(&mut from)? == COUNTED => UnknownIs::Counted,
            _ => UnknownIs::Other,
        };
        Ok(Self { is, bytes: Piece(Bytes::copy_from_slice(item)) })
    }
}
