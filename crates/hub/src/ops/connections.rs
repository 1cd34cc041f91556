//! `/v1/connections`: registering a socket as an endpoint's connection, and ending that.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use respoke_core::id::{AppId, ConnectionId};
use respoke_core::ops::Caller;
use respoke_core::page::{Page, PageRequest};
use respoke_core::ports::Deed;
use respoke_core::refusal::Refusal;
use tokio::time::Instant;

use super::Asker;
use crate::Hub;
use crate::deeds::of_endpoint;
use crate::parking::Claimed;
use crate::reach::{Reach, frame_len};
use crate::registry::{Caps, Connection, Full, Home};
use crate::roster::{At, ConnectionCount};
use crate::settle::{SETTLED_WITHIN, settle};
use crate::suspects::Suspicion;

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct Connect {
    /// What it calls itself.
    pub client_type: Option<String>,
    /// Whether it takes ICE candidates one by one; most do.
    pub trickle_ice: Option<bool>,
    /// Whether it wants the final list of ICE candidates.
    pub ice_final_candidates: Option<bool>,
}

/// The longest client type, in characters.
const CLIENT_TYPE_LEN_MAX: usize = 64;

impl Hub {
    /// Registers the socket as a connection. One that was registered before departs.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotConnected`] without a socket, [`Refusal::Forbidden`] with another credential than the socket was
    /// opened with, [`Refusal::Invalid`] for a backend that names no endpoint, [`Refusal::Banned`],
    /// [`Refusal::ConnectionLimit`], [`Refusal::RateLimited`]; [`Refusal::NodeSilent`] if a node has never said how much of a
    /// limit it takes.
    pub async fn connect(&self, asker: &Asker<'_>, request: Connect) -> Result<Arc<Connection>, Refusal> {
        let socket = asker.socket.ok_or(Refusal::NotConnected)?;
        if !asker.caller.is_same(&socket.opening.caller) {
            // The socket closes when that ends, so no other can be what the connection stands on.
            return Err(Refusal::Forbidden("a socket is registered with the credential it was opened with"));
        }
        if let Caller::App { .. } | Caller::Admin { .. } = asker.caller
            && asker.endpoint_id.is_none()
        {
            return Err(Refusal::missing("endpointId"));
        }
        let speaker = self.speaker(asker).await?;
        let role_id = match asker.caller {
            Caller::Endpoint { session, .. } => session.record.grant.role_id,
            Caller::Anonymous | Caller::App { .. } | Caller::Admin { .. } => {
                if let Some(ban) = self.broker.ban_in_force(speaker.app.id, &speaker.endpoint).await? {
                    return Err(Refusal::Banned { reason: ban.reason });
                }
                None
            }
        };
        let client_type = request.client_type.unwrap_or_else(|| "web".to_owned()).to_uppercase();
        if client_type.chars().count() > CLIENT_TYPE_LEN_MAX {
            return Err(Refusal::field("clientType", "must be at most 64 characters long"));
        }
        // Who observes the endpoint hears one day that this connection of it is gone.
        let (observers, caps) = tokio::join!(
            self.roster().observer_count(speaker.app.id, &speaker.endpoint),
            self.roster().caps_of_connections(speaker.app.id, &speaker.endpoint, Caps::of(&speaker.app)),
        );
        let caps = caps?;
        let gone_len = frame_len(&speaker.endpoint, "", 0);
        asker.pay(&speaker.app, Reach::of(observers, gone_len))?;
        // Last of all: who is refused before it asks takes nothing that is parked.
        let mut claimed = match self.local.registry.is_full(speaker.app.id, &speaker.endpoint, caps) {
            None => self.claim(socket, speaker.app.id, &speaker.endpoint, role_id, &client_type).await,
            Some(_) => None,
        };
        let connection = Arc::new(Connection {
            id: claimed.as_ref().map_or_else(|| ConnectionId::new(self.broker.chance()), Claimed::id),
            app_id: speaker.app.id,
            endpoint: speaker.endpoint,
            role_id,
            client_type,
            address: socket.opening.address,
            trickle_ice: request.trickle_ice.unwrap_or(true),
            ice_final_candidates: request.ice_final_candidates.unwrap_or(false),
            home: Home::Here(socket.outbox.clone()),
            gone: AtomicBool::new(false),
            telling: Mutex::default(),
            parked: AtomicBool::new(false),
            inherited: Mutex::default(),
        });
        // What is said to the endpoint from here on is for this node.
        let held = self.hold(|| of_endpoint(speaker.app.id, &connection.endpoint));
        let registered = self.local.connect(socket, &connection, caps);
        if !matches!(registered, Some(Ok(_))) {
            self.release(|| of_endpoint(speaker.app.id, &connection.endpoint));
            // Others may have taken the last place since, or the socket was closed.
            if let Some(claimed) = claimed.take() {
                self.lose_claimed(&connection, claimed);
            }
        }
        match registered.ok_or(Refusal::Unauthenticated)? {
            Ok(replaced) => {
                match claimed {
                    Some(claimed) => self.take_over(&connection, claimed),
                    None => self.arrived(&connection),
                }
                // Before anything is waited for: whoever asked may wait no longer, and it is gone all the same.
                if let Some(replaced) = replaced {
                    self.departed(replaced);
                }
                // Others may have begun to observe it meanwhile.
                let observing = self.roster().observer_count(speaker.app.id, &connection.endpoint).await;
                asker.owe(&speaker.app, Reach::of(observing.saturating_sub(observers), gone_len));
                if let Caller::App { .. } | Caller::Admin { .. } = asker.caller {
                    // A ban of the endpoint may have come since it was asked for, when this socket was none of its.
                    self.suspects.add(socket.clone(), Suspicion::Routine);
                }
                if let Some((mut held, others)) = held.zip(self.others.as_ref()) {
                    settle(&mut held, Instant::now() + SETTLED_WITHIN).await;
                    others.late_for(speaker.app.id, connection.id, &held);
                }
                Ok(connection)
            }
            Err(Full::App | Full::Endpoint) => Err(Refusal::ConnectionLimit),
            Err(Full::Connection | Full::Group) => Err(Refusal::LimitReached("connections")),
        }
    }

    /// Ends the connection of the asker's socket; the socket stays open.
    ///
    /// A backend may end any connection of its app by its id, and then the socket with it.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] for a backend that names a connection that is not there; [`Refusal::NodeSilent`] if one that
    /// may have it does not answer, and [`Refusal::NodeInDoubt`] if the one that has it does not say that it is done.
    pub async fn disconnect(&self, asker: &Asker<'_>, named: &str) -> Result<(), Refusal> {
        let speaker = self.speaker(asker).await?;
        let own = asker.socket.zip(speaker.own.as_ref());
        if let (Caller::App { .. } | Caller::Admin { .. }, Some(id)) = (asker.caller, ConnectionId::parse(named))
            && own.is_none_or(|(_, own)| own.id != id)
        {
            let found = self.connection(speaker.app.id, id).await?.ok_or(Refusal::NotFound("Connections"))?;
            match &found.home {
                Home::Here(_) => {
                    self.end_connection(speaker.app.id, id);
                }
                // It has ended if it is not there any more.
                Home::There(node) => drop(self.have_done(*node, &speaker, Deed::End { connection: id }).await?),
            }
            return Ok(());
        }
        // Existing clients name the connection or their endpoint, and are gone either way.
        if let Some((socket, _)) = own
            && let Some(gone) = self.local.disconnect(socket)
        {
            self.departed(gone);
        }
        Ok(())
    }

    /// The live connections of an app, or of one endpoint of it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless a backend asks; [`Refusal::NodeSilent`].
    pub async fn connections(&self, asker: &Asker<'_>) -> Result<Vec<Arc<Connection>>, Refusal> {
        self.connections_at(asker, At::Anywhere).await
    }

    /// Those of them on some nodes.
    ///
    /// # Errors
    ///
    /// As [`Hub::connections`].
    pub async fn connections_at(&self, asker: &Asker<'_>, at: At) -> Result<Vec<Arc<Connection>>, Refusal> {
        let app = self.broker.app_of(asker.caller, asker.app_id).await?;
        match &asker.endpoint_id {
            Some(endpoint) => self.roster().connections_of(app.id, endpoint, at).await,
            None => self.roster().connections(app.id, at).await,
        }
    }

    /// A page of the same, in the order of their ids.
    ///
    /// # Errors
    ///
    /// As [`Hub::connections`].
    pub async fn connections_page(
        &self,
        asker: &Asker<'_>,
        page: &PageRequest<ConnectionId>,
    ) -> Result<Page<Arc<Connection>, ConnectionId>, Refusal> {
        self.connections_page_at(asker, page, At::Anywhere).await
    }

    /// A page of those on some nodes.
    ///
    /// # Errors
    ///
    /// As [`Hub::connections`].
    pub async fn connections_page_at(
        &self,
        asker: &Asker<'_>,
        page: &PageRequest<ConnectionId>,
        at: At,
    ) -> Result<Page<Arc<Connection>, ConnectionId>, Refusal> {
        let app = self.broker.app_of(asker.caller, asker.app_id).await?;
        let found = match &asker.endpoint_id {
            Some(endpoint) => {
                let mut found = self.roster().connections_of(app.id, endpoint, at).await?;
                found.retain(|connection| page.after.is_none_or(|after| connection.id > after));
                found.sort_unstable_by_key(|connection| connection.id);
                found
            }
            None => self.roster().connections_after(app.id, page.after, page.limit.saturating_add(1), at).await?,
        };
        Ok(Page::cut(found, page.limit, |connection| connection.id))
    }

    /// How many connections an app has, as it was a second ago at most. A node that does not answer counts as it did last.
    pub async fn connection_count(&self, app: AppId) -> ConnectionCount {
        self.roster().connection_count(app).await
    }

    /// How many of them are this node's.
    #[must_use]
    pub fn connection_count_here(&self, app: AppId) -> usize {
        self.local.registry.connection_count(app)
    }
}
