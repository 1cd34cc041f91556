//! Sockets that have to be looked at anew, because what they stand on may be gone.
//!
//! There are two kinds of reasons. A socket waits at most once for each, so never more than twice the sockets wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::socket::Socket;

/// Why a socket is to be looked at. What was changed goes first, so that a revocation does not wait behind the thousands
/// that just came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// Something it stands on changed.
    Change = 0,
    /// It was just opened, or its time is over.
    Routine = 1,
}

#[derive(Debug, Default)]
pub(crate) struct Suspects {
    /// By [`Suspicion`].
    waiting: Mutex<[VecDeque<Arc<Socket>>; 2]>,
    added: Notify,
}

impl Suspects {
    pub(crate) fn add(&self, socket: Arc<Socket>, why: Suspicion) {
        if !socket.suspect[why as usize].swap(true, Ordering::AcqRel) {
            self.waiting.lock()[why as usize].push_back(socket);
            self.added.notify_one();
        }
    }

    /// The next one, once there is any. What changes from here on marks it again.
    pub(crate) async fn next(&self) -> Arc<Socket> {
        loop {
            let added = self.added.notified();
            if let Some(socket) = self.next_now() {
                return socket;
            }
            added.await;
        }
    }

    fn next_now(&self) -> Option<Arc<Socket>> {
        let mut waiting = self.waiting.lock();
        for why in [Suspicion::Change, Suspicion::Routine] {
            if let Some(socket) = waiting[why as usize].pop_front() {
                socket.suspect[why as usize].store(false, Ordering::Release);
                return Some(socket);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::socket;

    #[test]
    fn one_waits_once_and_after_it_was_taken_again() {
        let (suspects, socket) = (Suspects::default(), socket());
        for _ in 0..2 {
            suspects.add(socket.clone(), Suspicion::Routine);
            suspects.add(socket.clone(), Suspicion::Routine);
            assert!(suspects.next_now().is_some() && suspects.next_now().is_none());
        }
    }

    #[test]
    fn what_changed_goes_before_what_is_routine() {
        let (suspects, [one, two]) = (Suspects::default(), [socket(), socket()]);
        suspects.add(one.clone(), Suspicion::Routine);
        suspects.add(two.clone(), Suspicion::Routine);
        // One that waits as routine does not wait less long for it when something changes.
        suspects.add(two.clone(), Suspicion::Change);
        let taken = [0; 3].map(|_| suspects.next_now().unwrap());
        assert!([&two, &one, &two].iter().zip(&taken).all(|(due, taken)| Arc::ptr_eq(due, taken)));
    }

    #[tokio::test]
    async fn whoever_waits_for_one_is_woken() {
        let suspects = Suspects::default();
        let adding = async {
            tokio::task::yield_now().await;
            suspects.add(socket(), Suspicion::Change);
        };
        let (_, ()) = tokio::join!(suspects.next(), adding);
    }
}
