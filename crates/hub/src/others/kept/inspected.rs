//! All that is kept, for tests of several hubs.

use std::collections::BTreeMap;

use respoke_core::ports::Interest;

use super::Kept;
use super::held::State;
use crate::inspected::KeptState;

impl Kept {
    /// What is kept because of each thing, and what is not as it always has to be, in words.
    pub(in crate::others) fn inspected(&mut self) -> (BTreeMap<Interest, KeptState>, Vec<String>) {
        let (mut all, mut faults) = (BTreeMap::new(), Vec::new());
        for (interest, held, _) in self.held.behind(None) {
            let is_whole = held.surveyed && held.doubted.is_empty();
            let mut state = KeptState { count: held.count, is_whole, ..KeptState::default() };
            for (id, entry) in &held.entries {
                let there = self.there.get(id).filter(|there| there.of.contains(interest));
                match (entry.state, there) {
                    (State::Left, None) if !held.is_whole(entry.node) => {}
                    (State::Missing, None) => {}
                    (State::There { .. }, Some(there)) if there.node == entry.node => {
                        state.there.insert(*id, (entry.node, there.presence.clone()));
                    }
                    (found, there) => {
                        faults.push(format!("{interest:?} has {id} as {found:?}, and there is {there:?}"));
                    }
                }
            }
            if held.present != state.there.len() {
                faults.push(format!("{interest:?} counts {}, and {} are there", held.present, state.there.len()));
            }
            all.insert(interest.clone(), state);
        }
        for (id, there) in &self.there {
            for interest in &there.of {
                if !all.get(interest).is_some_and(|state| state.there.contains_key(id)) {
                    faults.push(format!("{id} is there because of {interest:?}, which does not have it"));
                }
            }
            if there.of.is_empty() {
                faults.push(format!("{id} is there because of nothing"));
            }
        }
        (all, faults)
    }
}
