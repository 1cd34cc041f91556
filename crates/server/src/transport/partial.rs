//! Bytes on HTTP/1.1 that are no whole request: of a head that has begun, or of a body.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::places::Place;
use super::unread::CallerKey;

/// Bytes that came on a connection of HTTP/1.1 and are not a whole request, counted for as long as this lives.
pub(super) struct Partial {
    place: Arc<Place>,
    /// None: nobody knows.
    caller: Option<CallerKey>,
    bytes: usize,
}

impl Partial {
    pub(super) fn new(place: Arc<Place>, caller: Option<CallerKey>) -> Self {
        place.reader.store(caller.map_or(0, |caller| caller.0), Ordering::Relaxed);
        Self { place, caller, bytes: 0 }
    }

    /// Whom they count for from now on.
    pub(super) fn is_of(&mut self, caller: CallerKey) {
        let unread = &self.place.places.unread;
        if let Some(before) = self.caller.replace(caller) {
            unread.remove_of(before, self.bytes);
        }
        unread.add_of(caller, self.bytes);
        self.place.reader.store(caller.0, Ordering::Relaxed);
    }

    /// Counts what there is of them by now.
    pub(super) fn grow_to(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.add(bytes - self.bytes);
        }
    }

    /// Counts more of them.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.place.unread.fetch_add(bytes, Ordering::Relaxed);
        let places = &self.place.places;
        if let Some(caller) = self.caller {
            places.unread.add_of(caller, bytes);
        }
        if places.unread.add(bytes) {
            places.end_stalled();
        }
    }

    /// Counts some of them no more.
    pub(super) fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.place.unread.fetch_sub(bytes, Ordering::Relaxed);
        let unread = &self.place.places.unread;
        if let Some(caller) = self.caller {
            unread.remove_of(caller, bytes);
        }
        unread.remove(bytes);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.remove(self.bytes);
    }
}
