//! A bus over something that lies between nodes, and may lose, delay and reorder what it carries.
//!
//! A [`Carrier`] sends frames and promises nothing. All that the port promises is made of them here, once for all
//! carriers: items are numbered for each receiver and kept for a while; a receiver hands them on in order, asks again for
//! what is missing, and tells what is gone for good. What a node is there for, questions and answers travel among the
//! deliveries, so an interest is in force for all that is sent after it, and an answer stands where it was given.
//!
//! Who the other nodes are is not found out here: whoever knows says so ([`CarriedBus::nodes_are`]), and so every node
//! hears the same of a death.

mod asks;
mod book;
mod incoming;
mod outgoing;
mod recent;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use respoke_core::id::AppId;
use respoke_core::ports::{
    Answers, Bus, Confirmation, Delivery, Gap, Given, Interest, Node, NodeId, Question, Receiver, Source, Whom,
};
use respoke_wire::bus::{BusCodecError, Content, Frame, InterestHash, InterestNews, Item};
use tokio::sync::watch;
use tokio::time::Instant;

use self::asks::Asks;
use self::book::{Book, FirstIn, Holds};
use self::incoming::{Incoming, Next};
use self::outgoing::{Kind, Outgoing, WaitedFor, Wanted};
use self::recent::Recent;
use crate::inbox::{Inbox, State};

/// What takes frames from node to node.
pub trait Carrier: Send + Sync {
    /// Sends a frame to a node. It never waits: what it has no room for is lost, and will be asked for again.
    fn send(&self, to: NodeId, frame: Bytes);
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CarriedLimits {
    /// How long what was sent is kept, to be sent again. A longer break is told as one.
    pub kept_for: Duration,
    /// How much of it is kept for each node, in bytes: what a break of a second costs at 16 MB a second.
    pub kept_bytes_max: usize,
    /// How much is sent again at once, in bytes. The rest is asked for when that came.
    pub again_bytes_max: usize,
    /// How long whoever joins waits for a node to confirm it. One that is later sends again what it published meanwhile.
    pub late_after: Duration,
    /// What a node is there for in one app before it gets all of that app: some three megabytes at each other node.
    pub interests_per_app_max: usize,
}

impl CarriedLimits {
    /// What production uses.
    pub const DEFAULT: Self = Self {
        kept_for: Duration::from_secs(5),
        kept_bytes_max: 16 << 20,
        again_bytes_max: 1 << 20,
        late_after: Duration::from_millis(250),
        interests_per_app_max: 65_536,
    };
}

/// How often [`CarriedBus::tick`] is due: how late the loss of the last frame is noticed.
pub const TICK: Duration = Duration::from_millis(100);

/// Items of other nodes that wait to be handed on. What comes beyond that is asked for again.
const WAITING_MAX: usize = 65_536;

/// One node's bus over a carrier.
pub struct CarriedBus {
    node: Node,
    carrier: Arc<dyn Carrier>,
    limits: CarriedLimits,
    receiver: OnceLock<Weak<dyn Receiver>>,
    peers: RwLock<HashMap<NodeId, Arc<Peer>>>,
    /// Locked while it is told what changed in it, so that every node is told in the same order.
    book: Mutex<Book>,
    inbox: Inbox<Waiting>,
    asks: Asks,
    /// Locked while something is published, so that a node that is late hears of it either way.
    recent: Mutex<Recent>,
}

impl std::fmt::Debug for CarriedBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarriedBus").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Another node.
struct Peer {
    node: Node,
    over: AtomicBool,
    outgoing: Mutex<Outgoing>,
    incoming: Mutex<Incoming>,
    /// Everything up to this number was handed on, or told to be lost.
    seen: AtomicU64,
    holds: RwLock<Holds>,
    /// Itself, until it has told what it is there for.
    introduced: watch::Sender<Vec<Node>>,
}

/// What waits to be handed on.
enum Waiting {
    Next(Arc<Peer>, Next),
    Lost(Node),
}

impl State<Waiting> {
    fn push_all(&mut self, peer: &Arc<Peer>, ready: Vec<Next>) {
        for next in ready {
            self.push(Waiting::Next(peer.clone(), next));
        }
    }
}

impl CarriedBus {
    /// The bus of `node`, which knows of no other yet.
    #[must_use]
    pub fn new(node: Node, carrier: Arc<dyn Carrier>, limits: CarriedLimits) -> Self {
        Self {
            node,
            carrier,
            limits,
            receiver: OnceLock::new(),
            peers: RwLock::default(),
            book: Mutex::new(Book::new(limits.interests_per_app_max)),
            inbox: Inbox::default(),
            asks: Asks::default(),
            recent: Mutex::default(),
        }
    }

    /// Hands everything from now on to `receiver`, the first that is attached.
    pub fn attach(&self, receiver: &Arc<dyn Receiver>) {
        // A server attaches one; a second would be a defect that its tests show at once.
        let _ = self.receiver.set(Arc::downgrade(receiver));
    }

    /// These nodes live, this one may be among them. Whoever is in there no more, or in another life, is lost.
    ///
    /// What it returns is done when each has told what it is there for. A node that serves earlier would publish past some.
    pub fn nodes_are(&self, live: &[Node]) -> Vec<Confirmation> {
        // Whoever is new is told everything under this lock, so no change of it falls between.
        let book = self.book.lock();
        let mut peers = self.peers.write();
        let lost: Vec<_> = peers.extract_if(|_, peer| !live.contains(&peer.node)).map(|(_, peer)| peer).collect();
        let mut new = Vec::new();
        for node in live.iter().filter(|node| node.id != self.node.id) {
            peers.entry(node.id).or_insert_with(|| {
                let peer = Arc::new(Peer {
                    node: *node,
                    over: AtomicBool::new(false),
                    outgoing: Mutex::new(Outgoing::new(self.node, *node, self.limits)),
                    incoming: Mutex::default(),
                    seen: AtomicU64::new(0),
                    holds: RwLock::default(),
                    introduced: watch::channel(vec![*node]).0,
                });
                new.push(peer.clone());
                peer
            });
        }
        let introductions = peers.values().map(|peer| Confirmation::of(peer.introduced.subscribe())).collect();
        drop(peers);
        for peer in new {
            self.tell_everything(&book, &peer);
        }
        drop(book);
        for peer in lost {
            self.lose(&peer);
        }
        self.hand_out();
        introductions
    }

    fn lose(&self, peer: &Peer) {
        peer.over.store(true, Ordering::SeqCst);
        peer.outgoing.lock().end();
        peer.introduced.send_modify(Vec::clear);
        self.asks.lose(peer.node);
        self.inbox.add(|waiting| waiting.push(Waiting::Lost(peer.node)));
    }

    /// Takes a frame that the carrier brings.
    ///
    /// # Errors
    ///
    /// [`BusCodecError`] for what is no frame; it is as if it had been lost.
    pub fn arrived(&self, frame: &[u8]) -> Result<(), BusCodecError> {
        let Frame { from, to, content } = Frame::decode(frame)?;
        let peer = self.peers.read().get(&from.id).cloned();
        // What is for another life of this node, or from another of that one, is nobody's.
        let Some(peer) = peer.filter(|peer| peer.node == from && to == self.node) else { return Ok(()) };
        let now = Instant::now();
        match content {
            Content::Item { number, item } => {
                self.inbox.add(|waiting| {
                    if waiting.len() < WAITING_MAX {
                        waiting.push_all(&peer, peer.incoming.lock().take(number, frame.len(), item));
                    }
                });
                self.ask_again(&peer, now);
            }
            Content::Head(number) => {
                peer.incoming.lock().sent(number);
                self.say_seen(&peer);
                self.ask_again(&peer, now);
            }
            Content::Gone(number) => {
                self.inbox.add(|waiting| waiting.push_all(&peer, peer.incoming.lock().gone(number)));
                self.ask_again(&peer, now);
            }
            Content::Seen(number) => {
                let mut outgoing = peer.outgoing.lock();
                let late = outgoing.seen(number, now);
                let news_lost = outgoing.news_lost();
                drop(outgoing);
                for (app_id, hash) in late {
                    self.tell(&peer, InterestNews::Late(app_id, hash), None);
                }
                if news_lost {
                    self.tell_everything(&self.book.lock(), &peer);
                }
            }
            Content::Again(missing) => {
                let again = peer.outgoing.lock().again(&missing, now);
                if let Some(gone) = again.gone {
                    self.say(&peer, Content::Gone(gone));
                }
                for frame in again.frames {
                    self.carrier.send(peer.node.id, frame);
                }
            }
        }
        self.hand_out();
        Ok(())
    }

    /// Looks after what time brings. Due every [`TICK`].
    pub fn tick(&self) {
        let now = Instant::now();
        self.book.lock().forget_confirmed();
        self.recent.lock().forget(now);
        for peer in self.peers() {
            let mut outgoing = peer.outgoing.lock();
            outgoing.forget(now);
            let unseen = outgoing.unseen();
            drop(outgoing);
            if let Some(last) = unseen {
                self.say(&peer, Content::Head(last));
            }
            self.ask_again(&peer, now);
        }
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().cloned().collect()
    }

    fn ask_again(&self, peer: &Peer, now: Instant) {
        let missing = peer.incoming.lock().ask_again(now);
        if let Some(missing) = missing {
            self.say(peer, Content::Again(missing));
        }
    }

    fn say_seen(&self, peer: &Peer) {
        self.say(peer, Content::Seen(peer.seen.load(Ordering::Acquire)));
    }

    /// Sends what has no number. It is said again if it is lost.
    fn say(&self, peer: &Peer, content: Content) {
        let frame = Frame { from: self.node, to: peer.node, content }.encode();
        // It holds some numbers, and is never too long.
        if let Ok(frame) = frame {
            self.carrier.send(peer.node.id, frame);
        }
    }

    fn send(&self, peer: &Peer, item: &[u8], kind: Kind, waited_for: Option<(Wanted, &WaitedFor)>) {
        // Sent under the lock, which a carrier does not hold for long, so that numbers go out in order.
        let mut outgoing = peer.outgoing.lock();
        if peer.over.load(Ordering::SeqCst) {
            if let Some((_, waited_for)) = waited_for {
                outgoing::confirmed(waited_for, peer.node);
            }
            return;
        }
        let now = Instant::now();
        let frame = outgoing.add(item, kind, now);
        if let Some((wanted, waited_for)) = waited_for {
            outgoing.confirm(wanted, waited_for, now);
        }
        self.carrier.send(peer.node.id, frame);
    }

    fn tell(&self, peer: &Peer, news: InterestNews, waited_for: Option<(Wanted, &WaitedFor)>) {
        self.send(peer, &encoded(&Item::News(news)), Kind::News, waited_for);
    }

    fn tell_everything(&self, book: &Book, peer: &Peer) {
        peer.outgoing.lock().tell_anew();
        for news in book.everything() {
            self.tell(peer, news, None);
        }
        peer.outgoing.lock().told_anew();
    }

    fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.receiver.get().and_then(Weak::upgrade)
    }

    fn hand_out(&self) {
        self.inbox.hand_out(|waiting| match waiting {
            Waiting::Next(peer, _) if peer.over.load(Ordering::SeqCst) => {}
            Waiting::Next(peer, Next::Item(number, item)) => {
                let confirms = matches!(item, Item::News(_));
                self.take(&peer, number, item);
                peer.seen.store(number, Ordering::Release);
                if confirms {
                    self.say_seen(&peer);
                }
            }
            Waiting::Next(peer, Next::Missed(numbers)) => {
                peer.seen.store(*numbers.end(), Ordering::Release);
                self.miss(&peer, numbers);
            }
            Waiting::Lost(node) => {
                if let Some(receiver) = self.receiver() {
                    receiver.lost(node);
                }
            }
        });
    }

    /// Sends what was published past a node before it was known what that is there for.
    fn make_up_for(&self, peer: &Peer, app_id: AppId, hash: Option<InterestHash>) {
        let mut recent = self.recent.lock();
        for delivery in recent.unsent(peer.node, app_id, hash) {
            self.send(peer, &encoded(&Item::Delivery(delivery)), Kind::Other, None);
        }
    }

    fn miss(&self, peer: &Peer, numbers: RangeInclusive<u64>) {
        if let Some(receiver) = self.receiver() {
            receiver.missed(Gap { from: peer.node, numbers });
        }
    }

    fn take(&self, peer: &Peer, number: u64, item: Item) {
        match item {
            Item::Delivery(delivery) => {
                if let Some(receiver) = self.receiver() {
                    receiver.receive(Source::There { node: peer.node, number }, delivery);
                }
            }
            Item::News(news) => match news {
                InterestNews::Complete => peer.introduced.send_modify(Vec::clear),
                InterestNews::Late(app_id, hash) => self.make_up_for(peer, app_id, hash),
                InterestNews::Anew
                | InterestNews::Held(_)
                | InterestNews::Released(_)
                | InterestNews::WholeApp(_)
                | InterestNews::PartOfApp(_) => peer.holds.write().learn(news),
            },
            Item::Question { ask, question } => {
                let known = peer.outgoing.lock().last();
                let Some(receiver) = self.receiver() else { return };
                let answer = receiver.answer(peer.node, question);
                // One that is too long is none.
                if let Ok(answer) = (Item::Answer { ask, known, answer }).encode() {
                    self.send(peer, &answer, Kind::Other, None);
                }
            }
            Item::Unsent => self.miss(peer, number..=number),
            Item::Answer { ask, known, answer } => {
                self.asks.take(ask, Given { node: peer.node, number: known, answer });
            }
        }
    }
}

#[async_trait]
impl Bus for CarriedBus {
    fn node(&self) -> Node {
        self.node
    }

    fn publish(&self, delivery: Delivery) {
        let wanted = delivery.interests().map(|interests| {
            let hash = |interest: &Interest| (interest.app_id(), InterestHash::from(interest));
            interests.iter().map(hash).collect::<Vec<_>>()
        });
        let peers = self.peers();
        let mut item = None;
        let mut sent_to = Vec::new();
        let mut recent = self.recent.lock();
        for peer in &peers {
            if wanted.as_ref().is_none_or(|wanted| peer.holds.read().any(wanted)) {
                let item = item.get_or_insert_with(|| encoded(&Item::Delivery(delivery.clone())));
                self.send(peer, item, Kind::Other, None);
                sent_to.push(peer.node);
            }
        }
        if let Some([(_, hash)]) = wanted.as_deref()
            && !peers.is_empty()
        {
            recent.keep(&delivery, *hash, sent_to, Instant::now());
        }
        drop(recent);
        if let Some(receiver) = self.receiver() {
            receiver.receive(Source::Here, delivery);
        }
    }

    fn hold(&self, interest: &Interest) -> Confirmation {
        let mut book = self.book.lock();
        let news = match book.hold(interest) {
            FirstIn::No(None) => return Confirmation::DONE,
            FirstIn::No(Some(waited_for)) => return Confirmation::of(waited_for.subscribe()),
            FirstIn::Tell(news) => news,
        };
        let peers = self.peers();
        let (waited_for, confirmation) = watch::channel(peers.iter().map(|peer| peer.node).collect::<Vec<_>>());
        let waited_for = Arc::new(waited_for);
        book.wait_for(interest, &waited_for);
        let whole = matches!(news, InterestNews::WholeApp(_));
        let wanted = (interest.app_id(), (!whole).then(|| interest.into()));
        for peer in peers {
            self.tell(&peer, news.clone(), Some((wanted, &waited_for)));
        }
        Confirmation::of(confirmation)
    }

    fn release(&self, interest: &Interest) {
        let mut book = self.book.lock();
        let news = book.release(interest);
        if news.is_empty() {
            return;
        }
        for peer in self.peers() {
            for news in &news {
                self.tell(&peer, news.clone(), None);
            }
        }
    }

    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers {
        let mut asked = self.peers();
        if let Whom::One(node) = whom {
            asked.retain(|peer| peer.node == node);
            if asked.is_empty() {
                return Answers { given: Vec::new(), silent: vec![node] };
            }
        }
        let waits = match self.asks.wait_for(asked.iter().map(|peer| peer.node).collect()) {
            Ok(waits) => waits,
            Err(silent) => return Answers { given: Vec::new(), silent },
        };
        let question = encoded(&Item::Question { ask: waits.number(), question });
        for peer in asked {
            self.send(&peer, &question, Kind::Other, None);
            // It may have been lost before it was waited for.
            if peer.over.load(Ordering::SeqCst) {
                waits.lose(peer.node);
            }
        }
        waits.answers(deadline).await
    }
}

/// The bytes of an item. Those of one that is too long say so, and its number is told as missed.
fn encoded(item: &Item) -> Bytes {
    item.encode().or_else(|_| Item::Unsent.encode()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
