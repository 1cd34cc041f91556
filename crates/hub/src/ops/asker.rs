//! Who asks for an operation, as whom, about which connections, and who pays for it.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::admin::AdminRole;
use respoke_core::app::App;
use respoke_core::id::{AppId, ConnectionId, EndpointId, MessageId, RequestId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::message::{Said, SaidOnce};
use respoke_core::ops::{Caller, Context};
use respoke_core::ports::{Deed, Done, Interest, Node};
use respoke_core::refusal::Refusal;
use tokio::time::Instant;

use crate::others::Meanwhile;
use crate::reach::Reach;
use crate::registry::Connection;
use crate::roster::At;
use crate::{Hub, Socket};

/// Who asks, how, and for whom.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// Over which socket, if over one.
    pub socket: Option<&'a Arc<Socket>>,
    /// In which request.
    pub context: &'a Context,
    /// The app that is named; App-Tokens and App-Secrets need not name theirs.
    pub app_id: Option<AppId>,
    /// The endpoint that is named; App-Tokens speak as their own whatever they name.
    pub endpoint_id: Option<EndpointId>,
    /// The connection that is named, where an operation is about one.
    pub connection_id: Option<ConnectionId>,
    /// Who pays for what others receive of it.
    pub purse: &'a dyn Purse,
}

/// Who asks, found out.
pub(crate) struct Speaker {
    pub(crate) app: Arc<App>,
    /// As whom.
    pub(crate) endpoint: EndpointId,
    /// The connection of the socket the request came over, if it is one of the app.
    pub(crate) own: Option<Arc<Connection>>,
    pub(crate) request_id: RequestId,
}

/// Whom what an operation makes others receive is charged to.
pub trait Purse: std::fmt::Debug + Send + Sync {
    /// Pays before it is done.
    ///
    /// # Errors
    ///
    /// [`Refusal::RateLimited`] if there is not enough left; then nothing was paid.
    fn pay(&self, asker: &Asker<'_>, app: &App, reach: Reach) -> Result<(), Refusal>;

    /// Pays for what could only be known when it was done.
    fn owe(&self, asker: &Asker<'_>, app: &App, reach: Reach);
}

/// The purse of who pays for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unlimited;

impl Purse for Unlimited {
    fn pay(&self, _: &Asker<'_>, _: &App, _: Reach) -> Result<(), Refusal> {
        Ok(())
    }

    fn owe(&self, _: &Asker<'_>, _: &App, _: Reach) {}
}

impl Asker<'_> {
    /// Pays, if there is anything to pay for.
    pub(crate) fn pay(&self, app: &App, reach: Reach) -> Result<(), Refusal> {
        if reach == Reach::default() { Ok(()) } else { self.purse.pay(self, app, reach) }
    }

    /// Owes, if there is anything to owe.
    pub(crate) fn owe(&self, app: &App, reach: Reach) {
        if reach != Reach::default() {
            self.purse.owe(self, app, reach);
        }
    }
}

impl Speaker {
    /// The connection it speaks by: its own, if that is the endpoint's.
    pub(crate) fn connection_id(&self) -> Option<ConnectionId> {
        self.own.as_ref().filter(|own| own.endpoint == self.endpoint).map(|own| own.id)
    }

    /// The connection that asked, and hears no echo.
    pub(crate) fn own_id(&self) -> Option<ConnectionId> {
        self.own.as_ref().map(|own| own.id)
    }
}

impl Hub {
    /// Who asks for something that others notice. [`Refusal::EndpointReserved`]: nobody may speak by that name.
    pub(crate) async fn speaker(&self, asker: &Asker<'_>) -> Result<Speaker, Refusal> {
        asker.caller.permit(AdminRole::Developer)?;
        let speaker = self.reader(asker).await?;
        // Backends have that name by naming none. Who has a token of before it was reserved is heard no more.
        let by_name = asker.endpoint_id.is_some() || matches!(asker.caller, Caller::Endpoint { .. });
        if by_name && speaker.endpoint.is_reserved() {
            return Err(Refusal::EndpointReserved);
        }
        Ok(speaker)
    }

    /// Who asks for something that is only to be looked at.
    pub(crate) async fn reader(&self, asker: &Asker<'_>) -> Result<Speaker, Refusal> {
        let connection = asker.socket.and_then(|socket| socket.connection());
        let request_id = asker.context.request_id;
        match asker.caller {
            Caller::Anonymous => Err(Refusal::Unauthenticated),
            Caller::Endpoint { session, app } => {
                let endpoint = session.record.grant.endpoint_id.clone();
                // A second credential on somebody else's socket speaks without a connection.
                let own = connection.filter(|own| own.app_id == app.id && own.endpoint == endpoint);
                Ok(Speaker { app: app.clone(), endpoint, own, request_id })
            }
            Caller::App { .. } | Caller::Admin { .. } => {
                // On a socket the app is the connection's.
                let named = asker.app_id.or(connection.as_ref().map(|own| own.app_id));
                let app = self.broker.app_of(asker.caller, named).await?;
                let own = connection.filter(|own| own.app_id == app.id);
                let endpoint = match (&asker.endpoint_id, &own) {
                    (Some(named), _) => named.clone(),
                    (None, Some(own)) => own.endpoint.clone(),
                    (None, None) => {
                        EndpointId::parse(EndpointId::SYSTEM).map_err(|_| Refusal::missing("endpointId"))?
                    }
                };
                Ok(Speaker { app, endpoint, own, request_id })
            }
        }
    }

    /// Lets what others have of some things be known here, until that is dropped; who does not answer within some time, and
    /// as long as that is on its way besides, is asked again later. None: there are no others.
    pub(crate) async fn known_meanwhile(
        &self,
        within: Duration,
        interests: impl FnOnce() -> Vec<Interest>,
    ) -> Option<Meanwhile<'_>> {
        let others = self.others.as_ref()?;
        let held = others.hold_meanwhile(interests());
        Box::pin(self.survey(others, &held.interests, Instant::now() + others.and_the_way(within))).await;
        Some(held)
    }

    /// A connection by its id, on whatever node.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeSilent`] if a node does not answer that may have it, or it is on its way from one to another.
    pub(crate) async fn connection(&self, app: AppId, id: ConnectionId) -> Result<Option<Arc<Connection>>, Refusal> {
        match self.roster().connection(app, id).await? {
            None if self.parking.is_moving(id) => Err(Refusal::NodeSilent),
            found => Ok(found),
        }
    }

    /// Has another node do something with a connection of its own.
    pub(crate) async fn have_done(&self, node: Node, speaker: &Speaker, deed: Deed) -> Result<Done, Refusal> {
        // Where there are no others, no connection is another's.
        let Some(others) = &self.others else { return Ok(Done::Gone) };
        Box::pin(others.have_done(node, speaker.app.id, speaker.request_id, deed)).await
    }

    /// How many connections hear what is said to an endpoint, and those of the speaker that get a copy.
    pub(crate) async fn told(
        &self,
        speaker: &Speaker,
        to: &EndpointId,
        only: Option<ConnectionId>,
        copied: bool,
    ) -> usize {
        let app = speaker.app.id;
        let told = async || if only.is_some() { 1 } else { self.roster().sibling_count(app, to).await };
        if !copied {
            return told().await;
        }
        let (copies, told) = tokio::join!(self.roster().sibling_count(app, &speaker.endpoint), told());
        copies.saturating_add(told)
    }

    /// What was said before by a request with this key; nothing, and then `id` is remembered for it, if it was not.
    ///
    /// It is remembered before it is said: a crash between the two loses what nobody was to keep, and a repetition says
    /// nothing twice. Called last of all that may refuse. Nothing is remembered if others may have taken this node for dead.
    pub(crate) async fn said_before(
        &self,
        app_id: AppId,
        once: Option<IdempotencyKey>,
        id: MessageId,
    ) -> Result<Option<MessageId>, Refusal> {
        self.check_standing()?;
        let Some(key) = once else { return Ok(None) };
        match self.broker.store().say_once(SaidOnce { app_id, key, id }, None, self.broker.now(), u64::MAX).await? {
            Said::First(..) => Ok(None),
            Said::Before(id) => Ok(Some(id)),
            Said::KeyReused => Err(Refusal::IdempotencyKeyReused),
            Said::NoApp => Err(Refusal::NotFound("Apps")),
            Said::Full => Err(Refusal::QuotaExceeded),
        }
    }

    /// The connections that an operation on connections is about: the one named, the asker's own, or, where a backend
    /// names an endpoint, all of that endpoint.
    pub(crate) async fn targets(&self, asker: &Asker<'_>, speaker: &Speaker) -> Result<Vec<Arc<Connection>>, Refusal> {
        if let Some(id) = asker.connection_id {
            let found = self.connection(speaker.app.id, id).await?;
            let found = found.filter(|found| match asker.caller {
                Caller::Endpoint { .. } => found.endpoint == speaker.endpoint,
                Caller::Anonymous | Caller::App { .. } | Caller::Admin { .. } => true,
            });
            return found.map(|found| vec![found]).ok_or(Refusal::NotFound("Connections"));
        }
        if let Some(own) = speaker.own.as_ref().filter(|own| own.endpoint == speaker.endpoint) {
            return Ok(vec![own.clone()]);
        }
        match asker.caller {
            Caller::App { .. } | Caller::Admin { .. } if asker.endpoint_id.is_some() => {
                let found = self.roster().connections_of(speaker.app.id, &speaker.endpoint, At::Anywhere).await?;
                if found.is_empty() { Err(Refusal::NotFound("Connections")) } else { Ok(found) }
            }
            Caller::Anonymous | Caller::Endpoint { .. } | Caller::App { .. } | Caller::Admin { .. } => {
                Err(Refusal::NotConnected)
            }
        }
    }
}
