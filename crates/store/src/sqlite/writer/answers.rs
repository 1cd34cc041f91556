//! How those who wait for an operation are answered.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{self, Handle};
use tokio::sync::mpsc;

use super::job::Job;

/// Committed batches that may wait for the task that answers them.
const BATCHES_MAX: usize = 64;

/// The way of answers to those who wait for them: a task beside them answers whole batches.
///
/// Each answer from another thread would wake the callers' runtime by a system call of its own.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<OnceLock<(runtime::Id, mpsc::Sender<Batch>)>>);

/// Operations that are committed.
pub(super) type Batch = Vec<Box<dyn Job>>;
/// Operations that are not, and why.
pub(super) type Failed = Vec<(Box<dyn Job>, rusqlite::Error)>;

impl Answers {
    /// Whether the task runs where the caller does; the first caller starts it.
    pub(super) fn are_near(&self) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let (home, _) = self.0.get_or_init(|| {
            let (batches, mut committed) = mpsc::channel::<Batch>(BATCHES_MAX);
            runtime.spawn(async move {
                while let Some(batch) = committed.recv().await {
                    answer_all(batch);
                }
            });
            (runtime.id(), batches)
        });
        *home == runtime.id()
    }

    /// Answers `batch`: by the task, if it is near all who wait and more than one does.
    ///
    /// Of another runtime nobody knows whether it is running now. A batch of one may overtake another that the task has
    /// not come to yet.
    pub(super) fn give(&self, batch: Batch) {
        match self.0.get().filter(|_| batch.len() > 1 && batch.iter().all(|job| job.is_answered_near())) {
            None => answer_all(batch),
            Some((_, task)) => {
                if let Err(mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch)) =
                    task.try_send(batch)
                {
                    answer_all(batch);
                }
            }
        }
    }
}

fn answer_all(batch: Batch) {
    for job in batch {
        // One that panics is in doubt. The others are committed as well, and whoever answers them goes on.
        if std::panic::catch_unwind(AssertUnwindSafe(|| job.answer(Ok(())))).is_err() {
            tracing::error!("an answer panicked: whoever waits for it hears that it is in doubt");
        }
    }
}
