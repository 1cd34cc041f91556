//! What a node does for others that takes a while, or for itself because of them: it answers at once, and tells them when it
//! is done.
//!
//! Whoever is asked may not wait (`Receiver::answer`), so what has to be waited for is kept here, and done by
//! [`Hub::run_errands`].

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::id::{AppId, ConnectionId, GroupName, RequestId};
use respoke_core::ports::{Confirmation, Done, Interest, Node, Question, Whom};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::Others;
use crate::Hub;
use crate::ops::{SETTLED_WITHIN, settle};
use crate::registry::Ending;

/// Errands of one kind that wait: as many as one node asks others for at once.
const ERRANDS_MAX: usize = 4_096;

/// Errands of one kind, done one after the other.
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

    /// Adds one, or merges it into the last if there are too many.
    fn add_or_merge(&self, one: T, merge: impl FnOnce(&mut T, T)) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= ERRANDS_MAX
            && let Some(last) = waiting.back_mut()
        {
            return merge(last, one);
        }
        waiting.push_back(one);
        drop(waiting);
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
    newcomers: Queue<Newcomer>,
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

/// A connection of this node that some nodes have not heard of: what is said to its endpoint there does not come.
#[derive(Debug)]
struct Newcomer {
    /// None: there are so many that all connections are meant.
    which: Option<(AppId, ConnectionId)>,
    held: Confirmation,
    late: Vec<Node>,
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

    /// Another node has done something more for a request of this one. False: nobody waits for it.
    pub(crate) fn is_done(&self, request_id: RequestId) -> bool {
        let awaited = self.errands.awaited.lock();
        let telling = awaited.get(&request_id);
        telling.inspect(|telling| telling.send_modify(|done| *done += 1)).is_some()
    }

    /// Tells another node that something is done that it asked for.
    async fn tell_done(&self, Asked { by, in_request }: Asked) {
        // What it answers to that is of no interest. If it is lost on the way it is sent again, as all that has a number.
        self.bus.ask(Whom::One(by), Question::Settled { request_id: in_request }, Duration::ZERO).await;
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
    pub(crate) fn late_for(&self, app_id: AppId, connection: ConnectionId, held: Confirmation) {
        let late = held.missing();
        if !late.is_empty() {
            let newcomer = Newcomer { which: Some((app_id, connection)), held, late };
            // What came last is confirmed last.
            self.errands.newcomers.add_or_merge(newcomer, |last, newest| *last = Newcomer { which: None, ..newest });
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

impl Hub {
    /// Does for other nodes, and because of them, what could not be done at once. Never ends.
    pub(super) async fn run_errands(&self, others: &Others) {
        tokio::join!(self.settle_joins_of(others), self.catch_up(others), self.end_groups_of(others));
    }

    /// Waits for each join that another node asked for until all know of it, and tells that. Who does not know until then is
    /// asked who is there: it may have told past it.
    ///
    /// One after the other, for nodes confirm in order: what was held later is not confirmed earlier.
    async fn settle_joins_of(&self, others: &Others) {
        loop {
            let Joined { interest, mut held, until, asked } = others.errands.joins.next().await;
            settle(&mut held, until).await;
            let late = held.missing();
            if late.is_empty() {
                others.tell_done(asked).await;
            } else {
                others.late(&interest, &late);
            }
        }
    }

    /// Tells connections that came while a node was late, once it knows of them, that they may have missed something: what it
    /// said to their endpoints until then is kept nowhere. If it is lost, nobody is told of what it said last, nor are these.
    ///
    /// One after the other, as above.
    async fn catch_up(&self, others: &Others) {
        loop {
            let Newcomer { which, mut held, late } = others.errands.newcomers.next().await;
            held.done().await;
            if !others.lives(&late) {
                continue;
            }
            match which {
                Some((app_id, id)) => self.offer_missed(self.local.registry.connection(app_id, id).iter()),
                None => self.tell_missed().await,
            }
        }
    }

    async fn end_groups_of(&self, others: &Others) {
        loop {
            let Ends { app_id, group, ending, asked } = others.errands.ends.next().await;
            self.end_group_here(app_id, &group, ending, asked.in_request, None).await;
            others.tell_done(asked).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_too_many_come_late_the_last_of_them_stands_for_all() {
        let errands = Errands::default();
        let newcomer = |which| Newcomer { which, held: Confirmation::DONE, late: Vec::new() };
        for _ in 0..ERRANDS_MAX + 10 {
            let which = Some((AppId::random(), ConnectionId::random()));
            errands.newcomers.add_or_merge(newcomer(which), |last, newest| *last = Newcomer { which: None, ..newest });
        }
        let waiting = errands.newcomers.waiting.lock();
        assert_eq!(waiting.len(), ERRANDS_MAX);
        assert!(waiting.front().unwrap().which.is_some() && waiting.back().unwrap().which.is_none());
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
