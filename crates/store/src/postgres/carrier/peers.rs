//! Who is read, and how far.

use parking_lot::Mutex;
use respoke_core::ports::Node;

/// How far each life of others was read.
#[derive(Default)]
pub(super) struct Peers(Mutex<Vec<Cursor>>);

/// How far one was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) node: Node,
    pub(super) seq: i64,
}

impl Peers {
    /// These are read from now on. Whoever is new is read from the beginning: it may have told this node something already, before
    /// this one had heard of it. What is there of it is ten seconds old at most.
    pub(super) fn are(&self, live: impl Iterator<Item = Node>) {
        let mut cursors = self.0.lock();
        let now = live.map(|node| {
            let known = cursors.iter().find(|cursor| cursor.node == node);
            known.copied().unwrap_or(Cursor { node, seq: 0 })
        });
        let now = now.collect();
        *cursors = now;
    }

    pub(super) fn cursors(&self) -> Vec<Cursor> {
        self.0.lock().clone()
    }

    /// One was read so far, if it still is.
    pub(super) fn note(&self, read: Cursor) {
        let mut cursors = self.0.lock();
        if let Some(cursor) = cursors.iter_mut().find(|cursor| cursor.node == read.node) {
            cursor.seq = cursor.seq.max(read.seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::ports::{Incarnation, NodeId};

    use super::*;

    #[test]
    fn who_is_gone_is_forgotten_and_who_is_new_is_read_from_the_beginning() {
        let node = |id, incarnation| Node { id: NodeId(id), incarnation: Incarnation(incarnation) };
        let peers = Peers::default();
        let read = |peers: &Peers| peers.cursors().iter().map(|cursor| cursor.seq).collect::<Vec<_>>();
        peers.are([node(1, 1), node(2, 1)].into_iter());
        peers.note(Cursor { node: node(2, 1), seq: 7 });
        peers.note(Cursor { node: node(2, 1), seq: 5 });
        assert_eq!(read(&peers), [0, 7]);
        peers.are([node(1, 1), node(2, 1), node(2, 2)].into_iter());
        assert_eq!(read(&peers), [0, 7, 0]);
        peers.are([node(2, 2)].into_iter());
        peers.note(Cursor { node: node(2, 1), seq: 9 });
        assert_eq!(read(&peers), [0]);
        peers.are([node(2, 1)].into_iter());
        assert_eq!(read(&peers), [0]);
    }
}
