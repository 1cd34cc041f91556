//! An operation that waits to be committed, and whoever waits for it.

use respoke_core::ports::StoreError;
use tokio::sync::oneshot;

use super::write::Write;

pub(super) trait Job: Send {
    /// Whether it leaves [`Write::grounds`] as they were.
    fn spares_grounds(&self) -> bool;
    /// Whether who waits for it, if anybody does, waits where [`Answers`](super::answers::Answers) are given.
    fn is_answered_near(&self) -> bool;
    fn run(&mut self, write: &Write<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

pub(super) struct Operation<F, T> {
    pub(super) spares_grounds: bool,
    pub(super) answered_near: bool,
    pub(super) run: F,
    pub(super) value: Option<T>,
    pub(super) answer: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<F, T> Job for Operation<F, T>
where
    F: FnMut(&Write<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn spares_grounds(&self) -> bool {
        self.spares_grounds
    }

    fn is_answered_near(&self) -> bool {
        self.answered_near
    }

    fn run(&mut self, write: &Write<'_>) -> rusqlite::Result<()> {
        self.value = Some((self.run)(write)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Some(answer) = self.answer else { return };
        let result = match (committed, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(StoreError::Corrupt("an operation ended without a result")),
        };
        // A caller that went away is no concern of the writer's.
        let _ = answer.send(result);
    }
}

/// An operation of which nobody hears what came of it.
pub(super) fn unheard<F>(run: F) -> Box<dyn Job>
where
    F: FnMut(&Write<'_>) -> rusqlite::Result<()> + Send + 'static,
{
    Box::new(Operation { spares_grounds: false, answered_near: true, run, value: None, answer: None })
}
