//! What both tasks of a carrier have in common with whoever uses it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use respoke_core::ports::Node;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::outbox::Outbox;
use super::peers::Peers;
use super::probe::Probe;

/// How often a node looks that is not woken: so long a frame is on its way at most.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// What frames of others are handed to.
pub(super) type Bring = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// How often tables are emptied, and how large they grow. Tests take other ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How often it is seen to that the oldest table is emptied.
    pub(crate) turn_each: Duration,
    /// What the tables may take. More is there only while somebody keeps them from being emptied, and what was written since it
    /// was looked last.
    pub(crate) table_bytes_max: u64,
}

impl Limits {
    // Each table is the oldest for five seconds. At 40,000 frames of 300 bytes a second they take a third of a GiB.
    pub(super) const DEFAULT: Self = Self { turn_each: Duration::from_secs(1), table_bytes_max: 1 << 30 };
}

/// What both tasks and those who send have in common.
pub(super) struct Shared {
    pub(super) node: Node,
    pub(super) outbox: Outbox,
    pub(super) peers: Peers,
    /// Told when something came for this node, or somebody new did.
    pub(super) woken: Notify,
    pub(super) probe: Probe,
    /// Whether this node is told when something comes for it.
    pub(super) is_woken: AtomicBool,
    /// Whether both connections lead the same way: what is found out of one is so of the other.
    pub(super) has_one_way: bool,
    pub(super) bring: OnceLock<Bring>,
    pub(super) figures: Figures,
    pub(super) over: CancellationToken,
}

impl Shared {
    pub(super) fn of(node: Node, has_one_way: bool) -> Self {
        Self {
            node,
            outbox: Outbox::default(),
            peers: Peers::default(),
            woken: Notify::new(),
            probe: Probe::default(),
            is_woken: AtomicBool::new(false),
            has_one_way,
            bring: OnceLock::new(),
            figures: Figures::default(),
            over: CancellationToken::new(),
        }
    }

    /// Hears of a notification.
    pub(super) fn hear(&self, channel: &str) {
        if Probe::is_on(channel) {
            self.probe.note_came(channel);
        } else {
            self.woken.notify_one();
        }
    }

    /// What frames are handed to, once there is something.
    pub(super) async fn attached(&self) -> Bring {
        loop {
            if let Some(bring) = self.bring.get() {
                return bring.clone();
            }
            self.woken.notified().await;
        }
    }
}
