//! What a million interests cost: the memory of the node that has them and of the one that is told, the bytes between the
//! two, and how long a node that starts waits for them. How many apps share them is its argument, 20 if there is none:
//! `cargo run --release -p respoke-bus --example interests -- 20`. One run measures one, for memory is used again.
#![expect(clippy::print_stdout, reason = "a measurement is read on standard output")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_bus::carried::{CarriedBus, CarriedLimits};
use respoke_core::id::{AppId, GroupName};
use respoke_core::ports::{Bus as _, Carrier, Incarnation, Interest, Node, NodeId};

const MILLION: u32 = 1_000_000;

/// What is on its way, and how much was.
#[derive(Default)]
struct Way {
    frames: Mutex<VecDeque<(NodeId, Bytes)>>,
    sent: Mutex<(usize, usize)>,
}

impl Carrier for Way {
    fn send(&self, to: NodeId, frame: Bytes) {
        let mut sent = self.sent.lock();
        *sent = (sent.0 + 1, sent.1 + frame.len());
        self.frames.lock().push_back((to, frame));
    }

    fn usual_delay(&self) -> Duration {
        Duration::ZERO
    }
}

fn main() {
    println!(
        "apps  interests  holder MB  MB at the other  frames  MB sent  ms to tell  longest ms  us a hold  us a release"
    );
    measure(std::env::args().nth(1).and_then(|apps| apps.parse().ok()).unwrap_or(20));
}

fn measure(apps: u32) {
    let way = Arc::new(Way::default());
    let start = |id| {
        let node = Node { id: NodeId(id), incarnation: Incarnation(1) };
        CarriedBus::new(node, way.clone(), CarriedLimits::DEFAULT)
    };
    let (holder, other) = (start(1), start(2));
    let ids: Vec<_> = (0..apps).map(|_| AppId::random()).collect();
    let interest = |number: u32| {
        let name = GroupName::parse(&format!("group {number}")).expect("it is a name");
        Interest::Group(ids[(number % apps) as usize], name)
    };
    let before = resident();
    let began = Instant::now();
    for number in 0..MILLION {
        drop(holder.hold(&interest(number)));
    }
    let holding = began.elapsed();
    let of_holder = resident() - before;
    let nodes = [holder.node(), other.node()];
    let before = resident();
    let began = Instant::now();
    let mut introductions = other.nodes_are(&nodes);
    holder.nodes_are(&nodes);
    // How long one frame holds up what is behind it.
    let mut longest = Duration::ZERO;
    while let Some((to, frame)) = next(&way) {
        let began = Instant::now();
        let bus = if to == NodeId(1) { &holder } else { &other };
        bus.arrived(&frame).expect("what a node sends is a frame");
        longest = longest.max(began.elapsed());
    }
    let telling = began.elapsed();
    assert!(introductions.iter_mut().all(|introduction| introduction.missing().is_empty()), "it was told");
    let of_other = resident() - before;
    let (frames, bytes) = *way.sent.lock();
    let began = Instant::now();
    for number in 0..MILLION {
        holder.release(&interest(number));
        while let Some((to, frame)) = next(&way) {
            let bus = if to == NodeId(1) { &holder } else { &other };
            bus.arrived(&frame).expect("what a node sends is a frame");
        }
    }
    let releasing = began.elapsed();
    println!(
        "{apps:6} {MILLION:9} {:10.1} {:16.1} {frames:7} {:8.1} {:11.1} {:11.2} {:10.2} {:13.2}",
        megabytes(of_holder),
        megabytes(of_other),
        megabytes(i64::try_from(bytes).unwrap_or(i64::MAX)),
        telling.as_secs_f64() * 1_000.0,
        longest.as_secs_f64() * 1_000.0,
        holding.as_secs_f64() * 1_000_000.0 / f64::from(MILLION),
        releasing.as_secs_f64() * 1_000_000.0 / f64::from(MILLION),
    );
}

fn next(way: &Way) -> Option<(NodeId, Bytes)> {
    way.frames.lock().pop_front()
}

#[expect(clippy::cast_precision_loss, reason = "it is printed with one digit")]
fn megabytes(bytes: i64) -> f64 {
    bytes as f64 / 1e6
}

/// What of this process is in memory, in bytes.
fn resident() -> i64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<i64>().ok());
    pages.expect("it is a number") * 4_096
}
