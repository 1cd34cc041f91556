//! Which histories of the database led to the one that there is, so that a process that missed a promotion knows which of its changes
//! are there: behind the head of each, numbers were given anew.

use super::lineage::Settled;

/// Where the database keeps them, beside what was settled last.
pub(super) const KEY: &str = "histories";
/// As many as are kept: a process that missed more takes it that it knows nothing of what is there.
const MOST: usize = 64;
/// What each takes as bytes.
const LEN: usize = 16;

/// By what was drawn for each, and the newest change that was there before. The newest comes last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Histories(Vec<(u64, i64)>);

impl Histories {
    /// What cannot be read is left out, with all before it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let one = |bytes: &[u8]| {
            let (draw, head) = bytes.split_first_chunk()?;
            Some((u64::from_be_bytes(*draw), i64::from_be_bytes(head.try_into().ok()?)))
        };
        Self(bytes.rchunks_exact(LEN).map_while(one).take(MOST).collect::<Vec<_>>().into_iter().rev().collect())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(draw, head)| [draw.to_be_bytes(), head.to_be_bytes()].concat()).collect()
    }

    /// The same with one more, which goes on from `known`. A program that keeps no histories may have been there in between.
    pub(super) fn followed_by(mut self, known: Option<Settled>, settled: Settled) -> Self {
        let of = |settled: Settled| (settled.draw, settled.head);
        if self.0.last().copied() != known.map(of) {
            self.0 = known.map(of).into_iter().collect();
        }
        self.0.push(of(settled));
        self.0.drain(..self.0.len().saturating_sub(MOST));
        self
    }

    /// The newest change of `known` that `settled` is sure to have too.
    pub(super) fn shared(&self, known: Settled, settled: Settled) -> i64 {
        match self.common_head(known, settled) {
            Some(head) => head,
            // A program settled there that keeps no histories, on what was kept here last. Nobody was promoted in between.
            None if self.newest() == Some(known.draw) && settled.lineage.timeline == known.lineage.timeline + 1 => {
                settled.head
            }
            None => i64::MIN,
        }
    }

    fn newest(&self) -> Option<u64> {
        self.0.last().map(|(draw, _)| *draw)
    }

    /// The same. None: that is not told.
    fn common_head(&self, known: Settled, settled: Settled) -> Option<i64> {
        let newest = self.newest()?;
        let nth = self.0.iter().position(|(draw, _)| *draw == known.draw)?;
        if newest != settled.draw {
            return None;
        }
        self.0[nth + 1..].iter().map(|(_, head)| *head).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::lineage::Lineage;

    fn settled(timeline: u32, head: i64) -> Settled {
        Settled { lineage: Lineage { system: 7, timeline }, draw: u64::from(timeline) << 40, head, gap: (0, 0) }
    }

    #[test]
    fn a_process_shares_what_is_before_all_promotions_that_it_missed() {
        let [one, two, three] = [settled(1, 0), settled(2, 4), settled(3, 9)];
        let histories = Histories::default().followed_by(None, one).followed_by(Some(one), two);
        assert_eq!(histories.common_head(one, two), Some(4));
        let histories = histories.followed_by(Some(two), three);
        assert_eq!(histories.common_head(two, three), Some(9));
        assert_eq!(histories.common_head(one, three), Some(4), "behind that its numbers are those of others");
        assert_eq!(histories.common_head(one, two), None, "this is not where it goes on");
        assert_eq!(histories.common_head(settled(9, 4), three), None, "nothing is told of where it was");
        assert_eq!(histories.common_head(three, three), None, "that is no promotion");
        assert_eq!(Histories::from_bytes(&histories.to_bytes()), histories);
    }

    #[test]
    fn a_promotion_of_which_nothing_was_kept_breaks_the_line() {
        let [one, two, three] = [settled(1, 0), settled(2, 4), settled(3, 9)];
        let histories = Histories::default().followed_by(None, one).followed_by(Some(two), three);
        assert_eq!(histories.common_head(one, three), None);
        assert_eq!(histories.common_head(two, three), Some(9));
    }

    #[test]
    fn what_is_shared_with_the_next_one_is_known_though_it_kept_no_history() {
        let [one, two, three] = [settled(1, 0), settled(2, 4), settled(3, 9)];
        let untold = Histories::default().followed_by(None, one);
        assert_eq!(untold.shared(one, two), 4);
        assert_eq!(untold.shared(one, three), i64::MIN, "the one in between may have had less");
        assert_eq!(untold.followed_by(Some(one), two).shared(one, two), 4);
    }

    /// Two standbys of one server were promoted, each to the same timeline, and then the second one's own.
    #[test]
    fn nothing_is_shared_with_whoever_goes_on_from_a_twin() {
        let [one, two, three] = [settled(1, 0), settled(2, 4), settled(3, 9)];
        let twin = Settled { draw: two.draw + 1, ..two };
        let histories = Histories::default().followed_by(None, one).followed_by(Some(one), twin);
        assert_eq!(histories.shared(two, three), i64::MIN, "its numbers from 5 on are the twin's");
        let histories = histories.followed_by(Some(twin), three);
        assert_eq!(histories.shared(two, three), i64::MIN);
        assert_eq!(histories.shared(twin, three), 9);
    }

    #[test]
    fn no_more_are_kept_than_are_read() {
        let mut histories = Histories::default();
        let mut known = None;
        for timeline in 1..200 {
            let next = settled(timeline, i64::from(timeline));
            histories = histories.followed_by(known, next);
            known = Some(next);
        }
        assert_eq!(histories.0.len(), MOST);
        assert_eq!(Histories::from_bytes(&histories.to_bytes()), histories);
        assert_eq!(Histories::from_bytes(&histories.to_bytes()[1..]).0.len(), MOST - 1, "the rest is");
    }
}
