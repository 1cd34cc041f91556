//! What respoked decides, and the ports it decides through.
//!
//! It touches no file, network or database. What time it is and what is random it asks the ports [`clock::Clock`] and
//! [`chance::Chance`]. The system's own stand beside them, [`clock::SystemClock`] and [`chance::SystemChance`], and are
//! the one place in this crate where the system is asked for either; whoever starts a server or a command names them.
//!
//! It waits, though, by the timers of the runtime, tokio. [`ops::Broker::keep_following`] looks at the feed once a
//! second. What is remembered of the store is used for five seconds after the last look. Whoever waits for a turn to
//! have a password hashed gives up after a while, and the hashing is done on threads that may block. None of these
//! decides an instant that is kept or answered, and in tests the runtime's time can be paused.
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
pub mod request_log;
pub mod role;
pub mod seal;
pub mod secret;
pub mod session;
pub mod tail;
pub mod term;
pub mod token;
pub mod totp;
