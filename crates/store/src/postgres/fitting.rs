//! The task of a store that makes promoted servers fit to be used (`settle.rs` is what it does there), and the one that looks for such.
//!
//! Invariant: they end with the store, whatever they are at.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::task::TaskTracker;

use super::connector::Connector;
use super::failure::Failure;
use super::lineage::Line;
use super::settle;
use super::settling::{PAUSE_MIN, Server, Task, longer};
use super::tries::part_of;

/// Looks again and again whether another server was promoted, until the store ends: nobody comes to one as long as the one before lives.
pub(super) async fn look_at_others(line: Arc<Line>, connector: Arc<Connector>, pause: Duration) {
    let over = &line.settling.over;
    while over.run_until_cancelled(tokio::time::sleep(part_of(pause, &*line.chance))).await.is_some() {
        let looking = AssertUnwindSafe(connector.look_at_others()).catch_unwind();
        if let Some(Err(_)) = over.run_until_cancelled(looking).await {
            tracing::error!("a look at other servers of the database panicked");
        }
    }
}

/// Makes servers fit that somebody met. Its connections are on `tasks`.
pub(super) async fn run(line: Arc<Line>, tasks: TaskTracker) {
    let (settling, mut pause) = (&line.settling, PAUSE_MIN);
    while !settling.over.is_cancelled() {
        let Some(task) = settling.next(|| line.journal.has_late()) else {
            settling.undisturbed(pending::<()>()).await;
            continue;
        };
        let doing = AssertUnwindSafe(work(&line, &task, tasks.clone())).catch_unwind();
        let Some(done) = settling.undisturbed(doing).await else { continue };
        let done = done.unwrap_or_else(|_| Err(Failure::lost("what makes a promoted server fit panicked")));
        match (task, done) {
            (Task::Fit(server), made) => settling.note(server, made, &*line.chance),
            (Task::EndLate(_), Ok(())) => pause = PAUSE_MIN,
            (Task::EndLate(_), Err(failure)) => {
                tracing::warn!(
                    error = &failure as &dyn std::error::Error,
                    "what was ended on a server that was left behind could not be ended: it is tried again"
                );
                settling.undisturbed(tokio::time::sleep(part_of(pause, &*line.chance))).await;
                pause = longer(pause);
            }
        }
    }
    // Whoever waits for it hears that there is nothing to wait for.
    settling.next(|| false);
}

async fn work(line: &Line, task: &Task, tasks: TaskTracker) -> Result<(), Failure> {
    let (Task::Fit(Server { way, .. }) | Task::EndLate(way)) = task;
    // It is there as long as its connections.
    let mut connector = Connector::new(way.config.clone(), way.tls.clone(), way.patience, tasks);
    connector.keep_to_those_that_keep();
    let connection = connector.connect().await?;
    match task {
        Task::Fit(_) => settle::make_fit(line, &connection).await,
        Task::EndLate(_) => settle::end_late(line, &connection).await,
    }
}

#[cfg(test)]
mod tests;
