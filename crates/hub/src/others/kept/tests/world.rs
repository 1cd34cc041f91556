//! What is kept of a node that does anything, some of which is lost.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What another node does, and what becomes of what it says.
#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    Depart(u8),
    /// A connection is gone there, and what tells of it comes behind what others say meanwhile.
    Go(u8),
    /// What tells of the first that is gone comes.
    Tell,
    /// What it says from here on is lost, or not any more.
    Lossy(bool),
    /// It answers who is there.
    Answer,
    /// The answer that was given first, and is not laid yet, comes.
    Lay,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..4).prop_map(Step::Join),
        3 => (0_u8..4).prop_map(Step::Leave),
        1 => (0_u8..4).prop_map(Step::Depart),
        1 => (0_u8..4).prop_map(Step::Go),
        1 => Just(Step::Tell),
        1 => any::<bool>().prop_map(Step::Lossy),
        2 => Just(Step::Answer),
        2 => Just(Step::Lay),
    ]
}

/// Another node and its members, and what those here were told of them.
struct World {
    kept: Kept,
    members: BTreeSet<ConnectionId>,
    /// All of them are jo's.
    connected: BTreeSet<ConnectionId>,
    /// Who is gone, of whom that is not told yet.
    untold_of: VecDeque<Departed>,
    /// How many of those an answer was given without already. Threads are not that slow that it is two.
    missing: usize,
    number: u64,
    lossy: bool,
    gap: Option<Gap>,
    answers: VecDeque<(Vec<Asked>, u64, Piece)>,
    surveyed: bool,
    /// Of each connection, whether it was last told as come.
    told: HashMap<ConnectionId, bool>,
    /// Whose coming was lost.
    untold: HashSet<ConnectionId>,
    /// Who was there before those here could be told.
    before: HashSet<ConnectionId>,
    /// Of whom it was told that they are unavailable.
    unavailable: HashSet<ConnectionId>,
}

impl World {
    fn new() -> Self {
        let mut kept = Kept::default();
        kept.hold(&interest());
        kept.hold(&observers());
        Self {
            kept,
            members: BTreeSet::new(),
            connected: (0..4).map(connection).collect(),
            untold_of: VecDeque::new(),
            missing: 0,
            number: 0,
            lossy: false,
            gap: None,
            answers: VecDeque::new(),
            surveyed: false,
            told: HashMap::new(),
            untold: HashSet::new(),
            before: HashSet::new(),
            unavailable: HashSet::new(),
        }
    }

    fn is_gone(&mut self, Going { departed, observed }: &Going) {
        if !departed.groups.is_empty() {
            self.went(departed.connection);
        }
        let is_first = !observed || self.unavailable.insert(departed.connection);
        assert!(is_first, "it was told twice that {} is unavailable", departed.connection);
    }

    fn came(&mut self, connection: ConnectionId) {
        let before = self.told.insert(connection, true);
        assert_ne!(before, Some(true), "it was told twice that {connection} came");
    }

    fn went(&mut self, connection: ConnectionId) {
        let before = self.told.insert(connection, false);
        assert!(before != Some(false) || self.untold.remove(&connection), "it was told twice that {connection} went");
    }

    /// It says something; whether that comes.
    fn says(&mut self) -> bool {
        self.number += 1;
        if self.lossy {
            let first = self.gap.as_ref().map_or(self.number, |gap| *gap.numbers.start());
            self.gap = Some(Gap { from: node(1), numbers: first..=self.number });
            return false;
        }
        self.hears_of_gap();
        true
    }

    fn hears_of_gap(&mut self) {
        if let Some(gap) = self.gap.take() {
            self.kept.missed(gap.from, *gap.numbers.end());
        }
    }

    fn joins(&mut self, one: ConnectionId) {
        if !self.connected.contains(&one) || !self.members.insert(one) {
            return;
        }
        if !self.says() {
            // Whoever asks now sees it untold, and is told when it goes.
            self.untold.insert(one);
        } else if self.kept.joined((node(1), self.number), interest(), &jo(), one) {
            self.came(one);
        }
    }

    fn leaves(&mut self, one: ConnectionId) {
        if self.members.remove(&one) && self.says() && self.kept.left((node(1), self.number), &interest(), one) {
            self.went(one);
        }
    }

    fn goes(&mut self, one: ConnectionId) {
        if self.connected.remove(&one) {
            let groups = if self.members.remove(&one) { vec![room()] } else { Vec::new() };
            self.untold_of.push_back(Departed { app_id: app(), endpoint: jo(), connection: one, groups });
        }
    }

    fn tells(&mut self) {
        let Some(departed) = self.untold_of.pop_front() else { return };
        self.missing = self.missing.saturating_sub(1);
        if self.says()
            && let Some(going) = self.kept.departed((node(1), self.number), departed, Instant::now())
        {
            self.is_gone(&going);
        }
    }

    fn departs(&mut self, one: ConnectionId) {
        while !self.untold_of.is_empty() {
            self.tells();
        }
        self.goes(one);
        self.tells();
    }

    fn answers(&mut self) {
        let (of_all, mut of_nodes) = wanted(&mut self.kept);
        let asked =
            [self.kept.unsurveyed(&[interest(), observers()]), of_all, of_nodes.remove(&node(1)).unwrap_or_default()];
        let Some(asked) = asked.into_iter().find(|asked| !asked.is_empty()) else { return };
        while self.missing > 0 {
            self.tells();
        }
        self.missing = self.untold_of.len();
        let of = |(of, asked): (u32, &Asked)| {
            let there = if asked.interest == interest() { &self.members } else { &self.connected };
            let present = |id: &ConnectionId| Present { of, endpoint: jo(), connection: *id, presence: None };
            there.iter().map(present).collect::<Vec<_>>()
        };
        let found = (0..).zip(&asked).flat_map(of).collect();
        // An answer stands among what is said, so a gap before it is told before it.
        let asked_at = self.kept.turn();
        self.hears_of_gap();
        self.answers.push_back((asked, asked_at, Piece { number: self.number, found }));
    }

    fn lays(&mut self) {
        let Some((asked, asked_at, piece)) = self.answers.pop_front() else { return };
        let members = asked.iter().position(|asked| asked.interest == interest()).unwrap_or(usize::MAX);
        let there = piece.found.iter().filter(|present| present.of as usize == members);
        let there: Vec<_> = there.map(|present| present.connection).collect();
        let news = self.kept.lay(&asked, asked_at, node(1), &[piece], Instant::now());
        for news in news {
            match news {
                News::Joined { connection, .. } => self.came(connection),
                News::Gone(going) => self.is_gone(&going),
                News::Said { .. } => panic!("nothing is said"),
            }
        }
        if !self.surveyed {
            self.surveyed = true;
            self.before.extend(there);
            self.kept.surveyed(&asked, &[]);
        }
    }

    /// Nothing is lost any more, all is told, and whoever is doubted has answered.
    fn comes_to_rest(&mut self) {
        self.lossy = false;
        while !self.untold_of.is_empty() {
            self.tells();
        }
        self.hears_of_gap();
        while !self.answers.is_empty() {
            self.lays();
        }
        self.answers();
        self.lays();
        let (of_all, of_nodes) = wanted(&mut self.kept);
        assert!(self.surveyed && of_all.is_empty() && of_nodes.is_empty(), "nothing is left to be asked");
    }
}

proptest! {
    /// Whatever is lost, and whenever answers come: who is there is known in the end, and nobody was told as come or gone
    /// twice in a row.
    #[test]
    fn what_is_kept_comes_to_what_is_and_tells_each_change_once(
        before in 0_usize..10,
        steps in vec(step(), 0..80),
    ) {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
            let mut world = World::new();
            for (nth, step) in steps.into_iter().enumerate() {
                if nth == before {
                    world.answers();
                }
                match step {
                    Step::Join(one) => world.joins(connection(one)),
                    Step::Leave(one) => world.leaves(connection(one)),
                    Step::Depart(one) => world.departs(connection(one)),
                    Step::Go(one) => world.goes(connection(one)),
                    Step::Tell => world.tells(),
                    Step::Lossy(lossy) => world.lossy = lossy,
                    Step::Answer => world.answers(),
                    Step::Lay => world.lays(),
                }
            }
            world.comes_to_rest();
            for one in (0..4).map(connection) {
                let is_member = world.members.contains(&one);
                assert_eq!(world.kept.is_there(&interest(), one), is_member, "{one}");
                match world.told.get(&one) {
                    Some(told) => assert_eq!(*told, is_member, "what was told last of {one}"),
                    None => assert!(!is_member || world.before.contains(&one), "{one} came untold"),
                }
                let is_connected = world.connected.contains(&one);
                assert_eq!(world.kept.is_there(&observers(), one), is_connected, "{one}");
                assert!(!is_connected || !world.unavailable.contains(&one), "{one} is there");
            }
            assert_eq!(world.kept.count(&interest()), Some(Count { known: world.members.len(), unheard: 0 }));
            // The loss of the node tells of those and no others, and nothing is left of it.
            world.kept.lost(node(1), 0);
            let gone = std::iter::from_fn(|| world.kept.take_leave(1, Instant::now())).flat_map(|(_, going)| going);
            let gone: BTreeSet<_> = gone.map(|going| going.departed.connection).collect();
            assert_eq!(gone, world.connected);
            assert!(world.kept.there.is_empty() && world.kept.held.get_mut(&interest()).unwrap().entries.is_empty());
            world.kept.release(&interest());
            world.kept.release(&observers());
            assert!(world.kept.held.behind(None).next().is_none() && world.kept.of_nodes.is_empty());
        });
    }
}
