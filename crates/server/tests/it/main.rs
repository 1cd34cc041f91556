//! The whole server, from outside. One file a resource; `harness.rs` is what they share.

#![expect(clippy::needless_pass_by_value, reason = "bodies read best as literals at the call")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure to go on is a failure")]

mod admin_sessions;
mod apps;
mod call_reports;
mod crash;
mod endpoints;
mod harness;
mod history;
mod hostile;
mod oauth;
mod openapi;
mod operating;
mod push_tokens;
mod roles;
mod secrets;
mod session_tokens;
mod sessions;
mod tokens;
mod turn;
