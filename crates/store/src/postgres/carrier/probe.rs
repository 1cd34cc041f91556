//! Whether this node can be woken: whether notifications come to the connection by which it reads.
//!
//! A pooler that gives each transaction another connection takes `LISTEN` and never passes on what is heard. So the task that
//! reads listens on a channel of its own, and asks the task that writes to notify it. Meanwhile it says nothing: a pooler hands on
//! what comes to a connection while somebody has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::chance::Chance;
use tokio::sync::Notify;

/// How long a notification may take.
const WITHIN: Duration = Duration::from_secs(1);
/// What the channels of probes begin with.
const CHANNEL: &str = "respoked_probe_";

#[derive(Default)]
pub(super) struct Probe {
    /// On which channel whoever writes is to notify.
    asked: Mutex<Option<String>>,
    /// Whether that was done.
    is_done: AtomicBool,
    came: Notify,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Notifications come.
    Comes,
    /// They do not.
    Silence,
    /// Nobody could notify.
    Nothing,
}

impl Probe {
    /// A channel that is nobody else's.
    pub(super) fn channel(chance: &dyn Chance) -> String {
        format!("{CHANNEL}{:016x}", u64::from_be_bytes(chance.bytes()))
    }

    pub(super) fn is_on(channel: &str) -> bool {
        channel.starts_with(CHANNEL)
    }

    pub(super) fn note_came(&self) {
        self.came.notify_one();
    }

    /// Asks for a notification on a channel that is listened to, and waits for it.
    pub(super) async fn find(&self, channel: String, rouse: impl FnOnce()) -> Found {
        self.is_done.store(false, Ordering::Release);
        *self.asked.lock() = Some(channel);
        rouse();
        let found = tokio::time::timeout(WITHIN, self.came.notified()).await;
        *self.asked.lock() = None;
        match found {
            Ok(()) => Found::Comes,
            Err(_) if self.is_done.load(Ordering::Acquire) => Found::Silence,
            Err(_) => Found::Nothing,
        }
    }

    /// What whoever writes is to do.
    pub(super) fn asked(&self) -> Option<String> {
        self.asked.lock().take()
    }

    pub(super) fn note_done(&self) {
        self.is_done.store(true, Ordering::Release);
    }
}
