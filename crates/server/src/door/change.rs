//! Handlers at work: their panics, and changes whose clients go away.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::problem::Problem;

/// The answer of a handler; its panic becomes a problem.
pub(super) async fn answered(answering: impl Future<Output = Result<Response, Infallible>>) -> Response {
    let mut answering = pin!(answering);
    poll_fn(|context| {
        // What a handler shares with others is behind locks that a panic leaves sound, or atomic.
        match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(response),
            Ok(Poll::Ready(Err(never))) => match never {},
            Err(panic) => Poll::Ready(Problem::internal(panic_text(&*panic)).into_response()),
        }
    })
    .await
}

/// A change that goes on in a task of its own if whoever waits for it goes away.
pub(super) struct Change<'a> {
    /// None: it has come to its end, or is being polled.
    answering: Option<RouteFuture<Infallible>>,
    changes: &'a TaskTracker,
    runtime: Handle,
    _under_way: TaskTrackerToken,
}

impl<'a> Change<'a> {
    pub(super) fn begin(answering: RouteFuture<Infallible>, changes: &'a TaskTracker) -> Self {
        Self { answering: Some(answering), changes, runtime: Handle::current(), _under_way: changes.token() }
    }
}

impl Future for Change<'_> {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Out of its place while it is polled, so that one that panics does not go on.
        let Some(mut answering) = self.answering.take() else { return Poll::Pending };
        let polled = Pin::new(&mut answering).poll(context);
        if polled.is_pending() {
            self.answering = Some(answering);
        }
        polled
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if let Some(answering) = self.answering.take() {
            self.changes.spawn_on(answering, &self.runtime);
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("no message"))
}
