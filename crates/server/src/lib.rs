//! The server of respoked: routes, settings, and how it all comes up and down.

mod api;
mod call;
pub mod cli;
pub mod config;
mod console;
pub mod data_folder;
pub mod door;
mod enduring;
mod files;
pub mod greeting;
pub mod limits;
mod log_lines;
pub mod metrics;
pub mod openapi;
pub mod problem;
mod request_log;
pub mod run;
mod socket;
mod sweep;
mod tally;
pub mod telemetry;
pub mod throttle;
pub mod tls;
mod transport;
mod trouble;
mod upkeep;
mod watch;
