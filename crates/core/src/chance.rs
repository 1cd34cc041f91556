//! Chance as the rest of the program sees it: what nobody is to guess, and what is to differ from all else, is drawn from a
//! [`Chance`], never from the system directly. It comes in as time does (`clock.rs`), and for the same reason: a test that is
//! run again makes the same ids, and does the same.

use std::fmt;
#[cfg(any(test, feature = "testing"))]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;

/// Where random bits come from.
pub trait Chance: fmt::Debug + Send + Sync {
    /// Fills `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Chance + '_ {
    /// Some random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random UUID, version 4.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

/// The system's generator, which nobody can guess.
#[derive(Clone, Copy, Debug)]
pub struct SystemChance;

impl Chance for SystemChance {
    /// # Panics
    ///
    /// When the system has no generator; nothing secret can be made then.
    #[expect(clippy::panic, reason = "without randomness every token would be guessable: stopping is the safe answer")]
    #[expect(clippy::disallowed_methods, reason = "this is where all chance comes from")]
    fn fill(&self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the system's random generator failed: {error}");
        }
    }
}

/// What a seed decides. Whoever knows the seed knows all of it, so a build without tests has none.
///
/// # Source
///
/// `SplitMix64` (Steele, Lea, Flood 2014).
#[cfg(any(test, feature = "testing"))]
pub struct SeededChance(AtomicU64);

#[cfg(any(test, feature = "testing"))]
impl fmt::Debug for SeededChance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededChance(..)")
    }
}

#[cfg(any(test, feature = "testing"))]
impl SeededChance {
    /// The chance of a seed.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below `limit`, or nought if that is nought.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut mixed = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(any(test, feature = "testing"))]
impl Chance for SeededChance {
    fn fill(&self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
    }
}

/// The chance of the test that runs: the same whenever it is run again, and another one than any other test's.
///
/// Of a thread that is no test's own it is the system that gives the seed.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn of_this_test() -> Arc<SeededChance> {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    thread_local! {
        static OF_THIS_TEST: Arc<SeededChance> = {
            let thread = std::thread::current();
            // Tests are named by their paths; other threads share a name.
            let seed = match thread.name() {
                Some(name) if name.contains("::") => BuildHasherDefault::<DefaultHasher>::default().hash_one(name),
                Some(_) | None => u64::from_le_bytes((&SystemChance as &dyn Chance).bytes()),
            };
            Arc::new(SeededChance::of(seed))
        };
    }
    OF_THIS_TEST.with(Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_all_of_it() {
        let drawn = |seed| {
            let chance = SeededChance::of(seed);
            let (number, chance) = (chance.below(1_000_000), &chance as &dyn Chance);
            (number, chance.bytes::<13>(), chance.uuid())
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        assert_eq!(drawn(3).2.get_version_num(), 4);
        assert_eq!(SeededChance::of(1).below(0), 0);
        // What the paper's own program gives first.
        assert_eq!(SeededChance::of(0).next(), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn the_system_gives_other_bytes_each_time() {
        let system: &dyn Chance = &SystemChance;
        assert_ne!(system.bytes::<16>(), system.bytes::<16>());
    }

    #[test]
    fn a_test_has_its_own_chance_and_no_other_thread_shares_it() {
        let here = of_this_test();
        assert!(Arc::ptr_eq(&here, &of_this_test()));
        let other = std::thread::spawn(|| of_this_test().below(u64::MAX));
        assert_ne!(here.below(u64::MAX), other.join().unwrap());
    }
}
