//! Bytes and JSON of the Respoke API: bodies, frames, leniency, limits. No I/O.
//!
//! [`input`] turns what a request carries into one of the types of [`body`]; answers are the other half of [`body`].
//! A socket speaks in the packets of [`frame`], which long polling wraps as [`payload`] says; requests and answers
//! travel inside them as [`tunnel`] and [`ack`] say, and pushes as [`event`] does. [`form`] and [`object`] read forms and
//! objects without changing what they hold. Applications written today speak [`respoke1`]. What nodes send to each other is in [`bus`].

pub mod ack;
pub mod body;
pub mod bus;
pub mod close;
pub mod dialect;
mod escape;
pub mod event;
pub mod form;
pub mod frame;
pub mod input;
mod instant;
mod java_date;
mod lenient;
pub mod object;
pub mod payload;
pub mod respoke1;
pub mod tunnel;
