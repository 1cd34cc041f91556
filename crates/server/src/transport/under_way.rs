//! A request that is under way, and what it counts for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::places::Place;
use super::unread::{CallerKey, SMALL_LEN};

/// A request under way, until its answer was taken or dropped, with what it counts for.
pub(crate) struct UnderWay {
    place: Arc<Place>,
    bytes: usize,
    /// How many of them are counted for the caller.
    of_caller: usize,
    caller: Option<CallerKey>,
}

impl UnderWay {
    /// None: the connection is being ended, and the request must not begin.
    pub(crate) fn begin(place: &Arc<Place>) -> Option<Self> {
        place.begins().then(|| Self { place: place.clone(), bytes: 0, of_caller: 0, caller: None })
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Bytes that it counts for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whom it counts for, if that is known.
    pub(super) fn caller(&self) -> Option<CallerKey> {
        self.caller
    }

    /// Whom it counts for as well, from now on and with all that it has. Until that is known it may count for its address.
    pub(super) fn is_of(&mut self, caller: CallerKey) {
        if self.caller == Some(caller) {
            return;
        }
        if self.of_caller > 0 {
            self.remove_of_caller(self.of_caller);
        }
        self.caller = Some(caller);
        self.of_caller = self.bytes;
        self.place.reader.store(caller.0, Ordering::Relaxed);
        if self.bytes > 0 {
            self.place.places.unread.add_of(caller, self.bytes);
        }
    }

    /// Counts bytes that came of its body, for `from` until it is known whose they are. True: all together are too many.
    pub(super) fn add_coming(&mut self, bytes: usize, from: CallerKey) -> bool {
        self.is_of(from);
        self.bytes += bytes;
        self.of_caller += bytes;
        self.place.unread.fetch_add(bytes, Ordering::Relaxed);
        let unread = &self.place.places.unread;
        unread.add_of(from, bytes);
        unread.add(bytes)
    }

    /// Counts them no more.
    pub(super) fn remove_coming(&mut self, bytes: usize) {
        self.remove_of_caller(bytes);
        self.remove_of_all(bytes);
    }

    /// Counts bytes that are made. True: all together are too many.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        // It is these that may be taken from now on: however long the connection was silent, nothing stood still.
        self.place.changes();
        self.place.unread.fetch_add(bytes, Ordering::Relaxed);
        let unread = &self.place.places.unread;
        if let Some(caller) = self.caller.filter(|_| bytes > SMALL_LEN) {
            self.of_caller += bytes;
            unread.add_of(caller, bytes);
        }
        unread.add(bytes)
    }

    /// Counts bytes that are gone, as many as were added at once.
    pub(super) fn remove(&mut self, bytes: usize) {
        if self.caller.is_some() && bytes > SMALL_LEN {
            self.remove_of_caller(bytes);
        }
        self.remove_of_all(bytes);
    }

    fn remove_of_all(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.place.unread.fetch_sub(bytes, Ordering::Relaxed);
        self.place.places.unread.remove(bytes);
    }

    fn remove_of_caller(&mut self, bytes: usize) {
        let bytes = bytes.min(self.of_caller);
        self.of_caller -= bytes;
        if let Some(caller) = self.caller {
            self.place.places.unread.remove_of(caller, bytes);
        }
    }

    /// It made progress.
    pub(super) fn changes(&self) {
        self.place.changes();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.of_caller > 0 {
            self.remove_of_caller(self.of_caller);
        }
        if self.bytes > 0 {
            self.remove_of_all(self.bytes);
        }
        self.place.ends();
    }
}
