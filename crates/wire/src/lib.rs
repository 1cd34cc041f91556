//! Bytes and JSON of the Respoke API: bodies, leniency, limits. No I/O.
//!
//! [`input`] turns what a request carries into one of the types of [`body`]; answers are the other half of [`body`].

pub mod body;
pub mod input;
