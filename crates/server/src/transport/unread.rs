//! How many bytes of answers are made and not taken: by connection, by caller, and of all together.
//!
//! A byte counts from when it is made until it was handed to the kernel or TLS, or until its answer was dropped: the
//! pieces that hyper is given ([`super::body::Piece`]) carry the count with them. A connection, and a caller, that has
//! too many is asked to read first; of all together the answers that made no progress for longest are ended, so that
//! whoever reads is served though others do not.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ops::Caller;

use crate::limits::network;

/// How many bytes may be unread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreadLimits {
    /// Of all connections together.
    pub(crate) all: usize,
    /// Of one caller, as [`Reader`] tells them apart.
    pub(crate) caller: usize,
    /// Of one connection.
    pub(crate) connection: usize,
}

/// So many bytes made at once are not counted for their caller, which would cost each small answer a look-up. There is one
/// on an HTTP/1.1 connection at a time; a request on HTTP/2 counts by what its stream takes. All are counted for the
/// connection and in all.
pub(crate) const SMALL_LEN: usize = 4_096;

/// Who asks. An endpoint is one caller by whichever of its sessions and from wherever, the others at each address by
/// themselves: so that nobody who shows a credential is to blame for what strangers at the same address leave unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reader<'a> {
    Endpoint(AppId, &'a EndpointId),
    Backend(AppId),
    Admin,
    Anybody,
}

impl<'a> Reader<'a> {
    pub(crate) fn of(caller: &'a Caller) -> Self {
        match caller {
            Caller::Anonymous => Self::Anybody,
            Caller::Admin { .. } => Self::Admin,
            Caller::App { app, .. } => Self::Backend(app.id),
            Caller::Endpoint { app, session } => Self::Endpoint(app.id, &session.record.grant.endpoint_id),
        }
    }
}

/// Who may have so many bytes unread.
///
/// A number that stands for them, mixed with a secret of this process, so that nobody can be made to share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallerKey(pub(super) u64);

/// What is unread.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) limits: UnreadLimits,
    all: AtomicUsize,
    /// So many more may come before room is made again: what was ended to make some is counted until it is dropped.
    room: AtomicUsize,
    callers: Mutex<HashMap<CallerKey, usize>>,
    /// Callers that have more than they may. Nearly always none, and then nobody's is looked up.
    crowded: AtomicUsize,
    keys: RandomState,
}

impl Unread {
    pub(crate) fn new(limits: UnreadLimits) -> Self {
        let (callers, keys) = (Mutex::default(), RandomState::new());
        let [all, room, crowded] = [(); 3].map(|()| AtomicUsize::new(0));
        Self { limits, all, room, callers, crowded, keys }
    }

    /// Bytes unread of all.
    pub(crate) fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Counts bytes that are made. True: those of all are too many now, and room is to be made.
    pub(crate) fn add(&self, bytes: usize) -> bool {
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.limits.all {
            let rest = |room: usize| room.checked_sub(bytes);
            return self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest).is_err();
        }
        if self.room.load(Ordering::Relaxed) > 0 {
            // What was ended is dropped.
            self.room.store(0, Ordering::Relaxed);
        }
        false
    }

    /// Room was made: so many bytes are left once what was ended is dropped. It is not made again before as many came as it
    /// is for. To look at all that stands still for each piece that comes meanwhile would keep it from being dropped.
    pub(super) fn made_room(&self, left: usize) {
        self.room.store(self.limits.all.saturating_sub(left), Ordering::Relaxed);
    }

    /// Counts bytes that were taken or dropped.
    pub(crate) fn remove(&self, bytes: usize) {
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Who asks, and from where.
    pub(crate) fn key(&self, reader: Reader<'_>, address: IpAddr) -> CallerKey {
        CallerKey(match reader {
            Reader::Endpoint(..) => self.keys.hash_one(reader),
            Reader::Backend(_) | Reader::Admin | Reader::Anybody => self.keys.hash_one((reader, network(address))),
        })
    }

    pub(crate) fn add_of(&self, caller: CallerKey, bytes: usize) {
        let mut callers = self.callers.lock();
        let count = callers.entry(caller).or_default();
        let before = std::mem::replace(count, *count + bytes);
        if before <= self.limits.caller && *count > self.limits.caller {
            self.crowded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Bytes that count for a caller.
    pub(crate) fn of(&self, caller: CallerKey) -> usize {
        self.callers.lock().get(&caller).copied().unwrap_or(0)
    }

    pub(crate) fn remove_of(&self, caller: CallerKey, bytes: usize) {
        let mut callers = self.callers.lock();
        let Entry::Occupied(mut entry) = callers.entry(caller) else { return };
        let before = *entry.get();
        let left = before.saturating_sub(bytes);
        if before > self.limits.caller && left <= self.limits.caller {
            self.crowded.fetch_sub(1, Ordering::Relaxed);
        }
        if left == 0 {
            entry.remove();
        } else {
            *entry.get_mut() = left;
        }
    }

    /// Whether a caller has to read before it asks on. `caller` is worked out only if anybody has.
    pub(crate) fn is_crowded(&self, caller: impl FnOnce() -> CallerKey) -> bool {
        self.crowded.load(Ordering::Relaxed) > 0
            && self.callers.lock().get(&caller()).is_some_and(|bytes| *bytes > self.limits.caller)
    }

    /// Callers that have more than they may, with what they have.
    pub(crate) fn crowded(&self) -> HashMap<CallerKey, usize> {
        if self.crowded.load(Ordering::Relaxed) == 0 {
            return HashMap::new();
        }
        let callers = self.callers.lock();
        callers.iter().filter(|(_, bytes)| **bytes > self.limits.caller).map(|(key, bytes)| (*key, *bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_crowded_from_its_limit_on_and_until_it_has_read() {
        let unread = Unread::new(UnreadLimits { all: 100, caller: 10, connection: 10 });
        let address = |text: &str| unread.key(Reader::Anybody, text.parse().unwrap());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("2001:db8::1"), address("2001:db8::2"), "one subscriber has the network");
        unread.add_of(one, 10);
        assert!(!unread.is_crowded(|| one));
        unread.add_of(one, 1);
        assert!(unread.is_crowded(|| one) && !unread.is_crowded(|| other));
        unread.remove_of(one, 1);
        assert!(!unread.is_crowded(|| one));
        unread.remove_of(one, 10);
        assert!(unread.callers.lock().is_empty());
        assert_eq!(unread.crowded.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn callers_are_told_apart_by_what_they_show() {
        let unread = Unread::new(UnreadLimits { all: 100, caller: 10, connection: 10 });
        let (app, alice, bob) =
            (AppId::random(), EndpointId::parse("alice").unwrap(), EndpointId::parse("bob").unwrap());
        let readers = [
            Reader::Anybody,
            Reader::Admin,
            Reader::Backend(app),
            Reader::Backend(AppId::random()),
            Reader::Endpoint(app, &alice),
            Reader::Endpoint(app, &bob),
        ];
        let (here, there) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for (nth, one) in readers.iter().enumerate() {
            let travels = matches!(one, Reader::Endpoint(..));
            assert_eq!(unread.key(*one, here) == unread.key(*one, there), travels, "{one:?}");
            for other in &readers[..nth] {
                assert_ne!(unread.key(*one, here), unread.key(*other, here), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn bytes_of_all_are_counted() {
        let unread = Unread::new(UnreadLimits { all: 100, caller: 10, connection: 10 });
        assert!(!unread.add(100));
        assert!(unread.add(1));
        unread.remove(101);
        assert_eq!(unread.all(), 0);
    }

    #[test]
    fn room_that_was_made_is_used_before_more_is_made() {
        let unread = Unread::new(UnreadLimits { all: 100, caller: 10, connection: 10 });
        assert!(unread.add(150));
        // What was ended is counted still.
        unread.made_room(80);
        assert!(!unread.add(15) && !unread.add(5) && unread.add(1));
        unread.made_room(80);
        // It is dropped, and so the limit is what it was.
        unread.remove(171);
        assert!(!unread.add(100) && unread.add(1));
    }
}
