//! Lets no paused time pass while something is written, for tests that ask for it: what a disk takes is no seed's. The
//! program itself has no such place: there this is nothing.

#[cfg(feature = "paused")]
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether time stands still while something is written.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    #[cfg(feature = "paused")]
    is_kept: AtomicBool,
}

/// Keeps time from passing by itself for as long as it is there.
pub(super) struct Still {
    #[cfg(feature = "paused")]
    _ends: Option<std::sync::mpsc::SyncSender<()>>,
}

#[cfg(feature = "paused")]
impl Stillness {
    pub(super) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    pub(super) fn begin(&self) -> Still {
        let keeps = || {
            let (ends, ended) = std::sync::mpsc::sync_channel(1);
            // Paused time does not go on while something is blocked.
            tokio::task::spawn_blocking(move || ended.recv());
            ends
        };
        Still { _ends: self.is_kept.load(Ordering::Relaxed).then(keeps) }
    }
}

#[cfg(not(feature = "paused"))]
impl Stillness {
    pub(super) const fn begin(&self) -> Still {
        let Self {} = self;
        Still {}
    }
}
