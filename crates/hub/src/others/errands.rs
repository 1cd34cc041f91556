//! What a node does because of others, and takes a while. It answers at once, and tells them when it is done.
//!
//! Whoever is asked may not wait (`Receiver::answer`). So what has to be waited for is kept here, and `errands/running.rs`
//! does it.

mod running;

use std::collections::{BTreeMap, HashMap, VecDeque};

use parking_lot::Mutex;
use respoke_core::id::{AppId, ConnectionId, GroupName, RequestId};
use respoke_core::ports::{Confirmation, Done, Interest, Node, Notice};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::Others;
use crate::registry::Ending;
use crate::settle::SETTLED_WITHIN;

/// Errands of one kind that wait: as many as one node asks others for at once.
const ERRANDS_MAX: usize = 4_096;

/// Errands of one kind, in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: Mutex<VecDeque<T>>,
    added: Notify,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), added: Notify::new() }
    }
}

impl<T> Queue<T> {
    /// Adds one.
    ///
    /// # Errors
    ///
    /// Hands it back if there are too many.
    fn add(&self, one: T) -> Result<(), T> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= ERRANDS_MAX {
            return Err(one);
        }
        waiting.push_back(one);
        drop(waiting);
        self.added.notify_one();
        Ok(())
    }

    /// Puts one back that is not done, behind all others.
    fn put_back(&self, one: T) {
        self.waiting.lock().push_back(one);
        self.added.notify_one();
    }

    async fn next(&self) -> T {
        loop {
            let added = self.added.notified();
            if let Some(one) = self.waiting.lock().pop_front() {
                return one;
            }
            added.await;
        }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Errands {
    joins: Queue<Joined>,
    newcomers: Newcomers,
    ends: Queue<Ends>,
    /// Requests of this node, and how much of what they had others do is done.
    awaited: Mutex<HashMap<RequestId, watch::Sender<usize>>>,
}

/// A connection of this node joined a group because another node asked for it.
#[derive(Debug)]
struct Joined {
    interest: Interest,
    held: Confirmation,
    until: Instant,
    asked: Asked,
}

/// A connection of this node that another node has not heard of: what that says to its endpoint does not come.
#[derive(Debug)]
struct Newcomer {
    /// None: there are so many that all connections are meant.
    which: Option<(AppId, ConnectionId)>,
    /// That node's alone.
    held: Confirmation,
}

/// Connections of this node that others have not heard of, for each of those in the order in which they came.
#[derive(Debug, Default)]
struct Newcomers {
    of: Mutex<BTreeMap<Node, VecDeque<Newcomer>>>,
    added: Notify,
}

impl Newcomers {
    /// Adds one. Beyond so many of one node the last stands for all, which is also confirmed last.
    fn add(&self, which: (AppId, ConnectionId), held: &Confirmation) {
        let mut of = self.of.lock();
        for (node, held) in held.each_missing() {
            let waiting = of.entry(node).or_default();
            let is_one_too_many = waiting.len() >= ERRANDS_MAX;
            match waiting.back_mut().filter(|_| is_one_too_many) {
                Some(last) => *last = Newcomer { which: None, held },
                None => waiting.push_back(Newcomer { which: Some(which), held }),
            }
        }
        drop(of);
        self.added.notify_one();
    }

    /// Of whom there are some.
    fn nodes(&self) -> Vec<Node> {
        self.of.lock().keys().copied().collect()
    }

    fn next_of(&self, node: Node) -> Option<Newcomer> {
        let mut of = self.of.lock();
        let next = of.get_mut(&node).and_then(VecDeque::pop_front);
        if next.is_none() {
            of.remove(&node);
        }
        next
    }
}

/// A group that another node wants ended.
#[derive(Debug)]
struct Ends {
    app_id: AppId,
    group: GroupName,
    ending: Ending,
    asked: Asked,
}

/// By whom something was asked, in which request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) by: Node,
    pub(crate) in_request: RequestId,
}

/// Waits for what others do for a request beyond their answers.
pub(crate) struct Awaited<'a> {
    others: &'a Others,
    request_id: RequestId,
    done: watch::Receiver<usize>,
}

impl Awaited<'_> {
    /// Waits until so much is done. False: it is not until then.
    pub(crate) async fn done(&mut self, count: usize, until: Instant) -> bool {
        matches!(timeout_at(until, self.done.wait_for(|done| *done >= count)).await, Ok(Ok(_)))
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.others.errands.awaited.lock().remove(&self.request_id);
    }
}

impl Others {
    /// Begins to count what others do for a request. To be called before they are asked, for they may be done before they are
    /// heard to have begun.
    pub(crate) fn await_done(&self, request_id: RequestId) -> Awaited<'_> {
        let (telling, done) = watch::channel(0);
        self.errands.awaited.lock().insert(request_id, telling);
        Awaited { others: self, request_id, done }
    }

    /// Another node has done something more for a request of this one, for which perhaps nobody waits any more.
    pub(crate) fn is_done(&self, request_id: RequestId) {
        if let Some(telling) = self.errands.awaited.lock().get(&request_id) {
            telling.send_modify(|done| *done += 1);
        }
    }

    /// Tells another node that something is done that it asked for. If it is lost on the way it is sent again, as all that has
    /// a number.
    fn tell_done(&self, Asked { by, in_request }: Asked) {
        self.bus.tell(by, Notice::Settled { request_id: in_request });
    }

    /// Something here is there for a group because another node wanted it, and not every node knows of that. Who asked is told
    /// once they do.
    pub(crate) fn settle_later(&self, interest: Interest, held: Confirmation, asked: Asked) {
        let joined = Joined { interest, held, until: Instant::now() + SETTLED_WITHIN, asked };
        if let Err(Joined { interest, held, .. }) = self.errands.joins.add(joined) {
            self.late(&interest, &held.missing());
        }
    }

    /// A connection is there, and some nodes do not know in time that this one is there for its endpoint. It will be told that
    /// it may have missed something.
    pub(crate) fn late_for(&self, app_id: AppId, connection: ConnectionId, held: &Confirmation) {
        if !held.missing().is_empty() {
            self.errands.newcomers.add((app_id, connection), held);
        }
    }

    /// A group here is to end because another node wants it. Who asked is told once nobody is a member any more.
    pub(crate) fn end_later(&self, app_id: AppId, group: GroupName, ending: Ending, asked: Asked) -> Done {
        match self.errands.ends.add(Ends { app_id, group, ending, asked }) {
            Ok(()) => Done::Now { told: 0, settled: false },
            Err(_) => Done::Overloaded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub_bus::node;

    #[tokio::test]
    async fn when_too_many_come_late_the_last_of_each_node_stands_for_all() {
        let newcomers = Newcomers::default();
        let (quick, slow) = (watch::Sender::new(0), watch::Sender::new(0));
        let which = || (AppId::random(), ConnectionId::random());
        for number in 1..=ERRANDS_MAX as u64 + 10 {
            let mut held = Confirmation::DONE;
            held.wait_for(node(1), number, quick.subscribe());
            if number < 3 {
                held.wait_for(node(2), number, slow.subscribe());
            }
            newcomers.add(which(), &held);
        }
        assert_eq!(newcomers.nodes(), [node(1), node(2)]);
        assert_eq!([1, 2].map(|id| newcomers.of.lock()[&node(id)].len()), [ERRANDS_MAX, 2]);
        // The last is told when the last of all is known.
        quick.send_replace(ERRANDS_MAX as u64 + 9);
        for nth in 1..ERRANDS_MAX {
            let one = newcomers.next_of(node(1)).unwrap();
            assert!(one.which.is_some() && one.held.missing().is_empty(), "{nth}");
        }
        let last = newcomers.next_of(node(1)).unwrap();
        assert!(last.which.is_none() && last.held.missing() == [node(1)]);
        quick.send_replace(Confirmation::GONE);
        assert_eq!(last.held.missing(), []);
        assert!(newcomers.next_of(node(1)).is_none());
        assert_eq!(newcomers.nodes(), [node(2)]);
    }

    #[tokio::test]
    async fn what_is_added_is_done_in_order_and_too_much_is_handed_back() {
        let queue = Queue::default();
        for nth in 0..ERRANDS_MAX {
            queue.add(nth).unwrap();
        }
        assert_eq!(queue.add(7), Err(7));
        for nth in 0..ERRANDS_MAX {
            assert_eq!(queue.next().await, nth);
        }
        let (next, ()) = tokio::join!(queue.next(), async { queue.add(8).unwrap() });
        assert_eq!(next, 8);
    }
}
