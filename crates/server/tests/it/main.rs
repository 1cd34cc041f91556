//! The whole server, from outside. One file a resource; `harness.rs` is what they share.

#![expect(clippy::needless_pass_by_value, reason = "bodies read best as literals at the call")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test a failure to go on is a failure")]

mod admin_sessions;
mod admins;
mod amplification;
mod answers;
mod apps;
mod backups;
mod call_reports;
mod chance;
mod console;
mod crash;
mod cut_short;
mod data_folder;
mod doctor;
mod drain;
mod endpoints;
#[cfg(target_os = "linux")]
mod failing_disk;
mod first_start;
mod following;
mod groups;
mod harness;
mod history;
mod hostile;
mod hostile_sockets;
mod hub_limits;
mod links;
mod lists;
mod log;
mod messages;
mod moving;
mod nodes;
mod oauth;
mod openapi;
mod operating;
mod polling;
mod pooled;
mod postgres;
mod presence;
mod push_tokens;
mod quota;
mod remembered;
mod request_log;
mod revocation;
mod roles;
mod secrets;
mod session_tokens;
mod sessions;
mod settings;
mod sign_in_flood;
mod signaling;
mod slips;
mod slow;
mod sockets;
mod stats;
mod surface;
mod tail;
mod taken_away;
mod tokens;
mod totp;
mod turn;
mod unread;
mod verbatim;
mod zeros;
