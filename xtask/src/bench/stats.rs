//! Arithmetic of reports: medians of rounds, and ratios paired within a round.

/// The median; of an even number, the mean of the middle two. `None` of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some(values[middle - 1].midpoint(values[middle])),
    }
}

/// The ratios `over / under` of each round; a machine whose speed swings between rounds leaves them alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PairedRatio {
    /// The median of the rounds' ratios.
    pub(crate) median: f64,
    /// The least and the greatest of them.
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl PairedRatio {
    /// Pairs the rounds of `over` with those of `under`, in order; `None` without any round.
    pub(crate) fn of(over: impl IntoIterator<Item = f64>, under: impl IntoIterator<Item = f64>) -> Option<Self> {
        let ratios: Vec<f64> = over.into_iter().zip(under).map(|(over, under)| over / under).collect();
        Some(Self {
            median: median(ratios.iter().copied())?,
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_values() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_slow_round_does_not_move_a_paired_ratio() {
        // The second round ran at a quarter of the speed, both servers alike.
        let ratio = PairedRatio::of([50.0, 12.5, 60.0], [100.0, 25.0, 100.0]).unwrap();
        assert_eq!(ratio, PairedRatio { median: 0.5, least: 0.5, greatest: 0.6 });
        // The ratio of the medians would have been 0.5 only by chance; of the means, 0.54.
        assert_eq!(PairedRatio::of([], [1.0]), None);
    }
}
