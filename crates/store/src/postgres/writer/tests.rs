use std::sync::atomic::{AtomicUsize, Ordering};

use respoke_core::chance::SystemChance;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::gathering::TURN;
use super::*;
use crate::postgres::connect::Patience;
use crate::postgres::fake_server::{FakeServer, Said};

/// Makes a batch fail, by its operations and how many were run before it.
type Fails = dyn Fn(&[&i64], usize) -> Option<Failure> + Send + Sync;

/// Says the same number back.
#[derive(Clone)]
struct Echo {
    fails: Arc<Fails>,
    /// Batches that were begun.
    runs: Arc<AtomicUsize>,
    /// Operations of these.
    ran: Arc<AtomicUsize>,
    /// What each takes.
    takes: Duration,
    /// One for each batch that may go on.
    going_on: Arc<Semaphore>,
}

impl Work for Echo {
    type Operation = i64;
    type Outcome = i64;

    const CONNECTIONS: usize = 1;

    async fn run(&self, _: &Connection, _: End<'_>, operations: &[&i64]) -> Result<Vec<Option<i64>>, Undone> {
        let before = self.runs.fetch_add(1, Ordering::Relaxed);
        self.ran.fetch_add(operations.len(), Ordering::Relaxed);
        self.going_on.acquire().await.unwrap().forget();
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        match (self.fails)(operations, before) {
            Some(failure) => Err(Undone::NothingWritten(failure)),
            None => Ok(operations.iter().map(|operation| Some(**operation)).collect()),
        }
    }
}

/// The same with two tasks.
struct Two(Echo);

impl Work for Two {
    type Operation = i64;
    type Outcome = i64;

    const CONNECTIONS: usize = 2;

    async fn run(
        &self,
        connection: &Connection,
        end: End<'_>,
        operations: &[&i64],
    ) -> Result<Vec<Option<i64>>, Undone> {
        self.0.run(connection, end, operations).await
    }
}

struct Fixture {
    writer: Arc<Writer<Echo>>,
    echo: Echo,
    start: Start,
    _server: FakeServer,
}

const ALL: usize = 1_000_000;

impl Fixture {
    async fn new(
        batch_max: usize,
        patience: Duration,
        takes: Duration,
        fails: impl Fn(&[&i64], usize) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        let server = FakeServer::start(|_| Said::Done).await;
        let going_on = Arc::new(Semaphore::new(0));
        let echo = Echo { fails: Arc::new(fails), runs: Arc::default(), ran: Arc::default(), takes, going_on };
        let start = Start {
            connector: Arc::new(server.connector(Patience::default())),
            batch_max,
            patience: Patience { turn: patience, ..Patience::default() },
            chance: Arc::new(SystemChance),
            figures: Arc::default(),
            crash: Crash::default(),
        };
        let writer = Arc::new(Writer::start(start.clone(), echo.clone(), &Handle::current()));
        Self { writer, echo, start, _server: server }
    }

    /// Begins a batch of one, and has numbers up to `number` wait behind it.
    async fn queued(&self, number: i64) -> JoinSet<(i64, Result<i64, StoreError>)> {
        let mut all = JoinSet::new();
        for one in 0..number {
            let writer = self.writer.clone();
            let first = all.spawn(async move { (one, writer.done(one).await) });
            while one == 0 && self.echo.runs.load(Ordering::Relaxed) == 0 && !first.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        let behind = QUEUE_LEN_MAX - usize::try_from(number - 1).unwrap();
        while self.writer.queue.lock().as_ref().unwrap().capacity() > behind {
            tokio::task::yield_now().await;
        }
        all
    }
}

impl Echo {
    /// Waits until so many batches were begun.
    async fn begins(&self, runs: usize) {
        for _ in 0..10_000_000 {
            if self.runs.load(Ordering::Relaxed) >= runs {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("batch {runs} was not begun");
    }

    /// Batches that were begun, and operations of these.
    fn counts(&self) -> (usize, usize) {
        (self.runs.load(Ordering::Relaxed), self.ran.load(Ordering::Relaxed))
    }
}

/// Has whatever can go on at this moment do so.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_is_taken_by_another_task_only_behind_a_batch_that_takes_long() {
    let fixture = Fixture::new(128, LONG, Duration::ZERO, |_, _| None).await;
    let echo = fixture.echo.clone();
    let writer = Arc::new(Writer::start(fixture.start.clone(), Two(echo.clone()), &Handle::current()));
    let mut all = JoinSet::new();
    let mut come = |numbers: std::ops::Range<i64>| {
        for number in numbers {
            let writer = writer.clone();
            all.spawn(async move { writer.done(number).await.unwrap() });
        }
    };
    // Each task connects.
    come(0..1);
    echo.begins(1).await;
    come(1..2);
    echo.begins(2).await;
    echo.going_on.add_permits(2);
    settle().await;
    tokio::time::pause();

    come(2..3);
    echo.begins(3).await;
    come(3..7);
    settle().await;
    assert_eq!(echo.counts(), (3, 3), "they wait");
    echo.going_on.add_permits(1);
    echo.begins(4).await;
    assert_eq!(echo.counts(), (4, 7), "and are one batch");

    come(7..9);
    settle().await;
    tokio::time::advance(TURN * 2 / 3).await;
    settle().await;
    assert_eq!(echo.counts(), (4, 7), "the one before may still be quick");
    tokio::time::advance(TURN).await;
    echo.begins(5).await;
    assert_eq!(echo.counts(), (5, 9));
    echo.going_on.add_permits(2);
    assert_eq!(all.join_all().await.len(), 9);
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_that_fails_is_found_by_halves_and_takes_nobody_with_it() {
    let fails = |operations: &[&i64], _| operations.contains(&&77).then_some(Failure::Row("damaged"));
    let fixture = Fixture::new(128, LONG, Duration::ZERO, fails).await;
    let all = fixture.queued(129).await;
    fixture.echo.going_on.add_permits(ALL);
    for (number, answered) in all.join_all().await {
        match answered {
            Ok(echo) => assert!(echo == number && number != 77, "{number}"),
            Err(StoreError::Corrupt("damaged")) => assert_eq!(number, 77),
            Err(other) => panic!("{number}: {other:?}"),
        }
    }
    // The first, all others, and two halves of each of seven lengths.
    assert_eq!(fixture.echo.runs.load(Ordering::Relaxed), 2 + 2 * 7);
}

#[tokio::test]
async fn behind_one_that_is_lost_nobody_is_run() {
    let fails = |_: &[&i64], before| match before {
        1 => Some(Failure::Row("damaged")),
        2 => Some(Failure::Unanswered),
        _ => None,
    };
    let fixture = Fixture::new(128, LONG, Duration::ZERO, fails).await;
    let all = fixture.queued(129).await;
    fixture.echo.going_on.add_permits(ALL);
    for (number, answered) in all.join_all().await {
        assert_eq!(number == 0, answered.is_ok(), "{number}: {answered:?}");
        assert!(matches!(answered, Ok(_) | Err(StoreError::Unavailable(_))), "{number}: {answered:?}");
    }
    assert_eq!(fixture.echo.runs.load(Ordering::Relaxed), 3);
    assert_eq!(fixture.writer.done(1).await.unwrap(), 1, "what comes later is");
}

#[tokio::test]
async fn who_waited_too_long_is_not_run_in_a_half_either() {
    const PATIENCE: Duration = Duration::from_millis(300);
    let fixture = Fixture::new(128, PATIENCE, PATIENCE, |_, _| Some(Failure::Row("damaged"))).await;
    fixture.echo.going_on.add_permits(ALL);
    let mut all = JoinSet::new();
    for number in 0..9 {
        let writer = fixture.writer.clone();
        all.spawn(async move { writer.done(number).await });
    }
    for answered in all.join_all().await {
        // By whom it was begun alone, it is known why; whoever was in a batch has waited too long when that is over.
        assert!(matches!(answered, Err(StoreError::Overloaded | StoreError::Corrupt(_))), "{answered:?}");
    }
    assert!(fixture.echo.ran.load(Ordering::Relaxed) <= 9, "nobody is run twice");
}

#[tokio::test]
async fn a_full_queue_refuses_within_its_time_and_whoever_goes_away_leaves_no_place_taken() {
    let mut fixture = Fixture::new(1, LONG, Duration::ZERO, |_, _| None).await;
    // Those who come wait less than what waits already.
    Arc::get_mut(&mut fixture.writer).unwrap().patience.turn = Duration::from_millis(20);
    let first = fixture.queued(1).await;
    let queue = fixture.writer.queue.lock().clone().unwrap();
    while queue.try_send(Job { operation: 1, since: Instant::now(), answer: None }).is_ok() {}
    assert!(matches!(fixture.writer.done(2).await, Err(StoreError::Overloaded)));
    assert!(tokio::time::timeout(Duration::ZERO, fixture.writer.done(3)).await.is_err());
    drop(queue);
    fixture.echo.going_on.add_permits(ALL);
    fixture.writer.close();
    tokio::time::timeout(LONG, fixture.writer.drain()).await.expect("what waits ends");
    assert_eq!(first.join_all().await.len(), 1);
    assert!(matches!(fixture.writer.done(4).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_batch_that_panics_is_in_doubt_and_its_writer_goes_on() {
    let fixture = Fixture::new(1, LONG, Duration::ZERO, |numbers, _| {
        assert!(*numbers[0] != 0, "this panics");
        None
    })
    .await;
    fixture.echo.going_on.add_permits(4);
    for number in [0, 1, 0, 2] {
        let said = tokio::time::timeout(LONG, fixture.writer.done(number)).await.unwrap();
        match number {
            0 => assert!(matches!(said, Err(StoreError::InDoubt(_))), "{said:?}"),
            _ => assert_eq!(said.unwrap(), number),
        }
    }
}
