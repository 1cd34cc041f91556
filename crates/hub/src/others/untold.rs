//! What was found out by asking others, and is not told here yet.
//!
//! It can be much, and sockets get their turn to write in between. Meanwhile more comes over the bus of the same
//! connections, which is newer. So whoever tells something of a connection tells first what is found here of it; and what is
//! found gets here before anything that comes later is looked at.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use respoke_core::id::{ConnectionId, GroupName};

use super::kept::News;

/// Something that was found out.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) news: News,
    /// When, on the registry's own count. Whoever came later has asked, or will.
    pub(super) at: u64,
}

/// There is no more of it than what is kept of others.
#[derive(Debug, Default)]
pub(super) struct Untold {
    of: HashMap<ConnectionId, VecDeque<Found>>,
    /// Of whom, in order. What is found of some may be told already.
    order: VecDeque<ConnectionId>,
    /// Who left with a group that ended: told a little later, when most who would hear of it are out as well, but before they
    /// are told as come into it anew.
    ended: HashMap<ConnectionId, Vec<Found>>,
}

impl Untold {
    pub(super) fn add(&mut self, found: Found) {
        let connection = connection_of(&found.news);
        if let News::Joined { group, .. } = &found.news {
            for ended in self.take_ended(connection, Some(group)) {
                self.of.entry(connection).or_default().push_back(ended);
                self.order.push_back(connection);
            }
        }
        self.of.entry(connection).or_default().push_back(found);
        self.order.push_back(connection);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// What is to be told next.
    pub(super) fn next(&mut self) -> Option<Found> {
        while let Some(connection) = self.order.pop_front() {
            let Some(found) = self.of.get_mut(&connection) else { continue };
            let next = found.pop_front();
            if found.is_empty() {
                self.of.remove(&connection);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }

    /// Adds that one left with a group that ended.
    pub(super) fn add_ended(&mut self, found: Found) {
        self.ended.entry(connection_of(&found.news)).or_default().push(found);
    }

    /// The ends of this group that a connection is not told to have left with, or of all.
    pub(super) fn take_ended(&mut self, connection: ConnectionId, of: Option<&GroupName>) -> Vec<Found> {
        let is_of = |found: &mut Found| match (&found.news, of) {
            (News::Gone(going), Some(group)) => going.departed.groups.contains(group),
            (News::Gone(_) | News::Joined { .. } | News::Said { .. }, _) => true,
        };
        let Entry::Occupied(mut ended) = self.ended.entry(connection) else { return Vec::new() };
        let taken = ended.get_mut().extract_if(.., is_of).collect();
        if ended.get().is_empty() {
            ended.remove();
        }
        taken
    }

    /// What is to be told of a connection, in order.
    pub(super) fn take_of(&mut self, connection: ConnectionId) -> VecDeque<Found> {
        self.of.remove(&connection).unwrap_or_default()
    }
}

const fn connection_of(news: &News) -> ConnectionId {
    match news {
        News::Joined { connection, .. } | News::Said { connection, .. } => *connection,
        News::Gone(going) => going.departed.connection,
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::{AppId, EndpointId};

    use super::*;

    fn found(connection: ConnectionId, at: u64) -> Found {
        let (group, endpoint) = (GroupName::parse("room").unwrap(), EndpointId::parse("jo").unwrap());
        Found { news: News::Joined { app_id: AppId::random(), group, endpoint, connection }, at }
    }

    #[test]
    fn each_is_told_once_in_order_and_of_one_connection_before_its_turn() {
        let (mut untold, [one, other]) = (Untold::default(), [(); 2].map(|()| ConnectionId::random()));
        for (connection, at) in [(one, 1), (other, 2), (one, 3), (other, 4)] {
            untold.add(found(connection, at));
        }
        assert_eq!(untold.next().map(|found| found.at), Some(1));
        assert_eq!(untold.take_of(other).into_iter().map(|found| found.at).collect::<Vec<_>>(), [2, 4]);
        assert!(untold.take_of(other).is_empty());
        untold.add(found(other, 5));
        let rest: Vec<_> = std::iter::from_fn(|| untold.next()).map(|found| found.at).collect();
        assert!(rest == [3, 5] || rest == [5, 3], "{rest:?}");
        assert!(untold.is_empty() && untold.next().is_none());
    }
}
