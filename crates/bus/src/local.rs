//! A bus within one process: what is published is received at once, by the same thread.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use respoke_core::ports::{
    Answers, Bus, Confirmation, Delivery, Gap, Given, Incarnation, Interest, Node, NodeId, Notice, Question, Receiver,
    Source, Whom,
};

use crate::inbox::Inbox;

/// Deliveries that wait for one node, while another thread hands it what came before. It takes microseconds each.
const WAITING_MAX: usize = 65_536;

/// One node's bus, alone or with others of [`LocalNodes`].
///
/// Without a receiver, as on the command line, deliveries are dropped: nobody is connected.
pub struct LocalBus {
    node: Node,
    receiver: OnceLock<Weak<dyn Receiver>>,
    /// None: it is alone, and pays nothing for what it could share.
    shared: Option<Shared>,
}

impl Default for LocalBus {
    /// The bus of a server that is alone.
    fn default() -> Self {
        Self { node: Node::ALONE, receiver: OnceLock::new(), shared: None }
    }
}

impl std::fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBus").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What a node has who is not alone.
struct Shared {
    nodes: Arc<LocalNodes>,
    over: AtomicBool,
    /// How often something here is there for each.
    holds: RwLock<HashMap<Interest, usize>>,
    inbox: Inbox<Waiting>,
    /// The last number of each sender. Locked within the inbox, so that numbers come in order.
    numbers: Mutex<HashMap<Node, u64>>,
}

/// What waits for a node.
enum Waiting {
    Delivery(Node, u64, Delivery),
    Missed(Gap),
    Lost(Node),
}

/// Nodes of one process. Production has one; tests have some.
pub struct LocalNodes {
    live: RwLock<Vec<(Node, Weak<LocalBus>)>>,
    lives: Mutex<u64>,
    waiting_max: usize,
}

impl Default for LocalNodes {
    fn default() -> Self {
        Self::holding_at_most(WAITING_MAX)
    }
}

impl std::fmt::Debug for LocalNodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalNodes").finish_non_exhaustive()
    }
}

impl LocalNodes {
    /// Nodes for each of which at most so many deliveries wait.
    #[must_use]
    pub fn holding_at_most(waiting_max: usize) -> Self {
        Self { live: RwLock::default(), lives: Mutex::default(), waiting_max }
    }

    /// Starts a node. If it lives already, that life is over first.
    pub fn start(self: &Arc<Self>, id: NodeId) -> Arc<LocalBus> {
        let former = self.live.read().iter().map(|(node, _)| *node).find(|node| node.id == id);
        if let Some(former) = former {
            self.lose(former);
        }
        let mut lives = self.lives.lock();
        *lives += 1;
        let node = Node { id, incarnation: Incarnation(*lives) };
        drop(lives);
        let shared = Shared {
            nodes: self.clone(),
            over: AtomicBool::new(false),
            holds: RwLock::default(),
            inbox: Inbox::default(),
            numbers: Mutex::default(),
        };
        let bus = Arc::new(LocalBus { node, receiver: OnceLock::new(), shared: Some(shared) });
        self.live.write().push((node, Arc::downgrade(&bus)));
        bus
    }

    /// Ends a life, as if killed, and tells the others.
    pub fn lose(&self, node: Node) {
        let mut live = self.live.write();
        let Some(at) = live.iter().position(|(live, _)| *live == node) else { return };
        let (_, lost) = live.swap_remove(at);
        drop(live);
        if let Some(shared) = lost.upgrade().as_ref().and_then(|bus| bus.shared.as_ref()) {
            // What it published before this stands in the inboxes; after this it finds none.
            shared.over.store(true, Ordering::SeqCst);
        }
        for bus in self.live() {
            if let Some(shared) = &bus.shared {
                shared.inbox.add(|waiting| {
                    let last = shared.numbers.lock().remove(&node).unwrap_or_default();
                    waiting.push(Waiting::Missed(Gap { from: node, numbers: last + 1..=u64::MAX }));
                    waiting.push(Waiting::Lost(node));
                });
                bus.hand_out(shared);
            }
        }
    }

    fn live(&self) -> Vec<Arc<LocalBus>> {
        self.live.read().iter().filter_map(|(_, bus)| bus.upgrade()).collect()
    }
}

impl LocalBus {
    /// Hands everything from now on to `receiver`, the first that is attached.
    pub fn attach(&self, receiver: &Arc<dyn Receiver>) {
        // A server attaches one; a second would be a defect that its tests show at once.
        let _ = self.receiver.set(Arc::downgrade(receiver));
    }

    fn receiver(&self) -> Option<Arc<dyn Receiver>> {
        self.receiver.get().and_then(Weak::upgrade)
    }

    /// Those whom this node can reach, and what it needs to reach them.
    fn others(&self) -> Vec<Arc<Self>> {
        let Some(shared) = &self.shared else { return Vec::new() };
        if shared.over.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut others = shared.nodes.live();
        others.retain(|other| other.node != self.node);
        others
    }

    fn receive_here(&self, delivery: Delivery) {
        if let Some(receiver) = self.receiver() {
            receiver.receive(Source::Here, delivery);
        }
    }

    #[inline(never)]
    fn publish_among_others(&self, shared: &Shared, delivery: Delivery) {
        self.send(shared, &delivery);
        self.receive_here(delivery);
    }

    fn send(&self, shared: &Shared, delivery: &Delivery) {
        let interests = delivery.interests();
        for other in self.others() {
            let Some(theirs) = &other.shared else { continue };
            let concerned = interests.as_ref().is_none_or(|interests| {
                let holds = theirs.holds.read();
                interests.iter().any(|interest| holds.contains_key(interest))
            });
            if !concerned {
                continue;
            }
            theirs.inbox.add(|waiting| {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let mut numbers = theirs.numbers.lock();
                let number = numbers.entry(self.node).or_default();
                *number += 1;
                let waiting_max = shared.nodes.waiting_max;
                if waiting.len() < waiting_max {
                    waiting.push(Waiting::Delivery(self.node, *number, delivery.clone()));
                    return;
                }
                // Beyond that there is one gap for each who sends, however much that is.
                let gap = waiting.beyond(waiting_max).find_map(|waiting| match waiting {
                    Waiting::Missed(gap) if gap.from == self.node => Some(gap),
                    Waiting::Missed(_) | Waiting::Delivery(..) | Waiting::Lost(_) => None,
                });
                match gap {
                    Some(gap) => gap.numbers = *gap.numbers.start()..=*number,
                    None => waiting.push(Waiting::Missed(Gap { from: self.node, numbers: *number..=*number })),
                }
            });
            other.hand_out(theirs);
        }
    }

    fn hand_out(&self, shared: &Shared) {
        shared.inbox.hand_out(|waiting| {
            let Some(receiver) = self.receiver() else { return };
            match waiting {
                Waiting::Delivery(node, number, delivery) => receiver.receive(Source::There { node, number }, delivery),
                Waiting::Missed(gap) => receiver.missed(gap),
                Waiting::Lost(node) => receiver.lost(node),
            }
        });
    }
}

#[async_trait]
impl Bus for LocalBus {
    fn node(&self) -> Node {
        self.node
    }

    fn publish(&self, delivery: Delivery) {
        match &self.shared {
            // A server that is alone passes here with every publication, so what others need stands apart.
            None => self.receive_here(delivery),
            Some(shared) => self.publish_among_others(shared, delivery),
        }
    }

    fn hold(&self, interest: &Interest) -> Confirmation {
        if let Some(shared) = &self.shared {
            // Others look here themselves, so they know at once.
            *shared.holds.write().entry(interest.clone()).or_default() += 1;
        }
        Confirmation::DONE
    }

    fn release(&self, interest: &Interest) {
        let Some(shared) = &self.shared else { return };
        if let Entry::Occupied(mut held) = shared.holds.write().entry(interest.clone()) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    fn wanted_elsewhere(&self, interest: &Interest) -> bool {
        let holds =
            |other: &Arc<Self>| other.shared.as_ref().is_some_and(|theirs| theirs.holds.read().contains_key(interest));
        self.others().iter().any(holds)
    }

    fn other_nodes(&self) -> Vec<Node> {
        self.others().iter().map(|other| other.node).collect()
    }

    async fn ask(&self, whom: Whom, question: Question, _deadline: Duration) -> Answers {
        let mut answers = Answers::default();
        let others = self.others();
        if let Whom::One(node) = whom
            && others.iter().all(|other| other.node != node)
        {
            answers.silent.push(node);
        }
        for other in others {
            let node = other.node;
            if let Whom::One(asked) = whom
                && asked != node
            {
                continue;
            }
            let numbers = self.shared.as_ref().map(|shared| shared.numbers.lock());
            let number = numbers.and_then(|numbers| numbers.get(&node).copied()).unwrap_or(0);
            match other.receiver() {
                Some(receiver) => {
                    let answer = receiver.answer(self.node, question.clone());
                    answers.given.push(Given { node, number, answer });
                }
                None => answers.silent.push(node),
            }
        }
        answers
    }

    fn tell(&self, node: Node, notice: Notice) {
        let other = self.others().into_iter().find(|other| other.node == node);
        if let Some(receiver) = other.and_then(|other| other.receiver()) {
            receiver.told(self.node, notice);
        }
    }

    fn round_trip(&self) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::ports::Change;

    use super::*;
    use crate::contract::fixture::{Notes, change};

    #[test]
    fn alone_what_is_published_was_received_in_order() {
        let bus = LocalBus::default();
        bus.publish(Delivery::Change(Change::Session(1)));
        let notes = Arc::new(Notes::default());
        bus.attach(&(notes.clone() as Arc<dyn Receiver>));
        bus.publish(Delivery::Change(Change::Session(2)));
        bus.publish(Delivery::Change(Change::Session(3)));
        assert_eq!(notes.here(), [2, 3]);
    }

    #[test]
    fn what_does_not_fit_is_told_where_it_would_have_stood() {
        let nodes = Arc::new(LocalNodes::holding_at_most(3));
        let (a, b, c) = (nodes.start(NodeId(1)), nodes.start(NodeId(2)), nodes.start(NodeId(3)));
        let notes = Arc::new(Notes::default());
        b.attach(&(notes.clone() as Arc<dyn Receiver>));
        let publishers = [a.clone(), c.clone()];
        // While it takes the first, more comes than may wait.
        *notes.reacts.lock() = Some(Arc::new(move |said| {
            for said in (1..=4).filter(|_| said == 0) {
                for bus in &publishers {
                    bus.publish(change(said));
                }
            }
        }));
        a.publish(change(0));
        assert_eq!((notes.of(a.node()), notes.of(c.node())), (vec![0, 1, 2], vec![1]));
        let gap = |from: &LocalBus, numbers| Gap { from: from.node(), numbers };
        assert_eq!(notes.gaps(), [gap(&c, 2..=4), gap(&a, 4..=5)]);
        c.publish(change(5));
        assert_eq!(notes.numbered(c.node()), [(1, 1), (5, 5)]);
    }
}
