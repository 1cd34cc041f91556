//! Asking the others who is there: of what is new here, and anew of what a node may have told in vain.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use respoke_core::event::Content;
use respoke_core::id::{ConnectionId, EndpointId, GroupName, RequestId};
use respoke_core::ports::{Answer, Answers, Departed, Given, Interest, Node, Question, Whom};
use tokio::time::{Instant, timeout_at};

use super::Others;
use super::kept::{Asked, Going, News, Piece, Wanted};
use super::untold::Found;
use crate::fanout;
use crate::hub::Hub;
use crate::registry::Connection;

/// Things that are asked about at once: some twenty kilobytes of names.
const ASKED_MAX: usize = 256;
/// Things that are looked at in one go for what is to be asked of them: a millisecond's work, for which what is kept is
/// locked.
const LOOKED_AT_MAX: usize = 4_096;
/// How long a repair waits for an answer.
const REPAIR_WITHIN: Duration = Duration::from_secs(1);
/// How long it waits for answers of all once one of them is silent: it will be asked by itself, and holds up nobody else.
const BESIDE_A_SILENT_ONE_WITHIN: Duration = Duration::from_millis(100);
/// Between two attempts to repair what a node did not answer to.
const REPAIR_EVERY: Duration = Duration::from_secs(1);
/// Nodes that are asked beside one another: what each answers is kept until it is whole.
const ASKED_AT_ONCE: usize = 8;

/// How long answers are waited for.
#[derive(Clone, Copy)]
enum Patience {
    /// Until then, for all that is to be asked.
    Until(Instant),
    /// So long for each question: who goes on answering may have much to say.
    Each(Duration),
}

impl Patience {
    fn left(self) -> Duration {
        match self {
            Self::Until(until) => until.saturating_duration_since(Instant::now()),
            Self::Each(within) => within,
        }
    }
}

/// Who answered what, and who did not answer to the end.
struct Snapshot {
    answered: Vec<(Node, Vec<Piece>)>,
    silent: Vec<Node>,
}

impl Others {
    /// The others are to be asked by and by who is there.
    pub(crate) fn survey_later(&self, interest: &Interest) {
        let mut kept = self.kept.lock();
        let asked = kept.unsurveyed(std::slice::from_ref(interest));
        kept.want(&asked);
        drop(kept);
        if !asked.is_empty() {
            self.wanted.notify_one();
        }
    }

    /// These nodes heard too late of what is held here.
    pub(crate) fn late(&self, interest: &Interest, nodes: &[Node]) {
        self.kept.lock().late(interest, nodes);
        self.wanted.notify_one();
    }

    /// Asks, and lays what was answered beneath what came since. What those here are to be told of it is among what is
    /// untold then. Who is to be asked again.
    async fn ask_and_lay(
        &self,
        whom: Whom,
        asked: &[Asked],
        patience: Patience,
        moment: impl Fn() -> u64,
    ) -> Vec<Node> {
        let asked_at = self.kept.lock().turn();
        let Snapshot { answered, silent } = self.snapshot(whom, asked, patience).await;
        // Locked before it is looked at what came since: what comes from here on is told behind this.
        let mut untold = self.untold.lock();
        let (mut kept, now) = (self.kept.lock(), Instant::now());
        let at = moment();
        for (node, pieces) in answered {
            for news in kept.lay(asked, asked_at, node, &pieces, now) {
                untold.add(Found { news, at });
            }
        }
        if whom == Whom::Others {
            kept.surveyed(asked, &silent);
        }
        if kept.take_early() {
            self.wanted.notify_one();
        }
        silent
    }

    /// What is to be asked, but not of those who rest.
    async fn wanted(&self, resting: &BTreeMap<Node, Instant>) -> Wanted {
        let (mut all, mut behind) = (Wanted::default(), None);
        loop {
            let (wanted, last) =
                self.kept.lock().wanted(behind.as_ref(), LOOKED_AT_MAX, |node| resting.contains_key(&node));
            all.add(wanted);
            if last.is_none() {
                return all;
            }
            behind = last;
            // Whoever waits for what is kept has its turn.
            tokio::task::yield_now().await;
        }
    }

    async fn snapshot(&self, whom: Whom, asked: &[Asked], patience: Patience) -> Snapshot {
        let question = |after| {
            let of = asked.iter().map(|asked| asked.interest.clone()).collect();
            Question::Snapshot { of, after }
        };
        let Answers { given, mut silent } = self.bus.ask(whom, question(None), patience.left()).await;
        let mut answered = Vec::new();
        for first in given {
            let node = first.node;
            let (mut pieces, mut after, mut next) = (Vec::new(), None, Some(first));
            let whole = loop {
                let Some(Given { number, answer: Answer::Snapshot { found, more }, .. }) = next.take() else {
                    break false;
                };
                let last = found.last().map(|present| (present.of, present.connection));
                pieces.push(Piece { number, found });
                if !more {
                    break true;
                }
                // Each piece goes on behind the one before, or it would have no end.
                if last <= after {
                    break false;
                }
                after = last;
                next = self.bus.ask(Whom::One(node), question(after), patience.left()).await.given.pop();
            };
            if whole {
                answered.push((node, pieces));
            } else {
                silent.push(node);
            }
        }
        Snapshot { answered, silent }
    }
}

/// What somebody asks about, as long as that is not done: whoever stops asking, or telling what came of it, leaves it to the
/// repairs.
struct Asking<'a> {
    others: &'a Others,
    asked: &'a [Asked],
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.others.kept.lock().want(self.asked);
        }
        if !self.answered {
            self.others.wanted.notify_one();
        }
        if !self.others.untold.lock().is_empty() {
            self.others.found.notify_one();
        }
    }
}

impl Hub {
    /// Asks the others who is there, where that was not asked yet. Who does not answer until then is asked again later.
    pub(crate) async fn survey(&self, others: &Others, interests: &[Interest], until: Instant) {
        let asked = others.kept.lock().unsurveyed(interests);
        for asked in asked.chunks(ASKED_MAX) {
            let mut asking = Asking { others, asked, answered: false };
            let moment = || self.local.registry.moment();
            let silent = others.ask_and_lay(Whom::Others, asked, Patience::Until(until), moment).await;
            asking.answered = silent.is_empty();
            self.tell_untold(others).await;
        }
    }

    /// Does what is to be done because of other nodes, and need not be done at once. Never ends.
    pub async fn keep_up(&self) {
        let Some(others) = &self.others else { return std::future::pending().await };
        tokio::join!(self.tell_by_and_by(others), self.repair(others), self.run_errands(others));
    }

    /// Tells what was found out, and that something is lost, whoever is slow to answer meanwhile. Never ends.
    async fn tell_by_and_by(&self, others: &Others) {
        loop {
            others.found.notified().await;
            if others.missed.swap(false, Ordering::AcqRel) {
                self.tell_missed().await;
            }
            self.tell_untold(others).await;
        }
    }

    /// Asks by and by what could not be asked at once, and anew what a node told in vain. Never ends.
    ///
    /// What is to be asked is looked for only when something may be, for that takes as long as there is much of it.
    async fn repair(&self, others: &Others) {
        // Who did not answer, and until when it is left alone.
        let mut resting = BTreeMap::<Node, Instant>::new();
        // Whether somebody answered who does not know yet what for.
        let mut early = false;
        loop {
            let early_at = early.then(|| Instant::now() + REPAIR_EVERY);
            if let Some(until) = resting.values().copied().chain(early_at).min() {
                // Then it is time to ask again.
                let _ = timeout_at(until, others.wanted.notified()).await;
            } else {
                others.wanted.notified().await;
            }
            let now = Instant::now();
            resting.retain(|_, until| *until > now);
            let Wanted { of_all, of_nodes, early: is_early } = others.wanted(&resting).await;
            early = is_early;
            let of_all = Some(of_all).filter(|of_all| !of_all.is_empty());
            let of_nodes = of_nodes.into_iter().map(|(node, asked)| (Whom::One(node), asked, REPAIR_WITHIN));
            let within = if resting.is_empty() { REPAIR_WITHIN } else { BESIDE_A_SILENT_ONE_WITHIN };
            let repairs = of_all.map(|asked| (Whom::Others, asked, within)).into_iter().chain(of_nodes);
            let repairs = repairs.map(|(whom, asked, within)| Box::pin(self.ask_anew(others, whom, asked, within)));
            let silent = side_by_side(repairs).await;
            let again_at = Instant::now() + REPAIR_EVERY;
            resting.extend(silent.into_iter().flatten().map(|node| (node, again_at)));
        }
    }

    /// Asks about some things, and waits so long for each answer. Who is to be asked again.
    async fn ask_anew(&self, others: &Others, whom: Whom, asked: Vec<Asked>, mut within: Duration) -> Vec<Node> {
        let mut all_silent = Vec::new();
        for asked in asked.chunks(ASKED_MAX) {
            let moment = || self.local.registry.moment();
            let silent = others.ask_and_lay(whom, asked, Patience::Each(within), moment).await;
            self.tell_untold(others).await;
            if !silent.is_empty() {
                within = BESIDE_A_SILENT_ONE_WITHIN;
                all_silent.extend(silent);
                if let Whom::One(_) = whom {
                    break;
                }
            }
        }
        all_silent
    }

    /// Tells what was found out and is not told yet.
    async fn tell_untold(&self, others: &Others) {
        let mut nth = 0;
        while self.tell_next(others) {
            fanout::let_others_write(nth).await;
            nth += 1;
        }
    }

    /// False: there is nothing.
    fn tell_next(&self, others: &Others) -> bool {
        // Told under the lock, so that nobody tells what is newer meanwhile.
        let mut untold = others.untold.lock();
        let next = untold.next();
        next.map(|found| self.tell_found(found)).is_some()
    }

    /// Tells what was found out of a connection of another node, before what is newer is told of it.
    pub(crate) fn tell_untold_of(&self, connection: ConnectionId) {
        let Some(others) = &self.others else { return };
        let mut untold = others.untold.lock();
        for found in untold.take_of(connection) {
            self.tell_found(found);
        }
    }

    /// Tells that a connection of another node left with this group when it ended, or with any, before what is newer is told
    /// of it.
    pub(crate) fn tell_ended_of(&self, connection: ConnectionId, group: Option<&GroupName>) {
        let Some(others) = &self.others else { return };
        let mut untold = others.untold.lock();
        for found in untold.take_ended(connection, group) {
            self.tell_found(found);
        }
    }

    fn tell_found(&self, Found { news, at }: Found) {
        let registry = &self.local.registry;
        match news {
            News::Joined { app_id, group, endpoint, connection } => {
                let members = registry.members_before(app_id, &group, at);
                let content = Content::Joined { group, endpoint: endpoint.clone(), connection };
                let joined = self.event(&endpoint, Some(connection), RequestId::new(self.broker.chance()), content);
                fanout::offer(self, members.iter(), None, &joined);
            }
            News::Said { app_id, endpoint, connection, presence } => {
                let observers = registry.observers(app_id, &endpoint);
                let said = self.event(
                    &endpoint,
                    Some(connection),
                    RequestId::new(self.broker.chance()),
                    Content::Presence(presence),
                );
                fanout::offer(self, observers.iter(), None, &said);
            }
            News::Gone(going) if going.observed => self.tell_later(super::departure(going, at)),
            // It may join again, so this cannot be told later.
            News::Gone(Going { departed: Departed { app_id, endpoint, connection, groups }, observed: _ }) => {
                for group in groups {
                    let members = registry.members_before(app_id, &group, at);
                    let content = Content::Left { group, endpoint: endpoint.clone(), connection };
                    let left = self.event(&endpoint, Some(connection), RequestId::new(self.broker.chance()), content);
                    fanout::offer(self, members.iter(), None, &left);
                }
            }
        }
    }

    /// Tells everybody here that something is lost that may have been for them.
    pub(super) async fn tell_missed(&self) {
        for (nth, connection) in self.local.registry.everybody().iter().enumerate() {
            fanout::let_others_write(nth).await;
            self.offer_missed(std::iter::once(connection));
        }
    }

    /// Tells connections that something is lost that may have been for them.
    pub(super) fn offer_missed<'a>(&self, connections: impl Iterator<Item = &'a Arc<Connection>>) {
        let Ok(system) = EndpointId::parse(EndpointId::SYSTEM) else { return };
        let missed = self.event(&system, None, RequestId::new(self.broker.chance()), Content::Missed);
        fanout::offer(self, connections, None, &missed);
    }
}

/// Does all of these, some at once. What came of each, in the order in which they were done.
async fn side_by_side<F: Future + Unpin>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let (mut to_begin, mut begun, mut done) = (all.fuse(), Vec::new(), Vec::new());
    poll_fn(|context| {
        loop {
            let free = ASKED_AT_ONCE - begun.len();
            begun.extend(to_begin.by_ref().take(free));
            let before = done.len();
            begun.retain_mut(|one| match Pin::new(one).poll(context) {
                Poll::Ready(output) => {
                    done.push(output);
                    false
                }
                Poll::Pending => true,
            });
            // Where one is done, others begin in its place.
            if done.len() == before {
                return if begun.is_empty() { Poll::Ready(std::mem::take(&mut done)) } else { Poll::Pending };
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use respoke_core::id::AppId;
    use respoke_core::ports::{Bus, Confirmation, Delivery, Gap, Incarnation, NodeId};
    use tokio::sync::Notify;

    use super::*;
    use crate::others::Count;

    /// A bus to one node, which has nobody and takes a while to say so of one thing.
    struct Slow {
        slow: Interest,
        answers: Arc<Notify>,
    }

    fn node(id: u32) -> Node {
        Node { id: NodeId(id), incarnation: Incarnation(1) }
    }

    #[async_trait]
    impl Bus for Slow {
        fn node(&self) -> Node {
            node(1)
        }

        fn publish(&self, _: Delivery) {}

        fn hold(&self, _: &Interest) -> Confirmation {
            Confirmation::DONE
        }

        fn release(&self, _: &Interest) {}

        async fn ask(&self, _: Whom, question: Question, _: Duration) -> Answers {
            let Question::Snapshot { of, .. } = question else { panic!("{question:?}") };
            if of.contains(&self.slow) {
                self.answers.notified().await;
            }
            let answer = Answer::Snapshot { found: Vec::new(), more: false };
            Answers { given: vec![Given { node: node(2), number: 9, answer }], silent: Vec::new() }
        }
    }

    #[tokio::test]
    async fn what_is_lost_meanwhile_of_something_else_makes_nobody_unheard_who_answered() {
        let [slow, quick] = ["slow", "quick"].map(|name| GroupName::parse(name).unwrap());
        let app = AppId::random();
        let of = |group: &GroupName| Interest::Group(app, group.clone());
        let answers = Arc::new(Notify::new());
        let bus: Arc<dyn Bus> = Arc::new(Slow { slow: of(&slow), answers: answers.clone() });
        let others = Others::beside(&bus).unwrap();
        let ask = async |group: &GroupName| {
            others.hold(&of(group));
            let asked = others.kept.lock().unsurveyed(&[of(group)]);
            others.ask_and_lay(Whom::Others, &asked, Patience::Each(REPAIR_WITHIN), || 0).await
        };
        let meanwhile = async {
            ask(&quick).await;
            others.missed(&Gap { from: node(2), numbers: 7..=8 });
            answers.notify_one();
        };
        let (silent, ()) = tokio::join!(ask(&slow), meanwhile);
        assert!(silent.is_empty(), "{silent:?}");
        assert_eq!(others.members_known(app, &slow), Some(Count { known: 0, unheard: 0 }));
    }
}
