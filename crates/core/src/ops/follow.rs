//! Following the feed: this node reads what changed, whichever node changed it. It forgets what it remembers of that,
//! and tells the sockets that stand on it to look at their credentials anew.
//!
//! Invariant: changes that are read from the feed are followed in the order of their numbers, each once. A change whose
//! write failed is passed on besides, for it may have been written.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Broker;
use super::caller::Context;
use crate::ports::{Change, Concerned, Cursor, Notice, StoreError};

/// Between two looks at the feed of which nobody gave a hint. A look is one read of two rows.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
            let askers = self.follower.askers.take();
            let followed = self.follow().await;
            if followed.is_ok() {
                let epoch = self.follower.epoch();
                for (node, number) in askers {
                    self.bus.tell(node, Notice::Followed { number, epoch });
                }
            } else {
                self.follower.askers.put_back(askers);
            }
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

    /// How long ago this node had last followed all changes that there were. It looks once a second; past [`FEED_AGE_MAX`](super::catalog::FEED_AGE_MAX) it uses
    /// nothing that it remembers.
    #[must_use]
    pub fn feed_age(&self) -> Duration {
        self.catalog.feed_age()
    }

    /// Waits until other nodes may serve than before. What was followed since the last wait ends this one at once. There is one
    /// waiter.
    pub async fn nodes_changed(&self) {
        self.follower.nodes.changed.notified().await;
    }

    /// How many changes of the nodes were followed. Whoever then looks which nodes serve, and tells the bus, says that to
    /// [`Broker::nodes_are_known`].
    #[must_use]
    pub fn node_changes(&self) -> u64 {
        self.follower.nodes.changes()
    }

    /// The bus knows which nodes serve since so many changes of them. From the first time on no change counts as known to all
    /// nodes before the bus knows of those that were there then.
    pub fn nodes_are_known(&self, changes: u64) {
        self.follower.nodes.list(changes);
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
                    self.follower.nodes.change();
                    changes.end()
                }
            };
            *cursor = Some(reached);
            self.follower.is_in(reached.epoch);
            if reached == changes.end() {
                self.catalog.followed(asked_at);
                return Ok(());
            }
        }
    }

    /// Passes on what came of an operation that changes `what`, when it is followed here and the others have confirmed that
    /// they have followed it. Whoever answers for `context` is told how many have.
    ///
    /// Of one that failed, which may have been after the commit, the feed may not tell: then `what` may have changed. The
    /// others are asked to look, but what they confirm then means nothing.
    pub(super) async fn changed<T>(
        &self,
        context: &Context,
        what: Change,
        done: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let epoch = self.follower.epoch();
        let asked = self.confirmations.ask(&*self.bus, &self.follower.nodes);
        let is_followed = done.is_ok() && self.follow().await.is_ok();
        if !is_followed {
            self.pass_on(&what);
        }
        if let Some(asked) = asked.filter(|_| done.is_ok()) {
            // A node that joined before the end was written, wrote one of these changes.
            let nodes = is_followed.then(|| self.follower.nodes.changes());
            self.confirm(context, epoch, nodes, asked).await;
        }
        done
    }

    /// Has forgotten and looked at anew whatever stands on `what`.
    fn pass_on(&self, what: &Change) {
        if *what == Change::Nodes {
            self.follower.nodes.change();
        }
        self.catalog.changed(what);
        self.sockets(|sockets| sockets.changed(what));
    }

    fn sockets(&self, tell: impl FnOnce(&dyn Concerned)) {
        if let Some(sockets) = self.follower.sockets.get().and_then(Weak::upgrade) {
            tell(&*sockets);
        }
    }
}
