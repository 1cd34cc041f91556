//! The interleaved rounds: every scenario on every server that can do it.
//!
//! As in the rounds of the tokens, figures of different rounds are not compared: within a round each scenario drives its
//! servers one right after the other, in turned order every other round.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use super::super::client::{Body, Client, Request};
use super::super::stats::{PairedRatio, median};
use super::super::workplace::Workplace;
use super::host::Host;
use super::subject::{self, GROUP, Guest, Subject};
use super::swarm::{GENTLE, Swarm, Window};
use super::talk::{Echo, Pipeline, Sender, Silence, Waves};
use super::tally::millis;

/// Clients that echo, each with one request under way.
pub(super) const ECHOERS: usize = 64;
/// Members of the group that is published to, and observers of presence.
pub(super) const MEMBERS: usize = 1_000;
/// Endpoints whose presence changes.
pub(super) const CHANGERS: usize = 100;
/// Sessions that are revoked one by one.
const REVOKED: usize = 200;
/// Clients that come back at once.
pub(super) const RETURNING: usize = 10_000;
/// Groups of one of them, and members of each.
pub(super) const GROUPS_EACH: usize = 5;
pub(super) const GROUP_LEN: usize = 25;
/// How long a closing may take.
const LIMIT: Duration = Duration::from_secs(10);

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Requests with an ack, one under way on each socket.
    Echo,
    /// One publisher, 1,000 members; the next publication once all have the one before.
    FanOut,
    /// The same with publications in a pipeline.
    Saturated,
    /// 100 endpoints change their presence, 1,000 connections observe all of them.
    Presence,
    /// Sessions are revoked, one after the other.
    Revocation,
    /// 10,000 clients come at once.
    Storm,
    /// Thousands of sockets that say nothing.
    Idle,
}

impl Scenario {
    /// All of them, in the order in which they are reported.
    pub(crate) const ALL: [Self; 7] =
        [Self::Echo, Self::FanOut, Self::Saturated, Self::Presence, Self::Revocation, Self::Storm, Self::Idle];

    /// Whether it is run on a server that is started once; otherwise each round starts a fresh one.
    fn shares_a_server(self) -> bool {
        !matches!(self, Self::Storm | Self::Idle)
    }

    /// The servers that can do it.
    pub(super) fn subjects(self) -> &'static [Subject] {
        match self {
            Self::Echo | Self::FanOut | Self::Saturated | Self::Idle => &Subject::ALL,
            Self::Presence | Self::Revocation | Self::Storm => &[Subject::Respoked],
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Echo => "request with ack",
            Self::FanOut => "fan-out, one at a time",
            Self::Saturated => "fan-out, saturated",
            Self::Presence => "presence storm",
            Self::Revocation => "revocation to close",
            Self::Storm => "clients back at once",
            Self::Idle => "idle",
        })
    }
}

/// How long and how often.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: u32,
    /// Rounds of the idle scenario, which takes long and hardly varies.
    pub(crate) idle_rounds: u32,
    pub(crate) window: Duration,
    /// Idle sockets: so many first, then so many.
    pub(crate) idle: [usize; 2],
    /// How long they are watched.
    pub(crate) idle_window: Duration,
}

/// One window's figures.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Acks, deliveries, clients or closes per second.
    pub(crate) rate: f64,
    pub(crate) p50_millis: f64,
    pub(crate) p99_millis: f64,
    pub(crate) max_millis: f64,
    /// CPU time of the server for each of them, in microseconds.
    pub(crate) cpu_micros: f64,
    /// Shares of one core that the server and the generator used.
    pub(crate) server_share: f64,
    pub(crate) generator_share: f64,
}

/// One idle server's figures.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    /// Resident bytes for each socket: of the first lot, and of all.
    pub(crate) bytes_each: [f64; 2],
    /// CPU time of the server in a minute with the first lot, in seconds.
    pub(crate) cpu_secs: f64,
    pub(crate) generator_secs: f64,
}

/// The samples of all rounds, in order.
#[derive(Default)]
pub(crate) struct Samples {
    by_subject: BTreeMap<(Scenario, Subject), Vec<Sample>>,
    pub(crate) idle: BTreeMap<Subject, Vec<Idle>>,
}

impl Samples {
    /// All windows that were measured, scenario by scenario.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Scenario, Subject, &[Sample])> {
        self.by_subject.iter().map(|(&(scenario, subject), samples)| (scenario, subject, samples.as_slice()))
    }

    /// The samples of one scenario on one server; none when it was not measured.
    pub(super) fn of(&self, scenario: Scenario, subject: Subject) -> &[Sample] {
        self.by_subject.get(&(scenario, subject)).map_or(&[], Vec::as_slice)
    }

    /// A figure of respoked to that of `peer`, paired within each round.
    pub(super) fn ratio(&self, scenario: Scenario, peer: Subject, figure: fn(&Sample) -> f64) -> Option<PairedRatio> {
        let figures = |subject| self.of(scenario, subject).iter().map(figure);
        PairedRatio::of(figures(Subject::Respoked), figures(peer))
    }

    /// The median of one figure of the idle rounds.
    pub(super) fn idle(&self, subject: Subject, figure: impl Fn(&Idle) -> f64) -> Option<f64> {
        median(self.idle.get(&subject)?.iter().map(figure))
    }
}

/// The median of one figure of the samples.
pub(super) fn median_of(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Option<f64> {
    median(samples.iter().map(figure))
}

/// Runs the rounds of `scenarios` on `subjects`.
pub(crate) fn run(
    workplace: &Workplace,
    scenarios: &[Scenario],
    subjects: &[Subject],
    effort: Effort,
) -> anyhow::Result<Samples> {
    let mut hosts = BTreeMap::new();
    for &subject in subjects {
        if scenarios.iter().any(|scenario| scenario.shares_a_server() && scenario.subjects().contains(&subject)) {
            hosts.insert(subject, Host::start(workplace, subject)?);
        }
    }
    let mut samples = Samples::default();
    for round in 0..effort.rounds.max(effort.idle_rounds) {
        for &scenario in scenarios {
            let rounds = if scenario == Scenario::Idle { effort.idle_rounds } else { effort.rounds };
            if round >= rounds {
                continue;
            }
            let mut order: Vec<Subject> =
                scenario.subjects().iter().copied().filter(|subject| subjects.contains(subject)).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for subject in order {
                let what = format!("round {}/{rounds}: {scenario} on {subject}", round + 1);
                if scenario == Scenario::Idle {
                    let idle = idle(workplace, subject, effort).context(what.clone())?;
                    let [first, all] = idle.bytes_each;
                    eprintln!("{what}: {first:.0} and {all:.0} bytes each, {:.2} s CPU a minute", idle.cpu_secs);
                    samples.idle.entry(subject).or_default().push(idle);
                    continue;
                }
                let host = hosts.get(&subject).context("it was started");
                let sample = match scenario {
                    Scenario::Storm => storm(workplace),
                    Scenario::Revocation => host.and_then(|host| revocation(host, round)),
                    _ => host.and_then(|host| timed(host, subject, scenario, effort.window)),
                };
                let sample = sample.context(what.clone())?;
                let Sample { rate, p50_millis, p99_millis, server_share, generator_share, .. } = sample;
                eprintln!(
                    "{what}: {rate:.0}/s, p50 {p50_millis:.2} ms, p99 {p99_millis:.2} ms, \
                     server {server_share:.2}, generator {generator_share:.2}"
                );
                samples.by_subject.entry((scenario, subject)).or_default().push(sample);
            }
        }
    }
    Ok(samples)
}

/// A window of requests, publications or changes of presence.
fn timed(host: &Host, subject: Subject, scenario: Scenario, length: Duration) -> anyhow::Result<Sample> {
    let mut swarm = Swarm::new(host, subject)?;
    let members = (0..MEMBERS).map(|number| format!("member-{number}"));
    let window = match scenario {
        Scenario::Echo => {
            let guests = (0..ECHOERS).map(|number| Guest::named(format!("echo-{number}"))).collect();
            swarm.enter(guests, GENTLE)?;
            let requests = swarm.clients.iter().map(|client| subject.echo(&client.token, &client.endpoint)).collect();
            swarm.window(&mut Echo::new(requests)?, length)?
        }
        Scenario::FanOut | Scenario::Saturated => {
            // The publisher is no member, so that all members are told.
            swarm.enter(vec![Guest::named("publisher".into())], 1)?;
            let member = |name| Guest { groups: vec![GROUP.into()], ..Guest::named(name) };
            swarm.enter(members.map(member).collect(), GENTLE)?;
            let frame = subject.publication(&swarm.clients[0].token);
            if scenario == Scenario::FanOut {
                let sender = Sender { client: 0, frames: [frame.clone(), frame] };
                swarm.window(&mut Waves::new(vec![sender], MEMBERS)?, length)?
            } else {
                swarm.window(&mut Pipeline::new(0, frame, MEMBERS)?, length)?
            }
        }
        Scenario::Presence => {
            let observed: Vec<String> = (0..CHANGERS).map(|number| format!("changer-{number}")).collect();
            swarm.enter(observed.iter().cloned().map(Guest::named).collect(), GENTLE)?;
            let observer = |name| Guest { observes: observed.clone(), ..Guest::named(name) };
            swarm.enter(members.map(observer).collect(), GENTLE)?;
            let changing = swarm.clients.iter().take(CHANGERS).enumerate().map(|(client, who)| Sender {
                client,
                frames: ["available", "away"].map(|kind| subject::presence(&who.token, kind)),
            });
            let waves = Waves::new(changing.collect(), MEMBERS)?;
            swarm.window(&mut { waves }, length)?
        }
        Scenario::Revocation | Scenario::Storm | Scenario::Idle => bail!("{scenario} has no timed window"),
    };
    ensure!(window.count > 0, "nothing came inside the window");
    Ok(sample(&window))
}

fn sample(window: &Window) -> Sample {
    let Window { elapsed, count, latencies, server_secs, generator_secs } = window;
    let (secs, count) = (elapsed.as_secs_f64(), *count as f64);
    Sample {
        rate: count / secs,
        p50_millis: millis(latencies, 0.50),
        p99_millis: millis(latencies, 0.99),
        max_millis: millis(latencies, 1.0),
        cpu_micros: server_secs * 1e6 / count,
        server_share: server_secs / secs,
        generator_share: generator_secs / secs,
    }
}

/// Everybody comes to a server that just started.
fn storm(workplace: &Workplace) -> anyhow::Result<Sample> {
    let host = Host::start(workplace, Subject::Respoked)?;
    let mut swarm = Swarm::new(&host, Subject::Respoked)?;
    let groups = RETURNING * GROUPS_EACH / GROUP_LEN;
    let guest = |number: usize| {
        let group = |nth| format!("group-{}", (number * GROUPS_EACH + nth) % groups);
        Guest { groups: (0..GROUPS_EACH).map(group).collect(), ..Guest::named(format!("user-{number}")) }
    };
    let before = swarm.usage()?;
    let entrance = swarm.enter((0..RETURNING).map(guest).collect(), RETURNING)?;
    let after = swarm.usage()?;
    Ok(sample(&Window {
        elapsed: entrance.took,
        count: RETURNING as u64,
        latencies: entrance.latencies,
        server_secs: after.0.cpu_secs - before.0.cpu_secs,
        generator_secs: after.1.cpu_secs - before.1.cpu_secs,
    }))
}

/// Sessions are ended over HTTP, and their sockets watched.
fn revocation(host: &Host, round: u32) -> anyhow::Result<Sample> {
    let site = host.site().context("only respoked has sessions")?;
    let mut swarm = Swarm::new(host, Subject::Respoked)?;
    let guests = (0..REVOKED).map(|number| Guest::named(format!("revoked-{round}-{number}"))).collect();
    swarm.enter(guests, GENTLE)?;
    let mut backend = Client::connect(host.child().address())?;
    let (mut silence, before, opened) = (Silence::new(true)?, swarm.usage()?, Instant::now());
    for number in 0..REVOKED {
        let whose = json!({ "endpointId": swarm.clients[number].endpoint });
        let credential = Some(("App-Secret", site.app_secret.as_str()));
        backend.call(&Request { method: "DELETE", path: "/v1/sessions", credential, body: Body::Json(&whose) })?;
        let answered = Instant::now();
        swarm.until_gone(&mut silence, number as u64 + 1, LIMIT)?;
        silence.note(answered.elapsed());
    }
    let (elapsed, after) = (opened.elapsed(), swarm.usage()?);
    let latencies = silence.into_latencies();
    Ok(sample(&Window {
        elapsed,
        count: latencies.len(),
        latencies,
        server_secs: after.0.cpu_secs - before.0.cpu_secs,
        generator_secs: after.1.cpu_secs - before.1.cpu_secs,
    }))
}

/// Sockets on a server that just started, all in groups of a few, none saying a word.
fn idle(workplace: &Workplace, subject: Subject, effort: Effort) -> anyhow::Result<Idle> {
    let host = Host::start(workplace, subject)?;
    let mut swarm = Swarm::new(&host, subject)?;
    let mut silence = Silence::new(false)?;
    let guest = |number: usize| Guest {
        presence: true,
        groups: vec![format!("group-{}", number / GROUP_LEN)],
        ..Guest::named(format!("user-{number}"))
    };
    let empty = swarm.usage()?.0.resident_bytes;
    let [first, all] = effort.idle;
    swarm.enter((0..first).map(guest).collect(), GENTLE)?;
    let window = swarm.window(&mut silence, effort.idle_window)?;
    let resident_first = swarm.usage()?.0.resident_bytes;
    swarm.enter((first..all).map(guest).collect(), GENTLE)?;
    swarm.turn(&mut silence, Duration::from_secs(2))?;
    let resident_all = swarm.usage()?.0.resident_bytes;
    let each = |resident: u64, count: usize| (resident as f64 - empty as f64) / count as f64;
    let a_minute = 60.0 / window.elapsed.as_secs_f64();
    Ok(Idle {
        bytes_each: [each(resident_first, first), each(resident_all, all)],
        cpu_secs: window.server_secs * a_minute,
        generator_secs: window.generator_secs * a_minute,
    })
}
