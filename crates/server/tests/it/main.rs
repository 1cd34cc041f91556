//! The whole server, from outside. One file a resource; `harness.rs` is what they share.

#![expect(clippy::needless_pass_by_value, reason = "bodies read best as literals at the call")]

mod admin_sessions;
mod apps;
mod crash;
mod endpoints;
mod harness;
mod hostile;
mod oauth;
mod openapi;
mod operating;
mod roles;
mod secrets;
mod session_tokens;
mod sessions;
mod tokens;
