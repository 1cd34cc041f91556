//! Nodes know each other by a key, which is in the database that they share.
//!
//! A carrier may be open to others: who may write to it is for its operator to say, and one mistake there must not let anybody
//! end sessions or speak for somebody else. So behind each frame stands a tag that only who has the key can make. It is made of
//! the whole frame, which says who sends it and to whom, and of the cluster's id: what one cluster sends is nothing to another,
//! even if that is a copy of its database. A frame without its tag is dropped, as if it had been lost.
//!
//! Whoever has no key can still hold frames back and bring them again. The bus is made for that: nothing that comes late or
//! twice changes what is so.
//!
//! What a frame says is not hidden. Who must not read it must not read the carrier.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use respoke_core::ports::{Carrier, Cluster, NodeId};
use respoke_wire::bus::TAG_LEN;
use sha2::Sha256;

use crate::carried::CarriedBus;
use crate::seldom::Seldom;

/// What the key of all tags is made of, beside the cluster's own: so that it can have other uses.
const USE: &[u8] = b"respoked: frames between nodes";

/// A carrier whose frames are tagged, and what checks those that come.
pub struct Authenticated {
    carrier: Arc<dyn Carrier>,
    /// Ready to take a frame.
    mac: Hmac<Sha256>,
    refused: Seldom,
    unreadable: Seldom,
}

impl std::fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticated").field("refused", &self.refused()).finish_non_exhaustive()
    }
}

impl Authenticated {
    /// The same carrier, for nodes of a cluster alone.
    #[must_use]
    pub fn new(cluster: &Cluster, carrier: Arc<dyn Carrier>) -> Self {
        let mut key = keyed(cluster.key.expose().as_bytes());
        key.update(USE);
        key.update(&cluster.id);
        let mac = keyed(&key.finalize().into_bytes());
        Self { carrier, mac, refused: Seldom::default(), unreadable: Seldom::default() }
    }

    /// The frame in what a carrier brings, if a node of this cluster sent it.
    #[must_use]
    pub fn check<'a>(&self, brought: &'a [u8]) -> Option<&'a [u8]> {
        let (frame, tag) = brought.split_last_chunk::<TAG_LEN>()?;
        let mut mac = self.mac.clone();
        mac.update(frame);
        // It takes as long wherever they differ.
        mac.verify_truncated_left(tag).is_ok().then_some(frame)
    }

    /// Hands what a carrier brings to the bus, unless nobody of this cluster sent it or the bus cannot read it.
    pub fn bring(&self, bus: &CarriedBus, brought: &[u8]) {
        let Some(frame) = self.check(brought) else {
            if let Some(refused) = self.refused.count(1) {
                tracing::warn!(refused, "frames were dropped that no node of this cluster sent");
            }
            return;
        };
        if let Err(error) = bus.arrived(frame)
            && let Some(unreadable) = self.unreadable.count(1)
        {
            tracing::warn!(unreadable, error = &error as &dyn std::error::Error, "what a node sent cannot be read");
        }
    }

    /// How many frames were dropped because their tag was wrong.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.all()
    }

    /// How many had the right tag, and could not be read.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable.all()
    }
}

impl Carrier for Authenticated {
    fn send(&self, to: NodeId, frame: Bytes) {
        let mut mac = self.mac.clone();
        mac.update(&frame);
        let tag = mac.finalize().into_bytes();
        let mut tagged = Vec::with_capacity(frame.len() + TAG_LEN);
        tagged.extend_from_slice(&frame);
        tagged.extend_from_slice(&tag[..TAG_LEN]);
        self.carrier.send(to, tagged.into());
    }

    fn usual_delay(&self) -> Duration {
        self.carrier.usual_delay()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of this may have any length")
}

#[cfg(test)]
mod tests;
