//! What is to be asked of other nodes, of whom, and in which portions.

use std::collections::BTreeMap;

use respoke_core::ports::{Interest, Node, Whom};

use super::Kept;
use super::held::{Asked, State};

/// Some of what is to be asked of somebody.
#[derive(Debug, Default)]
pub(in crate::others) struct Portion {
    pub(in crate::others) asked: Vec<Asked>,
    /// Behind which there may be more. None: that was all.
    pub(in crate::others) behind: Option<Interest>,
    /// Something is to be asked of one who does not know yet what for.
    pub(in crate::others) early: bool,
}

impl Kept {
    /// Those of these about which nobody was asked yet.
    pub(in crate::others) fn unsurveyed(&self, interests: &[Interest]) -> Vec<Asked> {
        let unsurveyed = |interest: &Interest| {
            let held = self.held.get(interest).filter(|held| !held.surveyed)?;
            Some(held.asked(interest))
        };
        interests.iter().filter_map(unsurveyed).collect()
    }

    /// These are to be asked about by whoever asks for what is left.
    pub(in crate::others) fn want(&mut self, asked: &[Asked]) {
        for Asked { interest, generation, .. } in asked {
            if let Some(held) = self.held.get_mut(interest).filter(|held| held.generation == *generation)
                && !held.surveyed
            {
                held.wanted = true;
                mark(&mut self.due, &mut self.marks, Whom::Others);
            }
        }
    }

    /// Whether something is to be asked of anybody.
    pub(in crate::others) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Of whom something is to be asked.
    pub(in crate::others) fn due(&self) -> Vec<Whom> {
        self.due.keys().copied().collect()
    }

    /// Up to which mark something is to be asked of somebody. None: nothing is.
    pub(in crate::others) fn due_of(&self, whom: Whom) -> Option<u64> {
        self.due.get(&whom).copied()
    }

    /// All was asked that was to be when that was its mark. True: nothing is left.
    pub(in crate::others) fn was_asked(&mut self, whom: Whom, mark: u64) -> bool {
        if self.due.get(&whom) == Some(&mark) {
            self.due.remove(&whom);
        }
        !self.due.contains_key(&whom)
    }

    /// What is to be asked of somebody, behind one thing: about so many at most. It is looked for until so many things and
    /// entries of them were looked at. Who has answered too early is asked again once it knows what for.
    pub(in crate::others) fn wanted(
        &mut self,
        whom: Whom,
        behind: Option<&Interest>,
        most: usize,
        looked_at_most: usize,
    ) -> Portion {
        let mut portion = Portion::default();
        let mut looked_at = 0;
        for (interest, held, entries) in self.held.behind(behind) {
            looked_at += 1 + entries;
            let is_wanted = match whom {
                Whom::Others => held.wanted && !held.surveyed,
                Whom::One(node) => match held.doubted.get(&node).filter(|_| held.surveyed) {
                    Some(doubt) if doubt.early && !held.knows(node) => {
                        portion.early = true;
                        false
                    }
                    doubt => doubt.is_some(),
                },
            };
            if is_wanted {
                portion.asked.push(held.asked(interest));
            }
            if portion.asked.len() == most || looked_at >= looked_at_most {
                portion.behind = Some(interest.clone());
                break;
            }
        }
        portion
    }

    /// Something is lost for good of what a node said, up to this number.
    pub(in crate::others) fn missed(&mut self, node: Node, number: u64) {
        self.held.missed(node, number);
        mark(&mut self.due, &mut self.marks, Whom::One(node));
    }

    /// These nodes heard too late that something here is there for this: they may have told past it.
    pub(in crate::others) fn late(&mut self, interest: &Interest, nodes: &[Node]) {
        let nodes: Vec<_> = nodes.iter().copied().filter(|node| !self.held.is_over(*node)).collect();
        if self.held.late(interest, &nodes) {
            for node in nodes {
                mark(&mut self.due, &mut self.marks, Whom::One(node));
            }
        }
    }

    /// Now, for whoever is about to ask.
    pub(in crate::others) const fn turn(&self) -> u64 {
        self.held.turn()
    }

    /// Everybody was asked about these; who did not answer is to be asked again.
    pub(in crate::others) fn surveyed(&mut self, asked: &[Asked], silent: &[Node]) {
        let silent: Vec<_> = silent.iter().copied().filter(|node| !self.held.is_over(*node)).collect();
        for Asked { interest, generation, .. } in asked {
            let Some(held) = self.held.get_mut(interest).filter(|held| held.generation == *generation) else {
                continue;
            };
            if held.surveyed {
                continue;
            }
            held.surveyed = true;
            held.wanted = false;
            for node in &silent {
                held.doubted.entry(*node).or_default().never_answered = true;
            }
            // Also of whom it was to be asked before, when that was not its turn yet.
            for node in held.doubted.keys() {
                mark(&mut self.due, &mut self.marks, Whom::One(*node));
            }
            let doubted = &held.doubted;
            held.entries.retain(|_, entry| entry.state != State::Left || doubted.contains_key(&entry.node));
        }
    }
}

/// There may be more to ask of somebody.
pub(super) fn mark(due: &mut BTreeMap<Whom, u64>, marks: &mut u64, whom: Whom) {
    *marks += 1;
    due.insert(whom, *marks);
}
