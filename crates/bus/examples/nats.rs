//! How long a publication is on its way over NATS, and what that costs: three nodes as threads of this process, with tags,
//! messages of 300 bytes, a group that all are there for, no sockets. It starts a server of its own, whose program is its
//! argument: `cargo run --release -p respoke-bus --example nats -- /usr/sbin/nats-server`.
#![expect(clippy::print_stdout, reason = "a measurement is read on standard output")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use respoke_bus::Authenticated;
use respoke_bus::carried::{CarriedBus, CarriedLimits, TICK};
use respoke_bus::nats::{NatsCarrier, NatsOptions, NatsServers};
use respoke_core::clock::Timestamp;
use respoke_core::event::{Content, Event};
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId, RequestId};
use respoke_core::ports::{
    Answer, Audience, Bus as _, Cluster, Delivery, Gap, Incarnation, Interest, Node, NodeId, Notice, Question,
    Receiver, Source,
};
use respoke_core::secret::Secret;
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

const APP: AppId = AppId::from_uuid(Uuid::from_u128(1));
const NODES: u32 = 3;
/// How long each load is measured.
const FOR: Duration = Duration::from_secs(10);
const LEN: usize = 300;

/// What one node hears of the others.
struct Heard {
    began: Instant,
    micros: Mutex<Histogram<u64>>,
    /// The last of each.
    last: Mutex<[u64; NODES as usize + 1]>,
    count: AtomicU64,
    wrong: AtomicU64,
}

impl Receiver for Heard {
    fn receive(&self, from: Source, delivery: Delivery) {
        let (Source::There { node, .. }, Delivery::Push { event, .. }) = (from, delivery) else { return };
        let Content::Published { message, .. } = &event.content else { return };
        let Ok((number, at, _)) = serde_json::from_str::<(u64, u64, &str)>(message.get()) else { return };
        let took = micros(self.began).saturating_sub(at);
        self.micros.lock().saturating_record(took.max(1));
        let last = &mut self.last.lock()[node.id.0 as usize];
        if number != *last + 1 {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        *last = number;
        self.count.fetch_add(1, Ordering::Release);
    }

    fn missed(&self, _: Gap) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
    }

    fn answer(&self, _: Node, _: Question) -> Answer {
        Answer::Groups(Vec::new())
    }

    fn told(&self, _: Node, _: Notice) {}

    fn lost(&self, _: Node) {}
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

struct Life {
    bus: Arc<CarriedBus>,
    heard: Arc<Heard>,
    said: AtomicU64,
    carrier: Arc<NatsCarrier>,
    runtime: Runtime,
}

impl Life {
    fn start(address: &str, id: u32, began: Instant) -> anyhow::Result<Self> {
        let node = Node { id: NodeId(id), incarnation: Incarnation(1) };
        let servers = NatsServers::parse(address)?;
        let cluster = Cluster { id: [1; 16], key: Secret::new("a key".to_owned()) };
        let options = NatsOptions { servers, credentials: None, root_certificate: None, cluster: cluster.id, node };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let carrier = Arc::new(runtime.block_on(NatsCarrier::connect(&options))?);
        let authenticated = Arc::new(Authenticated::new(&cluster, carrier.clone()));
        let bus = Arc::new(CarriedBus::new(node, authenticated.clone(), CarriedLimits::DEFAULT));
        let heard = Arc::new(Heard {
            began,
            micros: Mutex::new(times()?),
            last: Mutex::default(),
            count: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
        });
        bus.attach(&(heard.clone() as Arc<dyn Receiver>));
        let (brought, ticks): (Weak<CarriedBus>, _) = (Arc::downgrade(&bus), bus.clone());
        carrier.bring_to(move |frame| {
            if let Some(bus) = brought.upgrade() {
                authenticated.bring(&bus, frame);
            }
        });
        runtime.spawn(async move {
            loop {
                ticks.tick();
                tokio::time::sleep(TICK).await;
            }
        });
        Ok(Self { bus, heard, said: AtomicU64::new(0), carrier, runtime })
    }

    fn publish(&self) -> anyhow::Result<()> {
        let number = self.said.fetch_add(1, Ordering::Relaxed) + 1;
        let message = format!("[{number},{},\"{}\"]", micros(self.heard.began), "x".repeat(LEN - 60));
        let id = Uuid::from_u128(u128::from(number));
        let event = Event {
            from: EndpointId::parse("jo").map_err(anyhow::Error::msg)?,
            from_connection: None,
            at: Timestamp::from_secs(1),
            request_id: RequestId::from_uuid(id),
            content: Content::Published {
                message_id: MessageId::from_uuid(id),
                group: room()?,
                message: RawValue::from_string(message)?,
                place: None,
            },
        };
        let to = Audience::Group { group: room()?, except: None };
        self.bus.publish(Delivery::Push { app_id: APP, to, event: Arc::new(event) });
        Ok(())
    }
}

fn room() -> anyhow::Result<GroupName> {
    GroupName::parse("room").map_err(anyhow::Error::msg)
}

/// Microseconds, up to a minute.
fn times() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

/// Seconds of a processor that a process used.
fn cpu(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |nth: usize| fields.get(nth).and_then(|ticks| ticks.parse::<u32>().ok()).unwrap_or(0);
    Ok(f64::from(ticks(11) + ticks(12)) / 100.0)
}

/// How a node publishes.
#[derive(Clone, Copy)]
enum Pace {
    /// The next once the other has the last.
    OneByOne,
    /// So many a second.
    ASecond(u32),
}

/// Publishes for a while on a node. How many that were.
fn publish(life: &Life, other: &Life, pace: Pace) -> anyhow::Result<u64> {
    let (since, mut said) = (Instant::now(), 0_u32);
    while since.elapsed() < FOR {
        match pace {
            Pace::ASecond(many) => {
                // What is due by now.
                let due = since.elapsed().as_secs_f64() * f64::from(many);
                while f64::from(said) < due {
                    life.publish()?;
                    said += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Pace::OneByOne => {
                let heard = other.heard.count.load(Ordering::Acquire);
                life.publish()?;
                said += 1;
                let asked = Instant::now();
                while other.heard.count.load(Ordering::Acquire) == heard {
                    anyhow::ensure!(asked.elapsed() < Duration::from_secs(20), "one that was published is not heard");
                    std::thread::sleep(Duration::from_micros(50));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    Ok(u64::from(said))
}

/// Measures a load: so many nodes publish at a pace.
fn measure(lives: &[Life], server: &Child, name: &str, publishers: usize, pace: Pace) -> anyhow::Result<()> {
    let heard = || lives.iter().map(|life| life.heard.count.load(Ordering::Acquire)).sum::<u64>();
    for life in lives {
        life.heard.micros.lock().reset();
    }
    let server = server.id().to_string();
    let (heard_before, server_before, nodes_before) = (heard(), cpu(&server)?, cpu("self")?);
    let since = Instant::now();
    let said = std::thread::scope(|scope| {
        let publish = |life| scope.spawn(move || publish(life, &lives[1], pace));
        let publishing: Vec<_> = lives[..publishers].iter().map(publish).collect();
        let said =
            publishing.into_iter().map(|publishing| publishing.join().map_err(|_| anyhow::anyhow!("it panicked"))?);
        said.sum::<anyhow::Result<u64>>()
    })?;
    let took = since.elapsed().as_secs_f64();
    let percent = |before: f64, now: f64| (now - before) / took * 100.0;
    let (server_cpu, nodes_cpu) = (percent(server_before, cpu(&server)?), percent(nodes_before, cpu("self")?));
    // Each hears what the others said.
    let due = said * u64::from(NODES - 1);
    let deadline = Instant::now() + Duration::from_secs(20);
    while heard() < heard_before + due && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut all = times()?;
    for life in lives {
        all.add(&*life.heard.micros.lock())?;
    }
    let millis = |quantile| f64::from(u32::try_from(all.value_at_quantile(quantile)).unwrap_or(u32::MAX)) / 1_000.0;
    let lost = (heard_before + due).saturating_sub(heard());
    let wrong: u64 = lives.iter().map(|life| life.heard.wrong.load(Ordering::Relaxed)).sum();
    println!(
        "{name:<20} {:>8.0}/s {:>7.2} {:>6.2} {:>7.2} {server_cpu:>6.0} % {nodes_cpu:>5.0} % {lost:>5} {wrong:>5}",
        f64::from(u32::try_from(said)?) / took,
        millis(0.5),
        millis(0.99),
        millis(1.0),
    );
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let program = std::env::args().nth(1).unwrap_or_else(|| "nats-server".to_owned());
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = command.spawn()?;
    let measured = measure_all(&format!("nats://127.0.0.1:{port}"), &server);
    server.kill()?;
    server.wait()?;
    measured
}

fn measure_all(address: &str, server: &Child) -> anyhow::Result<()> {
    let began = Instant::now();
    let lives = (1..=NODES).map(|id| Life::start(address, id, began)).collect::<anyhow::Result<Vec<_>>>()?;
    let live: Vec<_> = lives.iter().map(|life| life.bus.node()).collect();
    let introductions: Vec<_> = lives.iter().flat_map(|life| life.bus.nodes_are(&live)).collect();
    let runtime = &lives[0].runtime;
    for mut introduction in introductions {
        runtime.block_on(introduction.done());
    }
    for life in &lives {
        runtime.block_on(life.bus.hold(&Interest::Group(APP, room()?)).done());
    }
    println!("load                 published   p50    p99   max ms   server  nodes  lost wrong");
    measure(&lives, server, "one at a time", 1, Pace::OneByOne)?;
    measure(&lives, server, "5,000/s from one", 1, Pace::ASecond(5_000))?;
    measure(&lives, server, "5,000/s from each", NODES as usize, Pace::ASecond(5_000))?;
    measure(&lives, server, "40,000/s in all", NODES as usize, Pace::ASecond(13_333))?;
    let dropped: u64 = lives.iter().map(|life| life.carrier.figures().frames_dropped).sum();
    println!("{dropped} frames found no room");
    Ok(())
}
