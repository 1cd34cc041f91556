//! Changes whose clients go away.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::response::Response;
use axum::routing::future::RouteFuture;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A change that goes on in a task of its own if whoever waits for it goes away.
pub(super) struct DetachOnDrop<'a> {
    /// None: it has come to its end, or is being polled.
    answering: Option<RouteFuture<Infallible>>,
    changes: &'a TaskTracker,
    runtime: Handle,
    _under_way: TaskTrackerToken,
}

impl<'a> DetachOnDrop<'a> {
    pub(super) fn begin(answering: RouteFuture<Infallible>, changes: &'a TaskTracker) -> Self {
        Self { answering: Some(answering), changes, runtime: Handle::current(), _under_way: changes.token() }
    }
}

impl Future for DetachOnDrop<'_> {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Out of its place while it is polled, so that one that panics does not go on.
        let Some(mut answering) = self.answering.take() else { return Poll::Pending };
        let polled = Pin::new(&mut answering).poll(context);
        if polled.is_pending() {
            self.answering = Some(answering);
        }
        polled.map(|answer| match answer {
            Ok(response) => response,
            Err(never) => match never {},
        })
    }
}

impl Drop for DetachOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(answering) = self.answering.take() {
            self.changes.spawn_on(answering, &self.runtime);
        }
    }
}
