//! What one node sends to another: frames of bytes, each with its version.
//!
//! Numbers are big-endian, texts and lists are preceded by their length in four bytes, payloads are the text that the
//! client sent. A frame is for one life of one node ([`Node`]) and says so, for what a node was sent before it was started
//! again is not for it any more.
//!
//! Invariant: whatever the bytes are, reading them takes memory in proportion to their length and never panics.

mod ask;
mod books;
mod bounds;
mod bytes;
mod delivery;
mod handshake;
mod interest;
mod requests;
mod shapes;
mod unknown;

use ::bytes::Bytes;
use respoke_core::ports::{Answer, Delivery, Incarnation, Node, NodeId, Notice, Question};

use self::bytes::{Coded, Reader};
use self::unknown::{ANSWER, DELIVERY, NEWS, QUESTION};

pub use self::bytes::Piece;
pub use bounds::{BusCodecError, FRAME_LEN_MAX, ITEM_LEN_MAX, TAG_LEN, VERSION, VERSIONS};
pub use handshake::Handshake;
pub use interest::{InterestHash, InterestNews};
pub use unknown::{Unknown, UnknownIs};

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who sends it.
    pub from: Node,
    /// For whom it is.
    pub to: Node,
    /// What.
    pub content: Content,
}

/// What a frame says.
#[derive(Clone, Debug)]
pub enum Content {
    /// One more of what is numbered, from 1 on.
    Item {
        /// Its number.
        number: u64,
        /// What.
        item: Item,
    },
    /// The greatest number so far. It is told now and then, so that the loss of the last is noticed too, and answered with
    /// [`Content::Seen`].
    Head(u64),
    /// Everything up to this number is here, or known to be lost.
    Seen(u64),
    /// What of these numbers is still kept is to be sent again: the first and the last of each piece that is missing.
    Again(Vec<(u64, u64)>),
    /// Nothing up to this number is kept any more.
    Gone(u64),
}

/// What is numbered.
#[derive(Clone, Debug)]
pub enum Item {
    /// What goes over the bus.
    Delivery(Delivery),
    /// What the sender is there for.
    News(InterestNews),
    /// It asks.
    Question {
        /// Its own number of the question.
        ask: u64,
        /// What.
        question: Question,
    },
    /// It answers.
    Answer {
        /// The asker's number of the question.
        ask: u64,
        /// The number of what it had sent last before it looked.
        known: u64,
        /// What.
        answer: Answer,
    },
    /// It does not answer.
    NoAnswer {
        /// The asker's number of the question.
        ask: u64,
    },
    /// It tells.
    Notice(Notice),
    /// Something that cannot be sent: it is too long, or kept no more.
    Unsent,
    /// A part of an item that is longer than a frame. What makes one item has numbers one after the other.
    Part {
        /// Which part, from nought on.
        index: u32,
        /// Of how many.
        count: u32,
        /// Its bytes.
        bytes: Piece,
    },
    /// Something in it is of a kind that only another build knows.
    Unknown(Unknown),
}

impl Item {
    /// The item's bytes, the same for every node that it is sent to.
    ///
    /// # Errors
    ///
    /// [`BusCodecError::TooLong`].
    pub fn encode(&self) -> Result<Bytes, BusCodecError> {
        let mut out = Vec::new();
        self.write(&mut out);
        if out.len() > ITEM_LEN_MAX { Err(BusCodecError::TooLong) } else { Ok(out.into()) }
    }

    /// Reads an item that came in parts.
    ///
    /// # Errors
    ///
    /// [`BusCodecError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BusCodecError> {
        if bytes.len() > ITEM_LEN_MAX {
            return Err(BusCodecError::TooLong);
        }
        let mut from = Reader::new(bytes);
        let item = Self::read(&mut from)?;
        if from.is_empty() { Ok(item) } else { Err(BusCodecError::GoesOn) }
    }

    fn read_known(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            DELIVERY => Self::Delivery(Coded::read(from)?),
            NEWS => Self::News(Coded::read(from)?),
            QUESTION => Self::Question { ask: Coded::read(from)?, question: Coded::read(from)? },
            ANSWER => Self::Answer { ask: Coded::read(from)?, known: Coded::read(from)?, answer: Coded::read(from)? },
            4 => Self::Unsent,
            5 => Self::Part { index: Coded::read(from)?, count: Coded::read(from)?, bytes: Coded::read(from)? },
            6 => Self::NoAnswer { ask: Coded::read(from)? },
            7 => Self::Notice(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of item")),
        })
    }
}

/// The bytes of an item in pieces that fit a frame each: as they are, or as parts.
pub fn pieces(item: &Bytes) -> impl ExactSizeIterator<Item = Bytes> {
    let count = if HEAD_LEN + item.len() > FRAME_LEN_MAX { item.len().div_ceil(PART_LEN_MAX) } else { 1 };
    (0..count).map(move |index| {
        if count == 1 {
            return item.clone();
        }
        let bytes = Piece(item.slice(index * PART_LEN_MAX..item.len().min((index + 1) * PART_LEN_MAX)));
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(PART_HEAD_LEN + bytes.0.len());
        Item::Part { index: number(index), count: number(count), bytes }.write(&mut out);
        out.into()
    })
}

/// The kind of item, which part, of how many, and how long it is.
const PART_HEAD_LEN: usize = 1 + 4 + 4 + 4;

/// The longest part.
const PART_LEN_MAX: usize = FRAME_LEN_MAX - HEAD_LEN - PART_HEAD_LEN;

/// Version, two nodes, the kind of content and a number.
const HEAD_LEN: usize = 1 + 2 * 12 + 1 + 8;

/// The frame around an item that is encoded already.
#[must_use]
pub fn frame_item(from: Node, to: Node, number: u64, item: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_LEN + item.len());
    write_head(&mut out, from, to);
    ITEM.write(&mut out);
    number.write(&mut out);
    out.extend_from_slice(item);
    out.into()
}

fn write_head(out: &mut Vec<u8>, from: Node, to: Node) {
    VERSION.write(out);
    from.write(out);
    to.write(out);
}

const ITEM: u8 = 0;
const HEAD: u8 = 1;
const SEEN: u8 = 2;
const AGAIN: u8 = 3;
const GONE: u8 = 4;

impl Frame {
    /// The frame's bytes.
    ///
    /// # Errors
    ///
    /// [`BusCodecError::TooLong`].
    pub fn encode(&self) -> Result<Bytes, BusCodecError> {
        let mut out = Vec::with_capacity(HEAD_LEN + 8);
        write_head(&mut out, self.from, self.to);
        match &self.content {
            Content::Item { number, item } => {
                (ITEM, *number).write(&mut out);
                item.write(&mut out);
            }
            Content::Head(number) => (HEAD, *number).write(&mut out),
            Content::Seen(number) => (SEEN, *number).write(&mut out),
            Content::Again(missing) => {
                AGAIN.write(&mut out);
                missing.write(&mut out);
            }
            Content::Gone(number) => (GONE, *number).write(&mut out),
        }
        if out.len() > FRAME_LEN_MAX { Err(BusCodecError::TooLong) } else { Ok(out.into()) }
    }

    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// [`BusCodecError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BusCodecError> {
        if bytes.len() > FRAME_LEN_MAX {
            return Err(BusCodecError::TooLong);
        }
        let mut from = Reader::new(bytes);
        let version = u8::read(&mut from)?;
        if !VERSIONS.contains(&version) {
            return Err(BusCodecError::UnknownVersion(version));
        }
        let frame =
            Self { from: Node::read(&mut from)?, to: Node::read(&mut from)?, content: Content::read(&mut from)? };
        if from.is_empty() { Ok(frame) } else { Err(BusCodecError::GoesOn) }
    }
}

impl Content {
    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            ITEM => Self::Item { number: u64::read(from)?, item: Item::read(from)? },
            HEAD => Self::Head(u64::read(from)?),
            SEEN => Self::Seen(u64::read(from)?),
            AGAIN => Self::Again(Coded::read(from)?),
            GONE => Self::Gone(u64::read(from)?),
            _ => return Err(BusCodecError::Invalid("kind of frame")),
        })
    }
}

impl Coded for Item {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Delivery(delivery) => {
                DELIVERY.write(out);
                delivery.write(out);
            }
            Self::News(news) => {
                NEWS.write(out);
                news.write(out);
            }
            Self::Question { ask, question } => {
                (QUESTION, *ask).write(out);
                question.write(out);
            }
            Self::Answer { ask, known, answer } => {
                (ANSWER, (*ask, *known)).write(out);
                answer.write(out);
            }
            Self::Unsent => 4_u8.write(out),
            Self::Part { index, count, bytes } => {
                (5_u8, (*index, *count)).write(out);
                bytes.write(out);
            }
            Self::NoAnswer { ask } => (6_u8, *ask).write(out),
            Self::Notice(notice) => {
                7_u8.write(out);
                notice.write(out);
            }
            Self::Unknown(unknown) => out.extend_from_slice(&unknown.bytes.0),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        let item = from.rest();
        let read = Self::read_known(from);
        if !matches!(read, Err(BusCodecError::Unknown(_))) {
            return read;
        }
        from.skip();
        Unknown::read(item).map(Self::Unknown)
    }
}

impl Coded for Node {
    fn write(&self, out: &mut Vec<u8>) {
        (self.id.0, self.incarnation.0).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self { id: NodeId(Coded::read(from)?), incarnation: Incarnation(Coded::read(from)?) })
    }
}

#[cfg(test)]
mod tests;
