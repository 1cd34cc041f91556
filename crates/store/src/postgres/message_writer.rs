//! The writer of what is said in groups: it keeps messages, remembers what was said with keys, and notes which devices were
//! seen. On a connection of its own, so that nobody who signs in waits behind what others say.

mod batch;
mod draft;
mod operation;

use std::sync::Arc;

use respoke_core::chance::Chance;
use respoke_core::message::Said;
use respoke_core::ports::StoreError;

use super::connect::Connection;
use super::tries::Undone;
use super::writer::{End, Work, Writer};
pub(super) use batch::forget_untouched;
use operation::{Operation, Outcome};
pub(super) use operation::{Say, Seen};

/// What it works with.
pub(super) struct Messages {
    pub(super) chance: Arc<dyn Chance>,
}

impl Work for Messages {
    type Operation = Operation;
    type Outcome = Outcome;

    /// Two would wait for each other's locks of the same apps and groups.
    const CONNECTIONS: usize = 1;

    async fn run(
        &self,
        connection: &Connection,
        end: End<'_>,
        operations: &[&Operation],
    ) -> Result<Vec<Option<Outcome>>, Undone> {
        let outcomes = batch::run(connection, &*self.chance, end, operations).await?;
        Ok(outcomes.into_iter().map(Some).collect())
    }
}

impl Writer<Messages> {
    pub(super) async fn say(&self, say: Say) -> Result<Said, StoreError> {
        match self.done(Operation::Say(say)).await? {
            Outcome::Said(said) => Ok(said),
            Outcome::Noted => Err(StoreError::Corrupt("a message was answered as another operation")),
        }
    }

    /// Notes it some time, unless too much else waits.
    pub(super) fn note_seen(&self, seen: Seen) {
        self.do_if_idle(Operation::Seen(seen));
    }
}
