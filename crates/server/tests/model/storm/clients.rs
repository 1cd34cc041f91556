//! Clients in a storm: each asks for one thing after the other, and reads what comes.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::event::{Content, Presence};
use respoke_core::id::{AppId, ConnectionId};
use respoke_core::ops::Context;
use respoke_core::ports::{Delivery, Interest};
use respoke_core::refusal::Refusal;
use respoke_hub::ops::{Asker, Connect, Message, Publish, Unlimited};
use respoke_hub::outbox::Taken;
use respoke_hub::{Opening, Socket};
use respoke_wire::close::Close;
use respoke_wire::dialect::Dialect;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::super::doings::raw;
use super::super::home::{endpoint, group};
use super::house::{Node, Waiting};
use super::ledger::{About, Came, Ledger, Said, Thing, To, Worth, YES};
use super::plan::{Act, Whom};

/// What one client may have asked for and waits to be done.
pub(super) const ASKED_MAX: usize = 128;

/// What all in a storm know.
pub(super) struct Shared {
    pub(super) app: AppId,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) nodes: Mutex<Vec<Option<Arc<Node>>>>,
    pub(super) seats: Mutex<Vec<Option<Seat>>>,
    /// What went wrong where nobody could be told.
    pub(super) troubles: Mutex<Vec<String>>,
    begun: Instant,
    /// What was asked for and heard, and when.
    story: Story,
}

/// What happened in a storm, to be printed if something is not as it was to be.
pub(super) type Story = Arc<Mutex<Vec<String>>>;

/// A client that is there.
pub(super) struct Seat {
    pub(super) node: usize,
    pub(super) socket: Arc<Socket>,
    pub(super) number: usize,
    pub(super) acts: Option<mpsc::Sender<Act>>,
    pub(super) acting: AbortHandle,
}

impl Shared {
    pub(super) fn new(app: AppId, nodes: usize, slots: usize, story: Story) -> Self {
        story.lock().clear();
        Self {
            app,
            ledger: Mutex::default(),
            nodes: Mutex::new(vec![None; nodes]),
            seats: Mutex::new((0..slots).map(|_| None).collect()),
            troubles: Mutex::default(),
            begun: Instant::now(),
            story,
        }
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        let at = self.begun.elapsed().as_secs_f64();
        self.story.lock().push(format!("{at:>7.3} s {}", what()));
    }

    /// The connection of who is there in a slot.
    fn connection_of(&self, slot: usize) -> Option<ConnectionId> {
        self.seats.lock()[slot].as_ref()?.socket.connection().map(|connection| connection.id)
    }

    /// Notes that words are published now.
    pub(super) fn listen(&self, node: usize, delivery: &Delivery) {
        let Delivery::Push { event, .. } = delivery else { return };
        let words = match &event.content {
            Content::Published { message, .. } => message,
            Content::Message { body, to_original: None, .. } => body,
            _ => return,
        };
        let words: String = serde_json::from_str(words.get()).unwrap();
        let past = self.past(&delivery.interests().unwrap()[0], node);
        self.ledger.lock().spoken(&words, past);
    }

    /// The nodes of which it is not certain that they know that a node is there for something.
    fn unaware(&self, interest: &Interest, who: &Node) -> BTreeSet<usize> {
        let nodes = self.nodes.lock();
        let is_unaware =
            |node: &Option<Arc<Node>>| node.as_ref().is_none_or(|node| !who.bus.is_confirmed(interest, node.life));
        (0..nodes.len()).filter(|number| is_unaware(&nodes[*number])).collect()
    }

    /// The nodes of which it is not certain that a node knows that they are there for something.
    fn past(&self, interest: &Interest, by: usize) -> BTreeSet<usize> {
        let nodes = self.nodes.lock();
        let Some(life) = nodes[by].as_ref().map(|node| node.life) else { return BTreeSet::new() };
        let knows = |node: &Option<Arc<Node>>| node.as_ref().is_some_and(|node| node.bus.is_confirmed(interest, life));
        (0..nodes.len()).filter(|number| *number != by && !knows(&nodes[*number])).collect()
    }
}

/// Opens a socket on a node.
pub(super) fn open(node: &Node) -> Option<Arc<Socket>> {
    let (credential, caller) = (node.credential.clone(), node.caller.clone());
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    node.hub.open(Opening { credential, caller, address, origin: None, host: None, dialect: Dialect::SocketIo })
}

/// Reads all that comes over a socket, and hangs up when it is told to go.
pub(super) async fn read(shared: Arc<Shared>, node: Arc<Node>, socket: Arc<Socket>, number: usize) {
    let mut frames = VecDeque::new();
    loop {
        let taken = socket.outbox.take(&mut frames).await;
        hear(&shared, number, std::mem::take(&mut frames));
        if let Taken::Closed(why) = taken {
            node.hub.close(&socket, why);
            return;
        }
    }
}

fn hear(shared: &Shared, number: usize, frames: VecDeque<Bytes>) {
    for frame in frames {
        let heard = shared.ledger.lock().hear(number, &frame);
        match heard {
            Ok(tale) => shared.tell(|| format!("socket {number} hears {tale:?}")),
            Err(error) => shared.troubles.lock().push(format!("socket {number} heard what is nothing: {error:#}")),
        }
    }
}

/// A client that asks.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) node: Arc<Node>,
    /// Which of the nodes that is.
    pub(super) node_number: usize,
    pub(super) slot: usize,
    pub(super) socket: Arc<Socket>,
    pub(super) number: usize,
}

impl Client {
    /// Registers, and does what it is told to, one after the other.
    pub(super) async fn go_on(self, name: &'static str, mut acts: mpsc::Receiver<Act>) {
        self.register(name).await;
        while let Some(act) = acts.recv().await {
            self.shared.tell(|| format!("socket {} asks for {act:?}", self.number));
            match act {
                Act::Register { name } => self.register(name).await,
                Act::Disconnect => self.disconnect().await,
                Act::Join { groups, whom } => self.be_in(&groups, whom, YES).await,
                Act::Leave { groups, whom } => self.be_in(&groups, whom, None).await,
                Act::EndGroup { group } => self.end_group(group).await,
                Act::Publish { group } => self.publish(group).await,
                Act::Send { to, only, cc } => self.send(to, only, cc).await,
                Act::Say { kind, whom } => self.say(kind, whom).await,
                Act::Observe { names } => self.observe(&names).await,
                Act::End { slot } => self.end(slot).await,
                Act::Go => {
                    self.shared.ledger.lock().gone(self.number);
                    return self.node.hub.close(&self.socket, Close::Left);
                }
            }
            self.shared.tell(|| format!("socket {} is answered", self.number));
        }
    }

    fn asker<'a>(&'a self, context: &'a Context) -> Asker<'a> {
        Asker { socket: Some(&self.socket), app_id: None, ..self.node.asker(self.shared.app, context, &Unlimited) }
    }

    fn own(&self) -> Option<ConnectionId> {
        self.socket.connection().map(|connection| connection.id)
    }

    async fn register(&self, name: &'static str) {
        let context = Context::internal();
        let from = self.shared.ledger.lock().registers(self.number);
        let before = self.own().map(|id| self.wish(About::One(id), &[Thing::There], None));
        let asker = Asker { endpoint_id: Some(endpoint(name)), ..self.asker(&context) };
        let connected = self.node.hub.connect(&asker, Connect::default()).await;
        match connected {
            Ok(connection) => {
                let (id, slot, node) = (connection.id, self.slot, self.node_number);
                self.shared.tell(|| format!("socket {} of slot {slot} on node {node} is {name} {id}", self.number));
                self.shared.ledger.lock().registered(self.number, id, name, from);
                self.came(before.unwrap_or_default(), Came::Done);
            }
            Err(refusal) => {
                let is_gone = self.shared.ledger.lock().sockets[self.number].gone.is_some();
                if !is_gone && self.socket.outbox.closed().is_none() {
                    self.shared.troubles.lock().push(format!("{name} could not register: {}", refusal.code()));
                }
                self.came(before.unwrap_or_default(), Came::NotDone);
            }
        }
    }

    async fn disconnect(&self) {
        let Some(own) = self.own() else { return };
        let wishes = self.wish(About::One(own), &[Thing::There], None);
        let context = Context::internal();
        let ended = self.node.hub.disconnect(&self.asker(&context), &own.to_string()).await;
        self.came(wishes, came(&ended));
    }

    /// Joins or leaves.
    async fn be_in(&self, names: &[&'static str], whom: Whom, worth: Worth) {
        let context = Context::internal();
        let Some((about, asker)) = self.about(whom, &context) else { return };
        let things: Vec<_> = names.iter().map(|name| Thing::In(name)).collect();
        let wishes = self.wish(about, &things, worth);
        let groups: Vec<_> = names.iter().map(|name| group(name)).collect();
        let hub = &self.node.hub;
        let done = if worth == YES { hub.join(&asker, &groups).await } else { hub.leave(&asker, &groups).await };
        self.came(wishes, came(&done));
    }

    async fn end_group(&self, name: &'static str) {
        let context = Context::internal();
        let wishes = self.wish(About::Everybody, &[Thing::In(name)], None);
        let waiting = Waiting(&self.node.bus, context.request_id);
        let asker = Asker { purse: &waiting, ..self.asker(&context) };
        let groups = group(name);
        let ended = tokio::select! {
            biased;
            ended = self.node.hub.end_group(&asker, &groups) => ended,
            never = goes_slowly() => never,
        };
        // Then there was nobody.
        let ended = ended.or_else(|refusal| if let Refusal::NotFound(_) = refusal { Ok(()) } else { Err(refusal) });
        self.came(wishes, came(&ended));
    }

    async fn publish(&self, name: &'static str) {
        let context = Context::internal();
        let said = self.is_to_say(To::Group(name));
        let request = Publish { message: raw(&json!(said)), persist: false, once: None };
        if let Err(refusal) = self.node.hub.publish(&self.asker(&context), &group(name), request).await {
            self.shared.troubles.lock().push(format!("publishing: {}", refusal.code()));
        }
    }

    async fn send(&self, to: &'static str, only: Option<usize>, cc: bool) {
        let context = Context::internal();
        let to_connection = only.and_then(|slot| self.shared.connection_of(slot));
        let said = self.is_to_say(To::Endpoint(to, to_connection));
        let body = raw(&json!(said));
        let message = Message { to: endpoint(to), to_connection, body, cc_self: cc, once: None };
        if let Err(refusal) = self.node.hub.send(&self.asker(&context), message).await {
            self.shared.troubles.lock().push(format!("sending: {}", refusal.code()));
        }
    }

    async fn say(&self, kind: &'static str, whom: Whom) {
        let context = Context::internal();
        let Some((about, asker)) = self.about(whom, &context) else { return };
        let wishes = self.wish(about, &[Thing::Says], Some(kind));
        let presence = Presence { kind: raw(&json!(kind)), show: None, status: None };
        let said = self.node.hub.set_presence(&asker, presence).await;
        self.came(wishes, came(&said));
    }

    async fn observe(&self, names: &[&'static str]) {
        let Some(own) = self.own() else { return };
        let context = Context::internal();
        let things: Vec<_> = names.iter().map(|name| Thing::Observes(name)).collect();
        let wishes = self.wish(About::One(own), &things, YES);
        let endpoints = names.iter().map(|name| endpoint(name)).collect();
        let observed = self.node.hub.observe(&self.asker(&context), endpoints).await;
        for (wish, name) in wishes.iter().zip(names) {
            let unaware = self.shared.unaware(&Interest::Observers(self.shared.app, endpoint(name)), &self.node);
            self.shared.ledger.lock().is_unknown_to(*wish, unaware);
        }
        self.came(wishes, came(&observed.map(drop)));
    }

    async fn end(&self, slot: usize) {
        let Some(id) = self.shared.connection_of(slot) else { return };
        let wishes = self.wish(About::One(id), &[Thing::There], None);
        let context = Context::internal();
        let ended = self.node.hub.disconnect(&self.asker(&context), &id.to_string()).await;
        self.came(wishes, came(&ended));
    }

    /// Whose connections are meant, and whoever asks for that.
    fn about<'a>(&'a self, whom: Whom, context: &'a Context) -> Option<(About, Asker<'a>)> {
        let asker = self.asker(context);
        Some(match whom {
            Whom::Own => (About::One(self.own()?), asker),
            Whom::Of(slot) => {
                let id = self.shared.connection_of(slot)?;
                (About::One(id), Asker { connection_id: Some(id), ..asker })
            }
            Whom::All(name) => (About::Endpoint(name), Asker { endpoint_id: Some(endpoint(name)), ..asker }),
        })
    }

    /// Reads what it was told so far, so that it is known what that was before.
    fn catches_up(&self) {
        let mut frames = VecDeque::new();
        let _ = self.socket.outbox.take_now(&mut frames);
        hear(&self.shared, self.number, frames);
    }

    fn wish(&self, about: About, things: &[Thing], worth: Worth) -> Vec<usize> {
        self.catches_up();
        let mut ledger = self.shared.ledger.lock();
        things.iter().map(|thing| ledger.wish(self.number, about, *thing, worth)).collect()
    }

    fn came(&self, wishes: Vec<usize>, came: Came) {
        self.catches_up();
        if came != Came::Done {
            self.shared.tell(|| format!("socket {}: {came:?}", self.number));
        }
        let mut ledger = self.shared.ledger.lock();
        for wish in wishes {
            ledger.came(wish, came);
        }
    }

    /// Notes what is about to be said, and gives it words.
    fn is_to_say(&self, to: To) -> String {
        let mut ledger = self.shared.ledger.lock();
        let text = format!("words {}", ledger.said.len());
        ledger.said.push(Said::new(text.clone(), self.number, self.node_number, to));
        text
    }
}

/// Lets time go on in small steps only, each of which takes a moment: a database is asked, of which time knows nothing.
async fn goes_slowly<T>() -> T {
    loop {
        let _ = tokio::task::spawn_blocking(|| ()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What came of something that was asked for.
fn came(done: &Result<(), Refusal>) -> Came {
    match done {
        Ok(()) => Came::Done,
        // Nothing is done then.
        Err(Refusal::NodeSilent | Refusal::NotConnected | Refusal::NotFound(_)) => Came::NotDone,
        Err(_) => Came::Perhaps,
    }
}

/// Longer than anything takes that a client asks for: each of a few questions a second, and 4 s more.
pub(super) const ASKED_WITHIN: Duration = Duration::from_secs(30);
