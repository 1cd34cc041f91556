//! How nodes talk.
//!
//! [`LocalBus`] is the bus of nodes within one process, and of a server that is alone. [`carried`] is the bus of nodes with
//! anything else between them. Both pass the contract in `contract.rs`.
//!
//! Between a bus and what carries its frames stands [`Authenticated`], so that nodes take nothing that others sent. [`nats`] is
//! a carrier.

pub mod authenticated;
pub mod carried;
#[cfg(any(test, feature = "faulty"))]
pub mod faulty;
pub mod nats;

#[cfg(test)]
mod contract;
mod inbox;
mod local;
mod seldom;

pub use authenticated::Authenticated;
pub use local::{LocalBus, LocalNodes};
