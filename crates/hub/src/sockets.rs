//! The sockets that are open on this node. Each is found by its number, by what it stands on, and by when it is to be
//! looked at.
//!
//! There is one lock, which is taken last (`local.rs` has the order of all).
//!
//! Invariant: an open socket is found by everything that it was opened with. It is also found by whom it is connected as,
//! from before anybody can see that connection until nobody can see it as the socket's any more. A closed one is not found
//! at all, once whoever closed it has finished.

use std::cmp::Reverse;
use std::collections::hash_map::{Entry, RandomState};
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ops::Caller;
use respoke_core::ports::Change;
use respoke_core::term::Term;
use respoke_wire::close::Close;

use crate::agenda::Agenda;
use crate::footing::Footing;
use crate::outbox::Notes;
use crate::registry::Connection;
use crate::socket::Socket;

/// The sockets open on this node.
#[derive(Debug)]
pub(crate) struct Sockets {
    books: Mutex<Books>,
    hasher: RandomState,
    notes: Arc<Notes>,
    /// How many may be open.
    most: usize,
    /// How long a client may be silent.
    patience_secs: u64,
}

#[derive(Debug, Default)]
struct Books {
    sockets: HashMap<u64, Open>,
    /// How many each endpoint has open, registered or not.
    of_endpoints: HashMap<(AppId, EndpointId), usize>,
    /// Each thing that is stood on, as a hash, with each socket that stands on it. A socket is here five times, so what is
    /// held of each must be small; of two things that have one hash the sockets of both are looked at.
    standing: BTreeSet<(u64, u64)>,
    /// Sockets by the second at which their clients may be found silent, on the hub's own clock.
    silences: Agenda<u64>,
    /// Sockets by when their terms are over, in milliseconds since the epoch. It is the clock's face that counts, so one
    /// that is set is no other case than one that goes.
    ends: Agenda<i64>,
    /// The same by a clock that shows less: what was made further ahead than it lasts.
    beginnings: Agenda<Reverse<i64>>,
}

/// An open socket.
#[derive(Debug)]
struct Open {
    socket: Arc<Socket>,
    /// Under which second it is in `silences`.
    silent_at: u64,
    /// How long what it was opened with lasts, if that ends by itself.
    term: Option<Term>,
}

/// Sockets that an endpoint may have open beyond twice its connections: those of a client that comes back are found
/// silent a little later.
const SPARE_SOCKETS: usize = 16;

/// The endpoint that opens a socket, and how many it may have open; backends may open as many as the node.
fn opener(caller: &Caller) -> Option<((AppId, EndpointId), Option<usize>)> {
    match caller {
        Caller::Endpoint { session, app } => {
            let most = app.settings.limits.endpoint_connections;
            let most = most.map(|most| (most as usize).saturating_mul(2).saturating_add(SPARE_SOCKETS));
            Some(((app.id, session.record.grant.endpoint_id.clone()), most))
        }
        Caller::Anonymous | Caller::App { .. } | Caller::Admin { .. } => None,
    }
}

impl Sockets {
    /// No sockets, of at most `sockets_max`, whose clients may be silent for `patience`.
    pub(crate) fn new(sockets_max: usize, patience: Duration) -> Self {
        Self {
            books: Mutex::default(),
            hasher: RandomState::default(),
            notes: Arc::default(),
            most: sockets_max,
            patience_secs: patience.as_secs(),
        }
    }

    /// Where outboxes note that they were closed, whoever closed them, and that much waits in them.
    pub(crate) fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }

    /// Enters a new socket, at this second. False: the node or the endpoint has its most.
    pub(crate) fn open(&self, socket: &Arc<Socket>, now_secs: u64) -> bool {
        let mut books = self.books.lock();
        if books.sockets.len() >= self.most {
            return false;
        }
        if let Some((endpoint, most)) = opener(&socket.opening.caller) {
            let open = books.of_endpoints.get(&endpoint).copied().unwrap_or(0);
            if most.is_some_and(|most| open >= most) {
                return false;
            }
            books.of_endpoints.insert(endpoint, open + 1);
        }
        let silent_at = socket.overdue_at(now_secs, self.patience_secs);
        books.silences.enter(silent_at, socket.number);
        books.sockets.insert(socket.number, Open { socket: socket.clone(), silent_at, term: None });
        for footing in Footing::of_caller(&socket.opening.caller) {
            books.standing.insert(self.line(socket, footing));
        }
        true
    }

    /// Registers a socket's connection, as [`Socket::register`] does.
    pub(crate) fn register<E>(
        &self,
        socket: &Socket,
        connection: &Arc<Connection>,
        register: impl FnOnce(Option<&Connection>) -> Result<(), E>,
    ) -> Option<Result<Option<Arc<Connection>>, E>> {
        socket.register(connection, |present| {
            // Before anybody can see the connection: what it is registered as may be changed from then on.
            self.stands_on(socket, None, Some(connection));
            let registered = register(present);
            match registered {
                Ok(()) => self.stands_on(socket, present, Some(connection)),
                Err(_) => self.stands_on(socket, Some(connection), present),
            }
            registered
        })
    }

    /// Takes a socket's connection away, as [`Socket::unregister`] does.
    pub(crate) fn unregister(&self, socket: &Socket) -> Option<Arc<Connection>> {
        socket.unregister(|connection| self.stands_on(socket, Some(connection), None))
    }

    /// Closes a socket, as [`Socket::close`] does; it stays on the books.
    pub(crate) fn close(&self, socket: &Socket, why: Close) -> Option<Arc<Connection>> {
        let connection = socket.close(why)?;
        // It registers no other, so that this one is found for a moment longer does no harm.
        self.stands_on(socket, Some(&connection), None);
        Some(connection)
    }

    /// Takes a closed socket off the books. False: it was not there any more.
    pub(crate) fn forget(&self, socket: &Socket) -> bool {
        let mut books = self.books.lock();
        let Some(open) = books.sockets.remove(&socket.number) else { return false };
        books.silences.strike(open.silent_at, socket.number);
        books.lasts(socket.number, open.term, None);
        if let Some((endpoint, _)) = opener(&socket.opening.caller)
            && let Entry::Occupied(mut open) = books.of_endpoints.entry(endpoint)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        for footing in Footing::of_caller(&socket.opening.caller) {
            books.standing.remove(&self.line(socket, footing));
        }
        true
    }

    /// Notes how long what a socket was opened with lasts, if that ends by itself.
    pub(crate) fn lasts(&self, socket: &Socket, term: Option<Term>) {
        let mut books = self.books.lock();
        let Some(open) = books.sockets.get_mut(&socket.number) else { return };
        let before = std::mem::replace(&mut open.term, term);
        books.lasts(socket.number, before, term);
    }

    /// The open sockets whose terms are over at `now`. They are until they are said to last longer, or closed.
    pub(crate) fn expired(&self, now: Timestamp) -> Vec<Arc<Socket>> {
        let (now, books) = (now.millis(), self.books.lock());
        let by_less = books.beginnings.due(Reverse(now.saturating_add(1)));
        books.ends.due(now).chain(by_less).filter_map(|number| books.socket(number)).collect()
    }

    /// An open socket whose client is silent, or does not fetch what is for it, and why it has to go. It has to be closed,
    /// or is found again a second later.
    ///
    /// Looks at those alone that may be so by now: one whose client was heard meanwhile is not looked at again before it
    /// may be, and hearing costs nothing here.
    pub(crate) fn next_silent(&self, now_secs: u64) -> Option<(Arc<Socket>, Close)> {
        loop {
            let mut books = self.books.lock();
            let books = &mut *books;
            let number = books.silences.take_due(now_secs)?;
            let Some(open) = books.sockets.get_mut(&number) else { continue };
            open.silent_at = open.socket.overdue_at(now_secs, self.patience_secs);
            books.silences.enter(open.silent_at, number);
            if let Some(why) = open.socket.overdue(now_secs, self.patience_secs) {
                return Some((open.socket.clone(), why));
            }
        }
    }

    /// An open socket by its number.
    pub(crate) fn socket(&self, number: u64) -> Option<Arc<Socket>> {
        self.books.lock().socket(number)
    }

    /// Those of these numbers that are open.
    pub(crate) fn of(&self, numbers: &[u64]) -> Vec<Arc<Socket>> {
        let books = self.books.lock();
        numbers.iter().filter_map(|number| books.socket(*number)).collect()
    }

    /// How many sockets are open.
    pub(crate) fn count(&self) -> usize {
        self.books.lock().sockets.len()
    }

    /// The open sockets.
    pub(crate) fn all(&self) -> Vec<Arc<Socket>> {
        self.books.lock().sockets.values().map(|open| open.socket.clone()).collect()
    }

    /// The open sockets that may stand on what changed.
    pub(crate) fn concerned(&self, change: &Change) -> Vec<Arc<Socket>> {
        let mut found = self.found(Footing::of_change(change));
        found.retain(|socket| socket.concerns(change));
        found
    }

    /// The open sockets that stand on something, and maybe some that do not.
    fn found(&self, footing: Footing<'_>) -> Vec<Arc<Socket>> {
        let hash = self.hasher.hash_one(footing);
        let books = self.books.lock();
        let numbers = books.standing.range((hash, 0)..=(hash, u64::MAX));
        numbers.filter_map(|(_, number)| books.socket(*number)).collect()
    }

    /// Lets a socket be found by the connection it has from now on, and no more by the one that it had. Called under the
    /// socket's own lock for as long as it may register another.
    fn stands_on(&self, socket: &Socket, before: Option<&Connection>, now: Option<&Connection>) {
        let lines = |connection: Option<&Connection>| -> [Option<(u64, u64)>; 2] {
            let Some(connection) = connection else { return [None; 2] };
            // What it was opened with stays what it stands on.
            Footing::of_connection(connection).map(|footing| {
                let more = !Footing::of_caller(&socket.opening.caller).any(|opened| opened == footing);
                more.then(|| self.line(socket, footing))
            })
        };
        let (before, now) = (lines(before), lines(now));
        if before == now {
            return;
        }
        let mut books = self.books.lock();
        for line in before.iter().flatten() {
            books.standing.remove(line);
        }
        books.standing.extend(now.iter().flatten());
    }

    fn line(&self, socket: &Socket, footing: Footing<'_>) -> (u64, u64) {
        (self.hasher.hash_one(footing), socket.number)
    }
}

impl Books {
    fn socket(&self, number: u64) -> Option<Arc<Socket>> {
        self.sockets.get(&number).map(|open| open.socket.clone())
    }

    fn lasts(&mut self, number: u64, before: Option<Term>, now: Option<Term>) {
        if let Some(term) = before {
            self.ends.strike(term.until.millis(), number);
            self.beginnings.strike(Reverse(term.earliest().millis()), number);
        }
        if let Some(term) = now {
            self.ends.enter(term.until.millis(), number);
            self.beginnings.enter(Reverse(term.earliest().millis()), number);
        }
    }
}

#[cfg(test)]
mod tests;
