//! What takes bytes from node to node.

use std::time::Duration;

use bytes::Bytes;

use super::node::NodeId;

/// What takes frames from node to node. It is a port of its own, because one carrier is made of tables, and so is the
/// store's, and another is a connection to NATS, and so is the bus's.
///
/// It need not know what frames say. It may lose them, double them, bring them in any order and as late as it likes, stop and
/// start anew: the bus makes good what comes of that, and nothing has to be said about it. What takes longer than five
/// seconds is as good as lost, so a carrier gains nothing by letting more wait than it carries in that time. A frame is
/// never longer than 256 KiB, with the tag behind it. What it brings it hands to whatever it was given for that, on whatever
/// thread, and on some at once.
pub trait Carrier: Send + Sync {
    /// Sends a frame to a node. It never waits, neither for room nor for a connection: what it has no room for is lost, and
    /// will be asked for again.
    ///
    /// It is called on any thread, and while the bus is locked: it never calls the bus.
    fn send(&self, to: NodeId, frame: Bytes);

    /// How long a frame is on its way as a rule, what waits to be fetched with it: so long the nodes wait more for what they
    /// cannot wait long for.
    fn usual_delay(&self) -> Duration;
}
