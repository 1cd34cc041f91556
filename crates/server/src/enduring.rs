//! Tasks that run for as long as the server. Without one of them the rest would go on with something missing (no
//! heartbeats, no revocations, no janitor), so one that panics is started anew.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// Before a task that panicked is started anew: what it fell over may still be there, and must not fill the log.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what `start` returns until it ends by itself.
pub(crate) async fn run<F: Future<Output = ()>>(name: &'static str, start: impl Fn() -> F) {
    while AssertUnwindSafe(start()).catch_unwind().await.is_err() {
        // What it said and where is in the log already.
        tracing::error!(task = name, "a task panicked and is started anew");
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_anew_and_one_that_ends_is_not() {
        let started = Cell::new(0);
        super::run("test", || async {
            started.set(started.get() + 1);
            assert!(started.get() >= 3, "this panics twice");
        })
        .await;
        assert_eq!(started.get(), 3);
    }
}
