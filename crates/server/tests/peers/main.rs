//! What one node does for others and hears of them, when some of them are silent, late or gone: three hubs over one database,
//! on paused time.
//!
//! It stands here and not beside the hub because nodes share a database, and the hub knows none.

#![expect(clippy::unwrap_used, reason = "in a test a failure to go on is a failure")]

mod confirmed;
mod ends;
mod handing_over;
mod home;
mod joins;
mod limits;
mod nodes;
mod observers;
mod order;
mod parked;
mod prices;
mod repairs;
mod standing;
mod tails;
mod world;
