//! How long something holds that was made to last a while.

use crate::clock::Timestamp;

/// How far a clock may be set back without an end to what was made shortly before, however short that is.
const STEP_BACK_SECS: i64 = 3_600;

/// From when to when something holds.
///
/// Both instants are of the clock as it was. If that stood years ahead and was corrected, what was made then would hold for
/// years and its own length. So what was made further in the future than it lasts is over: by a clock that was always
/// right it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// When it was made.
    pub from: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
}

impl Term {
    /// Whether it is over at `now`.
    #[must_use]
    pub const fn is_over(self, now: Timestamp) -> bool {
        now.millis() >= self.until.millis() || now.millis() < self.earliest().millis()
    }

    /// Before this it is over too: it was made further ahead than it lasts, and than a clock is set back by the way.
    #[must_use]
    pub const fn earliest(self) -> Timestamp {
        let lasts = self.until.millis().saturating_sub(self.from.millis());
        let step_back = STEP_BACK_SECS * 1_000;
        Timestamp::from_millis(self.from.millis().saturating_sub(if lasts > step_back { lasts } else { step_back }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_at_its_end_and_when_made_further_ahead_than_it_lasts() {
        let at = Timestamp::from_secs;
        let (made, hour, day) = (1_000_000_000, 3_600, 86_400);
        for (lasts, now, over) in [
            (day, 0, false),
            (day, day - 1, false),
            (day, day, true),
            (day, -1, false),
            (day, -day, false),
            (day, -day - 1, true),
            (day, -5 * 365 * day, true),
            // However short it is, a clock that is set back by an hour does not end it.
            (60, -hour, false),
            (60, -hour - 1, true),
            (60, 60, true),
        ] {
            let term = Term { from: at(made), until: at(made + lasts) };
            assert_eq!(term.is_over(at(made + now)), over, "{lasts} {now}");
        }
        let whole = Term { from: Timestamp::from_millis(i64::MIN), until: Timestamp::from_millis(i64::MAX) };
        assert!(!whole.is_over(at(0)) && !whole.is_over(Timestamp::from_millis(i64::MIN)));
    }
}
