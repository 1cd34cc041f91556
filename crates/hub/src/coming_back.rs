//! Connections that are parked: their node is about to end and has closed their sockets, and their clients may come back to
//! another node. Until then nobody is told that they are gone.
//!
//! The node that parks a connection keeps it as it is: in its groups, with what it says, and standing on what it was opened
//! with. Another node that a client comes to asks for it (`Question::Parked`), and it is given up, once. That node tells all
//! that it is its own from here on (`Delivery::Moved`), by the same id, so nothing changes for anybody. What was not asked for
//! is told as gone when the time is over; so is what was given up and did not arrive, a moment after that. If the node that
//! parks is lost meanwhile, the others tell that, as of any connection.
//!
//! Nobody parks unless all other nodes have said that they know of it. Nobody comes to a node that parks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use respoke_core::event::{Content, Presence};
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, RequestId, RoleId};
use respoke_core::ops::Caller;
use respoke_core::ports::{
    Answer, Audience, ConnectionStateFacts, Delivery, Departed, Done, Interest, Moved, Node, ParkingClaim,
    ParkingGround, Question, Whom,
};
use respoke_wire::close::Close;
use tokio::time::Instant;

use crate::Socket;
use crate::departures::Departure;
use crate::hub::Hub;
use crate::parking::{Claimed, Given, Parked, Stage};
use crate::registry::{Caps, Connection, ConnectionState, Gone, Inherited, Join};

/// How long a node that parks is waited for, besides the time that the question is on its way.
const CLAIMED_WITHIN: Duration = Duration::from_millis(250);
/// After how long what was given up and did not arrive is told as gone, while there is time: longer than anything is on its way
/// from node to node.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// How long a client that came back may take to ask for its groups again. Existing clients do it at once.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked for whom that time is over.
const GIVING_UP_EACH: Duration = Duration::from_secs(1);
/// How often it is looked whether there are nodes that were not asked whether they know of parking.
const LOOKED_EVERY: Duration = Duration::from_millis(100);
/// How long such a node is waited for: it may just start.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// Groups of a connection that is parked, at most: who is in more is sent away without.
const GROUPS_MAX: usize = 1_000;
/// Connections that are told as gone, or groups that one leaves, before others have their turn.
const AT_ONCE: usize = 64;

/// The node that is about to end.
impl Hub {
    /// From here on connections are parked, if all other nodes know of that. Waits `within` that time for them.
    pub async fn begin_to_park(&self, within: Duration) -> bool {
        if self.others.is_none() {
            return false;
        }
        self.parking.books().stage = Stage::Begins;
        let nodes = self.bus.other_nodes();
        let parks = !nodes.is_empty() && self.tell_parks(&nodes, within).await;
        self.parking.books().stage = if parks { Stage::Parks(nodes.into_iter().collect()) } else { Stage::Over };
        parks
    }

    /// Lets nodes that come later know that this one parks, and tells of what was given up and did not arrive. Returns when
    /// one of them does not know of parking: then [`Self::end_parking`] has to follow.
    pub async fn keep_parking(&self) {
        loop {
            tokio::time::sleep(LOOKED_EVERY).await;
            self.tell_lost(LOST_AFTER);
            let mut nodes = self.bus.other_nodes();
            match &self.parking.books().stage {
                Stage::Parks(known_to) => nodes.retain(|node| !known_to.contains(node)),
                Stage::Serves | Stage::Begins | Stage::Over => return,
            }
            if nodes.is_empty() {
                continue;
            }
            if !self.tell_parks(&nodes, TOLD_WITHIN).await {
                return;
            }
            if let Stage::Parks(known_to) = &mut self.parking.books().stage {
                known_to.extend(nodes);
            }
        }
    }

    /// Whether all these nodes know that this one parks.
    async fn tell_parks(&self, nodes: &[Node], within: Duration) -> bool {
        let tell = async |node: &Node| {
            let answers = self.bus.ask(Whom::One(*node), Question::Parks, within + self.bus.round_trip()).await;
            matches!(answers.given.first().map(|given| &given.answer), Some(Answer::Done(_)))
        };
        join_all(nodes.iter().map(tell)).await.into_iter().all(|knows| knows)
    }

    /// Sends a client away, and parks its connection, if this node parks.
    pub fn send_away(&self, socket: &Arc<Socket>) {
        if !self.park(socket) {
            self.close(socket, Close::GoingAway);
        }
    }

    fn park(&self, socket: &Arc<Socket>) -> bool {
        let Some(ground) = ground_of(&socket.opening.caller) else { return false };
        let Some(connection) = socket.connection() else { return false };
        let state = self.local.registry.state(connection.app_id, connection.id);
        if state.is_none_or(|state| state.groups.len() > GROUPS_MAX) {
            return false;
        }
        let mut books = self.parking.books();
        if !matches!(books.stage, Stage::Parks(_)) {
            return false;
        }
        let Some(connection) = socket.park(|connection| self.local.registry.park(connection)) else { return false };
        let Connection { app_id, endpoint, role_id, client_type, address, .. } = &*connection;
        let (app_id, endpoint, address) = (*app_id, endpoint.clone(), *address);
        let client_type = client_type.clone();
        let owner = ParkingClaim { app_id, endpoint, role_id: *role_id, client_type, address, ground };
        let key = (app_id, owner.endpoint.clone());
        books.parked.entry(key).or_default().push(Parked { socket: socket.clone(), connection, owner });
        drop(books);
        // Nobody is silent who is not there.
        self.not_listening(socket);
        self.is_written_to(socket);
        true
    }

    /// Gives up a connection that is parked here for who claims it.
    pub(crate) fn give_up_parked(&self, claim: &ParkingClaim) -> Answer {
        let mut found = Vec::new();
        while found.is_empty() {
            // It is parked, or given up: whoever looks finds the one or the other.
            let mut books = self.parking.books();
            if books.stage == Stage::Over {
                return Answer::Done(Done::Gone);
            }
            let Some(Parked { socket, connection, .. }) = books.take(claim) else { break };
            let telling = connection.telling.lock();
            let state = self.local.registry.state(connection.app_id, connection.id);
            let gone = self.local.give_up(&connection);
            if let Some((ConnectionState { groups, presence, .. }, gone)) = state.zip(gone) {
                books.given.insert(connection.id, Given { since: Instant::now(), gone });
                found.push(ConnectionStateFacts { connection: connection.facts(), groups, presence });
            }
            drop((telling, books));
            socket.unpark();
            self.close(&socket, Close::GoingAway);
        }
        Answer::States { found, more: false }
    }

    /// A connection is another node's from here on.
    pub(crate) fn has_moved(&self, to: (Node, u64), moved: &Moved) {
        let Some(others) = &self.others else { return };
        let given = {
            let mut books = self.parking.books();
            let given = books.given.remove(&moved.connection);
            if given.is_some() {
                books.moved.insert(moved.connection, Instant::now());
            }
            given
        };
        self.parking.arrived.notify_one();
        self.alone_with(moved.connection, || {
            // If it was given up here as lost on its way, it is told as gone and then as come.
            self.tell_departures_of(moved.connection);
            others.moved(Some(to), moved, given.is_some(), self.local.registry.moment());
        });
        self.tell_untold_of(moved.connection);
        if let Some(Given { gone: Gone { departed, observed, .. }, .. }) = given {
            self.release_all(&departed, &observed);
        }
    }

    /// Parks nothing any more: what is parked still is gone. So is what was given up, unless it arrives within the time in
    /// which whoever asked for it can take it over, which is waited for.
    pub async fn end_parking(&self) {
        let parked = {
            let mut books = self.parking.books();
            books.stage = Stage::Over;
            std::mem::take(&mut books.parked)
        };
        for (nth, Parked { socket, .. }) in parked.into_values().flatten().enumerate() {
            socket.unpark();
            self.close(&socket, Close::GoingAway);
            if nth % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        let Some(others) = &self.others else { return };
        // The answer's way there, and the way back of the news that it was taken over.
        let on_its_way = others.and_the_way(CLAIMED_WITHIN) + self.bus.round_trip();
        loop {
            self.tell_lost(on_its_way);
            let Some(since) = self.parking.given_since() else { return };
            tokio::select! {
                () = self.parking.arrived.notified() => {}
                () = tokio::time::sleep_until(since + on_its_way) => {}
            }
        }
    }

    /// Tells as gone what was given up so long ago and did not arrive.
    fn tell_lost(&self, after: Duration) {
        for gone in self.parking.take_lost(after) {
            self.local.departures.expect(gone.departed.app_id, &gone.departed.endpoint);
            self.departed(gone);
        }
    }

    /// What is answered to who wants something done with a connection that is not here.
    pub(crate) fn absent(&self, connection: ConnectionId) -> Done {
        if self.parking.is_moving(connection) { Done::Moving } else { Done::Gone }
    }

    /// Whether anything is parked, or on its way to another node.
    #[must_use]
    pub fn has_parked(&self) -> bool {
        let books = self.parking.books();
        books.has_parked() || !books.given.is_empty()
    }
}

/// The nodes that clients come back to.
impl Hub {
    /// A node parks, and nobody comes to it any more.
    pub(crate) fn parks(&self, node: Node) {
        self.parking.books().nodes.entry(node).or_insert(self.broker.now());
        if let Some(others) = &self.others {
            others.parks(node);
        }
    }

    /// Asks for a connection that is parked for who connects. A node that is about to end itself takes none.
    pub(crate) async fn claim(
        &self,
        socket: &Socket,
        app_id: AppId,
        endpoint: &EndpointId,
        role_id: Option<RoleId>,
        client_type: &str,
    ) -> Option<Claimed> {
        let others = self.others.as_ref()?;
        let nodes = {
            let books = self.parking.books();
            if books.nodes.is_empty() || books.stage != Stage::Serves {
                return None;
            }
            books.nodes.clone()
        };
        let caller = &socket.opening.caller;
        let ground = ground_of(caller).filter(|_| socket.connection().is_none())?;
        let (endpoint, client_type, address) = (endpoint.clone(), client_type.to_owned(), socket.opening.address);
        let mut claim = ParkingClaim { app_id, endpoint, role_id, client_type, address, ground };
        // Whoever comes may be another than whose it was, or may do less by now.
        let rights = self.broker.rights(caller).await.ok()?;
        for (node, since) in nodes {
            claim.ground = match caller {
                Caller::Endpoint { session, .. } if session.record.created_at >= since => {
                    ParkingGround::NewSession(session.record.number)
                }
                Caller::Endpoint { .. } | Caller::App { .. } | Caller::Admin { .. } | Caller::Anonymous => ground,
            };
            let question = Question::Parked(claim.clone());
            let answers = self.bus.ask(Whom::One(node), question, others.and_the_way(CLAIMED_WITHIN)).await;
            match answers.given.into_iter().next().map(|given| given.answer) {
                Some(Answer::States { mut found, .. }) => {
                    if let Some(state) = found.pop() {
                        return Some(Claimed { from: node, state, rights });
                    }
                }
                Some(Answer::Done(_)) => {
                    self.parking.books().nodes.remove(&node);
                }
                Some(_) | None => {}
            }
        }
        None
    }

    /// Goes on with a connection that a node gave up: it is in what it was in, and says what it said.
    pub(crate) fn take_over(&self, connection: &Arc<Connection>, claimed: Claimed) {
        let Some(others) = &self.others else { return };
        let Claimed { from, state: ConnectionStateFacts { connection: _, groups, presence }, rights } = claimed;
        let Connection { app_id, endpoint, id, .. } = &**connection;
        let telling = connection.telling.lock();
        let at = self.local.registry.moment();
        let is_inherited = |group: &GroupName| {
            if rights.group(group).subscribe != Some(true) {
                return false;
            }
            let in_group = || Interest::Group(*app_id, group.clone());
            self.hold(in_group);
            let is_in = matches!(self.local.registry.join(connection, group, Caps::default()), Join::Joined { .. });
            if is_in {
                others.survey_later(&in_group());
            } else {
                self.release(in_group);
            }
            is_in
        };
        let (inherited, left): (Vec<_>, Vec<_>) = groups.iter().cloned().partition(is_inherited);
        if let Some(presence) = &presence {
            self.local.registry.set_presence(*app_id, *id, presence.clone());
        }
        let inherited = Inherited { groups: inherited.into_iter().collect(), presence: presence.clone() };
        *connection.inherited.lock() = Some(Box::new(inherited));
        // In all groups, also for whoever knows it by what it is left out of.
        let moved = Moved { app_id: *app_id, endpoint: endpoint.clone(), connection: *id, from, groups, presence };
        self.has_come(&moved, at);
        for group in left {
            let content = Content::Left { group: group.clone(), endpoint: endpoint.clone(), connection: *id };
            let left = self.event(endpoint, Some(*id), RequestId::new(self.broker.chance()), content);
            self.push(*app_id, Audience::Group { group, except: None }, left);
        }
        self.depart_behind(connection, &moved.groups);
        drop(telling);
        self.parking.books().heirs.push_back((Instant::now() + TAKEN_UP_WITHIN, connection.clone()));
    }

    /// A connection that was parked is this node's from here on.
    fn has_come(&self, moved: &Moved, at: u64) {
        let Some(others) = &self.others else { return };
        self.alone_with(moved.connection, || {
            self.tell_departures_of(moved.connection);
            others.moved(None, moved, false, at);
        });
        self.tell_untold_of(moved.connection);
        self.bus.publish(Delivery::Moved(Box::new(moved.clone())));
    }

    /// A connection that a node gave up is gone, for whoever came for it was not let in meanwhile. It is this node's to tell.
    pub(crate) fn lose_claimed(&self, connection: &Connection, claimed: Claimed) {
        let Claimed { from, state: ConnectionStateFacts { connection: _, groups, presence }, rights: _ } = claimed;
        let Connection { app_id, endpoint, id, .. } = connection;
        let departed =
            Departed { app_id: *app_id, endpoint: endpoint.clone(), connection: *id, groups: groups.clone() };
        let moved = Moved { app_id: *app_id, endpoint: endpoint.clone(), connection: *id, from, groups, presence };
        self.local.departures.expect(*app_id, endpoint);
        let at = self.local.registry.moment();
        self.has_come(&moved, at);
        self.bus.publish(Delivery::Departed(departed.clone()));
        self.local.departures.add(Departure { departed, ended: None, at, observed: true, own: true });
    }

    /// Has what connections inherited and nobody asked for again be left in time. Never ends.
    pub async fn keep_giving_up(&self) {
        loop {
            tokio::time::sleep(GIVING_UP_EACH).await;
            self.give_up_unclaimed().await;
        }
    }

    /// What connections inherited and their clients did not ask for again in time is left. Others have their turn now and then.
    pub async fn give_up_unclaimed(&self) {
        loop {
            let heir = {
                let mut books = self.parking.books();
                let is_due = books.heirs.front().is_some_and(|(due, _)| *due <= Instant::now());
                is_due.then(|| books.heirs.pop_front()).flatten()
            };
            let Some((due, connection)) = heir else { return };
            if !self.give_up_some_unclaimed(&connection) {
                self.parking.books().heirs.push_front((due, connection));
            }
            tokio::task::yield_now().await;
        }
    }

    /// The same of one connection, and of [`AT_ONCE`] of its groups. Whether that was all.
    fn give_up_some_unclaimed(&self, connection: &Connection) -> bool {
        for _ in 0..AT_ONCE {
            // Its client may ask for the same at this moment. What it asked for first is not left.
            let _telling = connection.telling.lock();
            let request_id = RequestId::new(self.broker.chance());
            let Some(group) = connection.gives_up_group() else {
                if connection.gives_up_presence() {
                    self.say_locked(connection, Presence::unavailable(), request_id);
                }
                return true;
            };
            self.leave_locked(connection, &group, request_id, Some(connection.id));
        }
        false
    }
}

/// What a client proved itself by, if it did.
fn ground_of(caller: &Caller) -> Option<ParkingGround> {
    match caller {
        Caller::Endpoint { session, .. } => Some(ParkingGround::Session(session.record.number)),
        Caller::App { secret_id, .. } => Some(ParkingGround::Secret(*secret_id)),
        Caller::Admin { session, .. } => Some(ParkingGround::SignIn(*session)),
        Caller::Anonymous => None,
    }
}
