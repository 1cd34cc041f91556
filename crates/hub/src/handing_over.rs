//! Clients that shook hands with one node and came to another.
//!
//! The hub knows no handshakes: a door reads and writes what is asked and answered, and the hub carries it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use respoke_core::ports::{Answer, Node, NodeId, Question, Sealed, Whom};

use crate::hands_over::HandsOver;
use crate::hub::Hub;

impl Hub {
    /// Has `door` asked for clients that come to other nodes. There is one door.
    pub fn hands_over_by(&self, door: &Arc<dyn HandsOver>) {
        let _ = self.door.set(Arc::downgrade(door));
    }

    /// The present life of another node, as far as this one has heard.
    #[must_use]
    pub fn other_node(&self, id: NodeId) -> Option<Node> {
        self.others.as_ref()?;
        self.bus.other_nodes().into_iter().find(|node| node.id == id)
    }

    /// Asks a node for a client of its. None: it has none that it gives up, or does not answer `within` that time. Then it may
    /// have given it up for nothing.
    pub async fn ask_for_client(&self, of: Node, which: Sealed, within: Duration) -> Option<Sealed> {
        let answers = self.bus.ask(Whom::One(of), Question::Client { which }, within).await;
        answers.given.into_iter().find_map(|given| match given.answer {
            Answer::Client(client) => client,
            _ => None,
        })
    }

    /// Gives up a client for a node that asks for it.
    pub(crate) fn hand_over(&self, to: Node, which: &Sealed) -> Option<Sealed> {
        self.door.get().and_then(Weak::upgrade)?.hand_over(to, which)
    }
}
