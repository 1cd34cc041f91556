//! Storms: hubs over one database of which many clients ask many things at once, while what lies between them delays, loses,
//! doubles and breaks, on one way or on both, and nodes are killed and return in the midst of it. Then it becomes calm, and
//! once all has come to rest everything is compared (`quiet.rs`):
//!
//! - what each hub has is what came of what was asked for, as far as that is known of things that went on at once
//!   (`ledger.rs`);
//! - what any node answers is what all have together;
//! - what a hub keeps of others is what they have, and what it holds on the bus is what its own connections need, which every
//!   other node knows;
//! - what was said came to whom it was for, once, in the order of who said it, and to nobody who had gone before. What did
//!   not come was told to be lost, and nothing is lost while no break is longer than what is sent again;
//! - members were told of each who came and went, by turns, and observers what is said and who is gone, and both know at the
//!   end what is;
//! - what is said after that comes to everybody, and is charged for as many; and when all go nothing is left.
//!
//! A storm is decided by its seed (`plan.rs`), but for ids, which are random, and how long it takes to end a group that
//! nobody is in. One that fails is run again with less and less of it, and what is left is printed.
//!
//! In some storms the groups have not room for everybody; what is refused then is done in part or not at all, as the answer
//! says.
//!
//! Not in it: nodes that stand still, clients that do not read, and a second thread: what two do between two waits they do
//! one after the other. So of two requests about one connection the later is told later.

mod clients;
mod house;
mod ledger;
mod plan;
mod quiet;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use respoke_bus::carried::CarriedLimits;
use respoke_bus::faulty::FaultyNodes;
use respoke_core::ports::{Delivery, Node as Life, NodeId};
use respoke_wire::close::Close;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::home::Tenant;
use super::set;
use clients::{ASKED_MAX, ASKED_WITHIN, Client, Seat, Shared, Story};
use house::{House, Node};
use plan::{Act, Going, Plan, Step, Weather, What};

/// How long it takes at most, once it is calm, until all is as it is: what is lost is noticed within a tenth of a second and
/// sent again, and what can't be, is asked for anew each second, and waited for as long.
const SETTLES: Duration = Duration::from_secs(5);
/// How many shorter storms are tried when one fails.
const TRIES: usize = 200;

/// Breaks that are made good, and nobody is killed.
#[tokio::test(start_paused = true)]
async fn in_rough_weather_two_hubs_lose_nothing() -> Result<()> {
    run(Weather::Rough, 2, 10).await
}

#[tokio::test(start_paused = true)]
async fn in_rough_weather_three_hubs_lose_nothing() -> Result<()> {
    run(Weather::Rough, 3, 12).await
}

/// Breaks of any length, and nodes that vanish and return.
#[tokio::test(start_paused = true)]
async fn in_wild_weather_two_hubs_tell_what_they_lose() -> Result<()> {
    run(Weather::Wild, 2, 30).await
}

#[tokio::test(start_paused = true)]
async fn in_wild_weather_three_hubs_tell_what_they_lose() -> Result<()> {
    run(Weather::Wild, 3, 40).await
}

/// Storms of so many seeds, or of as many as `MODEL_SEEDS` says; or the one of `MODEL_SEED`, and of that only the steps of
/// `MODEL_STEP_NUMBERS`.
async fn run(weather: Weather, nodes: usize, seeds: u64) -> Result<()> {
    let house = House::new().await;
    let seeds = set("MODEL_SEED").map_or_else(|| 1..=set("MODEL_SEEDS").unwrap_or(seeds), |seed| seed..=seed);
    for seed in seeds {
        let mut plan = Plan::new(seed, nodes, weather);
        if let Some(kept) = step_numbers() {
            plan = plan.only(&kept);
        }
        let story = Story::default();
        if let Err(error) = go_through(&house, &plan, &story).await {
            let told = std::mem::take(&mut *story.lock());
            return Err(fail(&house, plan, error, told).await);
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a test that failed is run again with what it printed")]
fn step_numbers() -> Option<BTreeSet<usize>> {
    let numbers = std::env::var("MODEL_STEP_NUMBERS").ok()?;
    Some(numbers.split(',').map(|number| number.trim().parse().unwrap()).collect())
}

/// Leaves out what it fails without, and prints the rest.
async fn fail(house: &House, plan: Plan, error: anyhow::Error, told: Vec<String>) -> anyhow::Error {
    let (seed, nodes, weather) = (plan.seed, plan.nodes, plan.weather);
    eprintln!("{weather:?} weather over {nodes} nodes, seed {seed}, {} steps: {error:#}", plan.steps.len());
    let (mut plan, mut error, mut tries, mut told) = (plan, error, 0, told);
    let mut chunk = plan.steps.len() / 2;
    while chunk > 0 && tries < TRIES {
        let (mut end, before) = (plan.steps.len(), plan.steps.len());
        // What came before goes on as it did, so the last goes first.
        while end > 0 && tries < TRIES {
            let begin = end.saturating_sub(chunk);
            let mut fewer = plan.steps.clone();
            fewer.drain(begin..end);
            let (fewer, story) = (plan.with(fewer), Story::default());
            tries += 1;
            if let Err(still) = go_through(house, &fewer, &story).await
                && kind(&still) == kind(&error)
            {
                (plan, error, told) = (fewer, still, std::mem::take(&mut *story.lock()));
            }
            end = begin;
        }
        let is_shorter = plan.steps.len() < before;
        if chunk == 1 && !is_shorter {
            break;
        }
        chunk = (chunk / 2).max(usize::from(is_shorter));
    }
    eprintln!("it fails as well with these {} alone, after {tries} tries:", plan.steps.len());
    for (number, Step { at, what }) in &plan.steps {
        eprintln!("  {number:>4} {:>7.3} s {what:?}", at.as_secs_f64());
    }
    eprintln!("what happened then:");
    for told in told {
        eprintln!("  {told}");
    }
    let numbers: Vec<_> = plan.steps.iter().map(|(number, _)| number.to_string()).collect();
    let thread = std::thread::current();
    let (test, numbers) = (thread.name().unwrap_or_default(), numbers.join(","));
    eprintln!(
        "again: MODEL_SEED={seed} MODEL_STEP_NUMBERS={numbers} cargo test -p respoked --test model -- --exact {test}"
    );
    error.context(format!("{weather:?} weather over {nodes} nodes, seed {seed}"))
}

/// What is wrong, without names and numbers.
fn kind(error: &anyhow::Error) -> String {
    let text = error.root_cause().to_string();
    let words = text.split_whitespace().filter(|word| word.chars().all(|one| one.is_ascii_lowercase()));
    words.take(5).collect::<Vec<_>>().join(" ")
}

async fn go_through(house: &House, plan: &Plan, story: &Story) -> Result<()> {
    let mut storm = Storm::new(house, plan, story);
    for node in 0..plan.nodes {
        storm.start(node).await;
    }
    storm.all_are_ready().await?;
    let begins = Instant::now();
    for (_, step) in &plan.steps {
        sleep_until(begins + step.at).await;
        storm.shared.tell(|| format!("{:?}", step.what));
        storm.take(&step.what).await;
    }
    storm.becomes_calm().await?;
    quiet::compare(&storm.shared).await?;
    if plan.weather == Weather::Rough {
        for node in storm.living() {
            ensure!(node.gaps() == 0, "{:?} was told of {} gaps, and no break was long", node.life, node.gaps());
        }
    }
    quiet::probe(&storm.shared).await?;
    storm.all_go().await;
    quiet::is_empty(&storm.shared)?;
    storm.nothing_broke()
}

struct Storm<'a> {
    house: &'a House,
    tenant: &'a Tenant,
    faulty: Arc<FaultyNodes>,
    shared: Arc<Shared>,
    /// The lives that were killed, and not declared over yet.
    dead: Vec<Option<Life>>,
    acting: JoinSet<()>,
    /// What goes on for clients, and on which node.
    clients: Vec<(usize, AbortHandle)>,
    rest: JoinSet<()>,
}

impl<'a> Storm<'a> {
    fn new(house: &'a House, plan: &Plan, story: &Story) -> Self {
        let tenant = house.tenant(plan.seed);
        let faulty = FaultyNodes::new(plan.seed, plan.faults, CarriedLimits::DEFAULT);
        let mut rest = JoinSet::new();
        let carrier = faulty.clone();
        rest.spawn(async move { carrier.carry().await });
        let slots = plan.steps.iter().map(|(_, step)| match step.what {
            What::Open { slot, .. } | What::Go { slot, .. } | What::Ask { slot, .. } => slot + 1,
            _ => 0,
        });
        // Others may name slots in which nobody ever is.
        let slots = slots.max().unwrap_or_default().max(plan.nodes * 16);
        let shared = Arc::new(Shared::new(tenant.app, plan.nodes, slots, story.clone()));
        let dead = vec![None; plan.nodes];
        Self { house, tenant, faulty, shared, dead, acting: JoinSet::new(), clients: Vec::new(), rest }
    }

    fn living(&self) -> Vec<Arc<Node>> {
        self.shared.nodes.lock().iter().flatten().cloned().collect()
    }

    async fn start(&mut self, node: usize) {
        let shared = Arc::downgrade(&self.shared);
        let listens = Box::new(move |delivery: &Delivery| {
            if let Some(shared) = shared.upgrade() {
                shared.listen(node, delivery);
            }
        });
        let started = self.house.start(self.tenant, &self.faulty, id(node).0, listens).await;
        self.shared.nodes.lock()[node] = Some(started);
    }

    async fn all_are_ready(&self) -> Result<()> {
        for node in self.living() {
            let ready = async {
                while !node.is_ready() {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(SETTLES, ready).await.with_context(|| format!("{:?} never heard of the others", node.life))?;
        }
        Ok(())
    }

    async fn take(&mut self, what: &What) {
        match what {
            What::Open { slot, node, name } => self.open(*slot, *node, name),
            What::Go { slot, how } => self.go(*slot, *how),
            What::Ask { slot, act } => self.ask(*slot, act.clone()),
            What::Break { from, to, both, lasts } => self.breaks(id(*from), id(*to), *both, *lasts),
            What::Kill { node } => self.kill(*node),
            What::Declare { node } => self.declare(*node),
            What::Return { node } => {
                if self.shared.nodes.lock()[*node].is_none() {
                    self.dead[*node] = None;
                    self.start(*node).await;
                }
            }
        }
    }

    fn open(&mut self, slot: usize, node_number: usize, name: &'static str) {
        let node = self.shared.nodes.lock()[node_number].clone();
        let Some(node) = node.filter(|node| node.is_ready()) else { return };
        let mut seats = self.shared.seats.lock();
        if seats[slot].as_ref().is_some_and(|seat| seat.socket.outbox.closed().is_none()) {
            return;
        }
        let Some(socket) = clients::open(&node) else { return };
        let number = self.shared.ledger.lock().opened(node_number);
        let (acts, to_do) = mpsc::channel(ASKED_MAX);
        let reading = clients::read(self.shared.clone(), node.clone(), socket.clone(), number);
        let client = Client { shared: self.shared.clone(), node, node_number, slot, socket: socket.clone(), number };
        let acting = self.acting.spawn(client.go_on(name, to_do));
        self.clients.extend([(node_number, acting.clone()), (node_number, self.rest.spawn(reading))]);
        seats[slot] = Some(Seat { node: node_number, socket, number, acts: Some(acts), acting });
    }

    fn ask(&self, slot: usize, act: Act) {
        if let Some(acts) = self.shared.seats.lock()[slot].as_ref().and_then(|seat| seat.acts.as_ref()) {
            // Who asks for too much is not heard.
            let _ = acts.try_send(act);
        }
    }

    fn go(&self, slot: usize, how: Going) {
        if how == Going::InOrder {
            return self.ask(slot, Act::Go);
        }
        let mut seats = self.shared.seats.lock();
        let Some(seat) = seats[slot].as_mut() else { return };
        let node = self.shared.nodes.lock()[seat.node].clone();
        let (Some(node), Some(_)) = (node, seat.acts.take()) else { return };
        if how == Going::BreakingOff {
            seat.acting.abort();
        }
        self.shared.ledger.lock().gone(seat.number);
        node.hub.close(&seat.socket, Close::Left);
    }

    fn breaks(&mut self, from: NodeId, to: NodeId, both: bool, lasts: Duration) {
        self.faulty.cut_one_way(from, to);
        if both {
            self.faulty.cut_one_way(to, from);
        }
        let faulty = self.faulty.clone();
        self.rest.spawn(async move {
            sleep(lasts).await;
            faulty.mend(from, to);
        });
    }

    fn kill(&mut self, number: usize) {
        let Some(node) = self.shared.nodes.lock()[number].take() else { return };
        self.faulty.kill(node.life);
        self.dead[number] = Some(node.life);
        node.stop();
        self.clients.retain(|(on, client)| {
            if *on == number {
                client.abort();
            }
            *on != number
        });
        for seat in self.shared.seats.lock().iter_mut() {
            if seat.as_ref().is_some_and(|seat| seat.node == number) {
                *seat = None;
            }
        }
        self.shared.ledger.lock().killed(number);
    }

    fn declare(&mut self, node: usize) {
        if let Some(life) = self.dead[node].take() {
            self.faulty.lose(life);
        }
    }

    /// Nothing goes wrong any more, and all that was asked for is answered.
    async fn becomes_calm(&mut self) -> Result<()> {
        self.faulty.calm();
        for node in 0..self.dead.len() {
            self.declare(node);
        }
        for seat in self.shared.seats.lock().iter_mut().flatten() {
            seat.acts = None;
        }
        let acting = &mut self.acting;
        let done = async {
            while let Some(ended) = acting.join_next().await {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    bail!("an operation panicked: {error}");
                }
            }
            Ok(())
        };
        timeout(ASKED_WITHIN, done).await.context("something that was asked for is never answered")??;
        self.all_are_ready().await?;
        sleep(SETTLES).await;
        self.nothing_broke()
    }

    fn nothing_broke(&self) -> Result<()> {
        for node in self.living() {
            ensure!(!node.is_broken(), "a task of {:?} panicked", node.life);
        }
        let troubles = self.shared.troubles.lock();
        ensure!(troubles.is_empty(), "{troubles:#?}");
        Ok(())
    }

    /// Everybody goes, and all is told.
    async fn all_go(&self) {
        for node in self.living() {
            for socket in node.hub.sockets() {
                node.hub.close(&socket, Close::Left);
            }
        }
        sleep(SETTLES).await;
    }
}

fn id(node: usize) -> NodeId {
    NodeId(u32::try_from(node + 1).unwrap())
}
