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
