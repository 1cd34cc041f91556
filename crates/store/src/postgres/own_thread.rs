//! Threads on which the database is waited for: one on which batches are written, and two that carry what nodes tell each other.
//!
//! A batch is some statements one after the other. On the thread that serves requests each of their answers would wait behind
//! whatever requests came in meanwhile.

use std::sync::Arc;

use parking_lot::Mutex;
use respoke_core::ports::StoreError;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

/// What tasks are put on that the thread is to run.
pub(super) fn runtime() -> Result<Runtime, StoreError> {
    Builder::new_current_thread().enable_all().build().map_err(failed)
}

/// Starts the thread of that name. It ends once all of these tasks have ended.
pub(super) fn start(name: &str, runtime: Runtime, tasks: Vec<TaskTracker>) -> Result<(), StoreError> {
    let handed = Arc::new(Mutex::new(Some(runtime)));
    let taken = handed.clone();
    let run = move || {
        let Some(runtime) = taken.lock().take() else { return };
        runtime.block_on(async {
            for tasks in tasks {
                tasks.wait().await;
            }
        });
    };
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(run) {
        // A runtime that is dropped among tasks of another one panics.
        if let Some(runtime) = handed.lock().take() {
            runtime.shutdown_background();
        }
        return Err(failed(error));
    }
    Ok(())
}

fn failed(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
