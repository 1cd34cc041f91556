//! What mints stand on, as it was found at one moment of the feed.
//!
//! Invariant: whoever changes what a mint stands on (an app, a role, a secret, a ban) writes a change in the same transaction
//! (docs/adr/0006). So what was found at a moment is still true wherever the feed tells the same moment.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use super::draft::MintKey;
use crate::mint_grounds::MintGround;

/// Kinds of mints that are remembered: some 100 bytes each. A node with more of them at once reads them again.
const KEPT_MAX: usize = 4_096;

/// How far the feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Which history: a promoted or restored database begins another.
    pub(super) epoch: i64,
    /// The newest change.
    pub(super) head: u64,
}

/// What mints of each kind stand on, with the newest change of that moment.
pub(super) type Grounds = HashMap<MintKey, (u64, MintGround)>;

/// The grounds of the newest moment that was read.
#[derive(Default)]
pub(in crate::postgres) struct KnownGrounds(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    moment: Option<Moment>,
    grounds: Grounds,
}

impl KnownGrounds {
    /// The grounds of all of these kinds at that moment, if all are known.
    pub(super) fn of(&self, moment: Moment, kinds: &HashSet<MintKey>) -> Option<Grounds> {
        let kept = self.0.lock();
        if kept.moment != Some(moment) {
            return None;
        }
        kinds.iter().map(|kind| kept.grounds.get(kind).map(|ground| (*kind, *ground))).collect()
    }

    /// Remembers what was found at a moment, and forgets what was found at another.
    pub(super) fn keep(&self, moment: Option<Moment>, found: &Grounds) {
        let mut kept = self.0.lock();
        if kept.moment != moment || kept.grounds.len() + found.len() > KEPT_MAX {
            *kept = Kept { moment, grounds: HashMap::new() };
        }
        kept.grounds.extend(found.iter().take(KEPT_MAX).map(|(kind, ground)| (*kind, *ground)));
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::id::AppId;
    use uuid::Uuid;

    use super::*;

    fn kind(number: u128) -> MintKey {
        (AppId::from_uuid(Uuid::from_u128(number)), None, None)
    }

    fn found(numbers: std::ops::Range<u128>, head: u64) -> Grounds {
        let ground = MintGround {
            development_mode: Some(true),
            role: false,
            secret: false,
            secret_expires_at: None,
            bans: false,
        };
        numbers.map(|number| (kind(number), (head, ground))).collect()
    }

    fn knows(known: &KnownGrounds, epoch: i64, head: u64, numbers: std::ops::Range<u128>) -> bool {
        known.of(Moment { epoch, head }, &numbers.map(kind).collect()).is_some()
    }

    #[test]
    fn grounds_are_known_at_the_moment_at_which_they_were_found() {
        let known = KnownGrounds::default();
        assert!(!knows(&known, 1, 5, 0..1));
        known.keep(Some(Moment { epoch: 1, head: 5 }), &found(0..2, 5));
        known.keep(Some(Moment { epoch: 1, head: 5 }), &found(2..3, 5));
        assert!(knows(&known, 1, 5, 0..3));
        assert!(!knows(&known, 1, 5, 0..4), "one of them was not found");
        assert!(!knows(&known, 1, 6, 0..3), "something was changed");
        assert!(!knows(&known, 2, 5, 0..3), "another history");
        known.keep(Some(Moment { epoch: 1, head: 6 }), &found(0..1, 6));
        assert!(knows(&known, 1, 6, 0..1) && !knows(&known, 1, 6, 1..2) && !knows(&known, 1, 5, 0..1));
    }

    #[test]
    fn no_more_are_kept_than_have_a_place() {
        let known = KnownGrounds::default();
        let moment = Moment { epoch: 1, head: 1 };
        for from in (0..20_000).step_by(1_000) {
            known.keep(Some(moment), &found(from..from + 1_000, 1));
            assert!(knows(&known, 1, 1, from..from + 1_000));
            assert!(known.0.lock().grounds.len() <= KEPT_MAX);
        }
        known.keep(Some(moment), &found(0..9_000, 1));
        assert_eq!(known.0.lock().grounds.len(), KEPT_MAX);
    }
}
