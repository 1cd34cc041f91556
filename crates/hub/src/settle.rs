//! Waiting until the other nodes know what something on this node is there for.

use std::time::Duration;

use respoke_core::ports::Confirmation;
use tokio::time::Instant;

/// How long whoever begins to be there for something waits for the other nodes to know it. One that is later sends again
/// what it said meanwhile.
pub(crate) const SETTLED_WITHIN: Duration = Duration::from_millis(250);

/// Waits until the other nodes know of what is held, or for as long as is waited for that.
pub(crate) async fn settle(held: &mut Confirmation, until: Instant) {
    if !held.missing().is_empty() {
        let _ = tokio::time::timeout_at(until, held.done()).await;
    }
}
