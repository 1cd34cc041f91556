//! How many connections others have, and what that leaves of a limit.

use respoke_core::refusal::Refusal;

/// How many there are elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    /// Of the nodes that answered, and of the others as many as they had when they last did.
    pub(crate) known: usize,
    /// How many nodes have never said how many they have.
    pub(crate) unheard: usize,
}

impl Count {
    /// What is left of a limit to this node, which has `here` itself and is to have so many `more`, one at least.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeSilent`] if a node that never answered decides whether it is reached before all of them are there: as
    /// good as each of those has as many as all the rest. Far from its limit nobody is kept out because a node is silent.
    pub(crate) fn beside(self, most: Option<u32>, here: usize, more: usize) -> Result<Option<u32>, Refusal> {
        let Some(left) = self.left(most) else { return Ok(None) };
        // As many as the last of them finds.
        let here = here.saturating_add(more).saturating_sub(1);
        let unheard = self.unheard.saturating_mul(here.max(self.known));
        let may_be_reached = here.saturating_add(unheard) >= left as usize;
        if self.unheard > 0 && here < left as usize && may_be_reached {
            return Err(Refusal::NodeSilent);
        }
        Ok(Some(left))
    }

    /// What is left of a limit to this node beside what is known of others.
    pub(crate) fn left(self, most: Option<u32>) -> Option<u32> {
        most.map(|most| most.saturating_sub(u32::try_from(self.known).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(known: usize, unheard: usize) -> Count {
        Count { known, unheard }
    }

    #[test]
    fn a_node_that_never_answered_keeps_nobody_out_far_from_a_limit() {
        let left = |known, unheard, most, here| count(known, unheard).beside(Some(most), here, 1).ok().flatten();
        assert_eq!(left(40, 0, 100, 60), Some(60), "it is reached, as everybody says");
        assert_eq!(left(0, 1, 100, 40), Some(100));
        assert_eq!(left(40, 1, 100, 40), None, "it depends on what is not known");
        assert_eq!(left(40, 1, 100, 60), Some(60), "it is reached without that");
        assert_eq!(left(0, 1, 1, 0), Some(1));
        assert_eq!(count(9, 9).beside(None, 9, 1).unwrap(), None);
    }

    #[test]
    fn many_are_judged_by_what_the_last_of_them_finds() {
        let left = |known, here, more| count(known, 1).beside(Some(100), here, more).ok().flatten();
        assert_eq!((left(0, 0, 50), left(0, 0, 51), left(0, 10, 41)), (Some(100), None, None));
        assert_eq!(left(40, 0, 20), Some(60));
        assert_eq!(left(40, 0, 21), None);
        assert_eq!(left(40, 0, 61), Some(60), "there is no room for all of them, as everybody says");
    }
}
