//! All that is held, for tests of several hubs.

use std::collections::BTreeMap;

use respoke_core::id::ConnectionId;

use super::Registry;
use crate::inspected::OwnState;

impl Registry {
    /// What each connection is in and says.
    pub(crate) fn inspected(&self) -> BTreeMap<ConnectionId, OwnState> {
        let apps: Vec<_> = self.apps.read().iter().map(|(id, app)| (*id, app.clone())).collect();
        let mut all = BTreeMap::new();
        for (app_id, app) in apps {
            for (id, seat) in &app.lock().connections {
                let state = OwnState {
                    app_id,
                    endpoint: seat.connection.endpoint.clone(),
                    groups: seat.groups.iter().cloned().collect(),
                    observed: seat.observed.iter().cloned().collect(),
                    presence: seat.presence.clone(),
                };
                all.insert(*id, state);
            }
        }
        all
    }
}
