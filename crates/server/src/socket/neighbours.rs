//! What a door needs to have clients of other nodes handed over.

use respoke_core::ports::{Cluster, Node};
use tokio::sync::Semaphore;

use super::sealing::Seals;

/// Clients that are asked for at once; more wait within their time. With nodes that answer as they should, these are some ten
/// thousand a second. Of one that does not, they are a thousand.
const ASKS_MAX: usize = 256;

/// What a door needs among those of other nodes.
#[derive(Debug)]
pub(super) struct Neighbours {
    pub(super) node: Node,
    pub(super) seals: Seals,
    pub(super) asks: Semaphore,
}

impl Neighbours {
    pub(super) fn new(node: Node, cluster: &Cluster) -> Self {
        Self { node, seals: Seals::of(cluster), asks: Semaphore::new(ASKS_MAX) }
    }
}
