//! What a door does that hands over clients.

use respoke_core::ports::{Node, Sealed};

/// A door that hands over clients that shook hands with it and came to another node.
pub trait HandsOver: Send + Sync {
    /// Gives up a client, which is `to`'s from then on. None: there is none that can be given up.
    ///
    /// It is called while the bus brings something, so it waits for nothing.
    fn hand_over(&self, to: Node, which: &Sealed) -> Option<Sealed>;
}
