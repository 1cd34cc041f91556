//! What connections say of their availability, and who observes whom.

use std::sync::Arc;

use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId};

use super::crowd::Crowd;
use super::holding::cost;
use super::{App, Connection, Full, Members, Registry};

/// Endpoints that one connection observes at most: a long list of contacts, held for as long as it is connected.
pub(super) const OBSERVED_MAX: usize = 10_000;

/// The presence of each connection of an endpoint.
pub type Presences = Vec<(ConnectionId, Option<Presence>)>;

impl Registry {
    /// Notes what a connection says of its availability. False: it is gone.
    pub(crate) fn set_presence(&self, app: AppId, id: ConnectionId, presence: Presence) -> bool {
        self.read(app, |app| app.connections.get_mut(&id).map(|seat| seat.presence = Some(presence)).is_some())
    }

    /// What a connection said last of its availability.
    pub(crate) fn presence(&self, app: AppId, id: ConnectionId) -> Option<Presence> {
        self.read(app, |app| app.connections.get(&id)?.presence.clone())
    }

    /// Lets a connection observe endpoints, each named once, and tells those it did not observe before. None: it is gone.
    pub(crate) fn observe(
        &self,
        connection: &Arc<Connection>,
        endpoints: &[EndpointId],
    ) -> Result<Option<Vec<EndpointId>>, Full> {
        let Some(app) = self.app(connection.app_id) else { return Ok(None) };
        let mut app = app.lock();
        let app = &mut *app;
        let Some(seat) = app.connections.get(&connection.id) else { return Ok(None) };
        // All of them or none.
        let is_new = |endpoint: &&EndpointId| !seat.observed.contains(*endpoint);
        let new: Vec<_> = endpoints.iter().filter(is_new).cloned().collect();
        if !new.is_empty()
            && (seat.observed.len() + new.len() > OBSERVED_MAX || !app.may_observe(&connection.endpoint, new.len()))
        {
            return Err(Full::Connection);
        }
        if !self.hold(app, new.iter().map(|endpoint| cost(endpoint.as_str())).sum()) {
            return Err(Full::Connection);
        }
        let Some(seat) = app.connections.get_mut(&connection.id) else { return Ok(None) };
        for endpoint in &new {
            seat.observed.insert(endpoint.clone());
            app.observers.entry(endpoint.clone()).or_default().add(connection, self.moment());
        }
        Ok(Some(new))
    }

    /// What each connection of endpoints says of its availability, all of one moment.
    pub(crate) fn presences(&self, app: AppId, endpoints: Vec<EndpointId>) -> Vec<(EndpointId, Presences)> {
        let Some(app) = self.app(app) else { return Vec::new() };
        let app = app.lock();
        let presences = |endpoint: EndpointId| {
            let presences = app.presences(&endpoint);
            (endpoint, presences)
        };
        endpoints.into_iter().map(presences).collect()
    }

    /// Who observes an endpoint.
    pub(crate) fn observers(&self, app: AppId, endpoint: &EndpointId) -> Members {
        self.read(app, |app| app.observers.get_mut(endpoint).map(Crowd::list).unwrap_or_default())
    }

    /// How many observe an endpoint.
    pub(crate) fn observer_count(&self, app: AppId, endpoint: &EndpointId) -> usize {
        self.read(app, |app| app.observers.get(endpoint).map_or(0, |crowd| crowd.members.len()))
    }
}

impl App {
    fn presences(&self, endpoint: &EndpointId) -> Presences {
        let connections = self.endpoints.get(endpoint).into_iter().flatten();
        let said = |id: &ConnectionId| self.connections.get(id).and_then(|seat| seat.presence.clone());
        connections.map(|connection| (connection.id, said(&connection.id))).collect()
    }
}
