//! The socket door for applications written today: `respoke.1` under `/v1/socket`.
//!
//! A client's websocket is accepted, whoever it is, since a page cannot read why it was refused. Its first frame says who it
//! is (`meeting.rs`, `connecting.rs`). From then on it is a socket of the hub as those of the original clients are, and its requests take the
//! way of every request (`tunnel.rs`). So this door decides nothing.
//!
//! Invariant: a client's requests are done one after the other in the order they came, and none is dropped halfway.
//!
//! # Source
//!
//! docs/socket.md.

mod answering;
mod connecting;
mod door;
mod exchange;
mod guest;
mod inside;
mod live;
mod meeting;
mod ring;
mod sessions;
mod welcome;

pub(crate) use self::door::{Respoke1, is_path};
