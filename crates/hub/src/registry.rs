//! Who is connected here, who is in which group, who observes whom.
//!
//! There is one lock for each app: nothing crosses an app's border, and within an app every answer is of one moment. Under
//! the lock nothing is sent and nothing is waited for. What is to be told, and to whom, is handed back.
//!
//! Invariant: a connection is in `connections`, in its endpoint's list, in the groups it names and in the observers it
//! names, or in none of them. Of a connection that is gone, what is in `remains` is left where it was for a moment longer.

mod calls;
mod connection;
mod crowd;
mod groups;
mod holding;
#[cfg(feature = "inspected")]
mod inspected;
mod presence;
mod remains;
mod room;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName};
use respoke_core::ports::Departed;

pub(crate) use connection::Inherited;
use connection::reached;
pub(crate) use connection::{Caps, Full};
pub use connection::{Connection, ConnectionState, Home};
use crowd::Crowd;
pub use crowd::Members;
pub(crate) use groups::{Ending, Join};
pub use presence::Presences;
use remains::{Leftovers, Remains};

#[derive(Debug, Default)]
pub(crate) struct Registry {
    apps: RwLock<HashMap<AppId, Arc<Mutex<App>>>>,
    /// Counts comings and goings, so that it can be said which was first.
    moments: AtomicU64,
    /// Connections of all apps.
    connections: AtomicUsize,
    /// What memberships and observations of all apps take.
    held: AtomicUsize,
    leftovers: Leftovers,
}

#[derive(Debug, Default)]
struct App {
    /// In order, for they are listed in pages.
    connections: BTreeMap<ConnectionId, Seat>,
    endpoints: HashMap<EndpointId, Vec<Arc<Connection>>>,
    /// How many of the connections are parked.
    parked: usize,
    /// In order, for they are listed in pages.
    groups: BTreeMap<GroupName, Crowd>,
    observers: HashMap<EndpointId, Crowd>,
    /// What memberships and observations take.
    held: usize,
    /// What of that is of connections that are gone.
    leaving: usize,
    /// What is to be taken away of connections that are gone.
    remains: VecDeque<Remains>,
    /// Memberships of theirs that are not taken away yet.
    groups_left: usize,
    /// It was found empty and is in the registry no more; whoever still has it looks again.
    forgotten: bool,
}

/// A connection that was taken out of everything.
#[derive(Debug)]
pub(crate) struct Gone {
    /// Which, and what it was in.
    pub(crate) departed: Departed,
    /// When, on the registry's own count.
    pub(crate) at: u64,
    /// What it observed.
    pub(crate) observed: Arc<[EndpointId]>,
}

/// A connection of an endpoint, where it stands.
#[derive(Debug)]
pub(crate) struct Sibling<'a> {
    pub(crate) connection: &'a Arc<Connection>,
    pub(crate) groups: &'a HashSet<GroupName>,
    pub(crate) presence: Option<&'a Presence>,
}

/// What a connection holds.
#[derive(Debug)]
struct Seat {
    connection: Arc<Connection>,
    groups: HashSet<GroupName>,
    observed: HashSet<EndpointId>,
    presence: Option<Presence>,
    /// The sessions of calls that it answered last, the newest at the end.
    answered: Vec<Box<str>>,
}

impl Registry {
    /// The app's state, if anybody is connected.
    fn app(&self, id: AppId) -> Option<Arc<Mutex<App>>> {
        self.apps.read().get(&id).cloned()
    }

    fn read<T: Default>(&self, id: AppId, look: impl FnOnce(&mut App) -> T) -> T {
        self.app(id).map(|app| look(&mut app.lock())).unwrap_or_default()
    }

    /// Adds a connection; the one that it takes the place of, and that is removed after it, counts for no limit.
    pub(crate) fn add(
        &self,
        connection: &Arc<Connection>,
        instead_of: Option<&Connection>,
        caps: Caps,
    ) -> Result<(), Full> {
        loop {
            let app = self.app(connection.app_id);
            let app = app.unwrap_or_else(|| self.apps.write().entry(connection.app_id).or_default().clone());
            let mut state = app.lock();
            if !state.forgotten {
                state.add(connection, instead_of, caps)?;
                self.connections.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            drop(state);
            self.forget(connection.app_id, &app);
        }
    }

    /// Takes a connection out of everything. None: it was gone already.
    pub(crate) fn remove(&self, app_id: AppId, id: ConnectionId) -> Option<Gone> {
        let app = self.app(app_id)?;
        let mut state = app.lock();
        let (departed, mut remains) = state.remove(id)?;
        // While nobody can come to a group, so that who comes after it is known to.
        let at = self.moment();
        self.connections.fetch_sub(1, Ordering::Relaxed);
        let observed = remains.observed.clone();
        let freed = state.take_of(&mut remains);
        self.let_go(&mut state, freed);
        if !remains.is_empty() {
            self.is_left(&mut state, remains.cost());
            state.groups_left += remains.groups.len();
            state.remains.push_back(remains);
            if state.remains.len() == 1 {
                self.leftovers.add(app_id);
            }
            self.catch_up(&mut state);
        }
        let empty = state.is_empty();
        state.forgotten = empty;
        // Never both locks at once: who waits for one app's must not keep others from theirs.
        drop(state);
        if empty {
            self.forget(app_id, &app);
        }
        Some(Gone { departed, at, observed })
    }

    /// Takes an app that is forgotten out of the map, if that was not done.
    fn forget(&self, id: AppId, forgotten: &Arc<Mutex<App>>) {
        let mut apps = self.apps.write();
        if apps.get(&id).is_some_and(|app| Arc::ptr_eq(app, forgotten)) {
            apps.remove(&id);
        }
    }

    /// Now, on the registry's own count.
    pub(crate) fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    /// An endpoint's connections, but for those that are parked.
    pub(crate) fn connections_of(&self, app: AppId, endpoint: &EndpointId) -> Vec<Arc<Connection>> {
        let siblings = self.read(app, |app| app.endpoints.get(endpoint).cloned().unwrap_or_default());
        if siblings.iter().any(|one| one.is_parked()) {
            return siblings.into_iter().filter(|one| !one.is_parked()).collect();
        }
        siblings
    }

    /// A connection by its id.
    pub(crate) fn connection(&self, app: AppId, id: ConnectionId) -> Option<Arc<Connection>> {
        self.read(app, |app| app.connections.get(&id).map(|seat| seat.connection.clone()))
    }

    /// How many connections an app has, but for those that are parked.
    pub(crate) fn connection_count(&self, app: AppId) -> usize {
        self.read(app, |app| app.count())
    }

    /// Which limit is reached already, if one is, so that no connection may be added.
    pub(crate) fn is_full(&self, app: AppId, endpoint: &EndpointId, caps: Caps) -> Option<Full> {
        let (all, siblings) = self.read(app, |app| (app.count(), app.count_of(endpoint)));
        if reached(all, caps.connections) {
            Some(Full::App)
        } else if reached(siblings, caps.endpoint_connections) {
            Some(Full::Endpoint)
        } else {
            None
        }
    }

    /// Parks a connection. From then on it counts for no limit: its client may come back as another, and finds room.
    /// False: it is gone.
    pub(crate) fn park(&self, connection: &Connection) -> bool {
        self.read(connection.app_id, |app| {
            let is_there = app.connections.contains_key(&connection.id) && !connection.is_parked();
            if is_there {
                connection.park();
                app.parked += 1;
            }
            is_there
        })
    }

    /// All connections of all apps.
    pub(crate) fn everybody(&self) -> Vec<Arc<Connection>> {
        let apps: Vec<_> = self.apps.read().values().cloned().collect();
        let of = |app: &Mutex<App>| app.lock().connections.values().map(|seat| seat.connection.clone()).collect();
        apps.iter().flat_map(|app| -> Vec<_> { of(app) }).collect()
    }

    /// All connections of an app, but for those that are parked.
    pub(crate) fn connections(&self, app: AppId) -> Vec<Arc<Connection>> {
        self.connections_after(app, None, usize::MAX)
    }

    /// At most `most` connections of an app after `after`, in the order of their ids, but for those that are parked.
    pub(crate) fn connections_after(
        &self,
        app: AppId,
        after: Option<ConnectionId>,
        most: usize,
    ) -> Vec<Arc<Connection>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(app, |app| {
            let connections = app.connections.range((from, Bound::Unbounded)).map(|(_, seat)| &seat.connection);
            connections.filter(|one| !one.is_parked()).take(most).cloned().collect()
        })
    }

    /// How many connections, groups, members and observers there are.
    pub(crate) fn counts(&self) -> Counts {
        let apps: Vec<_> = self.apps.read().values().cloned().collect();
        let mut counts = Counts::default();
        for app in apps {
            let app = app.lock();
            counts.connections += app.connections.len();
            counts.endpoints += app.endpoints.len();
            counts.groups += app.groups.len();
            counts.members += app.groups.values().map(|group| group.members.len()).sum::<usize>();
            counts.observers += app.observers.values().map(|crowd| crowd.members.len()).sum::<usize>();
        }
        counts
    }

    /// The connections of an endpoint with what each is in and says.
    pub(crate) fn states_of(&self, app: AppId, endpoint: &EndpointId) -> Vec<ConnectionState> {
        self.read(app, |app| {
            let connections = app.endpoints.get(endpoint).into_iter().flatten();
            connections.filter_map(|connection| app.state(connection.id)).collect()
        })
    }

    /// A connection with what it is in and says. None: it is gone.
    pub(crate) fn state(&self, app: AppId, id: ConnectionId) -> Option<ConnectionState> {
        self.read(app, |app| app.state(id))
    }

    /// Looks at the connections of an endpoint behind one, in the order of their ids: at most so many, and for as long as
    /// `look` has room. True: there are more.
    pub(crate) fn look_at_siblings(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        after: Option<ConnectionId>,
        most: usize,
        mut look: impl FnMut(Sibling<'_>) -> bool,
    ) -> bool {
        self.read(app, |app| {
            let siblings = app.endpoints.get(endpoint).into_iter().flatten();
            let mut behind: Vec<_> = siblings.filter(|one| after.is_none_or(|after| one.id > after)).collect();
            let more = behind.len() > most;
            if more {
                // Of thousands only those are put in order that are looked at.
                behind.select_nth_unstable_by_key(most, |one| one.id);
                behind.truncate(most);
            }
            behind.sort_unstable_by_key(|one| one.id);
            for connection in behind {
                let Some(Seat { groups, presence, .. }) = app.connections.get(&connection.id) else { continue };
                if !look(Sibling { connection, groups, presence: presence.as_ref() }) {
                    return true;
                }
            }
            more
        })
    }

    /// How many connections endpoints have together, each of them counted once however often it is named.
    pub(crate) fn connection_count_of(&self, app: AppId, endpoints: &[EndpointId]) -> usize {
        let named: HashSet<_> = endpoints.iter().collect();
        self.read(app, |app| named.into_iter().filter_map(|endpoint| app.endpoints.get(endpoint)).map(Vec::len).sum())
    }

    /// How many connections an endpoint has, but for those that are parked.
    pub(crate) fn sibling_count(&self, app: AppId, endpoint: &EndpointId) -> usize {
        self.read(app, |app| app.count_of(endpoint))
    }
}

impl App {
    fn state(&self, id: ConnectionId) -> Option<ConnectionState> {
        let seat = self.connections.get(&id)?;
        let mut groups: Vec<_> = seat.groups.iter().cloned().collect();
        groups.sort_unstable();
        Some(ConnectionState { connection: seat.connection.clone(), groups, presence: seat.presence.clone() })
    }

    /// How many connections there are, but for those that are parked.
    fn count(&self) -> usize {
        self.connections.len() - self.parked
    }

    /// The same of an endpoint.
    fn count_of(&self, endpoint: &EndpointId) -> usize {
        let Some(siblings) = self.endpoints.get(endpoint) else { return 0 };
        let parked = if self.parked == 0 { 0 } else { siblings.iter().filter(|one| one.is_parked()).count() };
        siblings.len() - parked
    }

    fn add(&mut self, connection: &Arc<Connection>, instead_of: Option<&Connection>, caps: Caps) -> Result<(), Full> {
        // One that is parked counts for no limit as it is.
        let freed = instead_of.filter(|old| self.connections.contains_key(&old.id) && !old.is_parked());
        if reached(self.count() - usize::from(freed.is_some()), caps.connections) {
            return Err(Full::App);
        }
        let freed = freed.filter(|old| old.endpoint == connection.endpoint);
        if reached(self.count_of(&connection.endpoint) - usize::from(freed.is_some()), caps.endpoint_connections) {
            return Err(Full::Endpoint);
        }
        self.endpoints.entry(connection.endpoint.clone()).or_default().push(connection.clone());
        let seat = Seat {
            connection: connection.clone(),
            groups: HashSet::new(),
            observed: HashSet::new(),
            presence: None,
            answered: Vec::new(),
        };
        self.connections.insert(connection.id, seat);
        Ok(())
    }

    fn remove(&mut self, id: ConnectionId) -> Option<(Departed, Remains)> {
        let seat = self.connections.remove(&id)?;
        let connection = seat.connection;
        connection.gone.store(true, Ordering::Relaxed);
        self.parked -= usize::from(connection.is_parked());
        if let Entry::Occupied(mut siblings) = self.endpoints.entry(connection.endpoint.clone()) {
            siblings.get_mut().retain(|sibling| sibling.id != id);
            if siblings.get().is_empty() {
                siblings.remove();
            }
        }
        let groups: Vec<_> = seat.groups.into_iter().collect();
        let observed = seat.observed.into_iter().collect();
        let remains = Remains { id, groups: groups.clone(), observed, taken: 0 };
        let Connection { app_id, endpoint, .. } = &*connection;
        let departed = Departed { app_id: *app_id, endpoint: endpoint.clone(), connection: id, groups };
        Some((departed, remains))
    }
}

/// What a registry holds; zero of everything when everybody has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live connections.
    pub connections: usize,
    /// Endpoints with at least one.
    pub endpoints: usize,
    /// Groups with at least one member.
    pub groups: usize,
    /// Memberships.
    pub members: usize,
    /// Observations of presence.
    pub observers: usize,
}

#[cfg(test)]
pub(crate) mod tests;
