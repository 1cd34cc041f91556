//! The other nodes, each in the latest of its lives that is known.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use respoke_core::ports::{Incarnation, Node, NodeId};

use super::peer::Peer;

#[derive(Default)]
pub(super) struct Peers {
    /// In order, so that a test that is run again does the same again.
    live: BTreeMap<NodeId, Arc<Peer>>,
    /// The last life of each node that is over. There are no more of them than nodes that ever were.
    over: BTreeMap<NodeId, Incarnation>,
}

impl Peers {
    pub(super) fn get(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.live.get(&id).cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.live.values()
    }

    /// A life is over. Whether it was not known until now.
    pub(super) fn passed(&mut self, node: Node) -> bool {
        let is_known = self.live.get(&node.id).is_some_and(|peer| peer.node.incarnation >= node.incarnation)
            || self.over.get(&node.id).is_some_and(|over| *over >= node.incarnation);
        if !is_known {
            self.over.insert(node.id, node.incarnation);
        }
        !is_known
    }

    /// These live, and `here` may be among them. Tells who is new and who is lost.
    ///
    /// A list may come that is older than another that came before. So a life that is over does not begin again, and no
    /// earlier life ends a later one.
    pub(super) fn are(
        &mut self,
        here: Node,
        live: &[Node],
        start: impl Fn(Node) -> Arc<Peer>,
    ) -> (Vec<Arc<Peer>>, Vec<Arc<Peer>>) {
        let mut named: BTreeMap<NodeId, Incarnation> = BTreeMap::new();
        for node in live.iter().filter(|node| node.id != here.id) {
            let named = named.entry(node.id).or_insert(node.incarnation);
            *named = node.incarnation.max(*named);
        }
        let over = |peer: &Peer| named.get(&peer.node.id).is_none_or(|named| *named > peer.node.incarnation);
        let lost: Vec<_> = self.live.extract_if(.., |_, peer| over(peer)).map(|(_, peer)| peer).collect();
        self.over.extend(lost.iter().map(|peer| (peer.node.id, peer.node.incarnation)));
        let mut new = Vec::new();
        for (id, incarnation) in named {
            if self.over.get(&id).is_some_and(|over| *over >= incarnation) {
                continue;
            }
            if let Entry::Vacant(free) = self.live.entry(id) {
                new.push(free.insert(start(Node { id, incarnation })).clone());
            }
        }
        (new, lost)
    }
}
