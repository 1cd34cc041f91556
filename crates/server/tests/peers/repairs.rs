//! What a hub asks other nodes anew, and in which order it tells what comes of that: over a bus that answers as it is told.

mod late;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use respoke_core::app::LimitsPatch;
use respoke_core::chance::of_this_test;
use respoke_core::clock::Timestamp;
use respoke_core::event::{Content, Event, Presence};
use respoke_core::id::{AppId, ConnectionId, RequestId};
use respoke_core::ops::{Broker, Caller, Context};
use respoke_core::ports::{
    Answer, Answers, Audience, Bus, Confirmation, Delivery, Gap, Given, Incarnation, Interest, Node, NodeId, Notice,
    Present, Question, Receiver, Source, Whom,
};
use respoke_hub::ops::{Asker, Connect};
use respoke_hub::outbox::OutboxLimits;
use respoke_hub::{Hub, HubSettings, Socket};
use respoke_store::Options;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::home::{self, Tenant, clock, database, endpoint, first_admin, group, open};
use crate::world::{heard, received_from};

const SECOND: Duration = Duration::from_secs(1);

fn node(id: u32) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(1) }
}

/// What other nodes answer to a question, and how long they take for it. None: nothing at all.
type Answering = Box<dyn Fn(Node, &Question) -> Option<(Duration, u64, Answer)> + Send + Sync>;

/// A bus to two nodes, 2 and 3, that are not there.
struct Scripted {
    receiver: OnceLock<Arc<Hub>>,
    answering: Mutex<Arc<Answering>>,
    /// Who was asked, and when.
    asked: Mutex<Vec<(Node, Instant)>>,
    /// How long a question and its answer are on their way as a rule.
    way: Mutex<Duration>,
    /// Whether node 2 knows of all that is held here. It does not yet of what is held while it is 0.
    aware: watch::Sender<u64>,
}

impl Scripted {
    fn answer(&self, answering: impl Fn(Node, &Question) -> Option<(Duration, u64, Answer)> + Send + Sync + 'static) {
        *self.answering.lock() = Arc::new(Box::new(answering));
    }

    fn asked(&self, of: Node) -> Vec<Instant> {
        self.asked.lock().iter().filter(|(node, _)| *node == of).map(|(_, at)| *at).collect()
    }
}

#[async_trait]
impl Bus for Scripted {
    fn node(&self) -> Node {
        node(1)
    }

    fn publish(&self, delivery: Delivery) {
        self.receiver.get().unwrap().receive(Source::Here, delivery);
    }

    fn hold(&self, _: &Interest) -> Confirmation {
        let mut told = Confirmation::DONE;
        told.wait_for(node(2), 1, self.aware.subscribe());
        told
    }

    fn release(&self, _: &Interest) {}

    fn wanted_elsewhere(&self, _: &Interest) -> bool {
        true
    }

    fn other_nodes(&self) -> Vec<Node> {
        vec![node(2), node(3)]
    }

    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers {
        let asked = match whom {
            Whom::One(node) => vec![node],
            Whom::Others => self.other_nodes(),
        };
        let answering = self.answering.lock().clone();
        let (mut answers, mut longest) = (Answers::default(), Duration::ZERO);
        for node in asked {
            self.asked.lock().push((node, Instant::now()));
            match answering(node, &question).filter(|(after, ..)| *after <= deadline) {
                Some((after, number, answer)) => {
                    longest = longest.max(after);
                    answers.given.push(Given { node, number, answer });
                }
                None => {
                    longest = deadline;
                    answers.silent.push(node);
                }
            }
        }
        sleep(longest).await;
        answers
    }

    fn tell(&self, _: Node, _: Notice) {}

    fn round_trip(&self) -> Duration {
        *self.way.lock()
    }
}

/// A node with a client that is in a room.
struct World {
    bus: Arc<Scripted>,
    hub: Arc<Hub>,
    app: AppId,
    socket: Arc<Socket>,
    caller: Caller,
    _tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let nobody = |_: Node, _: &Question| Some((Duration::ZERO, 0, nobody()));
        let bus = Arc::new(Scripted {
            receiver: OnceLock::new(),
            answering: Mutex::new(Arc::new(Box::new(nobody))),
            asked: Mutex::default(),
            way: Mutex::default(),
            aware: watch::Sender::new(1),
        });
        let (store, folder) = database(Options::default());
        let broker = Arc::new(Broker::new(store, bus.clone(), clock(), of_this_test(), 100));
        let outbox = OutboxLimits { frames_max: 5_000, bytes_max: 8 << 20 };
        let settings = HubSettings { outbox, heartbeat_timeout: Duration::from_secs(60), sockets_max: 100 };
        let hub = Arc::new(Hub::new(broker.clone(), bus.clone(), settings));
        let _ = bus.receiver.set(hub.clone());
        let mut tasks = JoinSet::new();
        let (announcer, asking) = (hub.clone(), hub.clone());
        tasks.spawn(async move { announcer.announce_departures().await });
        tasks.spawn(async move { asking.keep_up().await });
        let admin = first_admin(&broker).await;
        let Tenant { app, backend } = Tenant::new(&broker, &admin, "app", LimitsPatch::default()).await;
        let caller = broker.authenticate(&backend, None).await.unwrap();
        let socket = open(&hub, &backend, &caller).unwrap();
        let world = Self { bus, hub, app, socket, caller, _tasks: tasks, _folder: folder };
        let context = Context::internal();
        let asker = Asker { endpoint_id: Some(endpoint("ann")), ..world.asker(&context) };
        world.hub.connect(&asker, Connect::default()).await.unwrap();
        world.join(&["room"]).await;
        sleep(SECOND).await;
        world.bus.asked.lock().clear();
        world.received();
        world
    }

    fn asker<'a>(&'a self, context: &'a Context) -> Asker<'a> {
        Asker { socket: Some(&self.socket), ..home::asker(&self.caller, context) }
    }

    async fn join(&self, rooms: &[&str]) {
        let rooms: Vec<_> = rooms.iter().map(|name| group(name)).collect();
        self.hub.join(&self.asker(&Context::internal()), &rooms).await.unwrap();
    }

    /// Another client, connected as `name`.
    async fn connect(&self, name: &str) -> Arc<Socket> {
        let socket = open(&self.hub, &self.socket.opening.credential, &self.caller).unwrap();
        let context = Context::internal();
        let asker = Asker { socket: Some(&socket), endpoint_id: Some(endpoint(name)), ..self.asker(&context) };
        self.hub.connect(&asker, Connect::default()).await.unwrap();
        socket
    }

    /// What was received, of whom by their connections.
    fn received(&self) -> Vec<(String, String)> {
        received_from(&self.socket, "fromConnection")
    }

    /// Node 2 says something of a connection of its own.
    fn says(&self, number: u64, to: Audience, connection: ConnectionId, content: Content) {
        let event = Event {
            from: endpoint("jo"),
            from_connection: Some(connection),
            at: Timestamp::from_secs(1),
            request_id: RequestId::random(),
            content,
        };
        let delivery = Delivery::Push { app_id: self.app, to, event: Arc::new(event) };
        self.hub.receive(Source::There { node: node(2), number }, delivery);
    }

    fn joins(&self, number: u64, connection: ConnectionId) {
        let content = Content::Joined { group: group("room"), endpoint: endpoint("jo"), connection };
        self.says(number, in_room(), connection, content);
    }

    fn leaves(&self, number: u64, connection: ConnectionId) {
        let content = Content::Left { group: group("room"), endpoint: endpoint("jo"), connection };
        self.says(number, in_room(), connection, content);
    }

    fn misses(&self, of: Node, number: u64) {
        self.hub.missed(Gap { from: of, numbers: number..=number });
    }
}

fn in_room() -> Audience {
    Audience::Group { group: group("room"), except: None }
}

fn nobody() -> Answer {
    Answer::Snapshot { found: Vec::new(), more: false }
}

fn present(connection: ConnectionId) -> Present {
    Present { of: 0, endpoint: endpoint("jo"), connection, presence: None }
}

fn ids(count: usize) -> Vec<ConnectionId> {
    let mut ids: Vec<_> = (0..count).map(|_| ConnectionId::random()).collect();
    ids.sort_unstable();
    ids
}

/// The names of what was received of a connection, in order.
fn of(received: &[(String, String)], connection: ConnectionId) -> Vec<&str> {
    let id = connection.to_string();
    received.iter().filter(|(_, from)| *from == id).map(|(name, _)| name.as_str()).collect()
}

/// Lets others go on until something was received.
async fn until_something_is_told(world: &World) -> Vec<(String, String)> {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        let received = world.received();
        if received.iter().any(|(name, _)| name != "missed") {
            return received;
        }
    }
    // Whoever looks for something in it does not find it.
    Vec::new()
}

/// What is found by asking takes its time to be told, and what comes meanwhile is newer.
#[tokio::test(start_paused = true)]
async fn what_is_found_is_told_before_what_came_later() {
    let world = World::new().await;
    let there = ids(300);
    let found: Vec<_> = there.iter().copied().map(present).collect();
    world.bus.answer(move |asked, _| {
        let found = if asked == node(2) { found.clone() } else { Vec::new() };
        Some((Duration::ZERO, 10, Answer::Snapshot { found, more: false }))
    });
    world.misses(node(2), 10);
    let mut received = until_something_is_told(&world).await;
    assert!((1..200).contains(&received.len()), "it is told by and by");
    // While the rest is told: one leaves, one leaves and comes back, one ends.
    let [.., leaves, comes_back, ends] = there[..] else { panic!() };
    world.leaves(11, leaves);
    world.leaves(12, comes_back);
    world.joins(13, comes_back);
    let departed = respoke_core::ports::Departed {
        app_id: world.app,
        endpoint: endpoint("jo"),
        connection: ends,
        groups: vec![group("room")],
    };
    world.hub.receive(Source::There { node: node(2), number: 14 }, Delivery::Departed(departed));
    sleep(SECOND).await;
    received.extend(world.received());
    assert_eq!(of(&received, leaves), ["join", "leave"]);
    assert_eq!(of(&received, comes_back), ["join", "leave", "join"]);
    assert_eq!(of(&received, ends), ["join", "leave"]);
    for other in &there[..297] {
        assert_eq!(of(&received, *other), ["join"]);
    }
}

/// Who went and is back is told as gone, and then as come.
#[tokio::test(start_paused = true)]
async fn who_is_found_gone_and_comes_back_is_there() {
    let world = World::new().await;
    let one = ConnectionId::random();
    world.joins(1, one);
    world.bus.answer(|_, _| Some((Duration::ZERO, 10, nobody())));
    world.misses(node(2), 10);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    world.joins(11, one);
    sleep(SECOND).await;
    assert_eq!(of(&world.received(), one), ["join", "leave", "join"]);
}

/// Two ask at once, and the first answer comes last: by then one has left, and there was a gap.
#[tokio::test(start_paused = true)]
async fn an_answer_that_was_overtaken_brings_nobody_back() {
    let world = World::new().await;
    let (one, asks) = (ConnectionId::random(), Mutex::new(0));
    world.bus.answer(move |asked, question| {
        let Question::Snapshot { of, .. } = question else { return Some((Duration::ZERO, 10, Answer::Count(0))) };
        if asked != node(2) {
            return Some((Duration::ZERO, 10, nobody()));
        }
        let mut asks = asks.lock();
        *asks += 1;
        let at = of.iter().position(|interest| matches!(interest, Interest::Group(_, name) if *name == group("hall")));
        let found = at.into_iter().map(|at| Present { of: u32::try_from(at).unwrap(), ..present(one) }).collect();
        let there = Answer::Snapshot { found, more: false };
        Some(match *asks {
            1 => (SECOND / 5, 10, there),
            2 => (Duration::ZERO, 10, there),
            _ => (SECOND * 3 / 10, 30, nobody()),
        })
    });
    let meanwhile = async {
        sleep(SECOND / 10).await;
        let content = Content::Left { group: group("hall"), endpoint: endpoint("jo"), connection: one };
        let to = Audience::Group { group: group("hall"), except: None };
        world.says(11, to, one, content);
        world.misses(node(2), 12);
    };
    tokio::join!(world.join(&["hall"]), world.join(&["hall"]), meanwhile);
    sleep(5 * SECOND).await;
    assert_eq!(of(&world.received(), one), ["leave"]);
}

/// It may answer quickly, and never of all that was missed.
#[tokio::test(start_paused = true)]
async fn who_answers_of_before_what_was_missed_is_not_asked_all_the_time() {
    let world = World::new().await;
    let one = ConnectionId::random();
    world.bus.answer(|_, _| Some((SECOND / 100, 9, nobody())));
    world.misses(node(2), 10);
    sleep(SECOND * 7 / 2).await;
    assert_eq!(world.bus.asked(node(2)).len(), 4, "at once, and then once a second");
    world.bus.answer(move |_, _| Some((SECOND / 100, 10, Answer::Snapshot { found: vec![present(one)], more: false })));
    sleep(SECOND).await;
    assert_eq!(of(&world.received(), one), ["join"]);
    sleep(SECOND * 5).await;
    assert_eq!((world.bus.asked(node(2)).len(), world.bus.asked(node(3)).len()), (5, 0), "then it has answered");
}

/// However long it takes to tell who is there, it is heard to its end.
#[tokio::test(start_paused = true)]
async fn who_has_much_to_say_is_heard_to_the_end() {
    let world = World::new().await;
    let there = ids(100);
    let all = there.clone();
    world.bus.answer(move |asked, question| {
        let Question::Snapshot { after, .. } = question else { return None };
        if asked != node(2) {
            return Some((Duration::ZERO, 10, nobody()));
        }
        let next = all.iter().copied().find(|id| after.is_none_or(|(_, after)| *id > after));
        let found = next.into_iter().map(present).collect();
        let more = next != all.last().copied();
        Some((SECOND / 20, 10, Answer::Snapshot { found, more }))
    });
    world.misses(node(2), 10);
    sleep(10 * SECOND).await;
    let received = world.received();
    for one in there {
        assert_eq!(of(&received, one), ["join"]);
    }
    // Whoever says the same again and again is not.
    let one = ConnectionId::random();
    world.bus.answer(move |asked, _| {
        let found = if asked == node(2) { vec![present(one)] } else { Vec::new() };
        Some((Duration::ZERO, 20, Answer::Snapshot { more: asked == node(2), found }))
    });
    world.bus.asked.lock().clear();
    world.misses(node(2), 20);
    sleep(10 * SECOND).await;
    assert!(world.bus.asked(node(2)).len() < 50);
    assert_eq!(of(&world.received(), one), Vec::<&str>::new());
}

/// What a connection says is told in the order in which it said it, though it is asked for meanwhile.
#[tokio::test(start_paused = true)]
async fn what_one_says_is_not_told_behind_what_it_says_later() {
    let world = World::new().await;
    let context = Context::internal();
    world.hub.observe(&world.asker(&context), vec![endpoint("jo")]).await.unwrap();
    let kind = |text: &str| RawValue::from_string(format!("\"{text}\"")).unwrap();
    let presence = |text: &str| Presence { kind: kind(text), show: None, status: None };
    let there = ids(300);
    let found: Vec<_> =
        there.iter().map(|id| Present { presence: Some(presence("away")), of: u32::MAX, ..present(*id) }).collect();
    world.bus.answer(move |asked, question| {
        let Question::Snapshot { of, .. } = question else { return None };
        let at = of.iter().position(|interest| matches!(interest, Interest::Observers(..)));
        let at = u32::try_from(at.unwrap_or(usize::MAX)).unwrap_or(u32::MAX);
        let found = if asked == node(2) { found.clone() } else { Vec::new() };
        let found = found.into_iter().map(|one| Present { of: at, ..one }).collect();
        Some((Duration::ZERO, 10, Answer::Snapshot { found, more: false }))
    });
    world.misses(node(2), 10);
    assert!(!until_something_is_told(&world).await.is_empty());
    let last = there[299];
    let to = Audience::Observers { endpoint: endpoint("jo"), except: None };
    world.says(11, to, last, Content::Presence(presence("dnd")));
    sleep(SECOND).await;
    let said = |event: Value| {
        let header = &event["args"][0]["header"];
        let of_last = header["fromConnection"].as_str() == Some(&last.to_string());
        of_last.then(|| event["args"][0]["type"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(heard(&world.socket).filter_map(said).collect::<Vec<_>>(), ["away", "dnd"]);
}

/// What node 2 answers before it knows that somebody here is in a room may be true no more when it does.
#[tokio::test(start_paused = true)]
async fn who_answers_before_it_knows_what_for_is_asked_again_when_it_does() {
    let world = World::new().await;
    let names = |received: &[(String, String)]| received.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    for (name, is_silent_at_first) in [("first", false), ("second", true)] {
        world.bus.aware.send_replace(0);
        if is_silent_at_first {
            world.bus.answer(|asked, _| (asked != node(2)).then(|| (Duration::ZERO, 10, nobody())));
        }
        world.join(&[name]).await;
        world.bus.answer(|_, _| Some((Duration::ZERO, 10, nobody())));
        sleep(5 * SECOND).await;
        world.bus.asked.lock().clear();
        sleep(60 * SECOND).await;
        assert_eq!(world.bus.asked(node(2)).len(), 0, "it has answered, and nothing new is to be asked");
        // It tells past this node that one joined, and then hears of what is held here.
        let one = ConnectionId::random();
        world.bus.answer(move |asked, _| {
            let found = if asked == node(2) { vec![present(one)] } else { Vec::new() };
            Some((Duration::ZERO, 10, Answer::Snapshot { found, more: false }))
        });
        world.received();
        world.bus.aware.send_replace(1);
        sleep(5 * SECOND).await;
        assert_eq!(names(&world.received()), ["join"], "in the {name}");
        assert_eq!(world.bus.asked(node(2)).len(), 1);
    }
}

/// Who joins again what ended is told as gone, and then as come.
#[tokio::test(start_paused = true)]
async fn who_joins_again_a_group_that_ended_is_a_member_in_the_end() {
    let world = World::new().await;
    let [stays, comes_back] = [(); 2].map(|()| ConnectionId::random());
    world.joins(1, stays);
    world.joins(2, comes_back);
    let ended = Delivery::GroupEnded { app_id: world.app, group: group("room"), connections: vec![stays, comes_back] };
    world.hub.receive(Source::There { node: node(2), number: 3 }, ended);
    world.joins(4, comes_back);
    sleep(SECOND).await;
    let received = world.received();
    assert_eq!(of(&received, stays), ["join", "leave"]);
    assert_eq!(of(&received, comes_back), ["join", "leave", "join"]);
}

/// Whoever is behind loses more while it tells everybody so.
#[tokio::test(start_paused = true)]
async fn that_something_is_lost_is_told_once_a_second_however_often_it_is() {
    let world = World::new().await;
    world.bus.answer(|_, _| Some((Duration::ZERO, 1_000, nobody())));
    for _ in 0..100 {
        world.misses(node(2), 10);
        sleep(SECOND / 20).await;
    }
    let told = world.received().len();
    assert!((5..=6).contains(&told), "{told} times in five seconds");
    // Also what is lost just after that was told.
    sleep(SECOND * 2).await;
    world.received();
    for number in 0..2 {
        world.misses(node(3), 10 + number);
        sleep(SECOND / 10).await;
    }
    assert_eq!(world.received().len(), 1);
    sleep(SECOND).await;
    assert_eq!(world.received().len(), 1);
}
