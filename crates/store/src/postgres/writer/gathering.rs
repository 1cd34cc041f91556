//! For how long a batch gathers.
//!
//! While the server has room, nothing lingers: what waits is taken at once, and the next batch gathers while this one is committed.
//! Once the server is busy, with other nodes or with whatever else its machine does, many small batches are what it can least
//! afford: to begin and to commit one costs as much as dozens of operations. Then a batch waits a moment for as many as were under
//! way around the last one, because whoever was answered just now may come again.

use std::time::Duration;

use tokio::sync::mpsc;

/// The server is busy if batches take so many times as long as the quickest did on the same connection, and longer than [`LINGER`].
const BUSY: u32 = 2;
/// For how long a batch waits for more then: timers know nothing shorter.
const LINGER: Duration = Duration::from_millis(1);

/// How long a task that runs a batch keeps the others from taking what waits. A usual batch is over by then, and what waits
/// behind it costs less as one batch than as two; behind one that waits for a lock, a slow disk or a standby nobody else waits.
pub(super) const TURN: Duration = Duration::from_millis(3);
/// The same where the server is busy, and a usual batch takes longer.
const TURN_WHILE_BUSY: Duration = Duration::from_millis(10);

/// How long batches take on a connection.
#[derive(Default)]
pub(super) struct Pace {
    quickest: Option<Duration>,
    /// The newest counts for an eighth.
    usual: Duration,
}

impl Pace {
    /// Notes what one took.
    pub(super) fn note(&mut self, took: Duration) {
        self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
        self.usual = (self.usual * 7 + took) / 8;
    }

    pub(super) fn of_busy(&self) -> bool {
        self.quickest.is_some_and(|quickest| self.usual > LINGER.max(quickest.saturating_mul(BUSY)))
    }

    pub(super) fn turn(&self) -> Duration {
        if self.of_busy() { TURN_WHILE_BUSY } else { TURN }
    }
}

/// What waits to be taken.
pub(super) struct Queue<T> {
    jobs: mpsc::Receiver<T>,
    /// How many were taken last.
    taken: usize,
}

impl<T> Queue<T> {
    pub(super) const fn of(jobs: mpsc::Receiver<T>) -> Self {
        Self { jobs, taken: 0 }
    }

    /// Waits until something is there, and puts up to `most` into the empty `batch`. Leaves it empty if nothing comes any more.
    /// Whoever stops waiting has what `batch` holds by then.
    pub(super) async fn take(&mut self, batch: &mut Vec<T>, most: usize, is_busy: bool) {
        let under_way = self.jobs.len() + self.taken;
        self.jobs.recv_many(batch, most).await;
        if is_busy {
            let gathered = async {
                loop {
                    let missing = most.min(under_way).saturating_sub(batch.len());
                    if missing == 0 || self.jobs.recv_many(batch, missing).await == 0 {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(LINGER, gathered).await;
        }
        self.taken = batch.len();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_server_is_busy_once_batches_take_twice_as_long_as_they_need() {
        let millis = Duration::from_millis;
        let mut pace = Pace::default();
        assert!(!pace.of_busy());
        for _ in 0..20 {
            pace.note(millis(2));
        }
        assert!(!pace.of_busy(), "it may be far away");
        for _ in 0..20 {
            pace.note(millis(5));
        }
        assert!(pace.of_busy());
        assert_eq!(pace.turn(), TURN_WHILE_BUSY);
        for _ in 0..20 {
            pace.note(millis(3));
        }
        assert!(!pace.of_busy());
        assert_eq!(pace.turn(), TURN);
        let mut near = Pace::default();
        near.note(Duration::from_micros(100));
        for _ in 0..20 {
            near.note(Duration::from_micros(900));
        }
        assert!(!near.of_busy(), "to wait for more would take longer");
    }

    /// Takes a batch with `first` there from the beginning and `later` 100 µs on. Returns its length and how long that took.
    async fn taken(
        queue: &mut Queue<u32>,
        come: &mpsc::Sender<u32>,
        first: u32,
        later: u32,
        is_busy: bool,
    ) -> (usize, Duration) {
        let say = |count: u32| (0..count).for_each(|number| come.try_send(number).unwrap());
        say(first);
        let (since, mut batch) = (Instant::now(), Vec::new());
        let coming = async {
            tokio::task::yield_now().await;
            say(later);
        };
        tokio::join!(queue.take(&mut batch, 8, is_busy), coming);
        let waited = since.elapsed();
        // What was not taken waits no more.
        while queue.jobs.try_recv().is_ok() {}
        (batch.len(), waited)
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_waits_for_those_who_may_come_again_only_where_the_server_is_busy() {
        let (come, jobs) = mpsc::channel(64);
        let mut queue = Queue::of(jobs);
        assert_eq!(taken(&mut queue, &come, 5, 0, true).await, (5, Duration::ZERO), "nobody was under way");
        assert_eq!(taken(&mut queue, &come, 1, 4, false).await.0, 1);
        queue.taken = 4;
        assert_eq!(taken(&mut queue, &come, 1, 4, true).await, (5, Duration::ZERO), "as many as were under way");
        let (count, waited) = taken(&mut queue, &come, 1, 2, true).await;
        assert_eq!(count, 3, "the others do not come");
        assert!(waited >= LINGER && waited < 3 * LINGER, "{waited:?}");
        queue.taken = 8;
        assert_eq!(taken(&mut queue, &come, 1, 9, true).await, (8, Duration::ZERO), "no more than are allowed");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_of_a_batch_that_is_not_waited_for() {
        let (come, jobs) = mpsc::channel(64);
        let (mut queue, mut batch) = (Queue::of(jobs), Vec::new());
        queue.taken = 8;
        come.try_send(1).unwrap();
        tokio::select! {
            biased;
            () = queue.take(&mut batch, 8, true) => panic!("it waits for more"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(batch, [1]);
        drop(come);
        batch.clear();
        queue.take(&mut batch, 8, true).await;
        assert!(batch.is_empty(), "nothing comes any more");
    }
}
