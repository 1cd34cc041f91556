//! How fast the carrier that is made of tables is, and what it costs: three nodes as threads of this process, frames of 300 bytes,
//! ten seconds for each load. Its arguments are the address of an empty database of this machine, and the seconds, if they are to be
//! others: `cargo run --release -p respoke-store --example carrier -- postgres://user@127.0.0.1/database`. It says how long frames
//! were on their way, and how much of a core the server and the nodes took.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement is read on standard output, or fails")]
#![expect(clippy::cast_precision_loss, reason = "counts become ratios")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::ports::{Carrier as _, Incarnation, Node, NodeId};
use respoke_store::{CarrierOptions, Dsn, PostgresCarrier, PostgresOptions, PostgresStore};
use tokio_postgres::NoTls;

const LEN: usize = 300;
/// How often senders send what is due.
const STEP: Duration = Duration::from_micros(500);

/// What came to a node.
#[derive(Default)]
struct Came {
    micros: Mutex<Vec<u32>>,
    /// The last number of each sender.
    last: Mutex<[u64; 4]>,
    late: AtomicU64,
    count: AtomicU64,
}

struct End {
    carrier: PostgresCarrier,
    came: Arc<Came>,
    next: AtomicU64,
}

impl End {
    fn send(&self, from: u32, to: u32, begin: Instant) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut frame = vec![7; LEN];
        let at = u64::try_from(begin.elapsed().as_micros()).unwrap();
        frame[..8].copy_from_slice(&at.to_be_bytes());
        frame[8..16].copy_from_slice(&number.to_be_bytes());
        frame[16..20].copy_from_slice(&from.to_be_bytes());
        self.carrier.send(NodeId(to), Bytes::from(frame));
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("the first argument is an address");
    let seconds = arguments.next().map_or(10, |seconds| seconds.parse().unwrap());
    let options: PostgresOptions = Dsn::parse(&address).unwrap().options().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(PostgresStore::migrate(&options, None)).unwrap();
    let server = runtime.block_on(server_of(&options));
    let begin = Instant::now();
    let live = [1, 2, 3].map(|id| Node { id: NodeId(id), incarnation: Incarnation(u64::from(std::process::id())) });
    let ends = live.map(|node| {
        let options = CarrierOptions { database: options.clone(), direct: None, moves: None };
        let carrier = PostgresCarrier::open(options, node).unwrap();
        let came = Arc::<Came>::default();
        let noting = came.clone();
        carrier.attach(move |frame| noting.note(frame, begin));
        carrier.nodes_are(&live);
        End { carrier, came, next: AtomicU64::new(0) }
    });
    while !ends.iter().all(|end| end.carrier.figures().is_woken) {
        thread::sleep(Duration::from_millis(10));
    }
    println!(
        "load                   frames     lost  out of order    p50    p99    max ms    server  nodes, of a core"
    );
    for (name, senders, per_sec) in [
        ("one at a time", 1, 50),
        ("5,000/s from one", 1, 5_000),
        ("5,000/s from each", 3, 5_000),
        ("40,000/s in all", 3, 13_333),
    ] {
        measure(name, &ends[..], senders, per_sec, Duration::from_secs(seconds), begin, server);
    }
    for end in &ends {
        println!("{:?}", end.carrier.figures());
        runtime.block_on(end.carrier.close());
    }
}

impl Came {
    fn note(&self, frame: &[u8], begin: Instant) {
        let now = u64::try_from(begin.elapsed().as_micros()).unwrap();
        let number = |at: usize| u64::from_be_bytes(frame[at..at + 8].try_into().unwrap());
        let from = u32::from_be_bytes(frame[16..20].try_into().unwrap());
        self.micros.lock().push(u32::try_from(now - number(0)).unwrap_or(u32::MAX));
        let last = &mut self.last.lock()[from as usize];
        if number(8) <= *last {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        *last = number(8);
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

fn measure(name: &str, ends: &[End], senders: usize, per_sec: u32, lasts: Duration, begin: Instant, server: u32) {
    for end in ends {
        end.came.micros.lock().clear();
        end.came.count.store(0, Ordering::Relaxed);
    }
    let (of_server, of_nodes) = (ticks_of_children(server), ticks(std::process::id()));
    let since = Instant::now();
    let sent: u64 = thread::scope(|scope| {
        let sending = (0..senders).map(|nth| scope.spawn(move || send(&ends[nth], nth, per_sec, lasts, begin)));
        sending.collect::<Vec<_>>().into_iter().map(|sending| sending.join().unwrap()).sum()
    });
    let received = || ends.iter().map(|end| end.came.count.load(Ordering::Relaxed)).sum::<u64>();
    let waiting = Instant::now();
    while received() < sent && waiting.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    // Processor time is counted in hundredths of a second: so many in a second are so many in the hundred.
    let took = since.elapsed().as_secs_f64();
    let (server, nodes) = (ticks_of_children(server) - of_server, ticks(std::process::id()) - of_nodes);
    let mut micros: Vec<_> = ends.iter().flat_map(|end| end.came.micros.lock().clone()).collect();
    micros.sort_unstable();
    let at = |per_cent: usize| f64::from(micros[(micros.len() - 1) * per_cent / 100]) / 1_000.0;
    let late: u64 = ends.iter().map(|end| end.came.late.swap(0, Ordering::Relaxed)).sum();
    println!(
        "{name:18} {:10} {:8} {late:13} {:6.2} {:6.2} {:9.2} {:7.1} % {:6.1} %",
        received(),
        sent - received(),
        at(50),
        at(99),
        at(100),
        server as f64 / took,
        nodes as f64 / took
    );
}

/// Sends to the two others in turn. Returns how many.
fn send(end: &End, nth: usize, per_sec: u32, lasts: Duration, begin: Instant) -> u64 {
    let from = u32::try_from(nth).unwrap() + 1;
    let others = [from % 3 + 1, (from + 1) % 3 + 1];
    let (since, mut sent) = (Instant::now(), 0_u64);
    while since.elapsed() < lasts {
        let due = since.elapsed().as_secs_f64() * f64::from(per_sec);
        while (sent as f64) < due {
            end.send(from, others[usize::try_from(sent % 2).unwrap()], begin);
            sent += 1;
        }
        thread::sleep(STEP);
    }
    sent
}

/// The process of the server whose children serve connections.
async fn server_of(options: &PostgresOptions) -> u32 {
    let (client, connection) = options.config.connect(NoTls).await.unwrap();
    let asked = async {
        let id: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        drop(client);
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the server is of this machine");
        field(&stat, 1)
    };
    let (server, _) = tokio::join!(asked, connection);
    u32::try_from(server).unwrap()
}

/// A number behind the name in a line of a process, which is in brackets.
fn field(stat: &str, nth: usize) -> u64 {
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(nth).unwrap().parse().unwrap()
}

/// Processor time of a process.
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    if stat.is_empty() { 0 } else { field(&stat, 11) + field(&stat, 12) }
}

/// The same of all its children, those that ended included.
fn ticks_of_children(id: u32) -> u64 {
    let ended =
        std::fs::read_to_string(format!("/proc/{id}/stat")).map_or(0, |stat| field(&stat, 13) + field(&stat, 14));
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    ended + children.split_whitespace().map(|child| ticks(child.parse().unwrap())).sum::<u64>()
}
