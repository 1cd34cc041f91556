//! Sockets that have to be looked at anew, because what they stand on may be gone.
//!
//! Each waits at most once, so there are never more than there are sockets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::socket::Socket;

#[derive(Debug, Default)]
pub(crate) struct Suspects {
    waiting: Mutex<Vec<Arc<Socket>>>,
    added: Notify,
}

impl Suspects {
    pub(crate) fn add(&self, socket: Arc<Socket>) {
        if !socket.suspect.swap(true, Ordering::AcqRel) {
            self.waiting.lock().push(socket);
            self.added.notify_one();
        }
    }

    /// Those that wait, once there are any. What changes from here on marks them again.
    pub(crate) async fn take(&self) -> Vec<Arc<Socket>> {
        loop {
            let added = self.added.notified();
            let waiting = std::mem::take(&mut *self.waiting.lock());
            if !waiting.is_empty() {
                for socket in &waiting {
                    socket.suspect.store(false, Ordering::Release);
                }
                return waiting;
            }
            added.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::socket;

    #[tokio::test]
    async fn one_waits_once_and_after_it_was_taken_again() {
        let (suspects, socket) = (Suspects::default(), socket());
        suspects.add(socket.clone());
        suspects.add(socket.clone());
        assert_eq!(suspects.take().await.len(), 1);
        // What changes while it is looked at is looked at, too.
        suspects.add(socket);
        assert_eq!(suspects.take().await.len(), 1);
    }

    #[tokio::test]
    async fn whoever_waits_for_one_is_woken() {
        let suspects = Suspects::default();
        let adding = async {
            tokio::task::yield_now().await;
            suspects.add(socket());
        };
        let (taken, ()) = tokio::join!(suspects.take(), adding);
        assert_eq!(taken.len(), 1);
    }
}
