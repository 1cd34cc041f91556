//! What the server remembers of the requests it answered: figures for Prometheus, figures over time, the last requests.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use respoke_core::clock::Clock;
use respoke_core::code::Code;
use respoke_core::id::{AppId, RequestId};

use crate::deed::Deed;
use crate::facts::{Facts, Subject};
use crate::family::Family;
use crate::metrics::{Metrics, Route};
use crate::problem::Problem;
use crate::request_log::{RequestEntry, RequestLog, UNMATCHED};
use crate::tally::Tally;

/// An answer on its way out.
pub(crate) struct Answered<'a> {
    pub(crate) request_id: RequestId,
    pub(crate) method: &'static str,
    /// None: the request was refused before it was read.
    pub(crate) facts: Option<&'a Facts>,
    pub(crate) address: std::net::IpAddr,
    pub(crate) status: u16,
    pub(crate) problem: Option<&'a Problem>,
    pub(crate) took: Duration,
}

/// Everything that is remembered.
pub(crate) struct Watch {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) requests: RequestLog,
    pub(crate) tally: Tally,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Remembers the last `requests_max` requests.
    pub(crate) fn new(metrics: Arc<Metrics>, requests_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, requests: RequestLog::new(requests_max), tally: Tally::new(clock.now()), clock }
    }

    /// Counts a refusal of what is no request for an operation: of a handshake or a connection.
    pub(crate) fn refused(&self, app: Option<AppId>, code: Code) {
        self.metrics.refused(code);
        self.tally.refused(app, code);
    }

    /// Counts what was done by no request that is answered with it.
    pub(crate) fn happened(&self, app: Option<AppId>, deed: Deed) {
        self.metrics.happened(deed);
        self.tally.happened(app, deed);
    }

    /// Notes an answer.
    pub(crate) fn note(&self, answered: &Answered<'_>) {
        let Answered { request_id, method, facts, address, status, problem, took } = answered;
        let code = problem.map(Problem::kind);
        let matched = facts.and_then(|facts| facts.route.get());
        let family = facts.filter(|_| matched.is_some()).map(|facts| facts.family);
        let attempted = facts.and_then(|facts| facts.deed.get()).copied();
        let label = matched.cloned().unwrap_or(Route::Fixed(UNMATCHED));
        self.metrics.answered(label, method, *status, *took, attempted, code);
        let Subject { app_id, endpoint_id } = facts.map(Facts::subject).unwrap_or_default();
        // Figures over time tell of apps. Pages, and probes of whoever runs the server, are no client's business, and an open
        // dashboard would count itself.
        if matches!(family, None | Some(Family::Api | Family::OAuth)) {
            self.tally.answered(app_id, attempted.filter(|_| *status == 200), code, *took);
        }
        // Looking at the console is not kept: pages that follow what happens would push out what is looked for.
        if !self.requests.is_on() || (*method == "GET" && family == Some(Family::Console)) {
            return;
        }
        self.requests.add(RequestEntry {
            number: 0,
            at: self.clock.now(),
            request_id: *request_id,
            app_id,
            endpoint_id,
            caller: facts.map_or("anonymous", Facts::caller),
            method,
            route: matched.cloned(),
            status: *status,
            code: code.map(Code::word),
            took_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            address: *address,
            over_socket: facts.is_some_and(|facts| facts.socket.is_some()),
        });
    }
}

/// A method as a metric's label, of which there must be few.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
