//! One token bucket.
//!
//! Ours, because what a request makes others receive is drawn in any amount, more than the bucket holds included, and some
//! of it is known only afterwards and has to be owed; the libraries' buckets do neither. What they have in common with
//! this one is the algorithm, GCRA: a bucket is the instant at which it is full again.

use std::sync::atomic::{AtomicU64, Ordering};

use respoke_core::app::Rate;

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Instants and spans are in nanoseconds on whichever clock its owner has.
#[derive(Debug)]
pub(super) struct Bucket {
    /// What comes back in a second.
    per_second: u128,
    /// How long it takes to fill from empty.
    fills_in: u64,
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket of `rate`, whose numbers count `unit` each.
    pub(super) fn new(rate: Rate, unit: u32) -> Self {
        let units = |number: u32| u64::from(number.max(1)) * u64::from(unit);
        let mut bucket = Self { per_second: units(rate.per_second).into(), fills_in: 0, full_at: AtomicU64::new(0) };
        bucket.fills_in = bucket.time_of(units(rate.burst));
        bucket
    }

    /// How long it takes until that much has come back.
    fn time_of(&self, amount: u64) -> u64 {
        u64::try_from(u128::from(amount) * NANOS_PER_SEC / self.per_second).unwrap_or(u64::MAX)
    }

    /// Draws one. Returns how many are left, or how long it takes until there is one.
    pub(super) fn draw_one(&self, now: u64) -> Result<u32, u64> {
        let one = self.time_of(1);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let after = full_at.max(now).saturating_add(one);
            let missing = after - now;
            if missing > self.fills_in {
                return Err(missing - self.fills_in);
            }
            match self.full_at.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(u32::try_from((self.fills_in - missing) / one.max(1)).unwrap_or(u32::MAX)),
                Err(changed) => full_at = changed,
            }
        }
    }

    /// How long it takes until `amount` can be drawn; of more than it holds, until it is full.
    pub(super) fn wait_for(&self, amount: u64, now: u64) -> u64 {
        let missing = self.full_at.load(Ordering::Relaxed).saturating_sub(now);
        missing.saturating_add(self.time_of(amount).min(self.fills_in)).saturating_sub(self.fills_in)
    }

    /// Draws `amount`, and owes what it has not got. Returns until when nothing can be drawn: the past, if it owes nothing.
    pub(super) fn draw(&self, amount: u64, now: u64) -> u64 {
        let cost = self.time_of(amount);
        let after = |full_at: u64| full_at.max(now).saturating_add(cost);
        let before = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(after(full_at)));
        after(before.unwrap_or_else(|unchanged| unchanged)).saturating_sub(self.fills_in)
    }

    /// Whether it holds what a new one would hold, so that nothing is lost with it.
    pub(super) fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const LATER: u64 = 1_000 * SECOND;

    fn bucket(per_second: u32, burst: u32) -> Bucket {
        Bucket::new(Rate { per_second, burst }, 1)
    }

    #[test]
    fn one_after_the_other_is_drawn_until_it_is_empty() {
        let bucket = bucket(2, 3);
        let drawn: Vec<_> = (0..4).map(|_| bucket.draw_one(LATER)).collect();
        assert_eq!(drawn, [Ok(2), Ok(1), Ok(0), Err(SECOND / 2)]);
        assert!(bucket.draw_one(LATER + SECOND / 2 - 1).is_err());
        assert_eq!(bucket.draw_one(LATER + SECOND / 2), Ok(0));
        assert!(!bucket.is_full(LATER + 3 * SECOND / 2 + 1));
        assert!(bucket.is_full(LATER + 2 * SECOND));
    }

    #[test]
    fn more_than_it_holds_is_drawn_when_it_is_full_and_paid_off_afterwards() {
        let bucket = bucket(10, 100);
        assert_eq!(bucket.wait_for(1_000, LATER), 0);
        assert!(bucket.draw(1, LATER) < LATER);
        assert_eq!(bucket.wait_for(1_000, LATER), SECOND / 10);
        let later = LATER + SECOND / 10;
        assert_eq!(bucket.draw(1_000, later), later + 90 * SECOND, "it owes nine hundred");
        assert_eq!(bucket.wait_for(0, later), 90 * SECOND);
        assert_eq!(bucket.wait_for(1, later), 90 * SECOND + SECOND / 10);
        assert_eq!(bucket.wait_for(1_000, later), 100 * SECOND);
    }

    #[test]
    fn the_largest_numbers_are_no_trouble() {
        let bucket = Bucket::new(Rate { per_second: Rate::MAX, burst: Rate::MAX }, 1_024);
        assert_eq!(bucket.wait_for(u64::MAX, LATER), 0);
        assert!(bucket.draw(u64::MAX, LATER) > LATER);
        bucket.draw(u64::MAX, LATER);
        let slow = Bucket::new(Rate { per_second: 1, burst: 1 }, 1);
        slow.draw(u64::MAX, LATER);
        slow.draw(u64::MAX, LATER);
        assert!(slow.draw_one(LATER).is_err());
    }
}
