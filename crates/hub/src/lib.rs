//! Who is connected to this node, and what reaches them.
//!
//! [`Hub`] holds the open sockets and, once they have registered, their connections. The operations on it are in [`ops`].
//! What an operation has to tell others goes over the bus and comes back to the hub of every node (`receiving.rs`). There
//! `fanout.rs` encodes it once and offers it to each socket's [`outbox`].
//!
//! What is this node's own is in `local.rs`, and what it does with that in `deeds.rs`. What it knows of other nodes is in
//! `others.rs`. `roster.rs` tells whether somebody is connected at all, on whatever node.
//!
//! The operations are here and not in core because nearly all they decide on is held here. What else they need, rights and
//! stored messages, they ask the broker for (docs/adr/0004).

pub mod agenda;
pub mod ops;
pub mod outbox;
pub mod reach;
pub mod tails;

mod answers;
mod books;
mod coming_back;
mod deeds;
mod departures;
mod fanout;
mod footing;
mod handing_over;
mod hands_over;
mod hub;
mod in_order;
#[cfg(feature = "inspected")]
pub mod inspected;
mod local;
mod ordering;
mod others;
mod parking;
mod receiving;
mod registry;
mod roster;
mod settle;
mod signal_shape;
mod socket;
mod sockets;
#[cfg(test)]
mod stub_bus;
mod suspects;
mod waiting;

pub use hands_over::HandsOver;
pub use hub::{Hub, HubFigures, HubSettings, HubView};
pub use registry::{Connection, Counts, Home, Members, Presences};
pub use socket::{Opening, Socket};
pub use waiting::WaitingLimits;
