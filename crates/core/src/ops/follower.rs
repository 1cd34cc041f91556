//! How far this node has followed the feed, and which of those who want it followed looks for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, Weak};

use tokio::sync::{Mutex, Notify};

use super::confirmations::Askers;
use super::node_list::NodeList;
use crate::ports::{Concerned, Cursor, StoreError};

/// How far the feed was followed, and for whom.
#[derive(Default)]
pub(super) struct Follower {
    /// None: not yet. Held by who looks at the feed.
    cursor: Mutex<Option<Cursor>>,
    /// Numbers those who ask for a look.
    asked: AtomicU64,
    /// All who have a number up to this had asked before the last look began that succeeded.
    answered: AtomicU64,
    /// Looks that failed.
    failed: AtomicU64,
    /// Which history the feed is in, as was seen last. 0: it was not looked at yet.
    epoch: AtomicU64,
    pub(super) hinted: Notify,
    /// Other nodes that want to be told when the feed was followed.
    pub(super) askers: Askers,
    /// Which nodes serve, as far as the bus knows.
    pub(super) nodes: NodeList,
    /// Who has sockets, besides the catalog.
    pub(super) sockets: OnceLock<Weak<dyn Concerned>>,
}

impl Follower {
    /// Which history the feed is in, as was seen last.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(super) fn is_in(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    /// Looks, unless somebody else has looked meanwhile.
    pub(super) async fn in_turn(
        &self,
        look: impl AsyncFnOnce(&mut Option<Cursor>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let failed_before = self.failed.load(Ordering::SeqCst);
        let mut cursor = self.cursor.lock().await;
        if self.answered.load(Ordering::SeqCst) >= number {
            return Ok(());
        }
        if self.failed.load(Ordering::SeqCst) != failed_before {
            return Err(StoreError::Unavailable("the feed could not be read just now".into()));
        }
        let answers = self.asked.load(Ordering::SeqCst);
        let looked = look(&mut cursor).await;
        match &looked {
            Ok(()) => self.answered.store(answers, Ordering::SeqCst),
            Err(_) => drop(self.failed.fetch_add(1, Ordering::SeqCst)),
        }
        looked
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Lets one look begin, two more ask meanwhile, and the first end with `first`. How many looks there were, and what came
    /// of these.
    async fn three(first: Result<(), StoreError>) -> (usize, [bool; 3]) {
        let (follower, looks, begun) = (Follower::default(), Cell::new(0), Notify::new());
        let look = async |_: &mut Option<Cursor>| {
            looks.set(looks.get() + 1);
            Ok(())
        };
        let slow = follower.in_turn(async |_| {
            looks.set(looks.get() + 1);
            begun.notified().await;
            first
        });
        let (mut slow, mut second) = (std::pin::pin!(slow), std::pin::pin!(follower.in_turn(look)));
        let mut third = std::pin::pin!(follower.in_turn(look));
        std::future::poll_fn(|context| {
            assert!(slow.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending() && third.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        begun.notify_one();
        let came = tokio::join!(slow, second, third);
        (looks.get(), [came.0.is_ok(), came.1.is_ok(), came.2.is_ok()])
    }

    #[tokio::test]
    async fn one_looks_for_all_who_asked_before_it_began() {
        assert_eq!(three(Ok(())).await, (2, [true; 3]), "the first began before the others asked");
    }

    #[tokio::test]
    async fn who_waits_for_a_look_that_fails_waits_for_no_other() {
        let failed = StoreError::Unavailable("the disk stands still".into());
        assert_eq!(three(Err(failed)).await, (1, [false; 3]));
    }
}
