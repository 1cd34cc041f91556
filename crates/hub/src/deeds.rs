//! What this node does with its own connections because an operation of this node or another wants it.
//!
//! A connection is on one node, and that node alone tells that it came, is a member, observes or says something. So what
//! other nodes hear of a connection comes from one sender, in its order. That is the order in which it was done: the
//! connection is locked from before something is done until it is told (`Connection::telling`).
//!
//! The end of a connection waits for nobody. If something may have been told behind it, the end is told again
//! (`Hub::depart_behind`).

use std::sync::Arc;

use respoke_core::event::{Content, Event, Presence};
use respoke_core::id::{AppId, ConnectionId, EndpointId, GroupName, RequestId};
use respoke_core::ports::{Arrived, Audience, Confirmation, Deed, Delivery, Departed, Done, Interest};

use crate::departures::Departure;
use crate::hub::Hub;
use crate::others::Asked;
use crate::registry::{Caps, Connection, Ending, Full, Gone, Join};

impl Hub {
    /// Makes a connection a member of a group, and tells the others, but for whoever `knows` it. With what is to be waited
    /// for before that is answered.
    pub(crate) fn join_here(
        &self,
        connection: &Arc<Connection>,
        group: &GroupName,
        caps: Caps,
        request_id: RequestId,
        knows: Option<ConnectionId>,
    ) -> (Join, Option<Confirmation>) {
        let Connection { app_id, endpoint, id, .. } = &**connection;
        let _telling = connection.telling.lock();
        // What is said to the group from here on is for this node.
        let held = self.hold(|| Interest::Group(*app_id, group.clone()));
        let joined = self.local.registry.join(connection, group, caps);
        connection.takes_up(group);
        match joined {
            Join::Joined { .. } => {
                let content = Content::Joined { group: group.clone(), endpoint: endpoint.clone(), connection: *id };
                let event = self.event(endpoint, Some(*id), request_id, content);
                // Who joins by itself knows it; one whom a backend let join is told as well.
                let except = knows.filter(|knows| knows == id);
                self.push(*app_id, Audience::Group { group: group.clone(), except }, event);
                self.depart_behind(connection, Some(group));
            }
            Join::Already | Join::Gone | Join::Full(_) => self.release(|| Interest::Group(*app_id, group.clone())),
        }
        (joined, held)
    }

    /// Takes a connection out of a group, and tells those who remain, and it unless it `knows`. False: it was no member.
    pub(crate) fn leave_here(
        &self,
        connection: &Connection,
        group: &GroupName,
        request_id: RequestId,
        knows: Option<ConnectionId>,
    ) -> bool {
        let _telling = connection.telling.lock();
        self.leave_locked(connection, group, request_id, knows)
    }

    /// The same, of a connection whose `telling` is locked.
    pub(crate) fn leave_locked(
        &self,
        connection: &Connection,
        group: &GroupName,
        request_id: RequestId,
        knows: Option<ConnectionId>,
    ) -> bool {
        let Connection { app_id, id, .. } = connection;
        if !self.local.registry.leave(*app_id, *id, group) {
            return false;
        }
        self.tell_left(connection, group, request_id, knows);
        let left = self.left(connection, group, request_id);
        self.push(*app_id, Audience::Group { group: group.clone(), except: None }, left);
        self.release(|| Interest::Group(*app_id, group.clone()));
        true
    }

    /// Tells a connection that it is no member any more, unless it `knows`.
    pub(crate) fn tell_left(
        &self,
        connection: &Connection,
        group: &GroupName,
        request_id: RequestId,
        knows: Option<ConnectionId>,
    ) {
        if knows == Some(connection.id) {
            return;
        }
        let only = Some(connection.id);
        let to = Audience::Endpoint { endpoint: connection.endpoint.clone(), only, except: None };
        self.push(connection.app_id, to, self.left(connection, group, request_id));
    }

    fn left(&self, connection: &Connection, group: &GroupName, request_id: RequestId) -> Event {
        let Connection { endpoint, id, .. } = connection;
        let content = Content::Left { group: group.clone(), endpoint: endpoint.clone(), connection: *id };
        self.event(endpoint, Some(*id), request_id, content)
    }

    /// Ends a group as far as it is here, in portions: who was a member is told so, unless it `knows`. Returns how many were.
    pub(crate) async fn end_group_here(
        &self,
        app_id: AppId,
        group: &GroupName,
        ending: Ending,
        request_id: RequestId,
        knows: Option<ConnectionId>,
    ) -> usize {
        let (mut ends, mut count) = (GroupEnds { hub: self, app_id, group, ending, request_id, knows }, 0);
        loop {
            count += ends.some();
            if ends.ending.is_over {
                return count;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Takes a portion of its members out of a group that ends, and tells them, but not who `knows`. Returns how many.
    pub(crate) fn end_some_here(
        &self,
        app_id: AppId,
        group: &GroupName,
        ending: &mut Ending,
        request_id: RequestId,
        knows: Option<ConnectionId>,
    ) -> usize {
        let portion = self.local.registry.next_to_end(app_id, group, ending);
        let _telling: Vec<_> = portion.iter().map(|member| member.telling.lock()).collect();
        let members = self.local.registry.end_of(app_id, group, ending, &portion);
        if self.others.is_some() && !members.is_empty() {
            let connections = members.iter().map(|member| member.id).collect();
            self.bus.publish(Delivery::GroupEnded { app_id, group: group.clone(), connections });
            for _ in &members {
                self.release(|| Interest::Group(app_id, group.clone()));
            }
        }
        for member in &members {
            self.tell_left(member, group, request_id, knows);
        }
        members.len()
    }

    /// Says a connection's presence, and tells its observers. False: it is gone.
    pub(crate) fn say_here(&self, connection: &Connection, presence: Presence, request_id: RequestId) -> bool {
        let _telling = connection.telling.lock();
        self.say_locked(connection, presence, request_id)
    }

    /// The same, of a connection whose `telling` is locked.
    pub(crate) fn say_locked(&self, connection: &Connection, presence: Presence, request_id: RequestId) -> bool {
        let Connection { app_id, endpoint, id, .. } = connection;
        if !self.local.registry.set_presence(*app_id, *id, presence.clone()) {
            return false;
        }
        if connection.takes_up_presence(&presence) {
            return true;
        }
        let event = self.event(endpoint, Some(*id), request_id, Content::Presence(presence));
        let to = Audience::Observers { endpoint: endpoint.clone(), except: Some(*id) };
        self.push(*app_id, to, event);
        self.depart_behind(connection, None);
        true
    }

    /// Tells the others that a connection came, which is there for what is said to its endpoint already.
    pub(crate) fn arrived(&self, connection: &Connection) {
        if self.others.is_some() {
            let Connection { app_id, endpoint, id, .. } = connection;
            let arrived = Arrived { app_id: *app_id, endpoint: endpoint.clone(), connection: *id };
            self.bus.publish(Delivery::Arrived(arrived));
            self.depart_behind(connection, None);
        }
    }

    /// Tells everybody that a connection ended: those here a little later, the others by their own nodes.
    pub(crate) fn departed(&self, gone: Gone) {
        let Gone { departed, at, observed } = gone;
        if self.others.is_some() {
            self.bus.publish(Delivery::Departed(departed.clone()));
            self.release_all(&departed, &observed);
        }
        self.local.departures.add(Departure { departed, ended: None, at, observed: true, own: true });
    }

    /// Takes back all that was held for a connection.
    pub(crate) fn release_all(&self, Departed { app_id, endpoint, groups, .. }: &Departed, observed: &[EndpointId]) {
        self.release(|| Interest::Endpoint(*app_id, endpoint.clone()));
        for group in groups {
            self.release(|| Interest::Group(*app_id, group.clone()));
        }
        for endpoint in observed.iter().cloned() {
            self.release(|| Interest::Observers(*app_id, endpoint));
        }
    }

    /// Tells the others again that a connection ended, if it did before what was just told of it: nodes whom the end did not
    /// concern may have become concerned by then, and would have it for good. Nodes that heard of the end pass over both.
    /// A connection is gone before its end is told, so one of the two ends is told behind.
    pub(crate) fn depart_behind<'a>(&self, connection: &Connection, groups: impl IntoIterator<Item = &'a GroupName>) {
        if self.others.is_some() && connection.is_gone() {
            let Connection { app_id, endpoint, id, .. } = connection;
            let groups = groups.into_iter().cloned().collect();
            let departed = Departed { app_id: *app_id, endpoint: endpoint.clone(), connection: *id, groups };
            self.bus.publish(Delivery::Departed(departed));
        }
    }

    /// Tells again whose end is not told yet, because somebody elsewhere begins to observe endpoints: who begins here would
    /// hear of it too. Nodes that heard of it pass over that.
    pub(crate) fn depart_again(&self, observed: &[Interest]) {
        for interest in observed {
            let Interest::Observers(app_id, endpoint) = interest else { continue };
            for departed in self.local.departures.own_of(*app_id, endpoint) {
                self.bus.publish(Delivery::Departed(Departed { groups: Vec::new(), ..departed }));
            }
        }
    }

    /// Notes what ended elsewhere, to be told here a little later.
    pub(crate) fn tell_later(&self, departure: Departure) {
        if departure.observed {
            self.local.departures.expect(departure.departed.app_id, &departure.departed.endpoint);
        }
        self.local.departures.add(departure);
    }

    /// Does what another node asks for, or begins to.
    pub(crate) fn carry_out(&self, app_id: AppId, asked: Asked, deed: Deed) -> Done {
        let request_id = asked.in_request;
        let registry = &self.local.registry;
        match deed {
            Deed::Join { connection, group, groups_max, members_max } => {
                let Some(found) = registry.connection(app_id, connection) else { return self.absent(connection) };
                let caps = Caps { groups: groups_max, members: members_max, ..Caps::default() };
                let (joined, held) = self.join_here(&found, &group, caps, request_id, None);
                let interest = || Interest::Group(app_id, group.clone());
                let settled = || {
                    let held = held.filter(|held| !held.missing().is_empty());
                    let later = self.others.as_ref().zip(held);
                    later.map(|(others, held)| others.settle_later(interest(), held, asked)).is_none()
                };
                match joined {
                    Join::Joined { others: told } => {
                        if let Some(others) = &self.others {
                            others.survey_later(&interest());
                        }
                        Done::Now { told: u32::try_from(told).unwrap_or(u32::MAX), settled: settled() }
                    }
                    Join::Already => Done::Before { settled: settled() },
                    Join::Gone => self.absent(connection),
                    Join::Full(Full::Group) => Done::GroupFull,
                    Join::Full(Full::Connection | Full::App | Full::Endpoint) => Done::ConnectionFull,
                }
            }
            Deed::Leave { connection, group } => {
                let Some(found) = registry.connection(app_id, connection) else { return self.absent(connection) };
                done(self.leave_here(&found, &group, request_id, None))
            }
            Deed::Say { connection, presence } => match registry.connection(app_id, connection) {
                Some(found) if self.say_here(&found, presence, request_id) => done(true),
                Some(_) | None => self.absent(connection),
            },
            Deed::EndGroup { group } => {
                let ends = self.others.as_ref().filter(|_| registry.group_exists(app_id, &group));
                let Some(others) = ends else { return done(false) };
                others.end_later(app_id, group, registry.begin_to_end(), asked)
            }
            Deed::Show { endpoint, payloads } => self.tails.show_others(&*self.bus, app_id, endpoint, payloads),
            Deed::End { connection } => {
                if self.end_connection(app_id, connection) {
                    done(true)
                } else {
                    self.absent(connection)
                }
            }
        }
    }

    /// Holds what something here is there for, if others have to know. What is to be waited for, if something is.
    pub(crate) fn hold(&self, interest: impl FnOnce() -> Interest) -> Option<Confirmation> {
        self.others.as_ref().map(|others| others.hold(&interest()))
    }

    /// Takes back one [`Self::hold`].
    pub(crate) fn release(&self, interest: impl FnOnce() -> Interest) {
        if let Some(others) = &self.others {
            others.release(&interest());
        }
    }
}

/// A group that ends. What began is done, whether whoever asked for it waits or not.
struct GroupEnds<'a> {
    hub: &'a Hub,
    app_id: AppId,
    group: &'a GroupName,
    ending: Ending,
    request_id: RequestId,
    knows: Option<ConnectionId>,
}

impl GroupEnds<'_> {
    /// Takes a portion of its members out, and tells them. Returns how many.
    fn some(&mut self) -> usize {
        let Self { hub, app_id, group, ending, request_id, knows } = self;
        hub.end_some_here(*app_id, group, ending, *request_id, *knows)
    }
}

impl Drop for GroupEnds<'_> {
    fn drop(&mut self) {
        while !self.ending.is_over && !std::thread::panicking() {
            self.some();
        }
    }
}

const fn done(now: bool) -> Done {
    if now { Done::Now { told: 0, settled: true } } else { Done::Before { settled: true } }
}

/// Whose endpoint's connections, for the others.
pub(crate) fn of_endpoint(app_id: AppId, endpoint: &EndpointId) -> Interest {
    Interest::Endpoint(app_id, endpoint.clone())
}
