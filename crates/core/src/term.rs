//! From when to when a token, session or sign-in lasts, also if the clock was wrong when it was made.

use crate::clock::Timestamp;

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

    /// Before this it is over too: it was made further ahead than it lasts.
    #[must_use]
    pub const fn earliest(self) -> Timestamp {
        let lasts = self.until.millis().saturating_sub(self.from.millis());
        Timestamp::from_millis(self.from.millis().saturating_sub(lasts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_at_its_end_and_when_made_further_ahead_than_it_lasts() {
        let at = Timestamp::from_secs;
        let (made, day) = (1_000_000_000, 86_400);
        for (lasts, now, over) in [
            (day, 0, false),
            (day, day - 1, false),
            (day, day, true),
            (day, -1, false),
            (day, -day, false),
            (day, -day - 1, true),
            (day, -5 * 365 * day, true),
            (60, -60, false),
            (60, -61, true),
            (60, 60, true),
        ] {
            let term = Term { from: at(made), until: at(made + lasts) };
            assert_eq!(term.is_over(at(made + now)), over, "{lasts} {now}");
        }
        let whole = Term { from: Timestamp::from_millis(i64::MIN), until: Timestamp::from_millis(i64::MAX) };
        assert!(!whole.is_over(at(0)) && !whole.is_over(Timestamp::from_millis(i64::MIN)));
    }
}
