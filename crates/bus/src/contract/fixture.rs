//! Nodes to run a case on, and short ways to do things with them.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::clock::Timestamp;
use respoke_core::event::{Content, Event};
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId, RequestId};
use respoke_core::ports::{
    Answer, Audience, Bus, Change, Confirmation, Delivery, Gap, Interest, Node, NodeId, Notice, Question, Receiver,
    Source,
};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::carried::CarriedLimits;
use crate::faulty::{Faults, FaultyNodes};
use crate::{LocalBus, LocalNodes};

/// Long after anything that is still to happen has happened.
pub(crate) const LONG: Duration = Duration::from_secs(120);
/// How long whatever is on its way may take.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

/// What a node was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Received(Source, u64),
    Missed(Gap),
    Lost(Node),
}

/// What somebody does with something that was said.
pub(crate) type Reaction = Arc<dyn Fn(u64) + Send + Sync>;

/// A receiver that notes what it is told, and answers any question with what it calls itself and how many were asked for.
#[derive(Default)]
pub(crate) struct Notes {
    told: Mutex<Vec<Note>>,
    changed: Notify,
    pub(crate) name: String,
    /// How often it was asked.
    asked: Mutex<usize>,
    /// What others told it alone.
    notices: Mutex<Vec<(Node, Notice)>>,
    /// What it answers instead.
    pub(crate) answers: Mutex<Option<Answer>>,
    /// What it does with each delivery besides.
    pub(crate) reacts: Mutex<Option<Reaction>>,
}

impl Notes {
    /// Of the node of that id.
    pub(crate) fn of_node(id: u32) -> Arc<Self> {
        Arc::new(Self { name: format!("node {id}"), ..Self::default() })
    }

    pub(crate) fn all(&self) -> Vec<Note> {
        self.told.lock().clone()
    }

    /// What it received of itself.
    pub(crate) fn here(&self) -> Vec<u64> {
        let received = |note| if let Note::Received(Source::Here, said) = note { Some(said) } else { None };
        self.all().into_iter().filter_map(received).collect()
    }

    /// What it received of a node, with the numbers.
    pub(crate) fn numbered(&self, from: Node) -> Vec<(u64, u64)> {
        let received = |note| match note {
            Note::Received(Source::There { node, number }, said) if node == from => Some((number, said)),
            Note::Received(..) | Note::Missed(_) | Note::Lost(_) => None,
        };
        self.all().into_iter().filter_map(received).collect()
    }

    /// What it received of a node.
    pub(crate) fn of(&self, from: Node) -> Vec<u64> {
        self.numbered(from).into_iter().map(|(_, said)| said).collect()
    }

    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock()
    }

    /// What others told it alone.
    pub(crate) fn notices(&self) -> Vec<(Node, Notice)> {
        self.notices.lock().clone()
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.all().into_iter().filter_map(|note| if let Note::Missed(gap) = note { Some(gap) } else { None }).collect()
    }

    pub(crate) fn lost(&self) -> Vec<Node> {
        self.all().into_iter().filter_map(|note| if let Note::Lost(node) = note { Some(node) } else { None }).collect()
    }

    /// Waits until `found` finds what it looks for.
    pub(crate) async fn until(&self, found: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if found(self) {
                    return;
                }
                changed.await;
            }
        };
        assert!(timeout(LONG, waiting).await.is_ok(), "it never came: {:?}", self.all());
    }

    /// Waits until it received just this of a node.
    pub(crate) async fn until_of(&self, from: Node, said: impl IntoIterator<Item = u64>) {
        let said: Vec<_> = said.into_iter().collect();
        self.until(|notes| notes.of(from).len() >= said.len()).await;
        assert_eq!(self.of(from), said);
    }

    fn note(&self, note: Note) {
        self.told.lock().push(note);
        self.changed.notify_waiters();
    }
}

impl Receiver for Notes {
    fn receive(&self, from: Source, delivery: Delivery) {
        let said = said(&delivery);
        self.note(Note::Received(from, said));
        let reacts = self.reacts.lock().clone();
        if let Some(reacts) = reacts {
            reacts(said);
        }
    }

    fn missed(&self, gap: Gap) {
        self.note(Note::Missed(gap));
    }

    fn answer(&self, _: Node, question: Question) -> Answer {
        *self.asked.lock() += 1;
        let instead = self.answers.lock().clone();
        let Question::Groups { most, .. } = question else { panic!("{question:?}") };
        instead.unwrap_or_else(|| Answer::Groups(vec![room(&self.name), room(&most.to_string())]))
    }

    fn told(&self, from: Node, notice: Notice) {
        self.notices.lock().push((from, notice));
    }

    fn lost(&self, node: Node) {
        self.note(Note::Lost(node));
    }
}

pub(crate) const APP: AppId = AppId::from_uuid(Uuid::from_u128(1));

pub(crate) fn room(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

pub(crate) fn in_room(name: &str) -> Interest {
    in_room_of(APP, name)
}

pub(crate) fn in_room_of(app_id: AppId, name: &str) -> Interest {
    Interest::Group(app_id, room(name))
}

/// One of many apps.
pub(crate) fn app(number: u64) -> AppId {
    AppId::from_uuid(Uuid::from_u128(1_000 + u128::from(number)))
}

/// Something published to a group.
pub(crate) fn words(group: &str, said: u64) -> Delivery {
    long_words(group, said, 0)
}

/// The same, with so many bytes of nothing behind it.
pub(crate) fn long_words(group: &str, said: u64, len: usize) -> Delivery {
    words_in(APP, group, said, len)
}

pub(crate) fn words_in(app_id: AppId, group: &str, said: u64, len: usize) -> Delivery {
    push(app_id, Audience::Group { group: room(group), except: None }, group, said, len)
}

/// Something for an endpoint's connections.
pub(crate) fn to_endpoint(endpoint: &str, said: u64) -> Delivery {
    let to = Audience::Endpoint { endpoint: EndpointId::parse(endpoint).unwrap(), only: None, except: None };
    push(APP, to, "room", said, 0)
}

/// What its connections there hold.
pub(crate) fn at_endpoint(endpoint: &str) -> Interest {
    Interest::Endpoint(APP, EndpointId::parse(endpoint).unwrap())
}

fn push(app_id: AppId, to: Audience, group: &str, said: u64, len: usize) -> Delivery {
    let id = Uuid::from_u128(u128::from(said));
    let message = RawValue::from_string(format!("[{said},\"{}\"]", "x".repeat(len))).unwrap();
    let event = Event {
        from: EndpointId::parse("jo").unwrap(),
        from_connection: None,
        at: Timestamp::from_secs(1),
        request_id: RequestId::from_uuid(id),
        content: Content::Published { message_id: MessageId::from_uuid(id), group: room(group), message, place: None },
    };
    Delivery::Push { app_id, to, event: Arc::new(event) }
}

/// Something that concerns everybody.
pub(crate) fn change(said: u64) -> Delivery {
    Delivery::Change(Change::Session(said))
}

fn said(delivery: &Delivery) -> u64 {
    match delivery {
        Delivery::Push { event, .. } => match &event.content {
            Content::Published { message, .. } => {
                let (said, _): (u64, String) = serde_json::from_str(message.get()).unwrap();
                said
            }
            other => panic!("{other:?}"),
        },
        Delivery::Change(Change::Session(said)) => *said,
        Delivery::Departed(departed) => departed.groups.len() as u64,
        other => panic!("{other:?}"),
    }
}

/// A node.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) notes: Arc<Notes>,
}

impl Member {
    pub(crate) fn node(&self) -> Node {
        self.bus.node()
    }

    /// Is there for a group, and everybody knows.
    pub(crate) async fn hold(&self, group: &str) {
        done(self.bus.hold(&in_room(group))).await;
    }
}

/// Waits for a confirmation.
pub(crate) async fn done(mut confirmation: Confirmation) {
    let done = timeout(LONG, confirmation.done()).await;
    assert!(done.is_ok() && confirmation.missing().is_empty(), "{:?} never confirmed", confirmation.missing());
}

/// Some nodes.
pub(crate) trait Fixture {
    /// Starts a node that knows what the others are there for. If it lives, that life is over.
    fn start(&self, id: u32) -> impl Future<Output = Member>;

    /// Ends a life, and tells the others.
    fn lose(&self, node: Node);

    /// Two nodes.
    fn two(&self) -> impl Future<Output = (Member, Member)> {
        async { (self.start(1).await, self.start(2).await) }
    }

    /// Three nodes.
    fn three(&self) -> impl Future<Output = (Member, Member, Member)> {
        async { (self.start(1).await, self.start(2).await, self.start(3).await) }
    }
}

/// Some nodes with something between them.
pub(crate) trait Cuttable: Fixture {
    fn nodes(&self) -> &FaultyNodes;

    /// Starts a node, which does not know yet what the others are there for; with what it waits for until it does.
    fn begin(&self, id: u32) -> (Member, Vec<Confirmation>);

    fn cut(&self, one: &Member, other: &Member) {
        self.nodes().cut(one.node().id, other.node().id);
    }

    fn mend(&self, one: &Member, other: &Member) {
        self.nodes().mend(one.node().id, other.node().id);
    }
}

fn notes(id: u32) -> (Arc<Notes>, Arc<dyn Receiver>) {
    let notes = Notes::of_node(id);
    (notes.clone(), notes)
}

/// Nodes of [`LocalBus`].
#[derive(Default)]
pub(crate) struct Local {
    nodes: Arc<LocalNodes>,
}

impl Fixture for Local {
    async fn start(&self, id: u32) -> Member {
        let (notes, receiver) = notes(id);
        let bus: Arc<LocalBus> = self.nodes.start(NodeId(id));
        bus.attach(&receiver);
        Member { bus, notes }
    }

    fn lose(&self, node: Node) {
        self.nodes.lose(node);
    }
}

/// Nodes of `CarriedBus`, with something between them that can be cut and may have faults.
pub(crate) struct Carried {
    nodes: Arc<FaultyNodes>,
    /// Carries while the fixture is there.
    _carrying: JoinSet<()>,
}

impl Carried {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self::within(seed, faults, CarriedLimits::DEFAULT)
    }

    pub(crate) fn within(seed: u64, faults: Faults, limits: CarriedLimits) -> Self {
        let nodes = FaultyNodes::new(seed, faults, limits);
        let mut carrying = JoinSet::new();
        let carrier = nodes.clone();
        carrying.spawn(async move { carrier.carry().await });
        Self { nodes, _carrying: carrying }
    }
}

impl Fixture for Carried {
    async fn start(&self, id: u32) -> Member {
        let (member, introductions) = self.begin(id);
        for introduction in introductions {
            done(introduction).await;
        }
        member
    }

    fn lose(&self, node: Node) {
        self.nodes.lose(node);
    }
}

impl Cuttable for Carried {
    fn nodes(&self) -> &FaultyNodes {
        &self.nodes
    }

    fn begin(&self, id: u32) -> (Member, Vec<Confirmation>) {
        let (notes, receiver) = notes(id);
        let (bus, introductions) = self.nodes.start(NodeId(id));
        bus.attach(&receiver);
        (Member { bus, notes }, introductions)
    }
}

/// Waits until nothing is on its way any more.
pub(crate) async fn quiet() {
    sleep(QUIET).await;
}

/// Checks that of what `from` published, which `to` was there for all the time, nothing is missing that was not told, and
/// nothing came twice. What else came was published before that, and made up for.
pub(crate) fn check_nothing_is_lost_untold(to: &Notes, from: Node, published: &[u64], context: &dyn Debug) {
    let received = to.numbered(from);
    let gaps: Vec<_> = to.gaps().into_iter().filter(|gap| gap.from == from).collect();
    let mut lost_until = 0;
    for gap in &gaps {
        let (first, last) = (*gap.numbers.start(), *gap.numbers.end());
        assert!(lost_until < first && first <= last, "{gap:?} after {lost_until}; {context:?}");
        assert!(!received.iter().any(|(number, _)| gap.numbers.contains(number)), "{gap:?} came; {context:?}");
        lost_until = last;
    }
    let told = |after: u64, until: u64| {
        let between = gaps.iter().filter(|gap| after < *gap.numbers.start() && *gap.numbers.end() <= until);
        between.map(|gap| gap.numbers.end() - gap.numbers.start() + 1).sum::<u64>()
    };
    let mut expected = published.iter();
    let (mut before, mut before_due) = (0, 0);
    let mut heard = HashSet::new();
    for (number, said) in &received {
        assert!(*number > before, "{number} after {before}; {context:?}");
        assert!(heard.insert(said), "{said} came twice; {context:?}");
        before = *number;
        if !published.contains(said) {
            continue;
        }
        let missing = expected.by_ref().take_while(|published| *published != said).count() as u64;
        let told = told(before_due, *number - 1);
        assert!(missing <= told, "{missing} missing before {said}, {told} told; {context:?}");
        before_due = *number;
    }
    let missing = expected.count() as u64;
    let told = told(before_due, u64::MAX);
    assert!(missing <= told, "{missing} missing at the end, {told} told; {context:?}");
}

/// The same for a node whose life is over: what was on its way to it then is nobody's.
pub(crate) fn check_nothing_is_lost_untold_until_the_end(
    to: &Notes,
    from: Node,
    published: &[u64],
    context: &dyn Debug,
) {
    let received = to.of(from);
    let last = published.iter().rposition(|published| received.contains(published));
    check_nothing_is_lost_untold(to, from, &published[..last.map_or(0, |last| last + 1)], context);
}
