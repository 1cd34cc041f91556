//! The interleaved rounds: every scenario on every server that it compares.
//!
//! The machine's speed swings from minute to minute, so figures of different rounds are not compared. Within a
//! round each scenario drives its servers one right after the other, in turned order every other round.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use super::ceiling::Answers;
use super::load::{self, Extent};
use super::machine::flush_time;
use super::metrics::Commits;
use super::procfs::Usage;
use super::scenario::{Scenario, Site};
use super::script;
use super::server::{ONE_COMMIT_A_REQUEST, Respoked, UNCACHED, USUAL};
use super::stats::{PairedRatio, median};
use super::token::TokenPool;
use super::workplace::Workplace;
use crate::child::Child;

/// Redemptions a second that tokens are made ready for in the first round; later rounds go by the one before.
const REDEMPTIONS_PER_SEC_GUESS: f64 = 70_000.0;
/// The same of a ceiling, whose tokens are made up.
const REDEMPTIONS_PER_SEC_GUESS_CEILING: f64 = 170_000.0;
/// Most tokens made ready for one round.
const STOCK_MAX: f64 = 1_000_000.0;
/// How long making tokens ready may take.
const STOCK_TIMEOUT: Duration = Duration::from_mins(1);

/// A server that a scenario drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// Bare axum without storage.
    Ceiling,
    /// The server as it is by default.
    Respoked,
    /// The server with one transaction a request.
    OneCommit,
    /// The server that keeps no sessions in memory.
    Uncached,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ceiling => "bare axum",
            Self::Respoked => "respoked",
            Self::OneCommit => "respoked, a commit each",
            Self::Uncached => "respoked, no cache",
        })
    }
}

/// Which servers a scenario compares.
fn subjects(scenario: Scenario) -> &'static [Subject] {
    use Subject::{Ceiling, OneCommit, Respoked, Uncached};
    match scenario {
        Scenario::Mint | Scenario::MintRedeem => &[Ceiling, Respoked, OneCommit],
        Scenario::Redeem | Scenario::Introspect => &[Ceiling, Respoked],
        Scenario::SessionCheck => &[Ceiling, Respoked, Uncached],
        Scenario::Refused => &[Respoked],
    }
}

/// How long and how often.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: u32,
    pub(crate) window: Duration,
    pub(crate) connections: u32,
}

/// One window's figures.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) p50_millis: f64,
    pub(crate) p99_millis: f64,
    /// CPU time of the server per request, all threads, in microseconds.
    pub(crate) cpu_micros: f64,
    /// Bytes written to the disk per request, in the window.
    pub(crate) written_bytes: f64,
    /// Resident memory at the window's end, and at most so far.
    pub(crate) resident_bytes: f64,
    pub(crate) resident_bytes_max: f64,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Commits, warm-up included.
    pub(crate) commits: Option<Commits>,
}

/// The samples of all rounds, in order.
#[derive(Default)]
pub(crate) struct Samples {
    by_subject: BTreeMap<(Scenario, Subject), Vec<Sample>>,
    /// The disk's flush time at the beginning of each round, in microseconds.
    pub(crate) flush_micros: Vec<f64>,
}

impl Samples {
    /// All that was measured, scenario by scenario.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Scenario, Subject, &[Sample])> {
        self.by_subject.iter().map(|(&(scenario, subject), samples)| (scenario, subject, samples.as_slice()))
    }

    /// The samples of one scenario on one server; none when it was not measured.
    pub(crate) fn of(&self, scenario: Scenario, subject: Subject) -> &[Sample] {
        self.by_subject.get(&(scenario, subject)).map_or(&[], Vec::as_slice)
    }

    /// The rate on `over` to that on `under`, paired within each round.
    pub(crate) fn rates(&self, scenario: Scenario, over: Subject, under: Subject) -> Option<PairedRatio> {
        let rates = |subject| self.of(scenario, subject).iter().map(|sample| sample.rate);
        PairedRatio::of(rates(over), rates(under))
    }

    fn put(&mut self, scenario: Scenario, subject: Subject, sample: Sample) {
        self.by_subject.entry((scenario, subject)).or_default().push(sample);
    }
}

/// The median of one figure of the samples.
pub(crate) fn median_of(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Option<f64> {
    median(samples.iter().map(figure))
}

/// Runs the rounds of `scenarios`.
pub(crate) fn run(workplace: &Workplace, scenarios: &[Scenario], effort: Effort) -> anyhow::Result<Samples> {
    let fleet = Fleet::start(workplace, scenarios)?;
    let mut samples = Samples::default();
    for round in 0..effort.rounds {
        samples.flush_micros.push(flush_time(workplace.folder())?.as_secs_f64() * 1e6);
        for &scenario in scenarios {
            let mut order = subjects(scenario).to_vec();
            if round % 2 == 1 {
                order.reverse();
            }
            for subject in order {
                let last = samples.of(scenario, subject).last().map(|sample| sample.rate);
                let sample = fleet
                    .measure(scenario, subject, effort, u64::from(round), last)
                    .with_context(|| format!("{scenario} on {subject}, round {}", round + 1))?;
                tell(round, effort, &format!("{scenario} on {subject}"), &sample);
                samples.put(scenario, subject, sample);
            }
        }
    }
    Ok(samples)
}

/// The rounds of `scenarios` on the ceiling alone: what the machine and the load generator can do.
pub(crate) fn run_ceiling(workplace: &Workplace, scenarios: &[Scenario], effort: Effort) -> anyhow::Result<Samples> {
    let fleet = Fleet {
        ceiling: Ceiling::start(workplace, &Answers::default(), None)?,
        respokeds: BTreeMap::new(),
        guessed: None,
    };
    let mut samples = Samples::default();
    for round in 0..effort.rounds {
        for &scenario in scenarios.iter().filter(|&&scenario| scenario != Scenario::Refused) {
            let last = samples.of(scenario, Subject::Ceiling).last().map(|sample| sample.rate);
            let sample = fleet.measure(scenario, Subject::Ceiling, effort, u64::from(round), last)?;
            tell(round, effort, &format!("{scenario} on the ceiling"), &sample);
            samples.put(scenario, Subject::Ceiling, sample);
        }
    }
    Ok(samples)
}

/// Says on standard error how far the run is.
pub(crate) fn tell(round: u32, effort: Effort, what: &str, sample: &Sample) {
    let Sample { rate, p50_millis, p99_millis, .. } = sample;
    let (round, rounds) = (round + 1, effort.rounds);
    eprintln!("round {round}/{rounds}: {what}: {rate:.0}/s, p50 {p50_millis:.2} ms, p99 {p99_millis:.2} ms");
}

/// The servers of a run, all started before the first round.
struct Fleet {
    ceiling: Ceiling,
    respokeds: BTreeMap<Subject, Respoked>,
    /// Refused tokens are guesses, and their sender is throttled: they get a server of their own.
    guessed: Option<Respoked>,
}

impl Fleet {
    /// Starts the servers that `scenarios` need.
    fn start(workplace: &Workplace, scenarios: &[Scenario]) -> anyhow::Result<Self> {
        let needs = |subject| scenarios.iter().any(|&scenario| subjects(scenario).contains(&subject));
        // Always: it also says which bodies the ceiling has to answer.
        let usual = Respoked::start(workplace, USUAL)?;
        let ceiling = Ceiling::start(workplace, &usual.answers, Some(&usual.site))?;
        let mut respokeds = BTreeMap::from([(Subject::Respoked, usual)]);
        for (subject, setting) in [(Subject::OneCommit, ONE_COMMIT_A_REQUEST), (Subject::Uncached, UNCACHED)] {
            if needs(subject) {
                respokeds.insert(subject, Respoked::start(workplace, setting)?);
            }
        }
        let guessed = scenarios.contains(&Scenario::Refused).then(|| Respoked::start(workplace, USUAL)).transpose()?;
        Ok(Self { ceiling, respokeds, guessed })
    }

    fn measure(
        &self,
        scenario: Scenario,
        subject: Subject,
        effort: Effort,
        round: u64,
        last_rate: Option<f64>,
    ) -> anyhow::Result<Sample> {
        let respoked = match (scenario, subject) {
            (_, Subject::Ceiling) => None,
            (Scenario::Refused, _) => self.guessed.as_ref(),
            _ => self.respokeds.get(&subject),
        };
        // Three seeds a round: the stock's, and two that would otherwise mint for the same users in the same order.
        let seed = round * 16 + subject as u64 * 4;
        let pool = TokenPool::default();
        if scenario == Scenario::Redeem {
            let guess = if respoked.is_some() { REDEMPTIONS_PER_SEC_GUESS } else { REDEMPTIONS_PER_SEC_GUESS_CEILING };
            let count = stock_len(last_rate.unwrap_or(guess), effort.window);
            match respoked {
                None => pool.make_up(count, seed),
                Some(respoked) => {
                    let each = count / u64::from(effort.connections) + 1;
                    let scripts = script::minting(&respoked.site, effort.connections, seed + 1, each, Some(&pool));
                    load::run(respoked.child.address(), scripts, Extent::Scripts(STOCK_TIMEOUT), || Ok(()))?;
                }
            }
        }
        let site = respoked.map_or(&self.ceiling.site, |respoked| &respoked.site);
        let scripts = script::of(scenario, site, effort.connections, seed, &pool);
        match respoked {
            None => measure(self.ceiling.child.address(), self.ceiling.child.id(), scripts, effort.window),
            Some(respoked) => measure_commits(respoked, scripts, effort.window),
        }
    }
}

/// How many tokens a window of redemptions at about `rate` may spend, with some to spare.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
fn stock_len(rate: f64, window: Duration) -> u64 {
    (rate * 1.3 * (window + load::WARM_UP).as_secs_f64()).min(STOCK_MAX) as u64
}

/// One window on a respoked, with its commits.
pub(crate) fn measure_commits(respoked: &Respoked, scripts: load::Scripts, window: Duration) -> anyhow::Result<Sample> {
    let before = respoked.commits()?;
    let mut sample = measure(respoked.child.address(), respoked.child.id(), scripts, window)?;
    let after = respoked.commits()?;
    sample.commits = after.zip(before).map(|(after, before)| after.since(before));
    Ok(sample)
}

/// One window on any server.
fn measure(address: SocketAddr, pid: u32, scripts: load::Scripts, window: Duration) -> anyhow::Result<Sample> {
    let (outcome, before, after) = load::run(address, scripts, Extent::Window(window), || Usage::of(pid))?;
    let requests = outcome.requests as f64;
    Ok(Sample {
        rate: outcome.rate(),
        p50_millis: outcome.latency_millis(0.50),
        p99_millis: outcome.latency_millis(0.99),
        cpu_micros: (after.cpu_secs - before.cpu_secs) * 1e6 / requests,
        written_bytes: (after.written_bytes - before.written_bytes) as f64 / requests,
        resident_bytes: after.resident_bytes as f64,
        resident_bytes_max: after.resident_bytes_max as f64,
        statuses: outcome.statuses,
        commits: None,
    })
}

/// The running ceiling.
pub(crate) struct Ceiling {
    pub(crate) child: Child,
    pub(crate) site: Site,
    _folder: TempDir,
}

impl Ceiling {
    /// Starts this program as a ceiling that answers `answers`; it is asked what `like` would be asked.
    pub(crate) fn start(workplace: &Workplace, answers: &Answers, like: Option<&Site>) -> anyhow::Result<Self> {
        Self::start_under(workplace, Command::new(&workplace.xtask), Duration::from_secs(10), answers, like)
    }

    /// The same, with a `command` that runs this program in some other way.
    pub(crate) fn start_under(
        workplace: &Workplace,
        mut command: Command,
        timeout: Duration,
        answers: &Answers,
        like: Option<&Site>,
    ) -> anyhow::Result<Self> {
        let folder = workplace.fresh_folder()?;
        let file = folder.path().join("answers.json");
        fs::write(&file, serde_json::to_vec(answers)?)?;
        command.args(["ceiling", "--answers"]).arg(&file);
        let child = Child::start(command, &folder.path().join("ceiling.log"), timeout)?;
        let site = like.cloned().unwrap_or_else(Site::made_up);
        Ok(Self { child, site, _folder: folder })
    }
}
