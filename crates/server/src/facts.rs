//! What the doors know of a request, and what they want to know of it afterwards.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::id::{AppId, EndpointId, RequestId};
use respoke_core::ops::{Answerer, Caller, Confirmed};
use respoke_hub::Socket;
use tracing::Span;
use tracing::field::{Empty, display};

use crate::deed::Deed;
use crate::family::Family;
use crate::limits::RateStatus;
use crate::metrics::Route;
use crate::transport::{CallerKey, Reader, Unread};

/// What is known of one request.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) request_id: RequestId,
    /// Who asks, trusted proxies seen through.
    pub(crate) address: IpAddr,
    pub(crate) body: Bytes,
    /// Which of the server's routes its path is one of.
    pub(crate) family: Family,
    /// What is left of the tightest bucket; set when one was looked at.
    pub(crate) rate_status: OnceLock<RateStatus>,
    /// The route's template; set when a handler was reached.
    pub(crate) route: OnceLock<Route>,
    /// The socket it came over, if not by HTTP.
    pub(crate) socket: Option<Arc<Socket>>,
    /// Whether the client's side of the connection is encrypted, by us or by a trusted proxy.
    pub(crate) encrypted: bool,
    /// Who asks; set when that was proved.
    pub(crate) asker: OnceLock<(&'static str, Subject)>,
    /// The same, whom a long answer is charged to; set once it may ask.
    pub(crate) payer: OnceLock<Caller>,
    /// Which app it turned out to be about, where the asker does not say it.
    pub(crate) about_app: OnceLock<AppId>,
    /// And which endpoint, which may be known later.
    pub(crate) about_endpoint: OnceLock<EndpointId>,
    /// How many nodes have followed what it changed last; set where it changed something that they have to know of.
    confirmed: Mutex<Option<Confirmed>>,
    /// What was done if it is answered with 200; set where figures count the operation.
    pub(crate) deed: OnceLock<Deed>,
    /// Which operation it asks for; set when that begins.
    operation: OnceLock<&'static str>,
    /// What its log lines stand in; set when the operation begins, if the log's filter asks for it.
    span: OnceLock<Span>,
}

impl Facts {
    /// Of a request for an operation of the API.
    pub(crate) fn new(request_id: RequestId, address: IpAddr, body: Bytes) -> Self {
        Self {
            request_id,
            address,
            body,
            family: Family::Api,
            rate_status: OnceLock::new(),
            route: OnceLock::new(),
            socket: None,
            encrypted: false,
            asker: OnceLock::new(),
            payer: OnceLock::new(),
            about_app: OnceLock::new(),
            about_endpoint: OnceLock::new(),
            confirmed: Mutex::new(None),
            deed: OnceLock::new(),
            operation: OnceLock::new(),
            span: OnceLock::new(),
        }
    }

    /// Of a request that came through no door, as in tests of a router.
    pub(crate) fn of_nobody() -> Arc<Self> {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Arc::new(Self::new(RequestId::from_uuid(uuid::Uuid::nil()), nowhere, Bytes::new()))
    }

    /// The same of a request that came over a socket.
    pub(crate) fn over(self, socket: Arc<Socket>) -> Self {
        Self { socket: Some(socket), ..self }
    }

    /// The same of a request for a route of that family.
    pub(crate) fn within(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// The same of a request that came encrypted, or not.
    pub(crate) fn encrypted(self, encrypted: bool) -> Self {
        Self { encrypted, ..self }
    }

    /// Begins an operation: what is logged while it is done stands in this span.
    ///
    /// Below the level debug none is made, since most requests log nothing: [`Self::span`] makes one for those that do.
    pub(crate) fn begin(&self, operation: &'static str) -> Span {
        let _ = self.operation.set(operation);
        let id = self.request_id;
        let span =
            tracing::debug_span!(target: LOG, "request", request.id = %id, operation, app = Empty, endpoint = Empty);
        if !span.is_disabled() {
            let _ = self.span.set(span.clone());
        }
        span
    }

    /// The span for what is logged about it, with all that is known of it.
    pub(crate) fn span(&self) -> Span {
        self.span.get().cloned().unwrap_or_else(|| {
            let Subject { app_id, endpoint_id } = self.subject();
            tracing::error_span!(
                target: LOG,
                "request",
                request.id = %self.request_id,
                operation = self.operation.get(),
                app = app_id.map(display),
                endpoint = endpoint_id.as_ref().map(EndpointId::as_str),
            )
        })
    }

    /// Notes who asks.
    pub(crate) fn asked_by(&self, caller: &Caller) {
        if self.asker.set(asker(caller)).is_ok()
            && let (Some(span), Some((_, Subject { app_id, endpoint_id }))) = (self.span.get(), self.asker.get())
        {
            record(span, *app_id, endpoint_id.as_ref());
        }
    }

    /// Notes which app and endpoint it is about, where the asker does not say it.
    pub(crate) fn concerns(&self, app_id: AppId, endpoint_id: Option<&EndpointId>) {
        let is_new_app = self.about_app.set(app_id).is_ok();
        let is_new_endpoint = endpoint_id.is_some_and(|endpoint| self.about_endpoint.set(endpoint.clone()).is_ok());
        if let Some(span) = self.span.get() {
            let known = self.asker.get().map(|(_, subject)| subject);
            let app = Some(app_id).filter(|app| is_new_app && known.is_none_or(|known| known.app_id != Some(*app)));
            let is_other =
                |endpoint: &&EndpointId| known.is_none_or(|known| known.endpoint_id.as_ref() != Some(*endpoint));
            record(span, app, endpoint_id.filter(|endpoint| is_new_endpoint && is_other(endpoint)));
        }
    }

    /// What kind of caller asks.
    pub(crate) fn caller(&self) -> &'static str {
        self.asker.get().map_or("anonymous", |(kind, _)| kind)
    }

    /// Whose answers they are, until they are read.
    pub(crate) fn unread_by(&self, unread: &Unread) -> CallerKey {
        let reader =
            self.asker.get().map_or(Reader::Anybody, |(kind, subject)| match (subject.app_id, &subject.endpoint_id) {
                (Some(app), Some(endpoint)) => Reader::Endpoint(app, endpoint),
                (Some(app), None) => Reader::Backend(app),
                (None, _) if *kind == ADMIN => Reader::Admin,
                (None, _) => Reader::Anybody,
            });
        unread.key(reader, self.address)
    }

    /// Whether it reached nothing that asks who asks, so that no limit has counted it.
    pub(crate) fn names_nobody(&self) -> bool {
        self.asker.get().is_none()
    }

    /// How many nodes have followed what it changed, if others had to.
    pub(crate) fn confirmed(&self) -> Option<Confirmed> {
        *self.confirmed.lock()
    }

    /// The app and endpoint it is about, as far as they are known.
    pub(crate) fn subject(&self) -> Subject {
        let asker = self.asker.get().map(|(_, subject)| subject);
        let endpoint_id = self.about_endpoint.get().or_else(|| asker?.endpoint_id.as_ref());
        Subject { app_id: self.about_app.get().copied().or_else(|| asker?.app_id), endpoint_id: endpoint_id.cloned() }
    }
}

impl Answerer for Facts {
    fn confirmed(&self, confirmed: Confirmed) {
        // Nodes confirm in order: who has followed the last change has followed those before it.
        *self.confirmed.lock() = Some(confirmed);
    }
}

/// The name by which the log's filter knows what is said of requests.
pub(crate) const LOG: &str = "respoked::answering";

fn record(span: &Span, app: Option<AppId>, endpoint: Option<&EndpointId>) {
    if let Some(app) = app {
        span.record("app", display(app));
    }
    if let Some(endpoint) = endpoint {
        span.record("endpoint", endpoint.as_str());
    }
}

/// Whose request it was, or whom it was about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) app_id: Option<AppId>,
    pub(crate) endpoint_id: Option<EndpointId>,
}

/// An admin, as a kind of caller.
const ADMIN: &str = "admin";

/// What kind of caller it is, and whose.
pub(crate) fn asker(caller: &Caller) -> (&'static str, Subject) {
    match caller {
        Caller::Anonymous => ("anonymous", Subject::default()),
        Caller::Admin { .. } => (ADMIN, Subject::default()),
        Caller::App { app, .. } => ("secret", Subject { app_id: Some(app.id), endpoint_id: None }),
        Caller::Endpoint { app, session } => {
            let endpoint_id = Some(session.record.grant.endpoint_id.clone());
            ("endpoint", Subject { app_id: Some(app.id), endpoint_id })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written by `filter` of a request that is about an app and an endpoint: while it is done, and afterwards.
    fn logged(filter: &str) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer =
            tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(EnvFilter::new(filter)).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let facts = Facts::of_nobody();
            let span = facts.begin("tokens::create");
            facts.asked_by(&Caller::Anonymous);
            let (app, endpoint) = (AppId::from_uuid(uuid::Uuid::nil()), EndpointId::parse("jo").unwrap());
            facts.concerns(app, Some(&endpoint));
            facts.concerns(app, Some(&endpoint));
            span.in_scope(|| tracing::warn!("meanwhile"));
            facts.span().in_scope(|| tracing::error!("afterwards"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim_start().to_owned()).collect()
    }

    #[test]
    fn what_is_logged_of_a_request_says_which_and_what_of() {
        const NIL: &str = "00000000-0000-0000-0000-000000000000";
        let span = format!("request{{request.id={NIL} operation=\"tokens::create\" app={NIL} endpoint=\"jo\"}}");
        let of = |level, message| format!("{level} {span}: respoked::facts::tests: {message}");
        assert_eq!(logged("debug"), [of("WARN", "meanwhile"), of("ERROR", "afterwards")]);
        // At the usual level only what is told of the request itself has a span, made for the line.
        assert_eq!(logged("info"), ["WARN respoked::facts::tests: meanwhile".to_owned(), of("ERROR", "afterwards")]);
    }
}
