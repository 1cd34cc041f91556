//! How nodes talk.
//!
//! [`LocalBus`] is the bus of nodes within one process, and of a server that is alone. [`carried`] is the bus of nodes with
//! anything else between them. Both pass the contract in `contract.rs`.

pub mod carried;
#[cfg(any(test, feature = "faulty"))]
pub mod faulty;

#[cfg(test)]
mod contract;
mod inbox;
mod local;

pub use local::{LocalBus, LocalNodes};
