//! Who is to be looked at when. So a look at the clock costs as much as is due, and not as much as there is.

use std::collections::BTreeSet;

/// Numbers, each under the times at which it is to be looked at.
///
/// Nothing is looked at by being entered again, so whatever puts its own time off, as a client does by every word, need
/// not say so: it is looked at when it was due first, and entered for later then.
#[derive(Debug)]
pub struct Agenda<T>(BTreeSet<(T, u64)>);

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Copy + Ord> Agenda<T> {
    /// Enters a number.
    pub fn enter(&mut self, at: T, number: u64) {
        self.0.insert((at, number));
    }

    /// Strikes a number out.
    pub fn strike(&mut self, at: T, number: u64) {
        self.0.remove(&(at, number));
    }

    /// Takes out one that is due. One at a time: should a look at one panic, the others are still there.
    pub fn take_due(&mut self, now: T) -> Option<u64> {
        let (at, _) = self.0.first()?;
        if *at <= now { self.0.pop_first().map(|(_, number)| number) } else { None }
    }

    /// Those that are due; they stay.
    pub fn due(&self, now: T) -> impl Iterator<Item = u64> {
        self.0.range(..=(now, u64::MAX)).map(|(_, number)| *number)
    }

    /// Whether nothing is entered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_taken_once_and_in_order_and_what_is_not_stays() {
        let mut agenda = Agenda::default();
        for (at, number) in [(3, 1), (1, 2), (2, u64::MAX), (2, 2), (1, 2)] {
            agenda.enter(at, number);
        }
        assert_eq!(agenda.take_due(0), None);
        assert_eq!(agenda.due(2).collect::<Vec<_>>(), [2, 2, u64::MAX]);
        let taken: Vec<_> = std::iter::from_fn(|| agenda.take_due(2)).collect();
        assert_eq!(taken, [2, 2, u64::MAX], "entered twice for one time is entered once");
        agenda.strike(3, 2);
        assert!(!agenda.is_empty());
        agenda.strike(3, 1);
        assert!(agenda.is_empty() && agenda.take_due(i32::MAX).is_none());
    }
}
