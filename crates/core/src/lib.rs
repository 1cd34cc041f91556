//! What respoked decides, and the ports it decides through. It touches no file, network or database; time and chance come in
//! as ports.
//!
//! Read [`ops`] for what can be done, [`grant`] for why a token or session stops being good, and [`ports`] for what a
//! database must promise.

pub mod address;
pub mod admin;
pub mod app;
mod app_limits;
pub mod audit;
pub mod call_report;
pub mod chance;
pub mod clock;
pub mod code;
pub mod event;
pub mod figures;
pub mod grant;
pub mod id;
pub mod idempotency;
pub mod message;
pub mod ops;
pub mod origin;
pub mod page;
pub mod password;
pub mod ports;
pub mod push_token;
pub mod refusal;
pub mod role;
pub mod seal;
pub mod secret;
pub mod session;
pub mod tail;
pub mod term;
pub mod token;
pub mod totp;
