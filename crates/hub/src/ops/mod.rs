//! What can be done with connections. Each kind of object has a file, and each operation is a method of
//! [`Hub`](crate::Hub).
//!
//! A caller asks for an operation, over a socket or without one. An App-Token speaks as its own endpoint, by its own
//! socket's connection. App-Secrets and Admin-Tokens speak for whomever they name.

mod asker;
mod connections;
mod endpoints;
mod groups;
mod messages;
mod presence;
mod sessions;
mod signals;

pub use asker::{Asker, Purse, Unlimited};
pub use connections::Connect;
pub use groups::Publish;
pub use messages::Message;
pub use sessions::SessionPlaces;
pub use signals::SignalRequest;

pub use crate::registry::ConnectionState;
pub use crate::roster::{At, ConnectionCount};
