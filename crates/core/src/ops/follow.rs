//! Following the feed: how this node learns what changed, whoever changed it, and has forgotten and looked at anew
//! whatever stood on that.
//!
//! Invariant: a change is followed after all that have lower numbers, and once, unless it is not known whether it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout};

use super::Broker;
use crate::ports::{Change, Concerned, Cursor, Delivery, StoreError};

/// Between two looks at the feed of which nobody gave a hint. A look is one read of two rows.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    hinted: Notify,
    /// Who has sockets, besides the catalog.
    sockets: OnceLock<Weak<dyn Concerned>>,
}

impl Follower {
    /// Looks, unless somebody else has looked meanwhile.
    async fn in_turn(
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

impl Broker {
    /// Has `sockets` told from now on of everything that changes; the first that is named.
    pub fn attach(&self, sockets: &Arc<dyn Concerned>) {
        // A server names one; a second would be a defect that its tests show at once.
        let _ = self.follower.sockets.set(Arc::downgrade(sockets));
    }

    /// Follows the feed for as long as it is polled. Never ends.
    pub async fn keep_following(&self) {
        let mut follows = true;
        loop {
            let followed = self.follow().await;
            match &followed {
                Err(error) if follows => {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "changes cannot be followed: soon nothing that is remembered is used");
                }
                Ok(()) if !follows => tracing::info!("changes are followed again"),
                Ok(()) | Err(_) => {}
            }
            follows = followed.is_ok();
            let _ = timeout(LOOK_EVERY, self.follower.hinted.notified()).await;
        }
    }

    /// Makes [`Broker::keep_following`] look at once: another node says that something changed.
    pub fn hint(&self) {
        self.follower.hinted.notify_one();
    }

    /// Follows the feed to its present end: all that was committed before this was called is forgotten, and the sockets
    /// that it concerns are known, when this returns.
    ///
    /// Of many who ask at once one looks for all who asked before it began. If a look fails, those fail who waited for it:
    /// the next would take as long to fail where a disk stands still.
    ///
    /// # Errors
    ///
    /// When the feed cannot be read.
    pub async fn follow(&self) -> Result<(), StoreError> {
        self.follower.in_turn(async |cursor| self.look(cursor).await).await
    }

    async fn look(&self, cursor: &mut Option<Cursor>) -> Result<(), StoreError> {
        loop {
            let asked_at = Instant::now();
            // Before the first look nothing is remembered and nobody connected: the end of the feed will do.
            let after = cursor.map_or(u64::MAX, |cursor| cursor.number);
            let changes = self.store.changes(after).await?;
            let reached = match *cursor {
                Some(at) if changes.follow(at) => {
                    changes.told.iter().filter_map(|change| change.what.as_ref()).for_each(|what| self.pass_on(what));
                    changes.told.last().map_or(at, |last| Cursor { number: last.number, ..at })
                }
                lost => {
                    if lost.is_some() {
                        tracing::warn!(
                            "changes were missed: all that is remembered is forgotten, all sockets looked at"
                        );
                    }
                    self.catalog.anything_changed();
                    self.sockets(|sockets| sockets.anything_changed());
                    changes.end()
                }
            };
            *cursor = Some(reached);
            if reached == changes.end() {
                self.catalog.followed(asked_at);
                return Ok(());
            }
        }
    }

    /// Passes on what came of an operation that changes `what`, when it is followed here and others have got their hint.
    ///
    /// Of one that failed, which may have been after the commit, the feed may not tell: then `what` may have changed.
    pub(super) async fn changed<T>(&self, what: Change, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if done.is_err() || self.follow().await.is_err() {
            self.pass_on(&what);
        }
        self.bus.publish(Delivery::Change(what));
        done
    }

    /// Has forgotten and looked at anew whatever stands on `what`.
    fn pass_on(&self, what: &Change) {
        self.catalog.changed(what);
        self.sockets(|sockets| sockets.changed(what));
    }

    fn sockets(&self, tell: impl FnOnce(&dyn Concerned)) {
        if let Some(sockets) = self.follower.sockets.get().and_then(Weak::upgrade) {
            tell(&*sockets);
        }
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
