//! What happens in a storm, and when: all of it follows from a seed, and any part of it may be left out.

use std::collections::BTreeSet;
use std::time::Duration;

use respoke_bus::faulty::Faults;

use super::super::Chance;

pub(super) const ENDPOINTS: [&str; 4] = ["ann", "bob", "cat", "dan"];
pub(super) const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
/// Those that are left, and ended.
const CHANGING: [&str; 2] = ["g0", "g1"];
const KINDS: [&str; 4] = ["chat", "away", "unavailable", "dnd"];
/// Clients of each node, about.
const CLIENTS: usize = 4;
/// How long it goes on, in milliseconds.
const LASTS: usize = 20_000;
/// What is sent is kept for less than that, in milliseconds.
const GIVEN_UP_AFTER: usize = 5_500;
/// How often meanwhile several clients want something at once, for each node.
const BURSTS: usize = 32;
/// How many of them at most, and within how many milliseconds.
const AT_ONCE: usize = 14;
const WITHIN: usize = 80;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// No break is longer than what is sent again, and no node is killed: so nothing is lost.
    Rough,
    /// Breaks of all lengths, and nodes are killed and return.
    Wild,
}

/// A storm.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) weather: Weather,
    /// What becomes of each frame.
    pub(super) faults: Faults,
    /// In the order of their times, each with its number among all that the seed has.
    pub(super) steps: Vec<(usize, Step)>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// A client comes to a node, and registers.
    Open { slot: usize, node: usize, name: &'static str },
    /// A client goes.
    Go { slot: usize, how: Going },
    /// A client asks for something, behind what it asked for before.
    Ask { slot: usize, act: Act },
    /// From one node nothing comes to another, nor back if it is so on both ways, for so long.
    Break { from: usize, to: usize, both: bool, lasts: Duration },
    /// A node is killed, which nobody knows.
    Kill { node: usize },
    /// It is known now.
    Declare { node: usize },
    /// It starts again.
    Return { node: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Going {
    /// When what it asked for is answered.
    InOrder,
    /// In the midst of that, which goes on.
    AtOnce,
    /// In the midst of that, which is broken off.
    BreakingOff,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Register {
        name: &'static str,
    },
    Disconnect,
    Join {
        groups: Vec<&'static str>,
        whom: Whom,
    },
    Leave {
        groups: Vec<&'static str>,
        whom: Whom,
    },
    EndGroup {
        group: &'static str,
    },
    Publish {
        group: &'static str,
    },
    Send {
        to: &'static str,
        only: Option<usize>,
        cc: bool,
    },
    Say {
        kind: &'static str,
        whom: Whom,
    },
    Observe {
        names: Vec<&'static str>,
    },
    /// Ends the connection of another client.
    End {
        slot: usize,
    },
    /// Hangs up.
    Go,
}

/// Whose connection it is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    Own,
    Of(usize),
    All(&'static str),
}

impl Plan {
    pub(super) fn new(seed: u64, nodes: usize, weather: Weather) -> Self {
        let mut making = Making { chance: Chance(seed), nodes, slots: nodes * CLIENTS, steps: Vec::new() };
        let delay_max = Duration::from_millis(making.chance.of(&[4, 40, 120]));
        // What is sent again after a break in rough weather is not to be lost each time it is, within what is left of 5 s.
        let most_lost = if weather == Weather::Rough { 50 } else { 100 };
        let faults = Faults { delay_max, lost_per_mille: making.chance.of(&[10, 30, most_lost]), ..Faults::MANY };
        for slot in 0..making.slots {
            making.open(slot, 50 * slot);
        }
        for _ in 0..nodes * BURSTS {
            let (at, about) = (1_000 + making.chance.below(LASTS - 1_000), making.about());
            for _ in 0..=making.chance.below(AT_ONCE) {
                let at = at + making.chance.below(WITHIN);
                making.deed(at, about);
            }
        }
        for one in 0..nodes {
            for other in one + 1..nodes {
                making.breaks(one, other, weather);
            }
        }
        if weather == Weather::Wild {
            making.kills();
        }
        let mut steps = making.steps;
        steps.sort_by_key(|step| step.at);
        Self { seed, nodes, weather, faults, steps: steps.into_iter().enumerate().collect() }
    }

    /// The same with some of its steps alone.
    pub(super) fn with(&self, steps: Vec<(usize, Step)>) -> Self {
        Self { steps, ..self.clone() }
    }

    /// The same with those steps alone that have these numbers.
    pub(super) fn only(mut self, kept: &BTreeSet<usize>) -> Self {
        self.steps.retain(|(number, _)| kept.contains(number));
        self
    }
}

struct Making {
    chance: Chance,
    nodes: usize,
    slots: usize,
    steps: Vec<Step>,
}

impl Making {
    fn add(&mut self, at_millis: usize, what: What) {
        self.steps.push(Step { at: Duration::from_millis(at_millis as u64), what });
    }

    fn open(&mut self, slot: usize, at: usize) {
        // Most are where they were.
        let node = if self.chance.percent(80) { slot % self.nodes } else { self.chance.below(self.nodes) };
        let name = self.chance.of(&ENDPOINTS);
        self.add(at, What::Open { slot, node, name });
    }

    /// A group, and an endpoint.
    fn about(&mut self) -> (&'static str, &'static str) {
        (self.chance.of(&GROUPS), self.chance.of(&ENDPOINTS))
    }

    /// Somebody wants something, mostly about these.
    fn deed(&mut self, at: usize, mostly: (&'static str, &'static str)) {
        let slot = self.chance.below(self.slots);
        let restless = Self::restless(slot);
        let (group, name) = if self.chance.percent(70) { mostly } else { self.about() };
        let act = match self.chance.below(100) {
            0..=7 => return self.come_or_go(restless, at),
            8..=9 => return self.add(at, What::Ask { slot: restless, act: Act::Register { name } }),
            10 => return self.add(at, What::Ask { slot: restless, act: Act::Disconnect }),
            11..=34 => Act::Join { groups: self.and_some(group, &GROUPS), whom: self.whom(name) },
            35..=47 => Act::Leave { groups: self.and_some(Self::changing(group), &CHANGING), whom: self.whom(name) },
            48..=52 => Act::EndGroup { group: Self::changing(group) },
            53..=66 => Act::Publish { group },
            67..=75 => {
                let only = self.chance.percent(30).then(|| self.chance.below(self.slots));
                Act::Send { to: name, only, cc: self.chance.percent(30) }
            }
            76..=85 => Act::Say { kind: self.chance.of(&KINDS), whom: self.whom(name) },
            86..=96 => Act::Observe { names: self.and_some(name, &ENDPOINTS) },
            _ => {
                let ended = self.chance.below(self.slots);
                Act::End { slot: Self::restless(ended) }
            }
        };
        self.add(at, What::Ask { slot, act });
    }

    /// Some clients stay for as long as they can, so that it is seen what becomes of those.
    fn restless(slot: usize) -> usize {
        if slot.is_multiple_of(3) { slot + 1 } else { slot }
    }

    /// And whoever is in one group stays there, but for those of [`Self::leaves_unheard`].
    fn changing(group: &'static str) -> &'static str {
        if CHANGING.contains(&group) { group } else { CHANGING[0] }
    }

    fn come_or_go(&mut self, slot: usize, at: usize) {
        let how = self.chance.of(&[Going::InOrder, Going::AtOnce, Going::BreakingOff]);
        self.add(at, What::Go { slot, how });
        let back = at + self.chance.below(2_000);
        self.open(slot, back);
    }

    fn whom(&mut self, name: &'static str) -> Whom {
        match self.chance.below(10) {
            0..=6 => Whom::Own,
            7..=8 => Whom::Of(self.chance.below(self.slots)),
            _ => Whom::All(name),
        }
    }

    fn and_some(&mut self, first: &'static str, all: &[&'static str]) -> Vec<&'static str> {
        let second = self.chance.of(all);
        if second == first || self.chance.percent(60) { vec![first] } else { vec![first, second] }
    }

    /// Lets the way between two nodes break now and then.
    fn breaks(&mut self, one: usize, other: usize, weather: Weather) {
        // In rough weather what was kept meanwhile has come before the next: it is sent again every 0.8 s by then.
        let (longest, quiet) = if weather == Weather::Rough { (2_000, 3_000) } else { (8_000, 300) };
        let mut at = self.chance.below(6_000);
        while at < LASTS {
            let (from, to) = if self.chance.percent(50) { (one, other) } else { (other, one) };
            let (both, lasts) = (self.chance.percent(50), 50 + self.chance.below(longest));
            let broken = What::Break { from, to, both, lasts: Duration::from_millis(lasts as u64) };
            self.add(at, broken);
            if lasts > GIVEN_UP_AFTER && at > 2_000 {
                self.leaves_unheard(from, to, at, at + lasts);
            }
            at += lasts + quiet + self.chance.below(4_000);
        }
    }

    /// While the way from one node to another is broken, somebody leaves the group in which all stay and joins it anew: that it
    /// left is given up, and that it joined comes behind what tells so.
    fn leaves_unheard(&mut self, from: usize, to: usize, begins: usize, ends: usize) {
        let group = vec![GROUPS[2]];
        let slot = |making: &mut Self, node| node + making.nodes * making.chance.below(CLIENTS);
        let (leaver, witness) = (slot(self, from), slot(self, to));
        let join = |slot| What::Ask { slot, act: Act::Join { groups: group.clone(), whom: Whom::Own } };
        let leave = || What::Ask { slot: leaver, act: Act::Leave { groups: group.clone(), whom: Whom::Own } };
        self.add(begins - 1_900, join(witness));
        // So that it comes when somebody hears it.
        self.add(begins - 1_500, leave());
        self.add(begins - 1_000, join(leaver));
        self.add(begins + 50, leave());
        self.add(ends - 1_000, join(leaver));
    }

    /// Kills nodes, one after the other.
    fn kills(&mut self) {
        let mut at = 2_000 + self.chance.below(5_000);
        while at < LASTS - 6_000 {
            let node = self.chance.below(self.nodes);
            self.add(at, What::Kill { node });
            at += self.chance.below(3_000);
            self.add(at, What::Declare { node });
            at += self.chance.below(2_000);
            self.add(at, What::Return { node });
            let back = at;
            for slot in (node..self.slots).step_by(self.nodes) {
                let at = back + 100 + self.chance.below(2_000);
                self.open(slot, at);
            }
            at += 1_000 + self.chance.below(6_000);
        }
    }
}
