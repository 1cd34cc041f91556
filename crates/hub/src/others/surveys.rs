//! The others are asked who is there: when something here is new, and again when a node may have told something in vain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered};
use respoke_core::event::Content;
use respoke_core::id::{ConnectionId, EndpointId, GroupName, RequestId};
use respoke_core::ports::{Answer, Departed, Given, Interest, Node, Question, Whom};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Others;
use super::kept::{Answered, Asked, Going, News, Portion};
use super::untold::Found;
use crate::fanout;
use crate::hub::Hub;
use crate::registry::Connection;

/// Things that are asked about at once: some twenty kilobytes of names.
const ASKED_MAX: usize = 256;
/// So often that many, beside one another, when somebody waits for it: more than a connection is in or observes by default.
const SURVEYED_AT_ONCE: usize = 8;
/// Things, and entries of things, that are looked at in one go for what is to be asked: a millisecond's work, for which what
/// is kept is locked.
const LOOKED_AT_MAX: usize = 4_096;
/// Connections that are looked at in one go when answers are laid, but for those of one node in one thing: some milliseconds'
/// work, for which what is kept is locked.
const LAID_AT_ONCE: usize = 1_000;
/// How long a repair waits for an answer.
const REPAIR_WITHIN: Duration = Duration::from_secs(1);
/// How long it waits for answers of all once one of them is silent or slow, besides the time that these are on their way: it
/// will be asked by itself, and holds up nobody else.
const BESIDE_A_SLOW_ONE_WITHIN: Duration = Duration::from_millis(100);
/// Between two attempts to repair what a node did not answer to.
const REPAIR_EVERY: Duration = Duration::from_secs(1);
/// How long it takes at least until everybody is told once more that something is lost: more is lost meanwhile where a node
/// gets more than gets through, and whoever is told asks anew.
const MISSED_EVERY: Duration = Duration::from_secs(1);
/// Nodes that are asked beside one another, each for [`ASKED_MAX`] things before it is the next one's turn: what each answers
/// is kept until it is whole.
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
    answered: Vec<Answered>,
    silent: Vec<Node>,
}

/// What was asked of whom and answered, and how far that is laid.
struct Laying<'a> {
    whom: Whom,
    asked: &'a [Asked],
    /// The turn at which it was asked.
    asked_at: u64,
    snapshot: Snapshot,
    /// The next thing.
    of: u32,
    /// What was answered about it is laid of so many nodes.
    nodes: usize,
}

impl Others {
    /// The others are to be asked by and by who is there.
    pub(crate) fn survey_later(&self, interest: &Interest) {
        let mut kept = self.kept.lock();
        let asked = kept.unsurveyed(std::slice::from_ref(interest));
        kept.want(&asked);
        drop(kept);
        if !asked.is_empty() {
            self.wanted.send_replace(());
        }
    }

    /// These nodes heard too late of what is held here.
    pub(crate) fn late(&self, interest: &Interest, nodes: &[Node]) {
        self.kept.lock().late(interest, nodes);
        self.wanted.send_replace(());
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
        let snapshot = self.snapshot(whom, asked, patience).await;
        let mut laying = Laying { whom, asked, asked_at, snapshot, of: 0, nodes: 0 };
        while self.lay_some(&mut laying, &moment) {
            // Whoever waits for what is kept has its turn.
            tokio::task::yield_now().await;
        }
        let Snapshot { answered, silent: mut again } = laying.snapshot;
        let is_due = {
            let kept = self.kept.lock();
            let too_old = answered.iter().filter(|answered| kept.is_too_old(answered, asked_at));
            again.extend(too_old.map(Answered::node));
            kept.is_due()
        };
        if is_due {
            self.wanted.send_replace(());
        }
        again
    }

    /// Lays some of what was answered. False: that was all.
    fn lay_some(&self, laying: &mut Laying<'_>, moment: impl Fn() -> u64) -> bool {
        let Laying { whom, asked, asked_at, snapshot: Snapshot { answered, silent }, of, nodes } = laying;
        // Locked before it is looked at what came since: what comes from here on is told behind this.
        let mut untold = self.untold.untold();
        let (mut kept, now) = (self.kept.lock(), Instant::now());
        let (at, mut laid) = (moment(), 0);
        while let Some(one) = asked.get(*of as usize) {
            while let Some(answered) = answered.get(*nodes) {
                let more = kept.to_be_laid(*of, one, answered);
                if laid > 0 && laid + more > LAID_AT_ONCE {
                    return true;
                }
                laid += more;
                for news in kept.lay_one(*of, one, *asked_at, answered, now) {
                    untold.add(Found { news, at });
                }
                *nodes += 1;
            }
            if *whom == Whom::Others {
                kept.surveyed(std::slice::from_ref(one), silent);
            }
            (*of, *nodes) = (*of + 1, 0);
        }
        false
    }

    async fn snapshot(&self, whom: Whom, asked: &[Asked], patience: Patience) -> Snapshot {
        let nodes = match whom {
            Whom::One(node) => vec![node],
            Whom::Others => self.bus.other_nodes(),
        };
        // Each by itself, so that who is slow or silent takes no time from others that have more to say.
        let all = join_all(nodes.into_iter().map(async |node| (node, self.whole(node, asked, patience).await))).await;
        let mut snapshot = Snapshot { answered: Vec::new(), silent: Vec::new() };
        for (node, answered) in all {
            match answered {
                Some(answered) => snapshot.answered.push(answered),
                None => snapshot.silent.push(node),
            }
        }
        snapshot
    }

    /// All that a node answers. None: it does not answer to the end.
    async fn whole(&self, node: Node, asked: &[Asked], patience: Patience) -> Option<Answered> {
        let (mut answered, mut after) = (Answered::by(node), None);
        loop {
            let left = patience.left();
            // It would work in vain.
            if left.is_zero() {
                return None;
            }
            let given = self.bus.ask(Whom::One(node), question(asked, after), left).await.given.pop()?;
            let Given { number, answer: Answer::Snapshot { found, more }, .. } = given else { return None };
            let last = found.last().map(|present| (present.of, present.connection));
            answered.add(number, found);
            if !more {
                return Some(answered);
            }
            // Each piece goes on behind the one before, or it would have no end.
            if last <= after {
                return None;
            }
            after = last;
        }
    }
}

fn question(asked: &[Asked], after: Option<(u32, ConnectionId)>) -> Question {
    Question::Snapshot { of: asked.iter().map(|asked| asked.interest.clone()).collect(), after }
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
            self.others.wanted.send_replace(());
        }
        if !self.others.untold.untold().is_empty() {
            self.others.found.notify_one();
        }
    }
}

/// What is being asked anew.
struct Repairs<'a> {
    others: &'a Others,
    /// For those who are asked at once. They get them by turns.
    places: Semaphore,
    /// How many did not answer, and are left alone for a while.
    resting: AtomicUsize,
}

impl Hub {
    /// Asks the others who is there, where that was not asked yet. Who does not answer until then is asked again later.
    pub(crate) async fn survey(&self, others: &Others, interests: &[Interest], until: Instant) {
        let asked = others.kept.lock().unsurveyed(interests);
        let survey = |asked| async move {
            let mut asking = Asking { others, asked, answered: false };
            // Nobody is silent who was not asked.
            if Instant::now() >= until {
                return;
            }
            let moment = || self.local.registry.moment();
            let silent = others.ask_and_lay(Whom::Others, asked, Patience::Until(until), moment).await;
            asking.answered = silent.is_empty();
            self.tell_untold(others).await;
        };
        stream::iter(asked.chunks(ASKED_MAX)).for_each_concurrent(SURVEYED_AT_ONCE, survey).await;
    }

    /// Does what is to be done because of other nodes, and need not be done at once. Never ends.
    pub async fn keep_up(&self) {
        let Some(others) = &self.others else { return std::future::pending().await };
        let (telling, leaving) = (self.tell_by_and_by(others), self.take_leave(others));
        let (repairing, errands, ordering) = (self.repair(others), self.run_errands(others), self.keep_order(others));
        tokio::join!(telling, leaving, repairing, errands, others.count_again(), ordering);
    }

    /// Takes leave of what nodes had that are gone: it is told as if each connection had departed. Never ends.
    async fn take_leave(&self, others: &Others) {
        loop {
            others.lost.notified().await;
            while let Some(departures) = others.take_leave() {
                for departure in departures {
                    // What was found out of it is told before.
                    self.alone_with(departure.departed.connection, || self.tell_later(departure));
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Tells what was found out, and that something is lost, whoever is slow to answer meanwhile. Never ends.
    async fn tell_by_and_by(&self, others: &Others) {
        let mut missed_from = Instant::now();
        loop {
            let is_missed = others.missed.load(Ordering::Acquire);
            tokio::select! {
                () = others.found.notified() => {}
                () = sleep_until(missed_from), if is_missed => {}
            }
            if Instant::now() >= missed_from && others.missed.swap(false, Ordering::AcqRel) {
                self.tell_missed().await;
                missed_from = Instant::now() + MISSED_EVERY;
            }
            self.tell_untold(others).await;
        }
    }

    /// Asks by and by what could not be asked at once, and anew what a node told in vain: each node by itself, so that nobody
    /// waits for another. Never ends.
    async fn repair(&self, others: &Others) {
        let repairs = Repairs { others, places: Semaphore::new(ASKED_AT_ONCE), resting: AtomicUsize::new(0) };
        let (mut wanted, mut under_way, mut running) =
            (others.wanted.subscribe(), BTreeSet::new(), FuturesUnordered::new());
        loop {
            wanted.mark_unchanged();
            let due = others.kept.lock().due();
            running.extend(
                due.into_iter().filter(|whom| under_way.insert(*whom)).map(|whom| self.repair_of(&repairs, whom)),
            );
            tokio::select! {
                Some(whom) = running.next() => {
                    under_way.remove(&whom);
                }
                _ = wanted.changed() => {}
            }
        }
    }

    /// Asks all that is to be asked of one node, or of all at once, until nothing is left.
    async fn repair_of(&self, repairs: &Repairs<'_>, whom: Whom) -> Whom {
        let others = repairs.others;
        let mut wanted = others.wanted.subscribe();
        loop {
            let Some(mark) = others.kept.lock().due_of(whom) else { return whom };
            let is_early = self.ask_all_anew(repairs, whom).await;
            if !is_early {
                if others.kept.lock().was_asked(whom, mark) {
                    return whom;
                }
                continue;
            }
            // It is looked every now and then whether that is known, and soon if there is something else to be asked.
            let is_more = async {
                while others.kept.lock().due_of(whom) == Some(mark) {
                    let _ = wanted.changed().await;
                }
            };
            let _ = timeout(REPAIR_EVERY, is_more).await;
        }
    }

    /// Asks once all that is to be asked. True: something is left that somebody was asked too early.
    async fn ask_all_anew(&self, Repairs { others, places, resting }: &Repairs<'_>, whom: Whom) -> bool {
        let (mut behind, mut is_early, mut is_slow) = (None, false, false);
        loop {
            // Nobody closes it.
            let place = places.acquire().await;
            let Portion { asked, behind: next, early } =
                others.kept.lock().wanted(whom, behind.as_ref(), ASKED_MAX, LOOKED_AT_MAX);
            is_early |= early;
            let mut silent = Vec::new();
            if !asked.is_empty() {
                let (began, soon) = (Instant::now(), others.and_the_way(BESIDE_A_SLOW_ONE_WITHIN));
                let patience = match whom {
                    Whom::One(_) => Patience::Each(REPAIR_WITHIN),
                    Whom::Others if is_slow || resting.load(Ordering::Relaxed) > 0 => Patience::Until(began + soon),
                    Whom::Others => Patience::Until(began + REPAIR_WITHIN),
                };
                let moment = || self.local.registry.moment();
                silent = others.ask_and_lay(whom, &asked, patience, moment).await;
                is_slow |= began.elapsed() > soon || !silent.is_empty();
                self.tell_untold(others).await;
            }
            drop(place);
            match whom {
                Whom::One(_) if !silent.is_empty() => {
                    resting.fetch_add(1, Ordering::Relaxed);
                    sleep(REPAIR_EVERY).await;
                    resting.fetch_sub(1, Ordering::Relaxed);
                }
                // Whoever of all did not answer is asked by itself.
                Whom::One(_) | Whom::Others => match next {
                    None => return is_early,
                    next => behind = next,
                },
            }
            // Whoever waits for what is kept has its turn.
            tokio::task::yield_now().await;
        }
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
        let next = others.untold.next();
        next.map(|turn| turn.tell(|found| self.tell_found(found))).is_some()
    }

    /// Tells what was found out of a connection of another node, before what is newer is told of it.
    pub(crate) fn tell_untold_of(&self, connection: ConnectionId) {
        if let Some(turn) = self.others.as_ref().and_then(|others| others.untold.of(connection)) {
            turn.tell(|found| self.tell_found(found));
        }
    }

    /// Tells what was found out of a connection, and does this while nobody else tells anything of it. That may not wait for
    /// anything, nor ask for what is found of the same connection.
    pub(crate) fn alone_with<T>(&self, connection: ConnectionId, tell: impl FnOnce() -> T) -> T {
        let alone = self.others.as_ref().map(|others| others.untold.alone(connection));
        let _turn = alone.map(|turn| turn.tell_first(|found| self.tell_found(found)));
        tell()
    }

    /// Tells that a connection of another node left with this group when it ended, before what is newer is told of it.
    pub(crate) fn tell_ended_of(&self, connection: ConnectionId, group: &GroupName) {
        if let Some(turn) = self.others.as_ref().and_then(|others| others.untold.ended_of(connection, group)) {
            turn.tell(|found| self.tell_found(found));
        }
    }

    /// To be called by who alone tells of that connection.
    fn tell_found(&self, Found { news, at }: Found) {
        let registry = &self.local.registry;
        match news {
            News::Joined { app_id, group, endpoint, connection } => {
                self.tell_departures_of(connection);
                let members = registry.members_before(app_id, &group, at);
                let content = Content::Joined { group, endpoint: endpoint.clone(), connection };
                let joined = self.event(&endpoint, Some(connection), RequestId::new(self.broker.chance()), content);
                fanout::offer(self, members.iter(), None, &joined);
            }
            News::Said { app_id, endpoint, connection, presence } => {
                self.tell_departures_of(connection);
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

#[cfg(test)]
mod tests;
