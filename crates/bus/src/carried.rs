//! A bus over a carrier, which lies between nodes and may lose, delay and reorder what it carries.
//!
//! A [`Carrier`] sends frames and promises nothing. Here all that the port promises is made of that, once for all carriers.
//! The sender numbers items for each receiver, and keeps them for a while. The receiver hands them on in order, asks again
//! for what is missing, and tells what is gone for good.
//!
//! What a node is there for, questions and answers travel among the deliveries. So an interest is in force for all that is
//! sent after it, and an answer stands where it was given.
//!
//! The bus does not find out who the other nodes are. Whoever knows says so to each ([`CarriedBus::nodes_are`]), and so
//! every node hears the same of a death.

mod aside;
mod asks;
mod book;
mod figures;
mod handing_on;
mod incoming;
#[cfg(any(test, feature = "faulty"))]
mod inspected;
mod limits;
mod outgoing;
mod peer;
mod peers;
mod questions;
mod recent;
mod sent;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use respoke_core::id::AppId;
use respoke_core::ports::{
    Answers, Bus, Carrier, Confirmation, Delivery, Interest, Node, Notice, Question, Receiver, Source, Whom,
};
use respoke_wire::bus::{BusCodecError, Content, Frame, InterestHash, InterestNews, Item};
use tokio::time::Instant;

use self::asks::Asks;
use self::book::{Book, FirstIn};
pub use self::figures::BusFigures;
use self::figures::Counters;
use self::incoming::Next;
pub use self::limits::CarriedLimits;
use self::outgoing::{Outgoing, Owed};
use self::peer::Peer;
use self::peers::Peers;
use self::questions::Questions;
use self::recent::Recent;
use self::sent::{Kind, News};
use crate::inbox::{Inbox, State};

/// How often [`CarriedBus::tick`] is due: how late the loss of the last frame is noticed.
pub const TICK: Duration = Duration::from_millis(100);

/// How much of other nodes may wait to be handed on, in bytes: as much as one keeps for this. What comes beyond that is
/// asked for again.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// One node's bus over a carrier.
pub struct CarriedBus {
    node: Node,
    carrier: Arc<dyn Carrier>,
    limits: CarriedLimits,
    receiver: OnceLock<Weak<dyn Receiver>>,
    /// It has said farewell.
    ends: AtomicBool,
    peers: RwLock<Peers>,
    /// Locked while it is told what changed in it, so that every node is told in the same order.
    book: Mutex<Book>,
    inbox: Inbox<Waiting>,
    asks: Asks,
    aside: Questions,
    /// Locked while it is found out who gets a publication, so that a node that is late hears of it either way.
    recent: Mutex<Recent>,
    counters: Counters,
}

impl std::fmt::Debug for CarriedBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CarriedBus").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What waits to be handed on.
enum Waiting {
    Next(Arc<Peer>, Next),
    Lost(Arc<Peer>),
    /// A node came and went, and was not known here meanwhile.
    Passed(Node),
}

impl State<Waiting> {
    fn push_all(&mut self, peer: &Arc<Peer>, ready: Vec<Next>) {
        for next in ready {
            let len = if let Next::Item(_, _, len) = &next { *len } else { 0 };
            self.push_long(Waiting::Next(peer.clone(), next), len);
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
            ends: AtomicBool::new(false),
            peers: RwLock::default(),
            book: Mutex::new(Book::new(limits)),
            inbox: Inbox::default(),
            asks: Asks::default(),
            aside: Questions::default(),
            recent: Mutex::new(Recent::new(limits)),
            counters: Counters::default(),
        }
    }

    /// What it did, for metrics.
    #[must_use]
    pub fn figures(&self) -> BusFigures {
        self.counters.read()
    }

    /// Hands everything from now on to `receiver`, the first that is attached.
    pub fn attach(&self, receiver: &Arc<dyn Receiver>) {
        // A server attaches one; a second would be a defect that its tests show at once.
        let _ = self.receiver.set(Arc::downgrade(receiver));
    }

    /// These nodes live, this one may be among them. Whoever is in there no more, or in a later life, is lost. Of a life
    /// that is over by now, an old list changes nothing.
    ///
    /// What it returns is done when each has told what it is there for. A node that serves earlier publishes past some; what
    /// it publishes then comes to them late.
    pub fn nodes_are(&self, live: &[Node]) -> Vec<Confirmation> {
        // Whoever is new is told everything under this lock, so no change of it falls between.
        let book = self.book.lock();
        let mut peers = self.peers.write();
        let (new, lost) =
            peers.are(self.node, live, |node| Arc::new(Peer::new(self.node, node, self.limits, book.version())));
        let introductions = peers.iter().map(|peer| peer.introduction()).collect();
        drop(peers);
        for peer in new {
            let mut outgoing = peer.outgoing.lock();
            book.apps().for_each(|app_id| outgoing.owe(app_id, None));
            self.pay(&book, &peer, &mut outgoing);
            if self.ends.load(Ordering::SeqCst) {
                self.send_within(&peer, &mut outgoing, &farewell(&peer), &Kind::Other);
            }
        }
        drop(book);
        for peer in lost {
            self.lose(peer);
        }
        self.hand_out();
        introductions
    }

    /// These lived, and do so no more. What those said whom this node never knew did not come here.
    pub fn are_over(&self, over: &[Node]) {
        let mut peers = self.peers.write();
        let unknown: Vec<_> =
            over.iter().filter(|node| node.id != self.node.id && peers.passed(**node)).copied().collect();
        drop(peers);
        self.inbox.add(|waiting| unknown.into_iter().for_each(|node| waiting.push(Waiting::Passed(node))));
        self.hand_out();
    }

    fn lose(&self, peer: Arc<Peer>) {
        peer.over.store(true, Ordering::SeqCst);
        peer.end();
        self.asks.lose(peer.node);
        self.inbox.add(|waiting| waiting.push(Waiting::Lost(peer)));
    }

    /// Tells all others that this node ends, and whoever comes to be known later. Nobody is connected here any more. Whoever has
    /// seen it tells no gap when this node is gone ([`Self::is_all_seen`]).
    pub fn say_farewell(&self) {
        // Under this lock, so that whoever is new hears it from here or from there.
        let _book = self.book.lock();
        self.ends.store(true, Ordering::SeqCst);
        for peer in self.peers() {
            self.send(&peer, &farewell(&peer), &Kind::Other);
        }
    }

    /// Whether every other node has what was sent to it so far.
    #[must_use]
    pub fn is_all_seen(&self) -> bool {
        self.peers().iter().all(|peer| peer.outgoing.lock().unseen().is_none())
    }

    /// The nodes that are not known to have anything that was sent to them.
    #[must_use]
    pub fn deaf(&self) -> Vec<Node> {
        self.peers().iter().filter(|peer| peer.outgoing.lock().is_nothing_seen()).map(|peer| peer.node).collect()
    }

    /// Takes a frame that the carrier brings.
    ///
    /// # Errors
    ///
    /// [`BusCodecError`] for what is no frame; it is as if it had been lost.
    pub fn arrived(&self, frame: &[u8]) -> Result<(), BusCodecError> {
        let Frame { from, to, content } = Frame::decode(frame)?;
        let peer = self.peers.read().get(from.id);
        // What is for another life of this node, or from another of that one, is nobody's.
        let Some(peer) = peer.filter(|peer| peer.node == from && to == self.node) else { return Ok(()) };
        let now = Instant::now();
        match content {
            Content::Item { number, item } => {
                self.inbox.add(|waiting| {
                    if waiting.bytes() < WAITING_BYTES_MAX {
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
            Content::Seen(number) => self.see(&peer, number, now),
            Content::Again(missing) => {
                let again = peer.outgoing.lock().again(&missing, now);
                if let Some(gone) = again.gone {
                    self.say(&peer, Content::Gone(gone));
                }
                for frame in again.frames {
                    Counters::count(&self.counters.sent_again);
                    self.carrier.send(peer.node.id, frame);
                }
            }
        }
        self.hand_out();
        Ok(())
    }

    /// A node has everything up to this number, or knows that it is lost.
    fn see(&self, peer: &Peer, number: u64, now: Instant) {
        let mut outgoing = peer.outgoing.lock();
        let confirmed = outgoing.see(number, now);
        let owes = outgoing.owes();
        drop(outgoing);
        if let Some(version) = confirmed {
            peer.confirm(version);
        }
        if owes {
            let book = self.book.lock();
            self.pay(&book, peer, &mut peer.outgoing.lock());
        }
    }

    /// Looks after what time brings. Due every [`TICK`].
    pub fn tick(&self) {
        let now = Instant::now();
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
        self.peers.read().iter().cloned().collect()
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

    fn send(&self, peer: &Peer, item: &Bytes, kind: &Kind) {
        // Sent under the lock, which a carrier does not hold for long, so that numbers go out in order.
        self.send_within(peer, &mut peer.outgoing.lock(), item, kind);
    }

    fn send_within(&self, peer: &Peer, outgoing: &mut Outgoing, item: &Bytes, kind: &Kind) {
        if peer.over.load(Ordering::SeqCst) {
            return;
        }
        Counters::count(&self.counters.sent);
        outgoing.add(item, kind, Instant::now(), |frame| self.carrier.send(peer.node.id, frame));
    }

    /// Tells a node what it has to be told of what this one is there for, as far as there is room.
    fn pay(&self, book: &Book, peer: &Peer, outgoing: &mut Outgoing) {
        while let Some(owed) = outgoing.next_owed() {
            let (news, kind) = match owed {
                Owed::App(app_id, since) => {
                    let news = News { app_id, hash: None, since, version: book.version() };
                    (book.all_of(app_id), Kind::News(news))
                }
                Owed::Late(app_id, late) => {
                    let of = late.of.iter().flatten().copied().collect();
                    let millis = u64::try_from(late.since.elapsed().as_millis()).unwrap_or(u64::MAX);
                    (InterestNews::Late { app_id, of, millis }, Kind::Late(app_id, late))
                }
                Owed::Complete => (InterestNews::Complete, Kind::Complete),
            };
            self.send_within(peer, outgoing, &encoded(&Item::News(news)), &kind);
        }
    }

    fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.receiver.get().and_then(Weak::upgrade)
    }
}

#[async_trait]
impl Bus for CarriedBus {
    fn node(&self) -> Node {
        self.node
    }

    fn publish(&self, delivery: Delivery) {
        let wanted = delivery.interests().map(|interests| interests.iter().map(hashed).collect::<Vec<_>>());
        let mut peers = self.peers();
        let concerns = |peer: &Arc<Peer>| wanted.as_ref().is_none_or(|wanted| peer.holds.read().any(wanted));
        match wanted.as_deref() {
            Some([wanted]) if Recent::keeps(&delivery) => {
                let mut recent = self.recent.lock();
                peers.retain(concerns);
                recent.keep(&delivery, *wanted, peers.iter().map(|peer| peer.node).collect(), Instant::now());
            }
            _ => peers.retain(concerns),
        }
        if !peers.is_empty() {
            let item = encoded(&Item::Delivery(delivery.clone()));
            for peer in &peers {
                self.send(peer, &item, &Kind::Other);
            }
        }
        if let Some(receiver) = self.receiver() {
            receiver.receive(Source::Here, delivery);
        }
    }

    fn hold(&self, interest: &Interest) -> Confirmation {
        let (app_id, hash) = hashed(interest);
        let mut book = self.book.lock();
        let peers = self.peers();
        let version = match book.hold(app_id, hash) {
            FirstIn::No(version) => version,
            FirstIn::Tell(news, version) => {
                let whole = matches!(news, InterestNews::WholeApp(_));
                let news_of = News { app_id, hash: (!whole).then_some(hash), since: Some(Instant::now()), version };
                let kind = Kind::News(news_of);
                let item = encoded(&Item::News(news));
                for peer in &peers {
                    self.send(peer, &item, &kind);
                }
                version
            }
        };
        drop(book);
        let mut confirmation = Confirmation::DONE;
        // Whoever has said farewell publishes nothing more past this.
        for peer in peers.iter().filter(|peer| !peer.has_left()) {
            peer.waits_for(version, &mut confirmation);
        }
        confirmation
    }

    fn release(&self, interest: &Interest) {
        let (app_id, hash) = hashed(interest);
        let mut book = self.book.lock();
        let Some(news) = book.release(app_id, hash) else { return };
        let kind = Kind::News(News { app_id, hash: None, since: None, version: book.version() });
        let item = encoded(&Item::News(news));
        for peer in self.peers() {
            self.send(&peer, &item, &kind);
        }
    }

    fn wanted_elsewhere(&self, interest: &Interest) -> bool {
        let wanted = [hashed(interest)];
        self.peers().iter().any(|peer| peer.holds.read().any(&wanted))
    }

    fn other_nodes(&self) -> Vec<Node> {
        self.peers().iter().filter(|peer| !peer.has_left()).map(|peer| peer.node).collect()
    }

    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers {
        let mut asked = self.peers();
        match whom {
            Whom::Others => asked.retain(|peer| !peer.has_left()),
            Whom::One(node) => {
                asked.retain(|peer| peer.node == node);
                if asked.is_empty() {
                    return Answers { given: Vec::new(), silent: vec![node] };
                }
            }
        }
        let waits = match self.asks.wait_for(asked.iter().map(|peer| peer.node).collect()) {
            Ok(waits) => waits,
            Err(silent) => return Answers { given: Vec::new(), silent },
        };
        let question = encoded(&Item::Question { ask: waits.number(), question });
        for peer in asked {
            self.send(&peer, &question, &Kind::Other);
            // It may have been lost before it was waited for.
            if peer.over.load(Ordering::SeqCst) {
                waits.lose(peer.node);
            }
        }
        waits.answers(deadline).await
    }

    fn tell(&self, node: Node, notice: Notice) {
        let Some(peer) = self.peers.read().get(node.id).filter(|peer| peer.node == node) else { return };
        self.send(&peer, &encoded(&Item::Notice(notice)), &Kind::Other);
    }

    fn round_trip(&self) -> Duration {
        2 * self.carrier.usual_delay()
    }
}

fn hashed(interest: &Interest) -> (AppId, InterestHash) {
    (interest.app_id(), interest.into())
}

/// What a node is told by one that ends.
fn farewell(peer: &Peer) -> Bytes {
    // What it made up for was sent before that number was noted, so this stands behind it.
    encoded(&Item::News(InterestNews::Farewell { known: peer.seen.load(Ordering::SeqCst) }))
}

/// The bytes of an item. Those of one that is too long say so, and its number is told as missed.
fn encoded(item: &Item) -> Bytes {
    item.encode().or_else(|_| Item::Unsent.encode()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
