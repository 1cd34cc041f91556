//! This node among others: its row in the database that they share, and the bus between them.
//!
//! A node renews its row every few seconds, hears with that who else lives, and tells its bus. So a death is told by the
//! database alone, and to all in the same way.
//!
//! Invariant: nothing is served, and nothing written to a socket, while the node may be dead to others (`fence.rs`).

mod carriage;
mod fence;
mod life;
mod place;
mod way;

pub(crate) use carriage::Talk;
pub(crate) use life::{Among, Begin};
pub(crate) use way::Way;
