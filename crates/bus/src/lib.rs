//! How nodes talk. [`LocalBus`] is the bus of nodes within one process, and of a server that is alone.

mod inbox;
mod local;

pub use local::{LocalBus, LocalNodes};
