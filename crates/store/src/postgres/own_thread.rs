//! The thread on which batches are written.
//!
//! A batch is some statements one after the other. On the thread that serves requests each of their answers would wait behind
//! whatever requests came in meanwhile.

use respoke_core::ports::StoreError;
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;

/// What tasks are put on that the thread is to run.
pub(super) fn runtime() -> Result<Runtime, StoreError> {
    Builder::new_current_thread().enable_all().build().map_err(failed)
}

/// Starts the thread. It ends once all of these tasks have ended.
pub(super) fn start(runtime: Runtime, tasks: Vec<TaskTracker>) -> Result<(), StoreError> {
    let run = move || {
        runtime.block_on(async {
            for tasks in tasks {
                tasks.wait().await;
            }
        });
    };
    std::thread::Builder::new().name("respoked-store".into()).spawn(run).map_err(failed)?;
    Ok(())
}

fn failed(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
