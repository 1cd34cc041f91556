//! What the doors know of a request, and what they want to know of it afterwards.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use respoke_core::id::{AppId, EndpointId, RequestId};
use respoke_core::ops::Caller;
use respoke_hub::Socket;

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
    /// What was done if it is answered with 200; set by the handler, where figures count it.
    pub(crate) deed: OnceLock<Deed>,
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
            deed: OnceLock::new(),
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

    /// The app and endpoint it is about, as far as they are known.
    pub(crate) fn subject(&self) -> Subject {
        let asker = self.asker.get().map(|(_, subject)| subject);
        let endpoint_id = self.about_endpoint.get().or_else(|| asker?.endpoint_id.as_ref());
        Subject { app_id: self.about_app.get().copied().or_else(|| asker?.app_id), endpoint_id: endpoint_id.cloned() }
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
