//! The server of respoked: routes, settings, and how it all comes up and down.

mod api;
mod call;
pub mod cli;
pub mod config;
pub mod door;
pub mod greeting;
pub mod limits;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod run;
mod socket;
pub mod telemetry;
pub mod throttle;
pub mod tls;
mod transport;
mod upkeep;
