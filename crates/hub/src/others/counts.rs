//! How many connections others have. They are asked, once for all who want to know at a time, and the answer is remembered
//! for a while.
//!
//! A number says what something costs, or whether a limit is reached. Nobody waits long for it: a node that does not answer
//! counts as it did last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use respoke_core::id::AppId;
use respoke_core::ports::{Answer, Answers, Given, Holder, Node, Question, Whom};
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use super::{ANSWER_WITHIN, Count, Others};

/// How long a count is waited for, besides the time that a question and its answer are on their way: what is asked for waits
/// as long, and a node that is well takes milliseconds.
const COUNT_WITHIN: Duration = Duration::from_millis(100);
/// How long a count is good enough to charge by.
const COUNT_KEPT_FOR: Duration = Duration::from_secs(1);
/// Counts that are kept: so many of those that were asked for last, and twice as many at most. Some megabytes.
const COUNTS_MAX: usize = 8_192;

/// Counts that are asked for once more because somebody did not answer in time. Whoever wants to know one of those beyond
/// asks for it anew.
const AGAIN_MAX: usize = 64;
/// How many of them at once: of a node that is silent each takes a second.
const AGAIN_AT_ONCE: usize = 8;

type Key = (AppId, Holder);

/// What is known of how many others have.
#[derive(Debug, Default)]
pub(super) struct Counts {
    kept: Mutex<Kept>,
    /// What is being asked, and who waits for it.
    asking: Mutex<HashMap<Key, Arc<OnceCell<Count>>>>,
    /// What not everybody answered in time, and who did not.
    again: Mutex<Vec<(Key, Vec<Node>)>>,
    /// There is something of that.
    late: Notify,
}

/// What was answered last. The older half goes when there is too much of it.
#[derive(Debug, Default)]
struct Kept {
    young: HashMap<Key, Last>,
    old: HashMap<Key, Last>,
}

#[derive(Debug)]
struct Last {
    /// When all were asked and had their time. Who answers later makes it no younger, for it was asked alone.
    at: Instant,
    count: Count,
    /// What each node has, as far as that is known.
    of: Vec<Told>,
    /// Who did not answer then.
    silent: Vec<Node>,
}

/// What a node said that it has.
#[derive(Clone, Copy, Debug)]
struct Told {
    by: Node,
    /// When it was asked. Answers may come in another order than that.
    asked_at: Instant,
    count: usize,
}

impl Told {
    fn new(by: Node, asked_at: Instant, count: u64) -> Self {
        Self { by, asked_at, count: usize::try_from(count).unwrap_or(usize::MAX) }
    }
}

impl Last {
    fn new(of: Vec<Told>, silent: Vec<Node>) -> Self {
        let mut last = Self { at: Instant::now(), count: Count { known: 0, unheard: 0 }, of, silent };
        last.sum_up();
        last
    }

    /// Takes what a node said, unless it has answered a younger question, or was gone when all were asked.
    fn take(&mut self, told: Told) {
        match self.of.iter_mut().find(|known| known.by == told.by) {
            Some(known) if known.asked_at < told.asked_at => *known = told,
            None if self.silent.contains(&told.by) => self.of.push(told),
            Some(_) | None => return,
        }
        self.sum_up();
    }

    fn sum_up(&mut self) {
        let known = self.of.iter().fold(0_usize, |sum, told| sum.saturating_add(told.count));
        let is_unheard = |silent: &&Node| !self.of.iter().any(|told| told.by == **silent);
        self.count = Count { known, unheard: self.silent.iter().filter(is_unheard).count() };
    }
}

impl Counts {
    /// What was counted a moment ago, with what a node had that is lost since.
    fn recent(&self, key: &Key) -> Option<Count> {
        let kept = self.kept.lock();
        let last = kept.young.get(key).or_else(|| kept.old.get(key))?;
        (last.at.elapsed() < COUNT_KEPT_FOR).then_some(last.count)
    }

    /// Takes what all answered who were asked then.
    fn take(&self, key: &Key, asked_at: Instant, answers: Answers) -> Count {
        let Answers { given, mut silent } = answers;
        let mut of = Vec::with_capacity(given.len());
        for Given { node, answer, .. } in given {
            match answer {
                Answer::Count(count) => of.push(Told::new(node, asked_at, count)),
                _ => silent.push(node),
            }
        }
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        let mut last = Last::new(of, silent);
        let before = kept.young.get(key).or_else(|| kept.old.get(key)).map_or(&[][..], |last| &last.of);
        for told in before {
            last.take(*told);
        }
        let count = last.count;
        if kept.young.len() >= COUNTS_MAX && !kept.young.contains_key(key) {
            kept.old = std::mem::take(&mut kept.young);
        }
        kept.young.insert(key.clone(), last);
        count
    }

    /// Takes what a node answered that was asked alone.
    fn take_late(&self, key: &Key, told: Told) {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        if let Some(last) = kept.young.get_mut(key).or_else(|| kept.old.get_mut(key)) {
            last.take(told);
        }
    }

    /// Has those who did not answer asked once more, with more time: nobody waits for that, and who is only slow is not taken
    /// for one of whom nothing is known.
    fn ask_again(&self, key: &Key, silent: &[Node]) {
        let mut again = self.again.lock();
        if let Some((_, nodes)) = again.iter_mut().find(|(asked, _)| asked == key) {
            let more = silent.iter().filter(|node| !nodes.contains(node)).copied().collect::<Vec<_>>();
            nodes.extend(more);
        } else if again.len() < AGAIN_MAX {
            again.push((key.clone(), silent.to_vec()));
            self.late.notify_one();
        }
    }

    /// Asks along with whoever is asking the same.
    fn ask(&self, key: Key) -> Asking<'_> {
        let answered = self.asking.lock().entry(key.clone()).or_default().clone();
        Asking { counts: self, key, answered: Some(answered) }
    }
}

/// A question for as long as somebody waits for what is answered.
struct Asking<'a> {
    counts: &'a Counts,
    key: Key,
    answered: Option<Arc<OnceCell<Count>>>,
}

impl Drop for Asking<'_> {
    /// With the answer, or the last who waits for it, the question is over.
    fn drop(&mut self) {
        let mut asking = self.counts.asking.lock();
        let Some(answered) = self.answered.take() else { return };
        if let Entry::Occupied(entry) = asking.entry(self.key.clone())
            && Arc::ptr_eq(entry.get(), &answered)
            && (answered.initialized() || Arc::strong_count(&answered) == 2)
        {
            entry.remove();
        }
    }
}

impl Others {
    /// How many connections others have now.
    pub(crate) async fn count_now(&self, app_id: AppId, of: Holder) -> Count {
        let asking = self.counts.ask((app_id, of));
        let ask = || async {
            let question = Question::Count { app_id, of: asking.key.1.clone() };
            let asked_at = Instant::now();
            let answers = self.bus.ask(Whom::Others, question, self.and_the_way(COUNT_WITHIN)).await;
            let silent = answers.silent.clone();
            let count = self.counts.take(&asking.key, asked_at, answers);
            // Not before that: what they answer now is for those who are known to be silent.
            if !silent.is_empty() {
                self.counts.ask_again(&asking.key, &silent);
            }
            count
        };
        match &asking.answered {
            // Whoever asks for all may stop; then the next goes on.
            Some(answered) => *answered.get_or_init(ask).await,
            None => ask().await,
        }
    }

    /// Asks those once more who did not answer in time. Never ends.
    pub(super) async fn count_again(&self) {
        loop {
            self.counts.late.notified().await;
            let again = std::mem::take(&mut *self.counts.again.lock());
            let ask = async |(key, silent): (Key, Vec<Node>)| {
                let ask_one = async |node| {
                    let question = Question::Count { app_id: key.0, of: key.1.clone() };
                    let asked_at = Instant::now();
                    let answers = self.bus.ask(Whom::One(node), question, ANSWER_WITHIN).await;
                    if let Some(Given { answer: Answer::Count(count), .. }) = answers.given.first() {
                        self.counts.take_late(&key, Told::new(node, asked_at, *count));
                    }
                };
                join_all(silent.into_iter().map(ask_one)).await;
            };
            futures_util::stream::iter(again).for_each_concurrent(AGAIN_AT_ONCE, ask).await;
        }
    }

    /// About how many that are, to charge for what they receive: as it was a second ago at most, where it is not known here.
    pub(crate) async fn count(&self, app_id: AppId, of: Holder) -> usize {
        self.count_lately(app_id, of).await.known
    }

    /// The same, and how many nodes have never said how many they have.
    pub(crate) async fn count_lately(&self, app_id: AppId, of: Holder) -> Count {
        if let Some(known) = self.count_known(app_id, &of) {
            return known;
        }
        let key = (app_id, of);
        match self.counts.recent(&key) {
            Some(count) => count,
            None => self.count_now(key.0, key.1).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};

    use respoke_core::id::GroupName;
    use respoke_core::ports::Bus;

    use super::*;
    use crate::stub_bus::{StubBus, node};

    /// How long a node takes that is well.
    const WELL: Duration = Duration::from_millis(3);

    /// Nodes that have so many, and answer or not.
    #[derive(Default)]
    struct Nodes {
        have: Mutex<Vec<(Node, Option<u64>)>>,
        /// How long they take longer than those that are well.
        slower: Mutex<Duration>,
        asked: Mutex<Vec<Whom>>,
    }

    impl Nodes {
        async fn ask(self: Arc<Self>, whom: Whom, deadline: Duration) -> Answers {
            self.asked.lock().push(whom);
            let takes = WELL + *self.slower.lock();
            let mut have = self.have.lock().clone();
            have.retain(|(node, _)| whom == Whom::Others || whom == Whom::One(*node));
            if takes > deadline {
                for (_, count) in &mut have {
                    *count = None;
                }
            }
            let all_well = have.iter().all(|(_, count)| count.is_some());
            tokio::time::sleep(if all_well { takes } else { deadline }).await;
            let mut answers = Answers::default();
            for (node, count) in have {
                match count {
                    Some(count) => answers.given.push(Given { node, number: 0, answer: Answer::Count(count) }),
                    None => answers.silent.push(node),
                }
            }
            answers
        }
    }

    fn beside(have: &[Option<u64>]) -> (Arc<Nodes>, Others) {
        let nodes = Arc::new(Nodes::default());
        have_now(&nodes, have);
        let asked = nodes.clone();
        let ask = move |whom, _, deadline| asked.clone().ask(whom, deadline);
        let bus: Arc<dyn Bus> = Arc::new(StubBus { other_nodes: Vec::new(), wanted_elsewhere: true, ask });
        (nodes, Others::beside(&bus).unwrap())
    }

    fn have_now(nodes: &Nodes, have: &[Option<u64>]) {
        *nodes.have.lock() = (2..).map(node).zip(have.iter().copied()).collect();
    }

    fn count(known: usize, unheard: usize) -> Count {
        Count { known, unheard }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_answer_counts_as_it_did_last_and_holds_nobody_up() {
        let (nodes, others) = beside(&[Some(5), Some(7)]);
        let app = AppId::random();
        assert_eq!(others.count_now(app, Holder::App).await, count(12, 0));
        have_now(&nodes, &[Some(6), None, None]);
        let start = Instant::now();
        assert_eq!(others.count_now(app, Holder::App).await, count(13, 1));
        assert_eq!(start.elapsed(), COUNT_WITHIN);
        // What a node had that is gone is not there any more.
        have_now(&nodes, &[Some(6)]);
        assert_eq!(others.count_now(app, Holder::App).await, count(6, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_slow_node_answers_is_taken_when_it_comes() {
        let (nodes, others) = beside(&[Some(5), Some(7)]);
        let app = AppId::random();
        *nodes.slower.lock() = 2 * COUNT_WITHIN;
        let looking = async {
            assert_eq!(others.count_now(app, Holder::App).await, count(0, 2));
            tokio::time::sleep(3 * COUNT_WITHIN).await;
            assert_eq!(others.counts.recent(&(app, Holder::App)), Some(count(12, 0)));
            assert_eq!(nodes.asked.lock().len(), 3, "all, and each of them");
            // It is charged, and they are not taken for silent.
            assert_eq!(others.count_now(app, Holder::App).await, count(12, 0));
            // So much is asked for again, and once each.
            let of = |nth: usize| Holder::Group(GroupName::parse(&format!("group {}", nth % 100)).unwrap());
            for nth in 0..200 {
                others.counts.ask_again(&(app, of(nth)), &[node(2)]);
            }
            assert_eq!(others.counts.again.lock().len(), AGAIN_MAX);
        };
        tokio::select! {
            () = looking => {}
            () = others.count_again() => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_answered_is_not_asked_again_and_what_it_answers_since_stands() {
        let (nodes, others) = beside(&[Some(5), None]);
        let app = AppId::random();
        let looking = async {
            assert_eq!(others.count_now(app, Holder::App).await, count(5, 1));
            // The silent one is asked again, and takes its time.
            nodes.asked.lock().clear();
            have_now(&nodes, &[Some(6), Some(7)]);
            *nodes.slower.lock() = 2 * COUNT_WITHIN;
            tokio::time::sleep(COUNT_WITHIN).await;
            assert_eq!(*nodes.asked.lock(), [Whom::One(node(3))]);
            // Meanwhile both are counted anew.
            have_now(&nodes, &[Some(8), Some(9)]);
            *nodes.slower.lock() = Duration::ZERO;
            assert_eq!(others.count_now(app, Holder::App).await, count(17, 0));
            tokio::time::sleep(3 * COUNT_WITHIN).await;
            assert_eq!(others.counts.recent(&(app, Holder::App)), Some(count(17, 0)));
        };
        tokio::select! {
            () = looking => {}
            () = others.count_again() => {}
        }
    }

    /// Answers of one node may come in another order than it was asked.
    #[tokio::test(start_paused = true)]
    async fn of_what_a_node_answers_the_younger_question_counts_whichever_answer_comes_first() {
        let (counts, key) = (Counts::default(), (AppId::random(), Holder::App));
        let (start, one) = (Instant::now(), node(2));
        let asked = |nth: u64| start + Duration::from_millis(nth);
        let all = |nth, count: Option<u64>| {
            let given = count.map(|count| Given { node: one, number: 0, answer: Answer::Count(count) });
            let silent = if given.is_none() { vec![one] } else { Vec::new() };
            counts.take(&key, asked(nth), Answers { given: given.into_iter().collect(), silent })
        };
        let late = |nth, had| {
            counts.take_late(&key, Told::new(one, asked(nth), had));
            counts.recent(&key).unwrap()
        };
        assert_eq!(all(1, None), count(0, 1));
        assert_eq!(all(3, Some(30)), count(30, 0));
        assert_eq!(all(4, None), count(30, 0));
        assert_eq!(late(2, 20), count(30, 0), "it was asked before");
        assert_eq!(late(5, 50), count(50, 0));
        assert_eq!(late(7, 70), count(70, 0), "it has answered late once already");
        assert_eq!(late(6, 60), count(70, 0));
        // Whoever is asked alone may answer before all are through that were asked earlier.
        assert_eq!(all(6, Some(60)), count(70, 0));
        assert_eq!(all(8, Some(80)), count(80, 0));
        counts.take(&key, asked(9), Answers::default());
        assert_eq!(late(9, 90), count(0, 0), "it is gone");
    }

    /// Looks at what is counted when it is woken.
    struct Looking {
        others: Others,
        key: Key,
        found: Mutex<Option<Count>>,
    }

    impl Wake for Looking {
        fn wake(self: Arc<Self>) {
            *self.found.lock() = self.others.counts.recent(&self.key);
        }
    }

    /// Or what it answers at once is taken for the answer of one who was not asked.
    #[tokio::test(start_paused = true)]
    async fn whoever_is_asked_again_is_known_to_be_silent_by_then() {
        let (_, others) = beside(&[Some(5), None]);
        let looking = Arc::new(Looking { others, key: (AppId::random(), Holder::App), found: Mutex::default() });
        let waker = Waker::from(looking.clone());
        let mut late = pin!(looking.others.counts.late.notified());
        assert!(late.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        looking.others.count_now(looking.key.0, Holder::App).await;
        assert_eq!(*looking.found.lock(), Some(count(5, 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_to_know_the_same_at_a_time_asks_once() {
        let (nodes, others) = beside(&[Some(5)]);
        let app = AppId::random();
        let asked = || std::mem::take(&mut *nodes.asked.lock()).len();
        let ask = || others.count_now(app, Holder::App);
        // The one who asks for all stops waiting, and another goes on.
        let first = async { tokio::time::timeout(Duration::from_millis(1), ask()).await.is_err() };
        let (stopped, second, third) = tokio::join!(first, ask(), others.count(app, Holder::App));
        assert_eq!((stopped, second, third, asked()), (true, count(5, 0), 5, 2));
        assert_eq!(others.count(app, Holder::App).await, 5, "it is known");
        assert_eq!(asked(), 0);
        ask().await;
        assert_eq!(asked(), 1, "it is asked how many there are by now");
        tokio::time::advance(COUNT_KEPT_FOR).await;
        others.count(app, Holder::App).await;
        assert_eq!(asked(), 1);
        assert!(tokio::time::timeout(Duration::from_millis(1), ask()).await.is_err());
        assert!(others.counts.asking.lock().is_empty(), "nobody waits");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_were_counted_last_are_kept() {
        let (nodes, others) = beside(&[Some(1)]);
        let app = AppId::random();
        let group = |nth: usize| Holder::Group(GroupName::parse(&format!("group {nth}")).unwrap());
        for nth in 0..3 * COUNTS_MAX {
            let answer = Answer::Count(1);
            let given = vec![Given { node: node(2), number: 0, answer }];
            others.counts.take(&(app, group(nth)), Instant::now(), Answers { given, silent: Vec::new() });
            let kept = others.counts.kept.lock();
            assert!(kept.young.len() <= COUNTS_MAX && kept.old.len() <= COUNTS_MAX);
        }
        have_now(&nodes, &[None]);
        for nth in 2 * COUNTS_MAX..3 * COUNTS_MAX {
            assert_eq!(others.counts.recent(&(app, group(nth))), Some(count(1, 0)));
        }
        assert_eq!(others.count_now(app, group(3 * COUNTS_MAX - 1)).await, count(1, 0));
        assert_eq!(others.count_now(app, group(0)).await, count(0, 1));
    }
}
