//! What is measured of several nodes, window by window.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use hdrhistogram::Histogram;
use serde_json::json;

use super::crowd::{Crowd, WARM_UP};
use super::fleet::{Carrier, Cpu, Fleet, Ground};
use super::talks::{Ends, Farewells, Joins, Publications};
use crate::bench::client::{Body, Client, Request};
use crate::bench::hub::subject::{self, Guest};
use crate::bench::hub::talk::Talk as _;
use crate::bench::hub::tally::millis;
use crate::bench::load::{self, Aim, Extent, Scripts};
use crate::bench::scenario::Scenario;
use crate::bench::script;
use crate::bench::token::TokenPool;
use crate::bench::workplace::Workplace;

/// Nodes that serve as one.
pub(super) const NODES: usize = 3;
/// Groups of the fan-out, each with a publisher that is no member, and members of each.
pub(super) const GROUPS: usize = 100;
pub(super) const GROUP_LEN: usize = 9;
/// Publications a second, of all groups together.
pub(super) const PER_SECOND: f64 = 5_000.0;
/// The same where only one is under way at a time.
pub(super) const IDLE_PER_SECOND: f64 = 50.0;
/// First joins: so many clients, so many groups each.
pub(super) const JOINING: usize = 10;
pub(super) const JOINS_EACH: usize = 30;
/// Sockets that are ended one by one; and by how many clients at once, where each end takes long.
pub(super) const ENDED: usize = 200;
pub(super) const ENDED_CUT: usize = 80;
const ENDING_CUT: usize = 8;
/// Clients of the node that is killed, and clients of the others that watch them, on each node.
pub(super) const LEAVING: usize = 100;
pub(super) const WATCHING: usize = 10;
/// Groups that they share.
const LEFT_GROUPS: usize = 10;
/// How long something may take that has to happen.
const LIMIT: Duration = Duration::from_secs(30);
/// After the last farewell: whoever is told twice is told by then.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Latencies of a window, in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Times {
    fn of(latencies: &Histogram<u64>) -> Self {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| millis(latencies, quantile));
        Self { count: latencies.len(), p50, p99, max }
    }
}

/// A window of mints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minted {
    /// A second.
    pub(super) rate: f64,
    /// Milliseconds.
    pub(super) p99: f64,
    /// Operations a commit.
    pub(super) size: f64,
    /// Shares of a core.
    pub(super) cpu: Cpu,
}

/// A window of publications.
#[derive(Clone, Debug)]
pub(super) struct Fanout {
    pub(super) times: Times,
    /// Deliveries a second.
    pub(super) rate: f64,
    /// Deliveries that never came.
    pub(super) missing: u64,
    /// Shares of a core.
    pub(super) cpu: Cpu,
}

/// What one round on one carrier found.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// Mints a second of a node alone, and of all nodes.
    pub(super) mints_one: f64,
    pub(super) mints_all: f64,
    /// Shares of a core while one mints, and while all do.
    pub(super) mints_one_cpu: Cpu,
    pub(super) mints_cpu: Cpu,
    /// Operations a commit in the same windows.
    pub(super) mints_one_size: f64,
    pub(super) mints_all_size: f64,
    /// Mints a second at half that rate: alone, and beside the fan-out.
    pub(super) half_alone: f64,
    pub(super) half_beside: f64,
    /// Latency of the latter two, in milliseconds.
    pub(super) half_alone_p99: f64,
    pub(super) half_beside_p99: f64,
    pub(super) fanout: Fanout,
    pub(super) fanout_beside: Fanout,
    pub(super) idle: Times,
    pub(super) joins: Times,
    pub(super) ends: Times,
}

/// What is done once on each carrier.
#[derive(Clone, Debug)]
pub(super) struct Once {
    /// An end at one node, the socket at another, without what carries their words.
    pub(super) ends_cut: Times,
    pub(super) crash: Crash,
}

/// What was heard after a node was killed.
#[derive(Clone, Debug)]
pub(super) struct Crash {
    /// From the kill until each `leave` and `unavailable`.
    pub(super) times: Times,
    /// How many were to be heard, and how many were heard twice.
    pub(super) expected: usize,
    pub(super) doubled: usize,
}

/// The servers of a carrier's rounds.
pub(super) struct Site<'a> {
    pub(super) ground: &'a Ground,
    pub(super) fleet: Fleet,
    /// A node on a database of its own.
    pub(super) alone: &'a Fleet,
    /// Connections that mint, spread over the nodes.
    pub(super) minting: u32,
}

impl<'a> Site<'a> {
    pub(super) fn start(
        workplace: &Workplace,
        (ground, alone): (&'a Ground, &'a Fleet),
        carrier: Carrier,
        minting: u32,
    ) -> anyhow::Result<Self> {
        Ok(Self { ground, fleet: Fleet::start(workplace, ground, carrier, NODES, false)?, alone, minting })
    }

    /// Measures all that can be measured again and again.
    pub(super) fn round(&self, number: u32, window: Duration) -> anyhow::Result<Round> {
        let seed = u64::from(number) * 16;
        let say = |what: &str, figures: String| {
            eprintln!("{}, round {}: {what}: {figures}", self.fleet.carrier.name(), number + 1);
        };
        let [one, all] = self.mints(number, window)?;
        let idle = self.idle(window).context("publications one at a time")?;
        say("one at a time", shown(&idle));
        let joins = self.joins(number).context("first joins")?;
        say("first joins", shown(&joins));
        let ends = ends(&self.fleet, number).context("ends")?;
        say("ends", shown(&ends));
        let fanout = self.fanout(window, None, seed).context("fan-out")?.0;
        say("fan-out", format!("{:.0}/s, {}, {} missing", fanout.rate, shown(&fanout.times), fanout.missing));
        let half = all.rate / 2.0;
        let half_alone = self.mint(&self.fleet, Some(half), window, seed + 2)?;
        let (fanout_beside, beside) = self.fanout(window, Some(half), seed + 3).context("fan-out beside mints")?;
        let (half_beside, half_beside_p99) = beside.context("there were mints beside it")?;
        say(
            "fan-out beside mints",
            format!(
                "{:.0}/s, {}, {} missing; mints {half_beside:.0}/s of {:.0}/s",
                fanout_beside.rate,
                shown(&fanout_beside.times),
                fanout_beside.missing,
                half_alone.rate
            ),
        );
        Ok(Round {
            mints_one: one.rate,
            mints_all: all.rate,
            mints_one_cpu: one.cpu,
            mints_cpu: all.cpu,
            mints_one_size: one.size,
            mints_all_size: all.size,
            half_alone: half_alone.rate,
            half_beside,
            half_alone_p99: half_alone.p99,
            half_beside_p99,
            fanout,
            fanout_beside,
            idle,
            joins,
            ends,
        })
    }

    /// As many mints as one node takes, and all nodes; which comes first changes from round to round.
    pub(super) fn mints(&self, number: u32, window: Duration) -> anyhow::Result<[Minted; 2]> {
        let mut minted = BTreeMap::new();
        let one_first = number.is_multiple_of(2);
        for all in [!one_first, one_first] {
            let fleet = if all { &self.fleet } else { self.alone };
            let seed = u64::from(number) * 16 + u64::from(all);
            let found = self.mint(fleet, None, window, seed).context("mints")?;
            let (carrier, of) = (self.fleet.carrier.name(), if all { "all nodes" } else { "one" });
            let Minted { rate, p99, size, cpu } = &found;
            eprintln!(
                "{carrier}, round {}: mints of {of}: {rate:.0}/s, p99 {p99:.2} ms, {size:.1} a commit; of a core: nodes {:.2}, \
                 PostgreSQL {:.2}, generator {:.2}",
                number + 1,
                cpu.nodes,
                cpu.postgres,
                cpu.generator
            );
            minted.insert(all, found);
        }
        Ok([minted[&false], minted[&true]])
    }

    fn mint(&self, fleet: &Fleet, per_second: Option<f64>, window: Duration, seed: u64) -> anyhow::Result<Minted> {
        let aim = Aim { servers: fleet.addresses(), per_second };
        let scripts = self.minting(fleet, seed);
        let measured = || Ok((fleet.cpu(self.ground)?, fleet.commits()?));
        let (outcome, before, after) = load::run(aim, scripts, Extent::Window(window), measured)?;
        Ok(Minted {
            rate: outcome.rate(),
            p99: outcome.latency_millis(0.99),
            size: after.1.since(before.1).size_mean(),
            cpu: (after.0 - before.0).over(outcome.elapsed),
        })
    }

    fn minting(&self, fleet: &Fleet, seed: u64) -> Scripts {
        script::of(Scenario::Mint, fleet.site(), self.minting, seed, &TokenPool::default())
    }

    /// A publisher of each group, and its members on all nodes.
    fn crowd(&self) -> anyhow::Result<Crowd> {
        let publisher = |group| Guest { server: group % NODES, ..Guest::named(format!("publisher-{group}")) };
        let member = |number: usize| Guest {
            server: number % NODES,
            groups: vec![group(number / GROUP_LEN)],
            ..Guest::named(format!("member-{number}"))
        };
        let guests = (0..GROUPS).map(publisher).chain((0..GROUPS * GROUP_LEN).map(member));
        Crowd::enter(&self.fleet, guests.collect())
    }

    /// A window of publications; with mints beside it, how many there were a second, and their 99th percentile.
    fn fanout(&self, window: Duration, mints: Option<f64>, seed: u64) -> anyhow::Result<(Fanout, Option<(f64, f64)>)> {
        let mut crowd = self.crowd()?;
        let tokens: Vec<String> = crowd.clients[..GROUPS].iter().map(|client| client.token.clone()).collect();
        let publishers = tokens.iter().enumerate().map(|(at, token)| (at, token.as_str(), group(at)));
        let mut talk = Publications::new(publishers, GROUP_LEN as u64, PER_SECOND)?;
        let (measured, beside) = thread::scope(|scope| {
            // It begins to count a little before and ends after.
            let minting = mints.map(|per_second| {
                let aim = Aim { servers: self.fleet.addresses(), per_second: Some(per_second) };
                let extent = Extent::Window(window + WARM_UP.saturating_sub(load::WARM_UP));
                let scripts = self.minting(&self.fleet, seed);
                scope.spawn(move || load::run(aim, scripts, extent, || Ok(())))
            });
            let measured = crowd.window(&mut talk, window, (&self.fleet, self.ground));
            let beside = minting.map(|minting| minting.join().map_err(|_| anyhow!("the minting thread panicked")));
            (measured, beside)
        });
        let (elapsed, cpu) = measured?;
        let beside = beside.transpose()?.transpose()?.map(|(mints, ..)| (mints.rate(), mints.latency_millis(0.99)));
        // What is under way may still come. What does not is missing.
        crowd.until(&mut talk, LIMIT, Publications::all_heard)?;
        ensure!(talk.disordered == 0, "{} deliveries came twice or out of order", talk.disordered);
        let tally = talk.tally();
        ensure!(tally.count > 0, "nothing came inside the window");
        let (times, rate) = (Times::of(&tally.latencies), tally.count as f64 / elapsed.as_secs_f64());
        Ok((Fanout { times, rate, missing: talk.missing(), cpu: cpu.over(elapsed) }, beside))
    }

    /// One publication at a time, from a node to another.
    fn idle(&self, window: Duration) -> anyhow::Result<Times> {
        let room = "idle".to_owned();
        let member = Guest { server: 1, groups: vec![room.clone()], ..Guest::named("idle-member".into()) };
        let mut crowd = Crowd::enter(&self.fleet, vec![Guest::named("idle-publisher".into()), member])?;
        let token = crowd.clients[0].token.clone();
        let mut talk = Publications::new([(0, token.as_str(), room)].into_iter(), 1, IDLE_PER_SECOND)?;
        crowd.window(&mut talk, window, (&self.fleet, self.ground))?;
        ensure!(crowd.until(&mut talk, LIMIT, Publications::all_heard)?, "a publication was lost");
        Ok(Times::of(&talk.tally().latencies))
    }

    /// The first members on a node of groups that have others elsewhere.
    fn joins(&self, round: u32) -> anyhow::Result<Times> {
        let of = |client: usize| (0..JOINS_EACH).map(move |nth| format!("joined-{round}-{client}-{nth}"));
        let there = (0..JOINING).map(|client| Guest {
            server: 1,
            groups: of(client).collect(),
            ..Guest::named(format!("there-{round}-{client}"))
        });
        let here = (0..JOINING).map(|client| Guest::named(format!("here-{round}-{client}")));
        let mut crowd = Crowd::enter(&self.fleet, there.chain(here).collect())?;
        let clients = &crowd.clients;
        let joins = (0..JOINS_EACH * JOINING).filter_map(|number| {
            let (client, nth) = (number % JOINING, number / JOINING);
            let group = of(client).nth(nth)?;
            Some((JOINING + client, subject::join(&clients[JOINING + client].token, &group)))
        });
        let mut talk = Joins::new(joins.collect())?;
        talk.start(&mut crowd.net)?;
        ensure!(crowd.until(&mut talk, LIMIT, Joins::is_over)?, "a join was not answered within {LIMIT:?}");
        Ok(Times::of(&talk.tally().latencies))
    }

    /// Kills a node, and hears what the clients of the others are told of its clients.
    pub(super) fn crash(mut self) -> anyhow::Result<Crash> {
        let leaving = |number: usize| Guest {
            server: NODES - 1,
            presence: true,
            groups: vec![format!("left-{}", number % LEFT_GROUPS)],
            ..Guest::named(format!("leaving-{number}"))
        };
        let watching = |number: usize| Guest {
            server: number % (NODES - 1),
            groups: (0..LEFT_GROUPS).map(|group| format!("left-{group}")).collect(),
            observes: (0..LEAVING).map(|number| format!("leaving-{number}")).collect(),
            ..Guest::named(format!("watching-{number}"))
        };
        let watchers = WATCHING * (NODES - 1);
        let guests = (0..LEAVING).map(leaving).chain((0..watchers).map(watching)).collect();
        let mut crowd = Crowd::enter(&self.fleet, guests)?;
        let mut talk = Farewells::new(0..LEAVING)?;
        // What the node acknowledged last is with the others by then. Of whom nobody has heard, nobody hears that they are gone.
        crowd.until(&mut talk, AFTERMATH, |_| false)?;
        talk.killed_now();
        self.fleet.kill_last()?;
        let expected = watchers * LEAVING * 2;
        let all = crowd.until(&mut talk, LIMIT, |talk| talk.heard.len() >= expected)?;
        let (heard, cut) = (talk.heard.len(), talk.cut);
        ensure!(all, "{heard} of {expected} farewells were heard within {LIMIT:?} ({cut} of {LEAVING} sockets ended)");
        let times = Times::of(&talk.tally().latencies);
        crowd.until(&mut talk, AFTERMATH, |_| false)?;
        ensure!(talk.heard.len() == expected, "farewells were heard that nobody was to hear: {:?}", talk.heard.keys());
        Ok(Crash { times, expected, doubled: talk.doubled() })
    }
}

/// Ends sessions of clients of the second node at the first, one after the other.
fn ends(fleet: &Fleet, round: u32) -> anyhow::Result<Times> {
    let mut ending = Ending::begin(fleet, ENDED, &format!("ended-{round}"))?;
    let Ending { crowd, talk, ends } = &mut ending;
    // One is asked for once the one before was seen.
    let (go, turns) = sync_channel(1);
    thread::scope(|scope| {
        let ends = &*ends;
        let asking = scope.spawn(move || ends.ask(turns.into_iter()));
        let watched = (0..ENDED).try_for_each(|number| {
            go.send(number)?;
            watch(crowd, talk, number + 1)
        });
        drop(go);
        asking.join().map_err(|_| anyhow!("the asking thread panicked"))??;
        watched
    })?;
    ending.times()
}

/// The same, by several at once, while nothing carries what the nodes tell each other.
fn ends_cut(fleet: &Fleet) -> anyhow::Result<Times> {
    let mut ending = Ending::begin(fleet, ENDED_CUT, "ended-cut")?;
    fleet.cut()?;
    let Ending { crowd, talk, ends } = &mut ending;
    thread::scope(|scope| {
        let ends = &*ends;
        let ask = |first| scope.spawn(move || ends.ask((first..ENDED_CUT).step_by(ENDING_CUT)));
        let asking: Vec<_> = (0..ENDING_CUT).map(ask).collect();
        let watched = watch(crowd, talk, ENDED_CUT);
        for asking in asking {
            asking.join().map_err(|_| anyhow!("an asking thread panicked"))??;
        }
        watched
    })?;
    ending.times()
}

/// Clients whose sessions are ended at another node.
struct Ending {
    crowd: Crowd,
    talk: Ends,
    ends: AskedEnds,
}

/// How ends are asked for, and when they were.
struct AskedEnds {
    at: SocketAddr,
    app_secret: String,
    endpoints: Vec<String>,
    asked: Mutex<BTreeMap<usize, Instant>>,
}

impl Ending {
    fn begin(fleet: &Fleet, count: usize, name: &str) -> anyhow::Result<Self> {
        let guest = |number| Guest { server: 1, ..Guest::named(format!("{name}-{number}")) };
        let crowd = Crowd::enter(fleet, (0..count).map(guest).collect())?;
        let ends = AskedEnds {
            at: *fleet.addresses().first().context("there are nodes")?,
            app_secret: fleet.site().app_secret.clone(),
            endpoints: crowd.clients.iter().map(|client| client.endpoint.clone()).collect(),
            asked: Mutex::default(),
        };
        Ok(Self { crowd, talk: Ends::new()?, ends })
    }

    /// From when each was asked for until the socket was closed.
    fn times(mut self) -> anyhow::Result<Times> {
        let asked = self.ends.asked.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (number, closed) in std::mem::take(&mut self.talk.gone) {
            let since = asked.get(&number).with_context(|| format!("the socket {number} was closed unasked"))?;
            self.talk.took(closed.saturating_duration_since(*since));
        }
        Ok(Times::of(&self.talk.tally().latencies))
    }
}

impl AskedEnds {
    fn ask(&self, numbers: impl Iterator<Item = usize>) -> anyhow::Result<()> {
        let mut backend = Client::connect(self.at)?;
        let credential = Some(("App-Secret", self.app_secret.as_str()));
        for number in numbers {
            let whose = json!({ "endpointId": self.endpoints[number] });
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(number, Instant::now());
            backend.call(&Request { method: "DELETE", path: "/v1/sessions", credential, body: Body::Json(&whose) })?;
        }
        Ok(())
    }
}

/// Hears until so many sockets are closed.
fn watch(crowd: &mut Crowd, talk: &mut Ends, count: usize) -> anyhow::Result<()> {
    let done = crowd.until(talk, LIMIT, |talk| talk.gone.len() >= count)?;
    ensure!(done, "only {} of {count} sockets were closed within {LIMIT:?}", talk.gone.len());
    Ok(())
}

fn group(number: usize) -> String {
    format!("fan-out-{number}")
}

fn shown(times: &Times) -> String {
    format!("p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms of {}", times.p50, times.p99, times.max, times.count)
}

/// What was found on one carrier.
#[derive(Default)]
pub(super) struct Found {
    pub(super) rounds: Vec<Round>,
    pub(super) once: Option<Once>,
}

/// Measures all of one carrier.
pub(super) fn measure(
    workplace: &Workplace,
    (ground, alone): (&Ground, &Fleet),
    carrier: Carrier,
    (rounds, window): (u32, Duration),
    minting: u32,
) -> anyhow::Result<Found> {
    let site = Site::start(workplace, (ground, alone), carrier, minting)?;
    let rounds = (0..rounds).map(|number| site.round(number, window)).collect::<anyhow::Result<_>>()?;
    let crash = site.crash().context("a crash")?;
    eprintln!("{}: a crash: {}, {} twice", carrier.name(), shown(&crash.times), crash.doubled);
    let cut = Fleet::start(workplace, ground, carrier, 2, true)?;
    let ends_cut = ends_cut(&cut).context("ends without what carries words")?;
    eprintln!("{}: ends with the bus cut: {}", carrier.name(), shown(&ends_cut));
    Ok(Found { rounds, once: Some(Once { ends_cut, crash }) })
}
