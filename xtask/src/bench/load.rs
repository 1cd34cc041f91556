//! The load generator: kept-alive HTTP/1.1 connections in a closed loop.
//!
//! All connections share one current-thread runtime on a thread of its own, because the generator
//! shares the machine's cores with the server. Each connection has one request under way: it writes,
//! waits for the whole answer, hands it to its [`Script`] and asks for the next request.
//!
//! Invariants: an answer that the script does not expect ends the run with an error; every run is bounded by
//! [`Extent`] and, whatever the server does, by a deadline; a run counts only what was answered inside its window.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, LocalSet};

use super::response::Answer;

/// Driven but not counted at the start of a window, so that connections and caches are warm.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);
/// What a run may take beyond its extent before it counts as stuck.
const GRACE: Duration = Duration::from_secs(30);
/// Longest latency the histogram tells apart, in microseconds.
const LATENCY_MICROS_MAX: u64 = 60_000_000;

/// What one connection asks, and what it makes of the answers.
pub(crate) trait Script {
    /// Appends the next request to `out`; `false` when there is nothing left to ask.
    fn request(&mut self, out: &mut Vec<u8>) -> bool;

    /// Looks at an answer; an error ends the whole run.
    fn answer(&mut self, status: u16, body: &[u8]) -> anyhow::Result<()>;
}

/// One script for each connection.
pub(crate) type Scripts = Vec<Box<dyn Script + Send>>;

/// How long a run goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// A warm-up, then a timed window of this length; shorter when the scripts run out.
    Window(Duration),
    /// Until the scripts have nothing left to ask, but no longer than this.
    Scripts(Duration),
}

/// Where a run's connections lead, and how much they ask.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    /// Connections are spread over these servers.
    pub(crate) servers: Vec<SocketAddr>,
    /// How many requests a second are asked in all; `None`: each connection asks again as soon as it was answered.
    pub(crate) per_second: Option<f64>,
}

impl From<SocketAddr> for Aim {
    fn from(server: SocketAddr) -> Self {
        Self { servers: vec![server], per_second: None }
    }
}

/// When one of the connections asks, where that is not as soon as it can.
#[derive(Clone, Copy)]
struct Pace {
    /// After the start, its first time.
    first: Duration,
    each: Duration,
}

impl Pace {
    /// Of the `nth` of `connections` that ask `per_second` times together, in turn.
    fn of(nth: usize, connections: usize, per_second: f64) -> Self {
        let step = Duration::from_secs_f64(1.0 / per_second);
        let times = |count: usize| step * u32::try_from(count).unwrap_or(u32::MAX);
        Self { first: times(nth), each: times(connections) }
    }
}

/// What a run counted inside its window.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Requests answered.
    pub(crate) requests: u64,
    /// The window's length.
    pub(crate) elapsed: Duration,
    /// Latencies in microseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Answers by status code.
    pub(crate) statuses: BTreeMap<u16, u64>,
}

impl Outcome {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that a share `quantile` of the requests did not exceed, in milliseconds.
    pub(crate) fn latency_millis(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Drives a server, or several, with one connection per script.
///
/// `edge` is called as the window opens and again as it closes; its two results are returned with
/// the outcome, so that counters of the server are read at the very edges.
///
/// # Errors
///
/// When a script refuses an answer, the connection breaks, or the run is stuck.
pub(crate) fn run<T>(
    aim: impl Into<Aim>,
    scripts: Scripts,
    extent: Extent,
    mut edge: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(Outcome, T, T)> {
    // A run over its scripts has no warm-up: everything in it counts.
    let first = match extent {
        Extent::Window(_) => Phase::Warm,
        Extent::Scripts(_) => Phase::Counting,
    };
    let phase = Arc::new(AtomicU8::new(first as u8));
    // One place for each of the events there are: all connected, first script out of requests.
    let (events, news) = sync_channel(2);
    let deadline = match extent {
        Extent::Window(window) => WARM_UP + window + GRACE,
        Extent::Scripts(limit) => limit + GRACE,
    };
    let aim = aim.into();
    let generator = thread::Builder::new().name("load".into()).spawn({
        let phase = Arc::clone(&phase);
        move || generate(&aim, scripts, phase, events, deadline)
    })?;
    let window = watch(&phase, &news, extent, &mut edge);
    set(&phase, Phase::Over);
    let tally = generator.join().map_err(|_| anyhow!("the load generator panicked"))??;
    let (elapsed, before, after) = window?;
    let requests = tally.statuses.values().sum();
    if requests == 0 {
        bail!("no request was answered inside the window");
    }
    Ok((Outcome { requests, elapsed, latencies: tally.latencies, statuses: tally.statuses }, before, after))
}

/// Opens and closes the window from the thread that called [`run`].
fn watch<T>(
    phase: &AtomicU8,
    news: &Receiver<Event>,
    extent: Extent,
    edge: &mut impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(Duration, T, T)> {
    // An end of the channel is an end of the generator; its own error says more and is returned first.
    news.recv_timeout(GRACE).context("the load generator did not connect")?;
    let length = match extent {
        Extent::Window(window) => {
            if !matches!(news.recv_timeout(WARM_UP), Err(RecvTimeoutError::Timeout)) {
                bail!("the scripts ran out before the window opened");
            }
            window
        }
        Extent::Scripts(limit) => limit,
    };
    let before = edge()?;
    set(phase, Phase::Counting);
    let opened = Instant::now();
    match extent {
        // The timed window itself; a script that has nothing left ends it early.
        Extent::Window(_) => drop(news.recv_timeout(length)),
        // The channel closes once every script is out.
        Extent::Scripts(_) => while news.recv_timeout(length.saturating_sub(opened.elapsed())).is_ok() {},
    }
    set(phase, Phase::Over);
    let elapsed = opened.elapsed();
    Ok((elapsed, before, edge()?))
}

/// What a run is doing.
#[derive(Clone, Copy)]
enum Phase {
    Warm,
    Counting,
    Over,
}

fn set(phase: &AtomicU8, to: Phase) {
    phase.store(to as u8, Ordering::Release);
}

/// What the generator tells the thread that watches the window.
enum Event {
    Connected,
    Exhausted,
}

/// What the connections of a run share; all live on one thread.
struct Shared {
    phase: Arc<AtomicU8>,
    connected: Barrier,
    tally: RefCell<Tally>,
    events: SyncSender<Event>,
}

impl Shared {
    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}

struct Tally {
    latencies: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
}

/// The body of the generator's thread.
fn generate(
    aim: &Aim,
    scripts: Scripts,
    phase: Arc<AtomicU8>,
    events: SyncSender<Event>,
    deadline: Duration,
) -> anyhow::Result<Tally> {
    let tally = Tally { latencies: Histogram::new_with_max(LATENCY_MICROS_MAX, 3)?, statuses: BTreeMap::new() };
    let shared = Rc::new(Shared { phase, connected: Barrier::new(scripts.len()), tally: RefCell::new(tally), events });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connections = LocalSet::new();
    connections.block_on(&runtime, async {
        let mut tasks = JoinSet::new();
        let connections = scripts.len();
        for ((nth, script), &address) in scripts.into_iter().enumerate().zip(aim.servers.iter().cycle()) {
            let pace = aim.per_second.map(|per_second| Pace::of(nth, connections, per_second));
            tasks.spawn_local(converse(address, script, pace, Rc::clone(&shared)));
        }
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                ended.context("a connection's task ended abnormally")??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(deadline, all).await.context("the server stopped answering")?
    })?;
    drop(connections);
    let shared = Rc::into_inner(shared).context("a connection outlived the run")?;
    Ok(shared.tally.into_inner())
}

/// One connection, from its opening to the end of the run.
async fn converse(
    address: SocketAddr,
    mut script: Box<dyn Script + Send>,
    pace: Option<Pace>,
    shared: Rc<Shared>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    if shared.connected.wait().await.is_leader() {
        let _ = shared.events.try_send(Event::Connected);
    }
    let mut request = Vec::with_capacity(1024);
    let mut due = pace.map(|pace| Instant::now() + pace.first);
    while !shared.is(Phase::Over) {
        if let Some((due, pace)) = due.as_mut().zip(pace) {
            // Whoever is behind asks at once: what was not asked in time is made up for.
            tokio::time::sleep_until((*due).into()).await;
            *due += pace.each;
        }
        request.clear();
        if !script.request(&mut request) {
            let _ = shared.events.try_send(Event::Exhausted);
            break;
        }
        let asked = Instant::now();
        let answer = connection.ask(&request).await?;
        let took = asked.elapsed();
        script.answer(answer.status, connection.body(&answer))?;
        if shared.is(Phase::Counting) {
            let mut tally = shared.tally.borrow_mut();
            tally.latencies.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            *tally.statuses.entry(answer.status).or_default() += 1;
        }
    }
    Ok(())
}

/// A kept-alive connection with a reused read buffer.
struct Connection {
    stream: TcpStream,
    /// Holds the bytes of at most one answer: nothing is asked before the last answer is read.
    input: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect to the server under load")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::with_capacity(8 * 1024) })
    }

    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await.context("the server closed a kept-alive connection")?;
        self.input.clear();
        loop {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection instead of answering");
            }
            if let Some(answer) = Answer::parse(&self.input)? {
                if answer.closes {
                    bail!("the server answered {} and closed the connection", answer.status);
                }
                if answer.body.end != self.input.len() {
                    bail!("the server sent more than one answer to one request");
                }
                return Ok(answer);
            }
        }
    }

    fn body(&self, answer: &Answer) -> &[u8] {
        &self.input[answer.body.clone()]
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers every request without a body with `status`, on any number of connections.
    fn server(status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut part = [0; 1024];
                    while stream.read(&mut part).is_ok_and(|len| len > 0) {
                        // In two parts, as a network may.
                        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-").as_bytes()).unwrap();
                        stream.write_all(b"length: 2\r\n\r\nok").unwrap();
                    }
                });
            }
        });
        address
    }

    struct Asks {
        left: u32,
        expects: u16,
    }

    impl Script for Asks {
        fn request(&mut self, out: &mut Vec<u8>) -> bool {
            out.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            self.left = self.left.saturating_sub(1);
            self.left > 0
        }

        fn answer(&mut self, status: u16, body: &[u8]) -> anyhow::Result<()> {
            anyhow::ensure!(status == self.expects && body == b"ok", "unexpected answer {status}");
            Ok(())
        }
    }

    fn scripts(connections: usize, requests: u32, expects: u16) -> Scripts {
        let one = || Box::new(Asks { left: requests + 1, expects }) as Box<dyn Script + Send>;
        std::iter::repeat_with(one).take(connections).collect()
    }

    const LIMIT: Extent = Extent::Scripts(Duration::from_secs(20));

    #[test]
    fn a_run_over_its_scripts_counts_every_request() {
        let (outcome, (), ()) = run(server("200 OK"), scripts(8, 25, 200), LIMIT, || Ok(())).unwrap();
        assert_eq!(outcome.requests, 200);
        assert_eq!(outcome.statuses, BTreeMap::from([(200, 200)]));
        assert_eq!(outcome.latencies.len(), 200);
    }

    #[test]
    fn a_paced_run_asks_so_often_and_no_more() {
        let aim = Aim { servers: vec![server("200 OK"), server("200 OK")], per_second: Some(40.0) };
        let (outcome, (), ()) = run(aim, scripts(4, 3, 200), LIMIT, || Ok(())).unwrap();
        assert_eq!(outcome.requests, 12);
        // The last of the twelve is due after eleven steps of 25 ms.
        assert!(outcome.elapsed >= Duration::from_millis(275), "{:?}", outcome.elapsed);
    }

    #[test]
    fn an_unexpected_answer_ends_the_run() {
        let error = run(server("503 Service Unavailable"), scripts(8, 1000, 200), LIMIT, || Ok(())).unwrap_err();
        assert!(error.to_string().contains("unexpected answer 503"), "{error}");
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = run(gone, scripts(2, 10, 200), LIMIT, || Ok(())).unwrap_err();
        assert!(error.to_string().contains("cannot connect"), "{error}");
    }

    #[test]
    fn a_window_is_closed_when_its_time_is_over() {
        let window = Extent::Window(Duration::from_millis(200));
        let mut edges = 0;
        let edge = || {
            edges += 1;
            Ok(edges)
        };
        let (outcome, opened, closed) = run(server("200 OK"), scripts(2, u32::MAX - 1, 200), window, edge).unwrap();
        assert_eq!((opened, closed), (1, 2));
        assert!(outcome.elapsed >= Duration::from_millis(200));
        assert_eq!(outcome.requests, outcome.latencies.len());
    }
}
