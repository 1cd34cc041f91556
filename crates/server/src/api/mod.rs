//! What each operation does: reads its input, calls the broker or the hub for the caller that its terms proved, and shows what
//! came of it. One file a resource, named as its path.

pub(crate) mod admin_sessions;
pub(crate) mod admins;
pub(crate) mod answer;
pub(crate) mod apps;
pub(crate) mod asked;
pub(crate) mod audit;
pub(crate) mod bans;
pub(crate) mod call_debugs;
pub(crate) mod connections;
pub(crate) mod conversations;
pub(crate) mod endpoints;
pub(crate) mod groups;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod messages;
pub(crate) mod nodes;
pub(crate) mod oauth;
pub(crate) mod presence;
pub(crate) mod push_tokens;
pub(crate) mod request_log;
pub(crate) mod roles;
pub(crate) mod secrets;
pub(crate) mod session_tokens;
pub(crate) mod sessions;
pub(crate) mod signaling;
pub(crate) mod stats;
mod telling;
pub(crate) mod tokens;
pub(crate) mod try_it;
pub(crate) mod turn;
