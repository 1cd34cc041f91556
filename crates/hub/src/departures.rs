//! Connections that ended, until others are told.
//!
//! They are told a little later, and only who is still there then: when several clients go together, none is told of
//! the others on its way out.
//!
//! # Source
//!
//! Section 7.5 of docs/protocol.md: the original service took its time, and the Node client's own tests rely on that.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::registry::Departure;

/// How much later. Below 100 ms clients that close together hear of each other, above 250 ms it is felt.
const DELAY: Duration = Duration::from_millis(150);

/// Bounded by the connections that there were.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    waiting: Mutex<VecDeque<(Instant, Departure)>>,
    added: Notify,
}

impl Departures {
    pub(crate) fn add(&self, departure: Departure) {
        if departure.groups.is_empty() && departure.observers.is_empty() {
            return;
        }
        self.waiting.lock().push_back((Instant::now() + DELAY, departure));
        self.added.notify_one();
    }

    /// The next departure, once it is due. All wait equally long, so the first in is the first out.
    pub(crate) async fn next(&self) -> Departure {
        loop {
            let added = self.added.notified();
            let due = self.waiting.lock().front().map(|(due, _)| *due);
            match due {
                None => added.await,
                Some(due) => {
                    tokio::time::sleep_until(due).await;
                    if let Some((_, departure)) = self.waiting.lock().pop_front() {
                        return departure;
                    }
                }
            }
        }
    }
}
