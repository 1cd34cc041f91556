//! What was found out by asking others, and is not told here yet.
//!
//! It can be much, and sockets get their turn to write in between. Meanwhile more comes over the bus of the same
//! connections, which is newer. So whoever tells something of a connection first tells what is found here of it. And what
//! is found gets here before anything is looked at that comes later.
//!
//! To tell one thing may take long, if many hear of it. Only who tells of the same connection waits for that.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::{Condvar, Mutex, MutexGuard};
use respoke_core::id::{ConnectionId, GroupName};

use super::kept::News;

/// Something that was found out.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) news: News,
    /// When, on the registry's own count. Whoever came later has asked, or will.
    pub(super) at: u64,
}

/// What is untold, and who tells of which connection.
#[derive(Debug, Default)]
pub(super) struct Telling {
    untold: Mutex<Untold>,
    told: Condvar,
}

impl Telling {
    /// To add something. Locked before what is kept, and never while something is told.
    pub(super) fn untold(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock()
    }

    /// What is to be told next.
    pub(super) fn next(&self) -> Option<Turn<'_>> {
        let mut untold = self.untold.lock();
        loop {
            let connection = untold.next_of()?;
            if !untold.telling.contains(&connection) {
                return untold.next().map(|found| self.turn(&mut untold, connection, [found].into()));
            }
            self.told.wait(&mut untold);
        }
    }

    /// What is to be told of a connection before what is newer. Whoever tells of it meanwhile is waited for.
    pub(super) fn of(&self, connection: ConnectionId) -> Option<Turn<'_>> {
        let mut untold = self.awaited(connection);
        let found = untold.take_of(connection);
        (!found.is_empty()).then(|| self.turn(&mut untold, connection, found))
    }

    /// To be the only one who tells of a connection, with what is to be told of it before. As above.
    pub(super) fn alone(&self, connection: ConnectionId) -> Turn<'_> {
        let mut untold = self.awaited(connection);
        let found = untold.take_of(connection);
        self.turn(&mut untold, connection, found)
    }

    /// Whether a connection left with this group when that ended, as far as that is to be told. As above.
    pub(super) fn ended_of(&self, connection: ConnectionId, group: &GroupName) -> Option<Turn<'_>> {
        let mut untold = self.awaited(connection);
        let found = untold.take_ended(connection, group);
        (!found.is_empty()).then(|| self.turn(&mut untold, connection, found.into()))
    }

    fn awaited(&self, connection: ConnectionId) -> MutexGuard<'_, Untold> {
        let mut untold = self.untold.lock();
        while untold.telling.contains(&connection) {
            self.told.wait(&mut untold);
        }
        untold
    }

    fn turn(&self, untold: &mut Untold, connection: ConnectionId, found: VecDeque<Found>) -> Turn<'_> {
        untold.telling.insert(connection);
        Turn { telling: self, connection, found }
    }
}

/// What somebody tells of a connection. Nobody else tells anything of it meanwhile.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    telling: &'a Telling,
    connection: ConnectionId,
    found: VecDeque<Found>,
}

impl Turn<'_> {
    /// Tells it, in order.
    pub(super) fn tell(mut self, tell: impl FnMut(Found)) {
        self.found.drain(..).for_each(tell);
    }

    /// Tells it, in order, and keeps the turn.
    pub(super) fn tell_first(mut self, tell: impl FnMut(Found)) -> Self {
        self.found.drain(..).for_each(tell);
        self
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.telling.untold.lock().telling.remove(&self.connection);
        self.telling.told.notify_all();
    }
}

/// What was found out is no more than what is kept of others. Who left with a group that ended is kept there no more, and
/// stays here until its departure is told, a moment later.
#[derive(Debug, Default)]
pub(super) struct Untold {
    of: HashMap<ConnectionId, VecDeque<Found>>,
    /// Of whom, in order. What is found of some may be told already.
    order: VecDeque<ConnectionId>,
    /// Who left with a group that ended: told a little later, when most who would hear of it are out as well, but before they
    /// are told as come into it anew.
    ended: HashMap<ConnectionId, Vec<Found>>,
    /// Of whom somebody tells just now.
    telling: HashSet<ConnectionId>,
}

impl Untold {
    pub(super) fn add(&mut self, found: Found) {
        let connection = connection_of(&found.news);
        if let News::Joined { group, .. } = &found.news {
            for ended in self.take_ended(connection, group) {
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

    /// Of whom something is to be told next.
    fn next_of(&mut self) -> Option<ConnectionId> {
        while let Some(connection) = self.order.front() {
            if self.of.contains_key(connection) {
                return Some(*connection);
            }
            self.order.pop_front();
        }
        None
    }

    fn next(&mut self) -> Option<Found> {
        let connection = self.next_of()?;
        self.order.pop_front();
        let found = self.of.get_mut(&connection)?;
        let next = found.pop_front();
        if found.is_empty() {
            self.of.remove(&connection);
        }
        next
    }

    /// Adds that one left with a group that ended.
    pub(super) fn add_ended(&mut self, found: Found) {
        self.ended.entry(connection_of(&found.news)).or_default().push(found);
    }

    /// The ends of this group that a connection is not told to have left with.
    fn take_ended(&mut self, connection: ConnectionId, of: &GroupName) -> Vec<Found> {
        let is_of = |found: &mut Found| match &found.news {
            News::Gone(going) => going.departed.groups.contains(of),
            News::Joined { .. } | News::Said { .. } => true,
        };
        let Entry::Occupied(mut ended) = self.ended.entry(connection) else { return Vec::new() };
        let taken = ended.get_mut().extract_if(.., is_of).collect();
        if ended.get().is_empty() {
            ended.remove();
        }
        taken
    }

    /// What is to be told of a connection, in order.
    fn take_of(&mut self, connection: ConnectionId) -> VecDeque<Found> {
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

    /// To tell something may take long, and who hands on what comes over the bus has a turn for each sender.
    #[test]
    fn nobody_waits_but_who_tells_of_the_same_connection() {
        let (telling, [one, other]) = (Telling::default(), [(); 2].map(|()| ConnectionId::random()));
        let room = GroupName::parse("room").unwrap();
        for (connection, at) in [(one, 1), (one, 2), (other, 3)] {
            telling.untold().add(found(connection, at));
        }
        let told = Mutex::new(Vec::new());
        let tell = |found: Found| told.lock().push(found.at);
        std::thread::scope(|scope| {
            let first = telling.next().unwrap();
            let (done, is_done) = std::sync::mpsc::sync_channel(1);
            let (telling, tell) = (&telling, &tell);
            scope.spawn(move || {
                telling.of(other).unwrap().tell(tell);
                telling.untold().add(found(other, 4));
                assert!(telling.of(ConnectionId::random()).is_none() && telling.ended_of(other, &room).is_none());
                done.send(()).unwrap();
            });
            is_done.recv_timeout(std::time::Duration::from_secs(60)).expect("it waits for who tells of another");
            scope.spawn(move || telling.of(one).into_iter().for_each(|turn| turn.tell(tell)));
            scope.spawn(move || telling.next().unwrap().tell(tell));
            first.tell(tell);
        });
        // One of the last two told what is found of the first, and the other then what is left.
        let rest = std::iter::from_fn(|| telling.untold().next()).map(|found| found.at);
        let mut all: Vec<_> = told.into_inner().into_iter().chain(rest).collect();
        assert!(all.starts_with(&[3, 1]), "{all:?}");
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4]);
        assert!(telling.untold().telling.is_empty());
    }
}
