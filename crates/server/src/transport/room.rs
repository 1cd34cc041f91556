//! Room for what is made next: when too many bytes wait to be read, the answers go that made no progress for longest,
//! first of those callers who have more than their share.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use respoke_hub::Socket;

use super::exchange::{Exchange, Held};
use super::kept::Waiting;
use super::places::{Place, Places};
use super::unread::CallerKey;

impl Places {
    /// Ends answers that made no progress for longest, until what is unread is less than may be by an eighth, so that it
    /// is not looked for again at once. First of all those of callers who have more than they may, until these have not.
    pub(super) fn end_stalled(&self) {
        let Some(_alone) = self.ending.try_lock() else { return };
        let mut left = self.unread.all();
        let mut crowded = self.unread.crowded();
        let (mut stalled, ended) = self.stalled();
        // What was ended before is about to go.
        for (bytes, caller) in ended {
            left = left.saturating_sub(bytes);
            if let Some(has) = caller.and_then(|caller| crowded.get_mut(&caller)) {
                *has = has.saturating_sub(bytes);
            }
        }
        stalled.sort_unstable_by_key(|stalled| stalled.since);
        let enough = self.unread.limits.all - self.unread.limits.all / 8;
        let mut ended = 0_u32;
        for of_crowded in [true, false] {
            stalled.retain(|stalled| {
                let has = stalled.caller.and_then(|caller| crowded.get_mut(&caller));
                let concerns = !of_crowded || has.as_ref().is_some_and(|has| **has > self.unread.limits.caller);
                if left <= enough || !concerns {
                    return true;
                }
                left = left.saturating_sub(stalled.bytes);
                if let Some(has) = has {
                    *has = has.saturating_sub(stalled.bytes);
                }
                stalled.end();
                ended += 1;
                false
            });
        }
        self.unread.made_room(left);
        tracing::debug!(ended, "answers that were not read are ended to make room for others");
    }

    /// What can be ended, and what was ended already: how many bytes it holds, and whose.
    fn stalled(&self) -> (Vec<Stalled>, Vec<(usize, Option<CallerKey>)>) {
        let (mut stalled, mut ended) = (Vec::new(), Vec::new());
        for place in self.open() {
            if place.doomed.load(Ordering::Relaxed) {
                ended.push((place.unread(), place.reader()));
                continue;
            }
            let exchanges = place.exchanges.lock().all();
            if exchanges.is_empty() && place.unread() > 0 {
                let since = (false, place.changed.load(Ordering::Relaxed));
                let (bytes, caller) = (place.unread(), place.reader());
                stalled.push(Stalled { since, bytes, caller, what: Ending::Connection(place) });
            }
            for exchange in exchanges {
                let Held { bytes, caller, since, waits_for_us, is_ended } = exchange.held();
                if is_ended {
                    ended.push((bytes, caller));
                } else {
                    // Who waits for us does so for no fault of his own, and goes last.
                    let since = (waits_for_us, since);
                    stalled.push(Stalled { since, bytes, caller, what: Ending::Exchange(exchange) });
                }
            }
        }
        for Waiting { socket, caller, bytes, changed } in self.kept.all() {
            match socket {
                None => ended.push((bytes, Some(caller))),
                Some(socket) => {
                    let (since, caller, what) = ((false, changed), Some(caller), Ending::Socket(socket));
                    stalled.push(Stalled { since, bytes, caller, what });
                }
            }
        }
        (stalled, ended)
    }
}

/// What can be ended.
struct Stalled {
    /// Whether it waits for us, and the number of its last progress.
    since: (bool, u64),
    bytes: usize,
    /// None: it is not known.
    caller: Option<CallerKey>,
    what: Ending,
}

enum Ending {
    Connection(Arc<Place>),
    Exchange(Arc<Exchange>),
    Socket(Arc<Socket>),
}

impl Stalled {
    fn end(&self) {
        match &self.what {
            Ending::Connection(place) => place.end(),
            Ending::Exchange(exchange) => exchange.end(),
            Ending::Socket(socket) => socket.outbox.abandon(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Share;
    use super::super::under_way::UnderWay;
    use super::super::unread::UnreadLimits;
    use super::*;
    use crate::metrics::Metrics;

    /// A connection's answer of so many bytes, of that caller.
    fn answer(place: &Arc<Place>, bytes: usize, caller: Option<CallerKey>) -> UnderWay {
        let mut under_way = UnderWay::begin(place).unwrap();
        under_way.add(bytes);
        if let Some(caller) = caller {
            under_way.is_of(caller);
        }
        under_way
    }

    fn ended<'a>(places: impl IntoIterator<Item = &'a Arc<Place>>) -> Vec<bool> {
        places.into_iter().map(|place| place.doomed.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test]
    async fn an_answer_that_was_just_made_is_not_what_stood_still_longest() {
        let limits = UnreadLimits { all: 100, caller: 100, connection: 100 };
        let places = Places::new(4, limits, Arc::new(Metrics::default()));
        let [idle, busy] = [places.take(Share::unbounded()).await, places.take(Share::unbounded()).await];
        let stands = answer(&busy, 60, None);
        // The older of the connections, on which nothing was asked so far.
        let fresh = answer(&idle, 60, None);
        places.end_stalled();
        assert_eq!(ended([&idle, &busy]), [false, true]);
        drop((stands, fresh));
    }

    #[tokio::test]
    async fn what_comes_while_what_was_ended_is_dropped_ends_nothing_more() {
        let limits = UnreadLimits { all: 100, caller: 100, connection: 100 };
        let places = Places::new(4, limits, Arc::new(Metrics::default()));
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(places.take(Share::unbounded()).await);
        }
        let mut held: Vec<_> = taken.iter().map(|place| UnderWay::begin(place).unwrap()).collect();
        assert!(!held[0].add(60) && held[1].add(60));
        places.end_stalled();
        assert_eq!(ended(&taken), [true, false, false]);
        assert!(!held[2].add(40), "there is room for that");
        assert!(held[2].add(1));
        places.end_stalled();
        assert_eq!(ended(&taken), [true, true, false]);
        drop(held);
        assert_eq!(places.unread.all(), 0);
    }

    #[tokio::test]
    async fn who_has_more_than_a_share_makes_room_first_and_no_more_than_that() {
        let limits = UnreadLimits { all: 100, caller: 30, connection: 100 };
        let places = Places::new(10, limits, Arc::new(Metrics::default()));
        let (slow, greedy) = (Some(CallerKey(1)), Some(CallerKey(2)));
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.push(places.take(Share::unbounded()).await);
        }
        // A slow reader's answer is the oldest of all.
        let mut held = vec![answer(&taken[0], 25, slow)];
        held.extend(taken[1..5].iter().map(|place| answer(place, 20, greedy)));
        places.end_stalled();
        assert_eq!(ended(&taken), [false, true, false, false, false, false], "until there is enough room");
        // Once nobody has more than a share, the oldest go.
        held.push(answer(&taken[5], 65, None));
        places.end_stalled();
        assert_eq!(ended(&taken), [true, true, true, true, false, false], "two more of the greedy one's first");
    }
}
