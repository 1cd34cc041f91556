//! What can be done with connections: one file an object, each operation a method of [`Hub`].
//!
//! An operation is asked for by a caller, over a socket or without one. App-Tokens speak as their own endpoint and by
//! their own socket's connection; App-Secrets and Admin-Tokens speak for whomever they name.

mod asker;
mod connections;
mod endpoints;
mod groups;
mod messages;
mod presence;
mod signals;

pub use asker::{Asker, Purse, Unlimited};
pub use connections::Connect;
pub use groups::Publish;
pub use messages::Message;
pub use signals::SignalRequest;

pub use crate::registry::ConnectionState;
pub use crate::roster::ConnectionCount;
