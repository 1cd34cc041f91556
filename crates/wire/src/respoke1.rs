//! `respoke.1`, the subprotocol for applications written today: JSON objects, one to a line, in text frames.
//!
//! What a client sends is read here, and what it asks for is made into what an HTTP request would have said, as [`crate::tunnel`]
//! does for the original clients. What it is told is in [`said`], and what is pushed to it in [`event`].
//!
//! Invariant: nothing that leaves here holds an end of a line within an object.
//!
//! # Source
//!
//! docs/socket.md.

pub mod bye;
pub mod event;
mod object;
mod op;
pub mod said;

pub use self::object::{
    ALIVE, Connect, FAMILY, FRAME_LEN_MAX, NoObject, Object, Op, PROTOCOL, STATE_LEN_MAX, State, group, is_key, lines,
};
pub use self::op::{Asked, OpError};
