//! An installation goes whole from a SQLite file to a PostgreSQL server, or back: to move there, or as a backup.
//!
//! Every table is named once (`tables`). A row has one form on both sides (`rows`), in which it is carried and hashed; what was
//! written is read back and has to come to the same (`contents`). `file` and `server` are the two sides, and `to_server` and
//! `to_file` the two ways.
//!
//! Whatever ends this half-way leaves something that the same command finishes:
//!
//! - The copy is marked as unfinished before anything is written to it, until it was read back; nothing serves from it.
//! - The source of a move is marked as moved behind that, before the copy's mark goes. So at no moment do both serve, and
//!   between the two moments neither. Both marks have one id, by which the next try knows that the source has left, and for where.
//!   Marks alone do not tell what a server holds: one that was promoted since may lack some of it. So it is compared again.
//!
//! Until then nobody else has a hand in it. A file that leaves is held by a transaction from the first look on. A server that
//! leaves has all its tables locked. On one that is filled each transaction asks, under a lock, whether the mark is still its own:
//! who claims the copy anew has another. So a pooler may lead each elsewhere.

mod contents;
mod file;
mod occasion;
mod rows;
mod server;
mod tables;
#[cfg(test)]
mod tests;
mod to_file;
mod to_server;

pub use contents::Tally;
pub use occasion::{Occasion, Place, Stage, Stopped, Transferred, Watch};
pub use to_file::{Arrival, BackedUp, CopiedOf, Departure, arrival_at, arrive, back_up_server, take_back_to_server};
pub use to_server::{Restored as RestoredToServer, move_to_server, restore_to_server, take_back_to_file};
