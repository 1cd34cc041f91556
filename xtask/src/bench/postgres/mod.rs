//! `cargo xtask bench postgres`: the server with its database in PostgreSQL, beside the database alone and beside itself on
//! SQLite.

mod bare;
pub(super) mod engine;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;

use super::effort::EffortArgs;
use super::load::{self, Extent};
use super::procfs::Usage;
use super::report::{Heading, Table, section, spread, targets};
use super::rounds::Effort;
use super::scenario::Scenario;
use super::script;
use super::server::{ONE_COMMIT_A_REQUEST, Respoked, USUAL};
use super::stats::{PairedRatio, median};
use super::stored::LASTING;
use super::targets::{Target, Unit, grouped};
use super::token::TokenPool;
use super::workplace::Workplace;
use bare::{Bare, Loop};
use engine::Engine;

/// `bench postgres`.
#[derive(Args)]
pub(crate) struct PostgresArgs {
    #[command(flatten)]
    effort: EffortArgs,
    /// Tokens to store before minting beside them; 0 leaves that out.
    #[arg(long, default_value_t = 10_000_000)]
    stored: u64,
    /// Write the report to this file as well.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Measure this server binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// What is measured in each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// The database alone, with batches.
    Batches,
    /// The database alone, with a statement for each mint.
    OneEach,
    Mint,
    /// With one transaction a request.
    MintOneCommit,
    MintRedeem,
    Check,
    CheckOnSqlite,
    /// Beside many tokens that are stored.
    MintStored,
}

impl Subject {
    const ALL: [Self; 8] = [
        Self::Batches,
        Self::OneEach,
        Self::Mint,
        Self::MintOneCommit,
        Self::MintRedeem,
        Self::Check,
        Self::CheckOnSqlite,
        Self::MintStored,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Batches => "rows of mints in batches, the database alone",
            Self::OneEach => "rows of mints, a statement each, the database alone",
            Self::Mint => "mint",
            Self::MintOneCommit => "mint, a commit each",
            Self::MintRedeem => "mint and redeem in turn",
            Self::Check => "session check",
            Self::CheckOnSqlite => "session check on SQLite",
            Self::MintStored => "mint beside the stored tokens",
        }
    }

    /// The scenario that it belongs to. The database alone is what mints are held against.
    const fn scenario(self) -> Scenario {
        match self {
            Self::Batches | Self::OneEach | Self::Mint | Self::MintOneCommit | Self::MintStored => Scenario::Mint,
            Self::MintRedeem => Scenario::MintRedeem,
            Self::Check | Self::CheckOnSqlite => Scenario::SessionCheck,
        }
    }
}

/// One window's figures.
struct Window {
    rate: f64,
    /// Of a request, in milliseconds; none of the database alone.
    latency: Option<(f64, f64)>,
    /// CPU time a request of the server (or of the loop) and the database, in microseconds.
    cpu_micros: f64,
}

struct Windows(Vec<(Subject, Window)>);

impl Windows {
    fn of(&self, subject: Subject) -> impl Iterator<Item = &Window> {
        self.0.iter().filter(move |(of, _)| *of == subject).map(|(_, window)| window)
    }

    fn rates(&self, over: Subject, under: Subject) -> Option<PairedRatio> {
        let rates = |subject| self.of(subject).map(|window| window.rate).collect::<Vec<_>>();
        PairedRatio::of(rates(over), rates(under))
    }

    fn cpu_micros(&self, subject: Subject) -> Option<f64> {
        median(self.of(subject).map(|window| window.cpu_micros))
    }
}

/// The servers of a run.
struct Fleet {
    engine: Engine,
    address: String,
    usual: Respoked,
    one_commit: Respoked,
    on_sqlite: Respoked,
    stored: Option<Respoked>,
}

impl Fleet {
    fn start(workplace: &Workplace, stored: u64) -> anyhow::Result<Self> {
        let engine = Engine::start(workplace)?;
        let address = engine.database()?;
        let usual = Respoked::start_on(workplace, USUAL, &address)?;
        let one_commit = Respoked::start_on(workplace, ONE_COMMIT_A_REQUEST, &engine.database()?)?;
        let on_sqlite = Respoked::start(workplace, USUAL)?;
        let stored = (stored > 0).then(|| {
            let address = engine.database()?;
            let server = Respoked::start_on(workplace, LASTING, &address)?;
            eprintln!("storing {} tokens", grouped(stored));
            for statement in [&*fill(stored), "VACUUM ANALYZE respoked.log", "CHECKPOINT"] {
                engine.execute(&address, statement)?;
            }
            anyhow::Ok(server)
        });
        Ok(Self { engine, address, usual, one_commit, on_sqlite, stored: stored.transpose()? })
    }

    fn measure(&self, subject: Subject, effort: Effort, seed: u64) -> anyhow::Result<Option<Window>> {
        let respoked = match subject {
            Subject::Batches => return self.bare(Loop::Batches, effort, seed).map(Some),
            Subject::OneEach => return self.bare(Loop::OneEach, effort, seed).map(Some),
            Subject::Mint | Subject::MintRedeem | Subject::Check => &self.usual,
            Subject::MintOneCommit => &self.one_commit,
            Subject::CheckOnSqlite => &self.on_sqlite,
            Subject::MintStored => match &self.stored {
                Some(stored) => stored,
                None => return Ok(None),
            },
        };
        let scripts = script::of(subject.scenario(), &respoked.site, effort.connections, seed, &TokenPool::default());
        let cpu = || Ok(Usage::of(respoked.child.id())?.cpu_secs + self.engine.cpu_secs()?);
        let (outcome, before, after) =
            load::run(respoked.child.address(), scripts, Extent::Window(effort.window), cpu)?;
        Ok(Some(Window {
            rate: outcome.rate(),
            latency: Some((outcome.latency_millis(0.5), outcome.latency_millis(0.99))),
            cpu_micros: (after - before) * 1e6 / outcome.requests as f64,
        }))
    }

    fn bare(&self, kind: Loop, effort: Effort, seed: u64) -> anyhow::Result<Window> {
        let Bare { rate, cpu_micros } = bare::measure(&self.engine, &self.address, kind, effort.window, seed)?;
        Ok(Window { rate, latency: None, cpu_micros })
    }
}

/// Stores tokens as mints do, much faster.
fn fill(count: u64) -> String {
    format!(
        "INSERT INTO respoked.log (action, expires_at, at, app_id, endpoint, secret_id, hash, role_id, activate_by, born,
                                   actor_kind, account_id, address, request_id)
         SELECT 1, now.ms + 86400000, now.ms, a.id, 'user-' || n % 100000, s.id, sha256(n::text::bytea), r.id, now.ms + 86400000, f.head,
                3, a.account_id, '127.0.0.1', gen_random_uuid()
         FROM generate_series(1, {count}) n, respoked.feed f, respoked.apps a
         JOIN respoked.secrets s ON s.app_id = a.id JOIN respoked.roles r ON r.app_id = a.id,
              (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint) now (ms)
         WHERE a.name = 'bench'"
    )
}

/// Measures and prints.
pub(super) fn run(args: &PostgresArgs) -> anyhow::Result<()> {
    let chosen = args.effort.scenarios();
    let mut subjects = Subject::ALL.to_vec();
    subjects.retain(|subject| chosen.contains(&subject.scenario()));
    ensure!(!subjects.is_empty(), "mint, mint-redeem and session-check are measured on PostgreSQL");
    let workplace = Workplace::prepare(args.binary.as_deref())?;
    let effort = args.effort.effort();
    let stored = if chosen.contains(&Scenario::Mint) { args.stored } else { 0 };
    let fleet = Fleet::start(&workplace, stored)?;
    let mut windows = Windows(Vec::new());
    for round in 0..effort.rounds {
        let mut order = subjects.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        for subject in order {
            let seed = u64::from(round) * 16 + subject as u64;
            let measured = fleet.measure(subject, effort, seed).with_context(|| subject.name())?;
            let Some(window) = measured else { continue };
            let (round, rounds) = (round + 1, effort.rounds);
            eprintln!("round {round}/{rounds}: {}: {:.0}/s, {:.1} µs", subject.name(), window.rate, window.cpu_micros);
            windows.0.push((subject, window));
        }
    }
    let report = report(&Heading::of(&workplace, effort)?, &windows, stored);
    println!("{report}");
    if let Some(out) = &args.out {
        fs::write(out, report).with_context(|| format!("cannot write {}", out.display()))?;
    }
    Ok(())
}

fn report(heading: &Heading, windows: &Windows, stored: u64) -> String {
    let Heading { date, machine, command, effort } = heading;
    let Effort { rounds, window, connections } = effort;
    let mut out = format!(
        "Measured on {date} with `{command}` on {machine}.\n\n\
         PostgreSQL as its package sets it up, on the same machine and disk, with no pooler. {connections} kept-alive connections over \
         loopback, each with one request under way; {rounds} interleaved rounds of {window:?} windows. Figures are medians of the \
         rounds, ratios are paired within a round. CPU is that of the server and of PostgreSQL together.\n",
        machine = machine.line(),
    );
    section(&mut out, "Targets on PostgreSQL", &targets(&judge(windows, stored)));
    section(&mut out, "Windows", &table(windows));
    out
}

fn judge(windows: &Windows, stored: u64) -> [Target; 6] {
    use Subject::{Batches, Check, CheckOnSqlite, Mint, MintRedeem, MintStored, OneEach};
    let rates = |over, under| windows.rates(over, under).map(|ratio| ratio.median);
    let beside = format!("mint beside {} tokens / empty", grouped(stored));
    let cpu = windows.cpu_micros(Mint);
    [
        Target::least(
            1,
            "mint / a statement for each, the database alone",
            Unit::Times,
            (3.5, 4.0),
            rates(Mint, OneEach),
        ),
        Target::least(2, "mint / the same batches, the database alone", Unit::Ratio, (0.5, 0.7), rates(Mint, Batches)),
        Target::most(3, "CPU a mint, the database's included", Unit::Micros, (30.0, 22.0), cpu),
        Target::least(4, "mint and redeem in turn / mint", Unit::Ratio, (0.7, 0.85), rates(MintRedeem, Mint)),
        Target::least(5, "session check, cached / on SQLite", Unit::Ratio, (1.0, 1.0), rates(Check, CheckOnSqlite)),
        Target::least(6, &beside, Unit::Ratio, (0.85, 0.95), rates(MintStored, Mint)),
    ]
}

fn table(windows: &Windows) -> String {
    let mut table = Table::new(&["", "a second", "to mint", "p50 ms", "p99 ms", "CPU µs"]);
    for subject in Subject::ALL {
        let figure = |digits: usize, figure: fn(&Window) -> Option<f64>| {
            let value = median(windows.of(subject).filter_map(figure));
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        table.row([
            subject.name().into(),
            figure(0, |window| Some(window.rate)),
            windows.rates(subject, Subject::Mint).as_ref().map_or_else(String::new, spread),
            figure(2, |window| window.latency.map(|(p50, _)| p50)),
            figure(2, |window| window.latency.map(|(_, p99)| p99)),
            figure(1, |window| Some(window.cpu_micros)),
        ]);
    }
    format!("{}\n`a commit each` is the same binary with `RESPOKED_COMMIT_BATCH_MAX=1`.\n", table.render())
}
