//! Questions that wait for answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::ports::{Answers, Given, Node};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Questions of this node that wait for answers. Beyond that nobody is asked.
const ASKS_MAX: usize = 4_096;

/// Answers that wait for others to the same questions, in bytes: sixteen of the longest. What comes beyond that is no
/// answer.
const GIVEN_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Default)]
pub(super) struct Asks {
    waiting: Mutex<Waiting>,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    asking: HashMap<u64, Asking>,
    /// What all takes that was given, about.
    bytes: usize,
}

impl Waiting {
    fn remove(&mut self, number: u64) -> Option<Asking> {
        let asking = self.asking.remove(&number)?;
        self.bytes -= asking.bytes;
        Some(asking)
    }
}

#[derive(Debug)]
struct Asking {
    waited_for: Vec<Node>,
    lost: Vec<Node>,
    given: Vec<Given>,
    /// What that takes.
    bytes: usize,
    /// Gone once nobody is waited for.
    done: Option<oneshot::Sender<()>>,
}

impl Asking {
    /// Waits for a node no more. False: it was not waited for.
    fn stop_waiting(&mut self, node: Node) -> bool {
        let before = self.waited_for.len();
        self.waited_for.retain(|waited_for| *waited_for != node);
        if self.waited_for.is_empty()
            && let Some(done) = self.done.take()
        {
            let _ = done.send(());
        }
        before != self.waited_for.len()
    }

    fn lose(&mut self, node: Node) {
        if self.stop_waiting(node) {
            self.lost.push(node);
        }
    }
}

impl Asks {
    /// Begins to wait for answers of these nodes.
    ///
    /// # Errors
    ///
    /// The nodes, if there is none or too many questions wait: then they are not to be asked.
    pub(super) fn wait_for(&self, waited_for: Vec<Node>) -> Result<Waits<'_>, Vec<Node>> {
        let mut waiting = self.waiting.lock();
        if waited_for.is_empty() || waiting.asking.len() >= ASKS_MAX {
            return Err(waited_for);
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (done, answered) = oneshot::channel();
        let asking = Asking { waited_for, lost: Vec::new(), given: Vec::new(), bytes: 0, done: Some(done) };
        waiting.asking.insert(number, asking);
        Ok(Waits { asks: self, number, answered })
    }

    /// Takes an answer of so many bytes, if somebody waits for it.
    pub(super) fn take(&self, number: u64, given: Given, len: usize) {
        let mut waiting = self.waiting.lock();
        let Waiting { asking, bytes } = &mut *waiting;
        let Some(asking) = asking.get_mut(&number) else { return };
        if *bytes + len > GIVEN_BYTES_MAX {
            asking.lose(given.node);
        } else if asking.stop_waiting(given.node) {
            *bytes += len;
            asking.bytes += len;
            asking.given.push(given);
        }
    }

    /// A node does not answer that.
    pub(super) fn refuse(&self, number: u64, node: Node) {
        if let Some(asking) = self.waiting.lock().asking.get_mut(&number) {
            asking.lose(node);
        }
    }

    /// A node is gone, and answers nothing more.
    pub(super) fn lose(&self, node: Node) {
        for asking in self.waiting.lock().asking.values_mut() {
            asking.lose(node);
        }
    }
}

/// A question for as long as somebody waits for its answers.
pub(super) struct Waits<'a> {
    asks: &'a Asks,
    number: u64,
    answered: oneshot::Receiver<()>,
}

impl Waits<'_> {
    /// The question's number.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// A node that is to be asked turns out to be gone.
    pub(super) fn lose(&self, node: Node) {
        self.asks.refuse(self.number, node);
    }

    /// What is answered until the deadline.
    pub(super) async fn answers(mut self, deadline: Duration) -> Answers {
        let _ = timeout(deadline, &mut self.answered).await;
        let Some(asking) = self.asks.waiting.lock().remove(self.number) else { return Answers::default() };
        Answers { given: asking.given, silent: [asking.waited_for, asking.lost].concat() }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.asks.waiting.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::ports::{Answer, Incarnation, NodeId};

    use super::*;

    fn node(id: u32) -> Node {
        Node { id: NodeId(id), incarnation: Incarnation(1) }
    }

    fn given(id: u32) -> Given {
        Given { node: node(id), number: 1, answer: Answer::Groups(Vec::new()) }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_once_in_time_and_of_whoever_was_asked() {
        let asks = Asks::default();
        let waits = asks.wait_for(vec![node(1), node(2), node(3)]).unwrap();
        waits.lose(node(3));
        for id in [1, 1, 9, 3] {
            asks.take(waits.number(), given(id), 1);
        }
        let number = waits.number();
        let answers = waits.answers(Duration::from_secs(1)).await;
        assert_eq!(answers.given.iter().map(|given| given.node).collect::<Vec<_>>(), [node(1)]);
        assert_eq!(answers.silent, [node(2), node(3)]);
        asks.take(number, given(2), 1);
        assert!(asks.waiting.lock().asking.is_empty() && asks.waiting.lock().bytes == 0);
    }

    /// However many ask, and however long the answers are that wait for others.
    #[tokio::test(start_paused = true)]
    async fn only_so_much_waits_and_what_is_beyond_that_is_no_answer() {
        let asks = Asks::default();
        let mut waiting: Vec<_> = (0..20).map(|_| asks.wait_for(vec![node(1), node(2)]).ok().unwrap()).collect();
        for waits in &waiting {
            asks.take(waits.number(), given(1), 4 << 20);
        }
        assert_eq!(asks.waiting.lock().bytes, GIVEN_BYTES_MAX);
        // Nobody waits longer for who gave too much.
        let last = waiting.pop().unwrap();
        asks.take(last.number(), given(2), 0);
        let answers = last.answers(Duration::from_secs(100)).await;
        assert_eq!((answers.given.len(), answers.silent), (1, vec![node(1)]));
        // Whoever has its answers makes room.
        let first = waiting.remove(0);
        asks.refuse(first.number(), node(2));
        assert_eq!(first.answers(Duration::from_secs(100)).await.given.len(), 1);
        assert_eq!(asks.waiting.lock().bytes, GIVEN_BYTES_MAX - (4 << 20));
        drop(waiting);
        assert_eq!(asks.waiting.lock().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait_and_whoever_stops_waiting_makes_room() {
        let asks = Asks::default();
        assert!(asks.wait_for(Vec::new()).is_err_and(|nodes| nodes.is_empty()));
        let mut waiting: Vec<_> = (0..ASKS_MAX).map(|_| asks.wait_for(vec![node(1)]).ok().unwrap()).collect();
        assert!(asks.wait_for(vec![node(1)]).is_err_and(|nodes| nodes == [node(1)]));
        waiting.pop();
        assert!(asks.wait_for(vec![node(1)]).is_ok());
        drop(waiting);
        assert!(asks.waiting.lock().asking.is_empty());
    }
}
