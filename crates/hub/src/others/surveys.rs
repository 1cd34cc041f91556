//! Asking the others who is there: of what is new here, and anew of what a node may have told in vain.

use std::time::Duration;

use respoke_core::event::{Content, Event};
use respoke_core::id::{EndpointId, RequestId};
use respoke_core::ports::{Answer, Answers, Given, Interest, Node, Question, Whom};
use tokio::time::Instant;

use super::Others;
use super::kept::{Asked, News, Piece};
use crate::fanout;
use crate::hub::Hub;

/// Things that are asked about at once: some twenty kilobytes of names.
const ASKED_MAX: usize = 256;
/// How long a repair waits for an answer.
const REPAIR_WITHIN: Duration = Duration::from_secs(1);
/// Between two attempts to repair what a node did not answer to.
const REPAIR_EVERY: Duration = Duration::from_secs(1);

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

    /// Lays what was answered beneath what came since. What those here are to be told.
    fn learn(&self, whom: Whom, asked: &[Asked], answered: Vec<(Node, Vec<Piece>)>, silent: &[Node]) -> Vec<News> {
        let (mut kept, now) = (self.kept.lock(), Instant::now());
        let news = answered.into_iter().flat_map(|(node, pieces)| kept.lay(asked, node, &pieces, now)).collect();
        if whom == Whom::Others {
            kept.surveyed(asked, silent);
        }
        news
    }

    /// What nodes answer about who is there, and who does not answer to the end.
    async fn snapshot(&self, whom: Whom, asked: &[Asked], until: Instant) -> (Vec<(Node, Vec<Piece>)>, Vec<Node>) {
        let question = |after| {
            let of = asked.iter().map(|(interest, _)| interest.clone()).collect();
            Question::Snapshot { of, after }
        };
        let left = || until.saturating_duration_since(Instant::now());
        let Answers { given, mut silent } = self.bus.ask(whom, question(None), left()).await;
        let mut answered = Vec::new();
        for first in given {
            let node = first.node;
            let (mut pieces, mut next) = (Vec::new(), Some(first));
            let whole = loop {
                let Some(Given { number, answer: Answer::Snapshot { found, more }, .. }) = next.take() else {
                    break false;
                };
                let last = found.last().map(|present| (present.of, present.connection));
                pieces.push(Piece { number, found });
                let Some(last) = last.filter(|_| more) else { break true };
                next = self.bus.ask(Whom::One(node), question(Some(last)), left()).await.given.pop();
            };
            if whole {
                answered.push((node, pieces));
            } else {
                silent.push(node);
            }
        }
        (answered, silent)
    }
}

/// What is asked about, as long as that is not done: whoever stops asking leaves it to the repairs.
struct Asking<'a> {
    others: &'a Others,
    asked: &'a [Asked],
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.others.kept.lock().want(self.asked);
        self.others.wanted.notify_one();
    }
}

impl Hub {
    /// Asks the others who is there, where that was not asked yet. Who does not answer until then is asked again later.
    pub(crate) async fn survey(&self, others: &Others, interests: &[Interest], until: Instant) {
        let asked = others.kept.lock().unsurveyed(interests);
        for asked in asked.chunks(ASKED_MAX) {
            self.ask_and_lay(others, Whom::Others, asked, until).await;
        }
    }

    async fn ask_and_lay(&self, others: &Others, whom: Whom, asked: &[Asked], until: Instant) {
        let asking = Asking { others, asked };
        let (answered, silent) = others.snapshot(whom, asked, until).await;
        let news = others.learn(whom, asked, answered, &silent);
        drop(asking);
        for (nth, news) in news.into_iter().enumerate() {
            fanout::let_others_write(nth).await;
            self.tell_news(news);
        }
    }

    /// Asks by and by what could not be asked at once, and anew what a node told in vain. Never ends.
    pub async fn keep_up(&self) {
        let Some(others) = &self.others else { return std::future::pending().await };
        loop {
            others.wanted.notified().await;
            if others.missed.swap(false, std::sync::atomic::Ordering::AcqRel) {
                self.tell_missed().await;
            }
            let (of_all, of_nodes) = others.kept.lock().wanted();
            let until = || Instant::now() + REPAIR_WITHIN;
            for asked in of_all.chunks(ASKED_MAX) {
                self.ask_and_lay(others, Whom::Others, asked, until()).await;
            }
            for (node, asked) in of_nodes {
                for asked in asked.chunks(ASKED_MAX) {
                    self.ask_and_lay(others, Whom::One(node), asked, until()).await;
                }
            }
            let (of_all, of_nodes) = others.kept.lock().wanted();
            if !(of_all.is_empty() && of_nodes.is_empty()) {
                tokio::time::sleep(REPAIR_EVERY).await;
                others.wanted.notify_one();
            }
        }
    }

    fn tell_news(&self, news: News) {
        let registry = &self.local.registry;
        match news {
            News::Joined { app_id, group, endpoint, connection } => {
                let members = registry.members(app_id, &group);
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
            News::Gone(going) => self.tell_later(super::departure(going, registry.moment())),
        }
    }

    /// Tells everybody here that something is lost that may have been for them.
    async fn tell_missed(&self) {
        let Ok(system) = EndpointId::parse(EndpointId::SYSTEM) else { return };
        let missed: Event = self.event(&system, None, RequestId::new(self.broker.chance()), Content::Missed);
        for (nth, connection) in self.local.registry.everybody().iter().enumerate() {
            fanout::let_others_write(nth).await;
            fanout::offer(self, std::iter::once(connection), None, &missed);
        }
    }
}
