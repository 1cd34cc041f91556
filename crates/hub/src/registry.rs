//! Who is connected here, who is in which group, who observes whom.
//!
//! One lock an app: nothing crosses an app's border, and within one every answer is of one moment. Under the lock
//! nothing is sent and nothing waited for; what is to be told, and to whom, is handed back.
//!
//! Invariant: a connection is in `connections`, in its endpoint's list, in the groups it names and in the observers it
//! names, or in none of them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use respoke_core::event::Presence;
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, RoleId};
use respoke_core::ports::Departed;

use crate::ops::ConnectionState;
use crate::outbox::Outbox;

/// Endpoints that one connection observes at most: a long list of contacts, held for as long as it is connected.
const OBSERVED_MAX: usize = 10_000;

/// Answered calls remembered of one connection; nobody is in more at once.
const ANSWERED_MAX: usize = 32;
/// The longest session of a call that is remembered, in bytes; clients use UUIDs.
const SESSION_LEN_MAX: usize = 128;

/// A live socket that was registered as an endpoint's.
#[derive(Debug)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Its app.
    pub app_id: AppId,
    /// Whose it is.
    pub endpoint: EndpointId,
    /// The role it acts with; none for backends and in development mode.
    pub role_id: Option<RoleId>,
    /// What the client calls itself, in capitals.
    pub client_type: String,
    /// From where.
    pub address: IpAddr,
    /// Whether it takes ICE candidates one by one.
    pub trickle_ice: bool,
    /// Whether it wants the final list of ICE candidates.
    pub ice_final_candidates: bool,
    /// Where what is for it goes.
    pub outbox: Arc<Outbox>,
}

/// Connections at one moment, in the order of their ids, shared and not copied.
pub type Members = Arc<[Arc<Connection>]>;

/// The most of each that an app allows; none is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caps {
    /// Connections of the app.
    pub connections: Option<u32>,
    /// Connections of one endpoint.
    pub endpoint_connections: Option<u32>,
    /// Groups of one connection.
    pub groups: Option<u32>,
    /// Members of one group.
    pub members: Option<u32>,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Of the app's connections.
    App,
    /// Of the endpoint's connections.
    Endpoint,
    /// Of the connection's groups, or endpoints observed.
    Connection,
    /// Of the group's members.
    Group,
}

/// What came of joining a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// It is a member now, as so many others were before.
    Joined {
        /// How many.
        others: usize,
    },
    /// It was one before.
    Already,
    /// The connection is gone.
    Gone,
    /// A limit was reached.
    Full(Full),
}

/// What a connection leaves behind when it ends.
#[derive(Debug)]
pub(crate) struct Departure {
    /// The connection, with its groups that others are left in. By name: thousands who leave a large group at once must
    /// not each hold a list of all the others until these are told.
    pub departed: Departed,
    /// When it ended, on the registry's own count.
    pub at: u64,
}

/// The presence of each connection of an endpoint.
pub type Presences = Vec<(ConnectionId, Option<Presence>)>;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    apps: RwLock<HashMap<AppId, Arc<Mutex<App>>>>,
    /// Counts comings and goings, so that it can be said which was first.
    moments: AtomicU64,
}

#[derive(Debug, Default)]
struct App {
    /// In order, for they are listed in pages.
    connections: BTreeMap<ConnectionId, Seat>,
    endpoints: HashMap<EndpointId, Vec<Arc<Connection>>>,
    /// In order, for they are listed in pages.
    groups: BTreeMap<GroupName, Crowd>,
    observers: HashMap<EndpointId, Crowd>,
    /// It was found empty and is in the registry no more; whoever still has it looks again.
    forgotten: bool,
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

/// A set of connections that is read far more often than changed: its list is made once after each change.
#[derive(Debug, Default)]
struct Crowd {
    /// In order, and so is the list, for it is told in pages.
    members: BTreeMap<ConnectionId, Member>,
    list: Option<Members>,
}

#[derive(Debug)]
struct Member {
    connection: Arc<Connection>,
    /// When it came, on the registry's own count.
    since: u64,
}

impl Crowd {
    fn add(&mut self, connection: &Arc<Connection>, since: u64) {
        self.members.insert(connection.id, Member { connection: connection.clone(), since });
        self.list = None;
    }

    /// Takes a connection out. True: nobody is left.
    fn part(&mut self, id: ConnectionId) -> bool {
        self.members.remove(&id);
        self.list = None;
        self.members.is_empty()
    }

    fn list(&mut self) -> Members {
        let members = &self.members;
        self.list.get_or_insert_with(|| members.values().map(|member| member.connection.clone()).collect()).clone()
    }

    fn before(&self, moment: u64) -> Vec<Arc<Connection>> {
        let members = self.members.values().filter(|member| member.since < moment);
        members.map(|member| member.connection.clone()).collect()
    }
}

/// Takes a connection out of the crowd of that name; an empty one goes. True: others are left.
fn part_group(groups: &mut BTreeMap<GroupName, Crowd>, group: &GroupName, id: ConnectionId) -> bool {
    let Some(crowd) = groups.get_mut(group) else { return false };
    let empty = crowd.part(id);
    if empty {
        groups.remove(group);
    }
    !empty
}

fn reached(count: usize, most: Option<u32>) -> bool {
    most.is_some_and(|most| count >= most as usize)
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
                return state.add(connection, instead_of, caps);
            }
            drop(state);
            self.forget(connection.app_id, &app);
        }
    }

    /// Takes a connection out of everything. None: it was gone already.
    pub(crate) fn remove(&self, app_id: AppId, id: ConnectionId) -> Option<Departure> {
        let app = self.app(app_id)?;
        let mut state = app.lock();
        let departure = state.remove(id, self.moment())?;
        let empty = state.connections.is_empty();
        state.forgotten = empty;
        // Never both locks at once: who waits for one app's must not keep others from theirs.
        drop(state);
        if empty {
            self.forget(app_id, &app);
        }
        Some(departure)
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

    /// An endpoint's connections.
    pub(crate) fn connections_of(&self, app: AppId, endpoint: &EndpointId) -> Vec<Arc<Connection>> {
        self.read(app, |app| app.endpoints.get(endpoint).cloned().unwrap_or_default())
    }

    /// A connection by its id.
    pub(crate) fn connection(&self, app: AppId, id: ConnectionId) -> Option<Arc<Connection>> {
        self.read(app, |app| app.connections.get(&id).map(|seat| seat.connection.clone()))
    }

    /// How many connections an app has.
    pub(crate) fn connection_count(&self, app: AppId) -> usize {
        self.read(app, |app| app.connections.len())
    }

    /// All connections of an app.
    pub(crate) fn connections(&self, app: AppId) -> Vec<Arc<Connection>> {
        self.read(app, |app| app.connections.values().map(|seat| seat.connection.clone()).collect())
    }

    /// At most `most` connections of an app after `after`, in the order of their ids.
    pub(crate) fn connections_after(
        &self,
        app: AppId,
        after: Option<ConnectionId>,
        most: usize,
    ) -> Vec<Arc<Connection>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(app, |app| {
            let seats = app.connections.range((from, Bound::Unbounded)).take(most);
            seats.map(|(_, seat)| seat.connection.clone()).collect()
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

    /// Makes a connection a member of a group.
    pub(crate) fn join(&self, connection: &Arc<Connection>, group: &GroupName, caps: Caps) -> Join {
        let Some(app) = self.app(connection.app_id) else { return Join::Gone };
        let mut app = app.lock();
        let app = &mut *app;
        let Some(seat) = app.connections.get_mut(&connection.id) else { return Join::Gone };
        if seat.groups.contains(group) {
            return Join::Already;
        }
        if reached(seat.groups.len(), caps.groups) {
            return Join::Full(Full::Connection);
        }
        let others = app.groups.get(group).map_or(0, |crowd| crowd.members.len());
        if reached(others, caps.members) {
            return Join::Full(Full::Group);
        }
        seat.groups.insert(group.clone());
        app.groups.entry(group.clone()).or_default().add(connection, self.moment());
        Join::Joined { others }
    }

    /// Takes a connection out of a group. False: it was no member.
    pub(crate) fn leave(&self, app: AppId, id: ConnectionId, group: &GroupName) -> bool {
        self.read(app, |app| {
            let left = app.connections.get_mut(&id).is_some_and(|seat| seat.groups.remove(group));
            if left {
                part_group(&mut app.groups, group, id);
            }
            left
        })
    }

    /// The members of a group.
    pub(crate) fn members(&self, app: AppId, group: &GroupName) -> Members {
        self.read(app, |app| app.groups.get_mut(group).map(Crowd::list).unwrap_or_default())
    }

    /// How many frames tell of `connection` joining a group, and one day of its leaving: those who are members already
    /// hear of both, and so does the connection itself where others do that for it. None if it is a member.
    pub(crate) fn frames_of_joining(&self, connection: &Connection, group: &GroupName, told: bool) -> usize {
        self.read(connection.app_id, |app| {
            let Some(crowd) = app.groups.get(group) else { return 2 * usize::from(told) };
            if crowd.members.contains_key(&connection.id) { 0 } else { 2 * (crowd.members.len() + usize::from(told)) }
        })
    }

    /// How many members a group has.
    pub(crate) fn member_count(&self, app: AppId, group: &GroupName) -> usize {
        self.read(app, |app| app.groups.get(group).map_or(0, |crowd| crowd.members.len()))
    }

    /// Those members of a group who were it before a moment.
    pub(crate) fn members_before(&self, app: AppId, group: &GroupName, moment: u64) -> Vec<Arc<Connection>> {
        self.read(app, |app| app.groups.get(group).map(|crowd| crowd.before(moment)).unwrap_or_default())
    }

    /// Whether a group has members.
    pub(crate) fn group_exists(&self, app: AppId, group: &GroupName) -> bool {
        self.read(app, |app| app.groups.contains_key(group))
    }

    /// The names of at most `most` groups after `after`, in order.
    pub(crate) fn groups(&self, app: AppId, after: Option<&str>, most: usize) -> Vec<GroupName> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(app, |app| {
            app.groups.range::<str, _>((from, Bound::Unbounded)).take(most).map(|(name, _)| name.clone()).collect()
        })
    }

    /// The groups that an endpoint's connections are in.
    pub(crate) fn groups_of(&self, app: AppId, endpoint: &EndpointId) -> HashSet<GroupName> {
        self.read(app, |app| {
            let connections = app.endpoints.get(endpoint).into_iter().flatten();
            connections
                .filter_map(|connection| app.connections.get(&connection.id))
                .flat_map(|seat| seat.groups.iter().cloned())
                .collect()
        })
    }

    /// The connections of an endpoint with what each is in and says.
    pub(crate) fn states_of(&self, app: AppId, endpoint: &EndpointId) -> Vec<ConnectionState> {
        self.read(app, |app| {
            let connections = app.endpoints.get(endpoint).into_iter().flatten();
            let state = |connection: &Arc<Connection>| {
                let seat = app.connections.get(&connection.id)?;
                let mut groups: Vec<_> = seat.groups.iter().cloned().collect();
                groups.sort_unstable();
                Some(ConnectionState { connection: connection.clone(), groups, presence: seat.presence.clone() })
            };
            connections.filter_map(state).collect()
        })
    }

    /// Ends a group: nobody is a member any more. Returns who was.
    pub(crate) fn end_group(&self, app: AppId, group: &GroupName) -> Members {
        self.read(app, |app| {
            let Some(mut crowd) = app.groups.remove(group) else { return Members::default() };
            for id in crowd.members.keys() {
                if let Some(seat) = app.connections.get_mut(id) {
                    seat.groups.remove(group);
                }
            }
            crowd.list()
        })
    }

    /// Notes what a connection says of its availability. False: it is gone.
    pub(crate) fn set_presence(&self, app: AppId, id: ConnectionId, presence: Presence) -> bool {
        self.read(app, |app| app.connections.get_mut(&id).map(|seat| seat.presence = Some(presence)).is_some())
    }

    /// What a connection said last of its availability.
    pub(crate) fn presence(&self, app: AppId, id: ConnectionId) -> Option<Presence> {
        self.read(app, |app| app.connections.get(&id)?.presence.clone())
    }

    /// Lets a connection observe endpoints and returns the presence of each, of the same moment.
    pub(crate) fn observe(
        &self,
        connection: &Arc<Connection>,
        mut endpoints: Vec<EndpointId>,
    ) -> Result<Vec<(EndpointId, Presences)>, Full> {
        // A short name repeated thousands of times must not be answered thousands of times.
        let mut named = HashSet::new();
        endpoints.retain(|endpoint| named.insert(endpoint.clone()));
        let Some(app) = self.app(connection.app_id) else { return Ok(Vec::new()) };
        let mut app = app.lock();
        let app = &mut *app;
        let Some(seat) = app.connections.get_mut(&connection.id) else { return Ok(Vec::new()) };
        for endpoint in &endpoints {
            if seat.observed.contains(endpoint) {
                continue;
            }
            if seat.observed.len() >= OBSERVED_MAX {
                return Err(Full::Connection);
            }
            seat.observed.insert(endpoint.clone());
            app.observers.entry(endpoint.clone()).or_default().add(connection, self.moment());
        }
        let found = endpoints.into_iter().map(|endpoint| {
            let presences = app.presences(&endpoint);
            (endpoint, presences)
        });
        Ok(found.collect())
    }

    /// Notes that a connection answered a session of a call.
    pub(crate) fn note_answer(&self, connection: &Connection, session: &str) {
        if session.len() > SESSION_LEN_MAX {
            return;
        }
        self.read(connection.app_id, |app| {
            let Some(seat) = app.connections.get_mut(&connection.id) else { return };
            if seat.answered.len() >= ANSWERED_MAX {
                seat.answered.remove(0);
            }
            seat.answered.push(session.into());
        });
    }

    /// Whether a connection answered that session of a call.
    pub(crate) fn answered(&self, connection: &Connection, session: &str) -> bool {
        self.read(connection.app_id, |app| {
            let seat = app.connections.get(&connection.id);
            seat.is_some_and(|seat| seat.answered.iter().any(|answered| **answered == *session))
        })
    }

    /// Who observes an endpoint.
    pub(crate) fn observers(&self, app: AppId, endpoint: &EndpointId) -> Members {
        self.read(app, |app| app.observers.get_mut(endpoint).map(Crowd::list).unwrap_or_default())
    }

    /// How many observe an endpoint.
    pub(crate) fn observer_count(&self, app: AppId, endpoint: &EndpointId) -> usize {
        self.read(app, |app| app.observers.get(endpoint).map_or(0, |crowd| crowd.members.len()))
    }

    /// How many connections endpoints have together, each of them counted once however often it is named.
    pub(crate) fn connection_count_of(&self, app: AppId, endpoints: &[EndpointId]) -> usize {
        let named: HashSet<_> = endpoints.iter().collect();
        self.read(app, |app| named.into_iter().filter_map(|endpoint| app.endpoints.get(endpoint)).map(Vec::len).sum())
    }

    /// How many connections an endpoint has.
    pub(crate) fn sibling_count(&self, app: AppId, endpoint: &EndpointId) -> usize {
        self.read(app, |app| app.endpoints.get(endpoint).map_or(0, Vec::len))
    }
}

impl App {
    fn add(&mut self, connection: &Arc<Connection>, instead_of: Option<&Connection>, caps: Caps) -> Result<(), Full> {
        let freed = instead_of.filter(|old| self.connections.contains_key(&old.id));
        if reached(self.connections.len() - usize::from(freed.is_some()), caps.connections) {
            return Err(Full::App);
        }
        let freed = freed.filter(|old| old.endpoint == connection.endpoint);
        let siblings = self.endpoints.entry(connection.endpoint.clone()).or_default();
        if reached(siblings.len() - usize::from(freed.is_some()), caps.endpoint_connections) {
            return Err(Full::Endpoint);
        }
        siblings.push(connection.clone());
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

    fn remove(&mut self, id: ConnectionId, at: u64) -> Option<Departure> {
        let seat = self.connections.remove(&id)?;
        let connection = seat.connection;
        if let Entry::Occupied(mut siblings) = self.endpoints.entry(connection.endpoint.clone()) {
            siblings.get_mut().retain(|sibling| sibling.id != id);
            if siblings.get().is_empty() {
                siblings.remove();
            }
        }
        for endpoint in seat.observed {
            if let Entry::Occupied(mut observers) = self.observers.entry(endpoint)
                && observers.get_mut().part(id)
            {
                observers.remove();
            }
        }
        let groups = seat.groups.into_iter().filter(|group| part_group(&mut self.groups, group, id)).collect();
        let Connection { app_id, endpoint, .. } = &*connection;
        Some(Departure {
            departed: Departed { app_id: *app_id, endpoint: endpoint.clone(), connection: id, groups },
            at,
        })
    }

    fn presences(&self, endpoint: &EndpointId) -> Presences {
        let connections = self.endpoints.get(endpoint).into_iter().flatten();
        let said = |id: &ConnectionId| self.connections.get(id).and_then(|seat| seat.presence.clone());
        connections.map(|connection| (connection.id, said(&connection.id))).collect()
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
