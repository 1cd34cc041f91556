//! Questions that wait to be answered.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use respoke_core::ports::Question;
use tokio::sync::Notify;

use super::peer::Peer;

/// Questions that may wait. An answer takes about a millisecond, and nobody waits for one for longer than some hundred.
const WAITING_MAX: usize = 64;

/// A question, who asked it, and by which number.
pub(super) type Asked = (Arc<Peer>, u64, Question);

/// Those that wait.
#[derive(Default)]
pub(super) struct Questions {
    waiting: Mutex<VecDeque<Asked>>,
    came: Notify,
}

impl Questions {
    /// Has one wait. False: too many do.
    pub(super) fn put(&self, peer: &Arc<Peer>, ask: u64, question: Question) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.push_back((peer.clone(), ask, question));
        drop(waiting);
        self.came.notify_one();
        true
    }

    /// The next one, if any waits.
    pub(super) fn next(&self) -> Option<Asked> {
        self.waiting.lock().pop_front()
    }

    /// Waits until one comes.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }
}
