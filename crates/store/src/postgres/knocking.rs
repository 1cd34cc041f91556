//! How often a server is connected to that cannot be.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::failure::Failure;

/// How long it is left alone after a connection failed: at first, and at most. A server that starts again is found soon, and one
/// that has no connection left is not asked thousands of times a second.
const REST_MIN: Duration = Duration::from_millis(25);
const REST_MAX: Duration = Duration::from_millis(500);

/// When a server was connected to in vain.
#[derive(Default)]
pub(super) struct Knocking(Mutex<Option<Rest>>);

#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    length: Duration,
}

impl Knocking {
    /// Fails while the server is left alone: those who come meanwhile hear at once that it cannot be reached.
    pub(super) fn may_knock(&self, now: Instant) -> Result<(), Failure> {
        let resting = self.0.lock().is_some_and(|rest| now < rest.until);
        if resting { Err(Failure::lost("the database could not be connected to a moment ago")) } else { Ok(()) }
    }

    /// Notes whether a connection was made.
    pub(super) fn note(&self, connected: bool, now: Instant) {
        let mut rest = self.0.lock();
        let length = match *rest {
            _ if connected => {
                *rest = None;
                return;
            }
            // Several were on their way at once.
            Some(rest) if now < rest.until => return,
            Some(rest) => (rest.length * 2).min(REST_MAX),
            None => REST_MIN,
        };
        *rest = Some(Rest { until: now + length, length });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_refuses_is_left_alone_ever_longer_until_it_does_not() {
        let knocking = Knocking::default();
        let begin = Instant::now();
        let mut knocks = 0;
        for after in 0..10_000 {
            let now = begin + Duration::from_millis(after);
            if knocking.may_knock(now).is_ok() {
                knocks += 1;
                // Two that were on their way at once are one.
                knocking.note(false, now);
                knocking.note(false, now);
            }
        }
        assert!((20..30).contains(&knocks), "{knocks}");
        let later = begin + Duration::from_secs(11);
        knocking.may_knock(later).unwrap();
        knocking.note(true, later);
        knocking.may_knock(later).unwrap();
        knocking.note(false, later);
        assert!(knocking.may_knock(later).is_err());
        knocking.may_knock(later + REST_MIN).unwrap();
    }
}
