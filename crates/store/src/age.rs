//! Which rows of a table that grows by number are old, also if the clock was wrong when they came.
//!
//! Each row says when it came, by the clock of then. If that clock stood ahead, the row seems to come from the future.
//! (So do all later messages of a group, if one was ever kept as of such an instant: each is kept as of a later one
//! than the one before.) How old such a row is, the rows behind it tell: it came before the next one that is not ahead
//! of the clock.

use respoke_core::clock::Timestamp;

/// Rows looked at for one that is not ahead: their numbers and instants are a few milliseconds' reading.
pub(crate) const LOOK_ROWS: usize = 2_000;

/// Rows of a view's table that one look at the view passes: some twenty milliseconds.
pub(crate) const PASSED_ROWS: i64 = 20_000;

/// A row of which only this is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) number: i64,
    /// Of its instant. Another row may get its number once it is gone.
    pub(crate) at: i64,
}

/// How far rows were found to be ahead of the clock, from the first on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead(pub(crate) i64);

/// Which rows are old: those that came before an instant, by a clock that shows another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    pub(crate) before: Timestamp,
    pub(crate) now: Timestamp,
}

/// What the first rows tell.
pub(crate) enum First {
    /// These of them are old.
    Old(Vec<Aged>),
    /// All of them are ahead. How old they are, those behind this number tell.
    AllAhead { first: Vec<Aged>, behind: i64 },
}

impl Age {
    fn is_old(self, row: &Aged) -> bool {
        row.at < self.before.millis()
    }

    fn is_ahead(self, row: &Aged) -> bool {
        row.at > self.now.millis() && !self.is_old(row)
    }

    /// Looks at the first rows there are.
    pub(crate) fn look_at_first(self, mut first: Vec<Aged>, ahead: Ahead) -> First {
        let Some(known) = first.iter().rposition(|row| !self.is_ahead(row)) else {
            let behind = first.last().map_or(0, |last| ahead.0.max(last.number));
            return First::AllAhead { first, behind };
        };
        first.truncate(known + 1);
        let mut old = false;
        let came_before = |row: &Aged| {
            old = if self.is_ahead(row) { old } else { self.is_old(row) };
            old
        };
        let mut found: Vec<_> = first.into_iter().rev().filter(came_before).collect();
        found.reverse();
        First::Old(found)
    }

    /// Looks at the next [`LOOK_ROWS`] behind the first ones that are all ahead, as far as one look goes: up to the number
    /// `end`, or to the table's end. Returns those of the first that are old: all or none.
    pub(crate) fn look_behind(
        self,
        first: Vec<Aged>,
        behind: &[Aged],
        end: Option<i64>,
        ahead: &mut Ahead,
    ) -> Vec<Aged> {
        match behind.iter().find(|row| !self.is_ahead(row)) {
            Some(known) if self.is_old(known) => return first,
            Some(known) => ahead.0 = known.number - 1,
            None if behind.len() == LOOK_ROWS => ahead.0 = behind.last().map_or(0, |last| last.number),
            // At the end the next look begins anew: what was ahead may not be any more, nor be there.
            None => ahead.0 = end.unwrap_or(0),
        }
        // Unless there are some behind them that are not ahead, nothing tells how old they are.
        Vec::new()
    }
}
