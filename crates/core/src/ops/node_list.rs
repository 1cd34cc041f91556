//! Whether the bus knows of all nodes that the feed told of.
//!
//! A node writes a change when it joins and when it ends. The change does not say which node it was: whoever follows it reads
//! the rows of the nodes after that, and then tells the bus. Until then the bus's list may lack a node that has joined already.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

/// How often the list of nodes may have changed, and which of these changes the bus knows.
#[derive(Default)]
pub(super) struct NodeList {
    /// So many changes were followed.
    changes: AtomicU64,
    listed: watch::Sender<Listed>,
    /// Told of each change.
    pub(super) changed: Notify,
}

/// The changes that are in the bus's list. None: nobody says so, and the bus knows by itself who there is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed(Option<u64>);

impl Listed {
    /// Whether the bus knows who serves since so many changes. None: since which is not known.
    pub(super) fn has(self, changes: Option<u64>) -> bool {
        self.0.is_none_or(|listed| changes.is_some_and(|changes| listed >= changes))
    }
}

impl NodeList {
    /// So many changes were followed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Other nodes may serve than before.
    pub(super) fn change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// The bus knows who serves since so many changes.
    pub(super) fn list(&self, changes: u64) {
        self.listed.send_modify(|listed| *listed = (*listed).max(Listed(Some(changes))));
    }

    /// What the bus knows at least.
    pub(super) fn listed(&self) -> Listed {
        *self.listed.borrow()
    }

    /// Waits until the bus knows who serves since so many changes. Whoever waits has a deadline.
    pub(super) async fn reaches(&self, changes: Option<u64>) {
        // The sender is here.
        let _ = self.listed.subscribe().wait_for(|listed| listed.has(changes)).await;
    }
}
