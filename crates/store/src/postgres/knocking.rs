//! How often a server is connected to that cannot be.

use std::error::Error;
use std::sync::Arc;
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

struct Rest {
    until: Instant,
    length: Duration,
    /// Why the connection failed.
    why: Arc<str>,
}

impl Knocking {
    /// Fails while the server is left alone: those who come meanwhile hear at once that it cannot be reached, and why.
    pub(super) fn may_knock(&self, now: Instant) -> Result<(), Failure> {
        let resting = self.0.lock().as_ref().filter(|rest| now < rest.until).map(|rest| rest.why.clone());
        match resting {
            Some(why) => {
                Err(Failure::Lost(format!("the database could not be connected to a moment ago: {why}").into()))
            }
            None => Ok(()),
        }
    }

    /// Notes whether a connection was made, or why not.
    pub(super) fn note(&self, failure: Option<&Failure>, now: Instant) {
        let mut rest = self.0.lock();
        let Some(failure) = failure else {
            *rest = None;
            return;
        };
        let length = match &*rest {
            // Several were on their way at once.
            Some(rest) if now < rest.until => return,
            Some(rest) => (rest.length * 2).min(REST_MAX),
            None => REST_MIN,
        };
        *rest = Some(Rest { until: now + length, length, why: told(failure).into() });
    }
}

/// A failure and its causes.
fn told(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_refuses_is_left_alone_ever_longer_until_it_does_not() {
        let knocking = Knocking::default();
        let begin = Instant::now();
        let refused = Failure::lost("nobody listens there");
        let mut knocks = 0;
        for after in 0..10_000 {
            let now = begin + Duration::from_millis(after);
            if knocking.may_knock(now).is_ok() {
                knocks += 1;
                // Two that were on their way at once are one.
                knocking.note(Some(&refused), now);
                knocking.note(Some(&refused), now);
            }
        }
        assert!((20..30).contains(&knocks), "{knocks}");
        let later = begin + Duration::from_secs(11);
        knocking.may_knock(later).unwrap();
        knocking.note(None, later);
        knocking.may_knock(later).unwrap();
        knocking.note(Some(&refused), later);
        let resting = told(&knocking.may_knock(later).unwrap_err());
        assert!(
            resting.ends_with("a moment ago: the connection to the database was lost: nobody listens there"),
            "{resting}"
        );
        knocking.may_knock(later + REST_MIN).unwrap();
    }
}
