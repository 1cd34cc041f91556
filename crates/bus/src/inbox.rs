//! What waits for a receiver, one after the other.
//!
//! Whoever brings something also hands out what waits. If somebody does that already, it leaves it to them. So nobody
//! waits, no lock is held while something is handed out, and there is one order.

use std::collections::VecDeque;

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
pub(crate) struct State<T> {
    /// With what each takes.
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    handing_out: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), bytes: 0, handing_out: false }) }
    }
}

impl<T> State<T> {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How much waits, of what said so when it came.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What waits behind the first `len`.
    pub(crate) fn beyond(&mut self, len: usize) -> impl Iterator<Item = &mut T> {
        self.waiting.iter_mut().skip(len).map(|(one, _)| one)
    }

    pub(crate) fn push(&mut self, one: T) {
        self.push_long(one, 0);
    }

    /// Adds something that takes so many bytes.
    pub(crate) fn push_long(&mut self, one: T, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push_back((one, bytes));
    }
}

impl<T> Inbox<T> {
    /// Adds, in one moment, whatever `add` adds.
    pub(crate) fn add<R>(&self, add: impl FnOnce(&mut State<T>) -> R) -> R {
        add(&mut self.state.lock())
    }

    /// Hands out what waits, and what comes meanwhile.
    pub(crate) fn hand_out(&self, mut take: impl FnMut(T)) {
        while let Some(one) = self.next() {
            // Should it panic, the next who comes goes on with what waits.
            let done = Done(self);
            take(one);
            drop(done);
        }
    }

    fn next(&self) -> Option<T> {
        let mut state = self.state.lock();
        if state.handing_out {
            return None;
        }
        let (one, bytes) = state.waiting.pop_front()?;
        state.bytes -= bytes;
        state.handing_out = true;
        Some(one)
    }
}

struct Done<'a, T>(&'a Inbox<T>);

impl<T> Drop for Done<'_, T> {
    fn drop(&mut self) {
        self.0.state.lock().handing_out = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_something_is_handed_out_comes_after_it() {
        let inbox = Inbox::default();
        inbox.add(|waiting| waiting.push(3));
        let mut taken = Vec::new();
        inbox.hand_out(|one| {
            if one > 0 {
                inbox.add(|waiting| waiting.push(one - 1));
                inbox.hand_out(|_| panic!("somebody does already"));
            }
            taken.push(one);
        });
        assert_eq!(taken, [3, 2, 1, 0]);
    }

    #[test]
    fn a_panic_holds_up_nobody_else() {
        let inbox = Inbox::default();
        inbox.add(|waiting| (waiting.push(1), waiting.push(2)));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| inbox.hand_out(|_| panic!("one"))));
        assert!(panicked.is_err());
        let mut taken = Vec::new();
        inbox.hand_out(|one| taken.push(one));
        assert_eq!(taken, [2]);
    }
}
