//! One token bucket.
//!
//! Ours, because what a request makes others receive is drawn in any amount, more than the bucket holds included, and some
//! of it is known only afterwards and has to be owed (docs/adr/0007). The algorithm is that of the libraries, GCRA: a
//! bucket is the instant at which it is full again. Each draw counts whole nanoseconds, rounded down.
//!
//! Invariant: that instant never goes back, so nothing that was drawn or owed is forgotten, whatever the amounts and times.

use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
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

/// The bucket of `key`, which may be new.
pub(super) fn bucket_of<K: Hash + Eq + Clone, B>(
    buckets: &Cache<K, Arc<B>>,
    key: &K,
    new: impl FnOnce() -> B,
) -> Arc<B> {
    if let Some(known) = buckets.get(key) {
        return known;
    }
    let made = buckets.get_or_insert_with(key, || Ok::<_, Infallible>(Arc::new(new())));
    made.unwrap_or_else(|never| match never {})
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn of_many_at_once_as_many_get_one_as_there_are() {
        let bucket = bucket(1, 1_000);
        let drawing = || (0..500).filter(|_| bucket.draw_one(LATER).is_ok()).count();
        let drawn: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(drawing)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(drawn, 1_000);
    }

    /// What a bucket is, counted in billionths, which come and go in whole numbers.
    struct Model {
        per_second: i128,
        full: i128,
        level: i128,
        at: u64,
    }

    impl Model {
        fn new(rate: Rate, unit: u32, at: u64) -> Self {
            let full = i128::from(rate.burst) * i128::from(unit) * i128::from(SECOND);
            Self { per_second: i128::from(rate.per_second) * i128::from(unit), full, level: full, at }
        }

        fn advance(&mut self, now: u64) {
            self.level = self.full.min(self.level + i128::from(now - self.at) * self.per_second);
            self.at = now;
        }

        fn draw(&mut self, amount: u64) {
            self.level -= i128::from(amount) * i128::from(SECOND);
        }

        /// Nanoseconds until it holds so many billionths.
        fn wait_until(&self, level: i128) -> u64 {
            let missing = (level - self.level).max(0);
            u64::try_from((missing + self.per_second - 1) / self.per_second).unwrap()
        }

        fn wait_for(&self, amount: u64) -> u64 {
            self.wait_until(self.full.min(i128::from(amount) * i128::from(SECOND)))
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        DrawOne,
        /// In hundredths of what it holds.
        Draw(u64),
        DrawFew(u64),
        /// In hundredths of the time it takes to fill.
        Pass(u64),
        PassFew(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::DrawOne),
            2 => (0..=250_u64).prop_map(Step::Draw),
            2 => (0..=9_u64).prop_map(Step::DrawFew),
            2 => (0..=150_u64).prop_map(Step::Pass),
            2 => (0..=2_000_000_000_u64).prop_map(Step::PassFew),
        ]
    }

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![1..=10_u32, 1..=1_000_u32, 1..=Rate::MAX]
    }

    proptest! {
        /// Never stricter than the model, and more generous by a nanosecond a draw at most.
        #[test]
        fn it_gives_what_a_simple_model_gives(
            (per_second, burst) in (number(), number()),
            unit in prop_oneof![Just(1), Just(1_024)],
            steps in proptest::collection::vec(step(), 1..60),
        ) {
            let rate = Rate { per_second, burst };
            let (bucket, mut model, mut now) = (Bucket::new(rate, unit), Model::new(rate, unit, LATER), LATER);
            let holds = u64::from(burst) * u64::from(unit);
            for (drawn, step) in (1..).zip(steps) {
                let within = |found: u64, exact: u64| found <= exact && exact <= found + drawn + 2;
                let mut draw = |amount: u64| {
                    // Of more debts than that, times would be at their end.
                    if model.level < -2 * model.full {
                        return Ok(());
                    }
                    model.draw(amount);
                    let (until, exact) = (bucket.draw(amount, now), model.wait_until(0));
                    prop_assert!(within(until.saturating_sub(now), exact), "until {until} at {now} and not in {exact}");
                    Ok(())
                };
                match step {
                    Step::DrawOne => match bucket.draw_one(now) {
                        Ok(left) => {
                            prop_assert!(within(0, model.wait_for(1)));
                            model.draw(1);
                            // Of a million a second, which take a microsecond each, a thousandth more.
                            let generous = holds / bucket.time_of(1).max(1) + 1;
                            prop_assert!(u64::from(left) < holds + generous);
                        }
                        Err(wait) => {
                            prop_assert!(wait > 0 && within(wait, model.wait_for(1)));
                            prop_assert_eq!(wait, bucket.wait_for(1, now));
                        }
                    },
                    Step::Draw(hundredths) => draw(holds * hundredths / 100)?,
                    Step::DrawFew(amount) => draw(amount)?,
                    Step::Pass(hundredths) => now += bucket.fills_in / 100 * hundredths,
                    Step::PassFew(nanos) => now += nanos,
                }
                model.advance(now);
                for amount in [0, 1, holds / 2, holds, holds + 1, u64::MAX] {
                    let (found, exact) = (bucket.wait_for(amount, now), model.wait_for(amount));
                    prop_assert!(within(found, exact), "{found} for {amount} and not {exact}");
                }
                let full = model.level == model.full;
                prop_assert!(bucket.is_full(now) == full || (!full && within(0, model.wait_until(model.full))));
            }
        }

        #[test]
        fn as_many_are_left_as_it_says(per_second in number(), burst in 1..=50_u32, drawn in 0..=50_u32) {
            let bucket = bucket(per_second, burst);
            for _ in 0..drawn.min(burst - 1) {
                bucket.draw_one(LATER).unwrap();
            }
            let left = bucket.draw_one(LATER).unwrap();
            prop_assert_eq!(left, burst - 1 - drawn.min(burst - 1));
            for _ in 0..left {
                prop_assert!(bucket.draw_one(LATER).is_ok());
            }
            prop_assert!(bucket.draw_one(LATER).is_err());
        }

        #[test]
        fn nothing_is_forgotten_at_the_ends_of_numbers_and_times(
            (per_second, burst) in (any::<u32>(), any::<u32>()),
            unit in prop_oneof![Just(1), Just(1_024), Just(u32::MAX)],
            draws in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 1..20),
        ) {
            let bucket = Bucket::new(Rate { per_second, burst }, unit);
            let mut full_at = 0;
            for (amount, now, one) in draws {
                if one {
                    let _ = bucket.draw_one(now);
                } else {
                    let until = bucket.draw(amount, now);
                    prop_assert!(until >= now.saturating_sub(bucket.fills_in));
                }
                let found = bucket.full_at.load(Ordering::Relaxed);
                prop_assert!(found >= full_at);
                prop_assert!(bucket.wait_for(u64::MAX, now) >= bucket.wait_for(0, now));
                full_at = found;
            }
        }
    }
}
