//! What a bus holds, and what it knows others to hold: for tests of whatever stands on a bus.

use std::collections::{BTreeMap, BTreeSet};

use respoke_core::id::AppId;
use respoke_core::ports::Node;
use respoke_wire::bus::InterestHash;

use super::CarriedBus;

impl CarriedBus {
    /// What this node is there for, and how often.
    #[must_use]
    pub fn held(&self) -> BTreeMap<(AppId, InterestHash), usize> {
        self.book.lock().counts()
    }

    /// What it knows another node to be there for. None: it knows no such node, or that one gets all of an app.
    #[must_use]
    pub fn known_of(&self, node: Node) -> Option<BTreeSet<(AppId, InterestHash)>> {
        let peer = self.peers.read().get(node.id).filter(|peer| peer.node == node)?;
        let holds = peer.holds.read();
        holds.all()
    }
}
