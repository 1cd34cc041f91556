//! Ids of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use respoke_core::chance::Chance;
use respoke_core::id::RequestId;

/// Makes request ids: unique, in no way secret, and without asking the system's generator each time.
#[derive(Debug)]
pub(crate) struct RequestIds {
    start: (u64, u64),
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(chance: &dyn Chance) -> Self {
        Self { start: chance.uuid().as_u64_pair(), count: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let high = scramble(self.start.0.wrapping_add(count));
        let low = scramble(self.start.1 ^ high);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        RequestId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// Spreads a number over 64 bits, one to one.
///
/// # Source
///
/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014).
fn scramble(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_do_not_repeat() {
        let ids = RequestIds::new(&*respoke_core::chance::of_this_test());
        let made: std::collections::HashSet<_> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|id| id.uuid().get_version_num() == 4));
    }
}
