//! Bounds on what waits for all sockets: of one caller, and in all.
//!
//! An outbox is bounded by itself, but a caller may have many. Nothing is done more often than to put a frame into an
//! outbox, so that asks nobody. Outboxes in which much waits note that, and once a second those are looked at. What comes
//! within that second goes beyond the bounds.
//!
//! A frame that goes to many is there once, and its bytes are shared out among them. So an audience that reads too late
//! because its network stood still does not count as many times as it has members. But some of them may have read it by
//! then. So the frames of events are counted as well, each for as long as it waits for anybody.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::sockets::Sockets;
use crate::{Hub, Socket};

/// How many bytes may wait for sockets.
#[derive(Clone, Copy, Debug)]
pub struct WaitingLimits {
    /// For those of one caller.
    pub caller: usize,
    /// For all.
    pub all: usize,
}

impl Hub {
    /// Bytes of all events' frames that anybody holds.
    #[must_use]
    pub fn events_held(&self) -> usize {
        self.local.sockets.notes().events()
    }

    /// Once a second: closes those for whom most waits, if too much waits for the sockets of a caller or for all. `whose`
    /// tells callers apart.
    pub fn bound_waiting<K: Eq + Hash>(&self, limits: WaitingLimits, whose: impl Fn(&Socket) -> K) {
        let ended = end_laden(&self.local.sockets, limits, whose);
        if ended > 0 {
            tracing::debug!(ended, "sockets are closed for which too much waits");
        }
    }
}

fn end_laden<K: Eq + Hash>(sockets: &Sockets, limits: WaitingLimits, whose: impl Fn(&Socket) -> K) -> usize {
    let mut laden = laden(sockets);
    let (mut of_callers, mut all) = (HashMap::<_, usize>::new(), 0);
    for (socket, bytes) in &laden {
        *of_callers.entry(whose(socket)).or_default() += bytes;
        all += bytes;
    }
    // The largest first, and of equals the oldest.
    laden.sort_unstable_by_key(|(socket, bytes)| (Reverse(*bytes), socket.number));
    let mut ended = 0;
    laden.retain(|(socket, bytes)| {
        let Some(has) = of_callers.get_mut(&whose(socket)).filter(|has| **has > limits.caller) else { return true };
        *has -= bytes;
        all -= bytes;
        socket.outbox.abandon();
        ended += 1;
        false
    });
    // What is being written to those that were ended goes as soon as the writing does.
    let mut going = 0;
    let events = |going: usize| sockets.notes().events().saturating_sub(going);
    if all.max(events(going)) <= limits.all {
        return ended;
    }
    let enough = limits.all - limits.all / 8;
    for (socket, bytes) in laden {
        // One for which next to nothing waits makes no room.
        if all.max(events(going)) <= enough || bytes == 0 {
            break;
        }
        all -= bytes;
        going += socket.outbox.being_written();
        socket.outbox.abandon();
        ended += 1;
    }
    ended
}

/// The sockets for which much waits, and how much.
fn laden(sockets: &Sockets) -> Vec<(Arc<Socket>, usize)> {
    let noted = sockets.notes().take_laden();
    if noted.is_empty() {
        return Vec::new();
    }
    let open = sockets.of(&noted);
    let laden: Vec<_> =
        open.into_iter().filter_map(|socket| socket.outbox.still_laden().map(|bytes| (socket, bytes))).collect();
    sockets.notes().laden(laden.iter().map(|(socket, _)| socket.number));
    laden
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use respoke_core::ops::Caller;

    use super::*;
    use crate::socket::tests::noted;

    const LIMITS: WaitingLimits = WaitingLimits { caller: 100_000, all: 200_000 };

    /// As many open sockets, numbered from 0.
    fn open(count: u64) -> (Sockets, Vec<Arc<Socket>>) {
        let sockets = Sockets::new(100, Duration::from_secs(60));
        let all = (0..count).map(|number| noted(number, Caller::Anonymous, sockets.notes())).collect::<Vec<_>>();
        assert!(all.iter().all(|socket| sockets.open(socket, 0)));
        (sockets, all)
    }

    /// Lets a frame wait for all of these, and for as many more who have read it.
    fn wait_for(sockets: &Sockets, waiting: &[Arc<Socket>], have_read: usize, len: usize) {
        let frame = sockets.notes().counted(Bytes::from(vec![0; len]));
        for socket in waiting {
            assert!(socket.outbox.offer_share(frame.clone(), len.div_ceil(waiting.len() + have_read)));
        }
    }

    /// The numbers of those that are closed once it was looked.
    fn closed(sockets: &Sockets, all: &[Arc<Socket>], whose: impl Fn(&Socket) -> u64) -> Vec<u64> {
        end_laden(sockets, LIMITS, whose);
        all.iter().filter(|socket| socket.outbox.closed().is_some()).map(|socket| socket.number).collect()
    }

    #[test]
    fn a_caller_for_whose_sockets_too_much_waits_loses_the_largest() {
        let (sockets, all) = open(4);
        for (socket, len) in all.iter().zip([30_000, 50_000, 30_000, 90_000]) {
            wait_for(&sockets, std::slice::from_ref(socket), 0, len);
        }
        // The first three are of one caller.
        assert_eq!(closed(&sockets, &all, |socket| socket.number / 3), [1]);
        assert_eq!(closed(&sockets, &all, |socket| socket.number / 3), [1], "and no more than that");
    }

    #[test]
    fn when_too_much_waits_in_all_the_largest_go_until_there_is_room() {
        let (sockets, all) = open(5);
        for (socket, len) in all.iter().zip([40_000, 50_000, 45_000, 50_000, 30_000]) {
            wait_for(&sockets, std::slice::from_ref(socket), 0, len);
        }
        assert_eq!(closed(&sockets, &all, |socket| socket.number), [1]);
        assert_eq!(sockets.notes().events(), 165_000);
        // As it does for one that is written to, and does not read.
        let mut frames = std::collections::VecDeque::new();
        all[3].outbox.take_now(&mut frames);
        wait_for(&sockets, &all[..1], 0, 40_000);
        assert_eq!(closed(&sockets, &all, |socket| socket.number), [0, 1]);
        wait_for(&sockets, &all[2..3], 0, 45_000);
        wait_for(&sockets, &all[4..], 0, 50_000);
        wait_for(&sockets, &all[4..], 0, 15_000);
        assert_eq!(closed(&sockets, &all, |socket| socket.number), [0, 1, 4]);
    }

    #[test]
    fn what_waits_for_many_counts_once() {
        let (sockets, all) = open(10);
        wait_for(&sockets, &all, 0, 80_000);
        assert!(closed(&sockets, &all, |_| 0).is_empty());
        // However many have read it.
        let (sockets, all) = open(3);
        for socket in &all {
            wait_for(&sockets, std::slice::from_ref(socket), 9, 80_000);
        }
        assert_eq!(closed(&sockets, &all, |socket| socket.number), [0]);
    }

    #[test]
    fn large_audiences_that_do_not_read_are_found_though_little_counts_for_each() {
        let (sockets, all) = open(90);
        for audience in all.chunks(30) {
            wait_for(&sockets, audience, 0, 90_000);
        }
        let closed = closed(&sockets, &all, |socket| socket.number);
        assert_eq!((closed.len(), sockets.notes().events()), (60, 90_000), "the oldest first");
    }

    #[test]
    fn who_has_read_is_not_looked_at() {
        let (sockets, all) = open(3);
        for socket in &all {
            wait_for(&sockets, std::slice::from_ref(socket), 0, 90_000);
            let mut frames = std::collections::VecDeque::new();
            socket.outbox.take_now(&mut frames);
            frames.clear();
            socket.outbox.take_now(&mut frames);
        }
        assert!(closed(&sockets, &all, |_| 0).is_empty());
        assert!(sockets.notes().take_laden().is_empty());
    }
}
