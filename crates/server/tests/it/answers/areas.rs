//! The areas, each a conversation.

use crate::harness::Answer;

pub(super) mod admins;
pub(super) mod apps;
pub(super) mod connections;
pub(super) mod description;
pub(super) mod endpoints;
pub(super) mod groups;
pub(super) mod limits;
pub(super) mod logs;
pub(super) mod roles;
pub(super) mod server;
pub(super) mod sessions;
pub(super) mod tokens;
pub(super) mod words;

/// What is no object of anybody's.
const NOBODYS: &str = "00000000-0000-4000-8000-000000000000";

/// Asks until it is too often for somebody, which a fifth of these would be.
fn refused_in_the_end(ask: impl Fn() -> Answer) -> Answer {
    let mut answers = (0..10_000).map(|_| ask());
    answers.find(|answer| answer.status == 429).expect("nobody is ever refused")
}
