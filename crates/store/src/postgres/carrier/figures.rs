//! What a carrier did, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// So long the greatest lag is told at least, and twice as long at most.
const LATELY: Duration = Duration::from_secs(5);

/// What a carrier did since its beginning, and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarrierFigures {
    /// Frames that were written.
    pub frames_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Frames that were read.
    pub frames_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Frames that were to be sent and were lost: there was no room, they had waited for too long, or it is not known whether they
    /// were written.
    pub frames_lost: u64,
    /// Their bytes.
    pub bytes_lost: u64,
    /// Statements by which frames were written.
    pub batches: u64,
    /// Looks because the node was woken.
    pub wakes: u64,
    /// Looks because it was time.
    pub polls: u64,
    /// Tables that this node emptied.
    pub turns: u64,
    /// Tries to empty one that somebody had.
    pub turns_skipped: u64,
    /// How often a connection was made.
    pub connections: u64,
    /// Bytes that the tables take.
    pub table_bytes: u64,
    /// How long a frame was on its way lately, at most, by the database's clock.
    pub lag: Duration,
    /// Whether the node is woken when something comes for it. Otherwise it looks every 50 ms.
    pub is_woken: bool,
}

#[derive(Default)]
pub(super) struct Figures {
    pub(super) frames_sent: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) frames_received: AtomicU64,
    pub(super) bytes_received: AtomicU64,
    frames_lost: AtomicU64,
    bytes_lost: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) wakes: AtomicU64,
    pub(super) polls: AtomicU64,
    pub(super) turns: AtomicU64,
    pub(super) turns_skipped: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) table_bytes: AtomicU64,
    lag: Mutex<Lag>,
}

/// The greatest lags of this while and of the one before.
#[derive(Default)]
struct Lag {
    since: Option<Instant>,
    now: Duration,
    before: Duration,
}

pub(super) fn add(figure: &AtomicU64, more: usize) {
    figure.fetch_add(more as u64, Ordering::Relaxed);
}

impl Figures {
    pub(super) fn note_lost(&self, frames: usize, bytes: usize) {
        add(&self.frames_lost, frames);
        add(&self.bytes_lost, bytes);
    }

    pub(super) fn note_lag(&self, lag: Duration, now: Instant) {
        let mut kept = self.lag.lock();
        kept.turn(now);
        kept.now = kept.now.max(lag);
    }

    pub(super) fn read(&self, is_woken: bool) -> CarrierFigures {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let mut lag = self.lag.lock();
        lag.turn(Instant::now());
        CarrierFigures {
            frames_sent: read(&self.frames_sent),
            bytes_sent: read(&self.bytes_sent),
            frames_received: read(&self.frames_received),
            bytes_received: read(&self.bytes_received),
            frames_lost: read(&self.frames_lost),
            bytes_lost: read(&self.bytes_lost),
            batches: read(&self.batches),
            wakes: read(&self.wakes),
            polls: read(&self.polls),
            turns: read(&self.turns),
            turns_skipped: read(&self.turns_skipped),
            connections: read(&self.connections),
            table_bytes: read(&self.table_bytes),
            lag: lag.now.max(lag.before),
            is_woken,
        }
    }
}

impl Lag {
    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let past = now.saturating_duration_since(since);
        if past >= LATELY {
            self.before = if past >= 2 * LATELY { Duration::ZERO } else { self.now };
            self.now = Duration::ZERO;
            self.since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_greatest_lag_is_told_for_a_while() {
        let figures = Figures::default();
        let lag = |figures: &Figures| figures.read(true).lag.as_millis();
        figures.note_lag(Duration::from_millis(9), Instant::now());
        figures.note_lag(Duration::from_millis(3), Instant::now());
        assert_eq!(lag(&figures), 9);
        tokio::time::advance(LATELY).await;
        figures.note_lag(Duration::from_millis(4), Instant::now());
        assert_eq!(lag(&figures), 9);
        tokio::time::advance(LATELY).await;
        assert_eq!(lag(&figures), 4);
        tokio::time::advance(2 * LATELY).await;
        assert_eq!(lag(&figures), 0);
    }
}
