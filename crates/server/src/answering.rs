//! How a request is answered, over whichever door it came: its id, the router, what is charged and noted afterwards.

mod panics;
mod request_ids;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures_util::FutureExt;
use http::Uri;
use respoke_core::chance::Chance;
use respoke_core::id::RequestId;
use respoke_wire::form::{self, NotText};
use respoke_wire::input::DecodeError;
use tower::Service;
use tracing::Level;

pub(crate) use panics::answered;
use request_ids::RequestIds;

use crate::facts::{Facts, LOG};
use crate::limits::Accounts;
use crate::problem::Problem;
use crate::request_log::UNMATCHED;
use crate::router::router;
use crate::state::Api;
use crate::watch::{Answered, Watch};

/// What answers.
#[derive(Debug)]
pub(crate) struct Answering {
    router: Router,
    watch: Arc<Watch>,
    /// Whom long answers are charged to.
    accounts: Arc<Accounts>,
    request_ids: RequestIds,
}

impl Answering {
    /// Answers with all operations of `api`, and the pages.
    pub(crate) fn new(api: Arc<Api>) -> Self {
        let (watch, accounts) = (api.watch.clone(), api.accounts.clone());
        let broker = api.broker.clone();
        Self::by(router(api), watch, accounts, broker.chance())
    }

    /// Answers by `router`.
    pub(crate) fn by(router: Router, watch: Arc<Watch>, accounts: Arc<Accounts>, chance: &dyn Chance) -> Self {
        Self { router, watch, accounts, request_ids: RequestIds::new(chance) }
    }

    /// An id for a request.
    pub(crate) fn next_id(&self) -> RequestId {
        self.request_ids.next()
    }

    /// Calls the router.
    pub(crate) fn call(&self, request: Request) -> RouteFuture<Infallible> {
        self.router.clone().call(request)
    }

    /// Calls the router; a panic of a handler becomes a problem, not a broken connection.
    pub(crate) async fn route(&self, request: Request) -> Response {
        answered(self.call(request).map(sure)).await
    }

    /// Charges an answer to who asked for it.
    pub(crate) fn charge(&self, facts: &Facts, len: u64) {
        if let Some(payer) = facts.payer.get() {
            self.accounts.answered(payer, facts.address, len);
        }
    }

    /// Counts and logs an answer. What is logged stands in the span of its request.
    pub(crate) fn note(&self, answered: &Answered<'_>) {
        self.watch.note(answered);
        let Answered { request_id, method, facts, status, problem, took, .. } = *answered;
        let fault = problem.filter(|problem| problem.is_fault());
        if fault.is_none() && !tracing::enabled!(target: LOG, Level::DEBUG) {
            return;
        }
        let unread = || tracing::error_span!(target: LOG, "request", request.id = %request_id);
        facts.map_or_else(unread, Facts::span).in_scope(|| {
            if let Some(fault) = fault {
                fault.log();
            }
            tracing::debug!(
                target: LOG,
                method,
                route = facts.and_then(|facts| facts.route.get()).map_or(UNMATCHED, |route| route.as_str()),
                status,
                code = problem.map(Problem::code),
                lapse = problem.and_then(Problem::lapse),
                took_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "answered"
            );
        });
    }
}

/// Refuses a query that is not UTF-8 text, so that whoever reads it need not guess.
pub(crate) fn check_query(uri: &Uri) -> Result<(), Problem> {
    match uri.query().map(form::query_pairs) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(NotText)) => Err(DecodeError::NotText.into()),
    }
}

/// What the router answers: it never fails.
fn sure(answer: Result<Response, Infallible>) -> Response {
    match answer {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
