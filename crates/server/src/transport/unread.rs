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

use crate::limits::network;

/// How many bytes may be unread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreadLimits {
    /// Of all connections together.
    pub(crate) all: usize,
    /// Of one caller: an endpoint, or an address of others.
    pub(crate) caller: usize,
    /// Of one connection.
    pub(crate) connection: usize,
}

/// An answer of this many bytes on an HTTP/1.1 connection is not counted for its caller, which would cost each small
/// answer a look-up. There is one on a connection at a time, and it is counted for the connection and in all.
pub(crate) const SMALL_LEN: usize = 4_096;

/// Who may have so many bytes unread: an endpoint, by whichever of its sessions; of others the address.
///
/// A number that stands for them, mixed with a secret of this process, so that nobody can be made to share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallerKey(u64);

/// What is unread.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) limits: UnreadLimits,
    all: AtomicUsize,
    callers: Mutex<HashMap<CallerKey, usize>>,
    /// Callers that have more than they may. Nearly always none, and then nobody's is looked up.
    crowded: AtomicUsize,
    keys: RandomState,
}

impl Unread {
    pub(crate) fn new(limits: UnreadLimits) -> Self {
        let (callers, keys) = (Mutex::default(), RandomState::new());
        Self { limits, all: AtomicUsize::new(0), callers, crowded: AtomicUsize::new(0), keys }
    }

    /// Bytes unread of all.
    pub(crate) fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// Counts bytes that are made. True: those of all are too many now.
    pub(crate) fn add(&self, bytes: usize) -> bool {
        self.all.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limits.all
    }

    /// Counts bytes that were taken or dropped.
    pub(crate) fn remove(&self, bytes: usize) {
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Who asks: an endpoint, if one does, and else from where.
    pub(crate) fn key(&self, endpoint: Option<(AppId, &EndpointId)>, address: IpAddr) -> CallerKey {
        CallerKey(match endpoint {
            Some(endpoint) => self.keys.hash_one(endpoint),
            None => self.keys.hash_one(network(address)),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_crowded_from_its_limit_on_and_until_it_has_read() {
        let unread = Unread::new(UnreadLimits { all: 100, caller: 10, connection: 10 });
        let address = |text: &str| unread.key(None, text.parse().unwrap());
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
    fn bytes_of_all_are_counted() {
        let unread = Unread::new(UnreadLimits { all: 100, caller: 10, connection: 10 });
        assert!(!unread.add(100));
        assert!(unread.add(1));
        unread.remove(101);
        assert_eq!(unread.all(), 0);
    }
}
