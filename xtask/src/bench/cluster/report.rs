//! The report of several nodes, and its targets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::fleet::{Carrier, Cpu};
use super::rounds::{
    Crash, ENDED, ENDED_CUT, Fanout, Found, GROUP_LEN, GROUPS, IDLE_PER_SECOND, JOINING, JOINS_EACH, LEAVING, NODES,
    Once, PER_SECOND, Round, Times, WATCHING,
};
use crate::bench::machine::Machine;
use crate::bench::report::{Table, section, targets};
use crate::bench::stats::{PairedRatio, median};
use crate::bench::targets::{Target, Unit, grouped};

/// What stands above the figures.
pub(super) struct Heading {
    pub(super) date: String,
    pub(super) machine: Machine,
    pub(super) command: String,
    pub(super) rounds: u32,
    pub(super) window: Duration,
    /// How many programs wanted a core, on average over a minute, before the run.
    pub(super) load_before: f64,
}

/// What is read of a round.
type Figure<T> = fn(&Round) -> T;

/// The must and want over PostgreSQL alone, and over NATS.
type OfCarriers = [(f64, f64); 2];

/// All that was measured.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) carriers: BTreeMap<Carrier, Found>,
    /// What a node takes that knows a million interests of another, in bytes.
    pub(super) interests: Option<f64>,
    /// Connections that minted.
    pub(super) minting: u32,
}

impl Findings {
    fn of(&self, carrier: Carrier, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        median(self.carriers.get(&carrier)?.rounds.iter().map(figure))
    }

    fn ratio(&self, carrier: Carrier, over: fn(&Round) -> f64, under: fn(&Round) -> f64) -> Option<f64> {
        let rounds = &self.carriers.get(&carrier)?.rounds;
        PairedRatio::of(rounds.iter().map(over), rounds.iter().map(under)).map(|ratio| ratio.median)
    }

    fn once(&self, carrier: Carrier, figure: impl Fn(&Once) -> f64) -> Option<f64> {
        self.carriers.get(&carrier)?.once.as_ref().map(figure)
    }
}

/// The whole report as markdown.
pub(super) fn render(heading: &Heading, findings: &Findings) -> String {
    let mut out = String::new();
    let Heading { date, machine, command, rounds, window, load_before } = heading;
    let _ = write!(
        out,
        "Measured on {date} with `{command}` on {machine}. Before the run {load_before:.1} programs wanted a core, on average over a \
         minute.\n\n\
         {NODES} nodes, PostgreSQL as its package sets it up, NATS, and the load generator share these cores: what a figure tells is \
         what is left to the nodes, and a latency has the generator's own delay in it. {rounds} rounds of {window:?} windows; figures \
         are medians of the rounds, ratios are paired within a round. One clock measures all times.\n",
        machine = machine.line(),
    );
    section(&mut out, "Targets of several nodes", &targets(&judge(findings)));
    section(&mut out, "Windows", &windows(findings));
    section(&mut out, "What each part took", &shares(findings));
    out
}

/// The targets with what was found of them.
fn judge(findings: &Findings) -> Vec<Target> {
    use Carrier::{Nats, Postgres};
    let mut all = Vec::new();
    for carrier in [Postgres, Nats] {
        let name = carrier.name();
        let mints = findings.ratio(carrier, |round| round.mints_all, |round| round.mints_one);
        all.push(Target::least(1, &format!("mints of 3 nodes / 1 node: {name}"), Unit::Ratio, (1.0, 1.0), mints));
    }
    let fanout = findings.of(Nats, |round| round.fanout.times.p99);
    all.push(Target::most(2, "fan-out, p99: NATS", Unit::Millis, (30.0, 15.0), fanout));
    let fanout = findings.of(Postgres, |round| round.fanout_beside.times.p99);
    all.push(Target::most(
        2,
        "fan-out, p99, mints at half their rate beside it: PostgreSQL alone",
        Unit::Millis,
        (40.0, 20.0),
        fanout,
    ));
    let beside = findings.ratio(Postgres, |round| round.half_beside, |round| round.half_alone);
    let figure = "mints at half their rate beside that / without it: PostgreSQL alone";
    all.push(Target::least(3, figure, Unit::Ratio, (0.8, 0.95), beside));
    let each: [(u8, &str, Figure<f64>, OfCarriers); 3] = [
        (4, "publication across nodes, idle, p99", |round| round.idle.p99, [(6.0, 3.0), (2.0, 1.0)]),
        (5, "first join, p99", |round| round.joins.p99, [(15.0, 6.0), (5.0, 2.0)]),
        (6, "end on A to socket on B closed, p99", |round| round.ends.p99, [(50.0, 15.0), (50.0, 15.0)]),
    ];
    for (number, figure, of, bounds) in each {
        for (carrier, bounds) in [Postgres, Nats].into_iter().zip(bounds) {
            let figure = format!("{figure}: {}", carrier.name());
            all.push(Target::most(number, &figure, Unit::Millis, bounds, findings.of(carrier, of)));
        }
    }
    for carrier in [Postgres, Nats] {
        let figure = format!("the same with the bus cut: {}", carrier.name());
        let cut = findings.once(carrier, |once| once.ends_cut.p99 / 1e3);
        all.push(Target::most(6, &figure, Unit::Secs, (5.0, 2.0), cut));
    }
    for carrier in [Postgres, Nats] {
        let figure = format!("crash to the last `unavailable` and `leave`: {}", carrier.name());
        let crash = findings.once(carrier, |once| once.crash.times.max / 1e3);
        all.push(Target::most(7, &figure, Unit::Secs, (15.0, 12.0), crash));
    }
    let bounds = [64, 48].map(|mebibytes| f64::from(mebibytes << 20));
    let bounds = (bounds[0], bounds[1]);
    all.push(Target::most(8, "memory of a million remote interests", Unit::Mebibytes, bounds, findings.interests));
    all
}

fn windows(findings: &Findings) -> String {
    let mut table = Table::new(&["", "carrier", "a second", "p50 ms", "p99 ms", "max ms", "of"]);
    for (carrier, found) in &findings.carriers {
        let middle = |figure: &dyn Fn(&Round) -> f64| median(found.rounds.iter().map(figure)).unwrap_or(f64::NAN);
        let mut row = |what: &str, rate: Option<f64>, times: [Option<f64>; 3], of: u64| {
            let shown = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
            let [p50, p99, max] = times.map(shown);
            let rate = rate.map_or_else(String::new, |rate| format!("{rate:.0}"));
            let of = if of == 0 { String::new() } else { grouped(of) };
            table.row([what.into(), carrier.name().into(), rate, p50, p99, max, of]);
        };
        if found.rounds.is_empty() {
            continue;
        }
        let none = [None; 3];
        let size = |figure: &dyn Fn(&Round) -> f64| format!("{:.1} a commit", middle(figure));
        let one = format!("mints, one node ({})", size(&|round| round.mints_one_size));
        row(&one, Some(middle(&|round| round.mints_one)), none, 0);
        let all = format!("mints, all nodes ({})", size(&|round| round.mints_all_size));
        row(&all, Some(middle(&|round| round.mints_all)), none, 0);
        let p99 = middle(&|round| round.half_alone_p99);
        row("mints at half that", Some(middle(&|round| round.half_alone)), [None, Some(p99), None], 0);
        let p99 = middle(&|round| round.half_beside_p99);
        row("mints at half that, beside fan-out", Some(middle(&|round| round.half_beside)), [None, Some(p99), None], 0);
        let mut fan_out = |what: &str, of: fn(&Round) -> &Fanout| {
            let times = [|times: &Times| times.p50, |times: &Times| times.p99, |times: &Times| times.max];
            let times = times.map(|figure| Some(middle(&|round| figure(&of(round).times))));
            let missing: u64 = found.rounds.iter().map(|round| of(round).missing).sum();
            let what = if missing == 0 { what.to_owned() } else { format!("{what} ({missing} never came)") };
            let count = found.rounds.iter().map(|round| of(round).times.count).sum();
            row(&what, Some(middle(&|round| of(round).rate)), times, count);
        };
        fan_out("fan-out", |round| &round.fanout);
        fan_out("fan-out beside mints", |round| &round.fanout_beside);
        let mut others = |what: &str, of: fn(&Round) -> &Times| {
            let times = [|times: &Times| times.p50, |times: &Times| times.p99, |times: &Times| times.max];
            let times = times.map(|figure| Some(middle(&|round| figure(of(round)))));
            row(what, None, times, found.rounds.iter().map(|round| of(round).count).sum());
        };
        others("publication, idle", |round| &round.idle);
        others("first join", |round| &round.joins);
        others("end to close", |round| &round.ends);
        if let Some(Once { ends_cut, crash: Crash { times, .. } }) = &found.once {
            for (what, times) in [("end to close, the bus cut", ends_cut), ("crash to farewells", times)] {
                row(what, None, [times.p50, times.p99, times.max].map(Some), times.count);
            }
        }
    }
    let crashes = findings.carriers.values().filter_map(|found| found.once.as_ref());
    let (expected, doubled) =
        crashes.fold((0, 0), |(all, twice), once| (all + once.crash.expected, twice + once.crash.doubled));
    let told = if expected == 0 {
        String::new()
    } else {
        format!(" Of {expected} farewells none was missing, and {doubled} came twice.")
    };
    format!(
        "{}\nMints: {minting} kept-alive connections, spread over the nodes; one node has a database of its own on the same server. \
         Fan-out: {PER_SECOND:.0} publications a second, steadily, whatever became of those before; {GROUPS} groups of {GROUP_LEN} \
         members, spread over the nodes, with a publisher each; a delivery's time is from when its publication was due. \
         Publication, idle: {IDLE_PER_SECOND:.0} a second from one node to one member on another. First join: {JOINING} clients, \
         {JOINS_EACH} groups each that have a member on another node, one after the other, until the ack. End: {ENDED} sessions, \
         ended one after the other at another node than the socket's, from when that is asked for until the socket is closed; with \
         the bus cut, {ENDED_CUT} by eight at once. Crash: `kill -9` of a node with {LEAVING} clients; {watching} clients of the \
         others share groups with them and observe them.{told}\n",
        table.render(),
        minting = findings.minting,
        watching = WATCHING * (NODES - 1),
    )
}

fn shares(findings: &Findings) -> String {
    let mut table = Table::new(&["of a core", "carrier", "nodes", "PostgreSQL", "NATS", "generator"]);
    for (carrier, found) in &findings.carriers {
        let all: [(&str, Figure<Cpu>); 4] = [
            ("mints, one node", |round| round.mints_one_cpu),
            ("mints, all nodes", |round| round.mints_cpu),
            ("fan-out", |round| round.fanout.cpu),
            ("fan-out beside mints", |round| round.fanout_beside.cpu),
        ];
        for (what, of) in all {
            let share = |part: fn(&Cpu) -> f64| {
                let share = median(found.rounds.iter().map(|round| part(&of(round))));
                share.map_or_else(String::new, |share| format!("{share:.2}"))
            };
            table.row([
                what.into(),
                carrier.name().into(),
                share(|cpu| cpu.nodes),
                share(|cpu| cpu.postgres),
                share(|cpu| cpu.nats),
                share(|cpu| cpu.generator),
            ]);
        }
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_nothing_still_lists_every_target() {
        let machine = Machine::of_a_test();
        let heading = Heading {
            date: "2026-11-27".into(),
            machine,
            command: "cargo xtask bench cluster".into(),
            rounds: 3,
            window: Duration::from_secs(4),
            load_before: 0.1,
        };
        let report = render(&heading, &Findings::default());
        assert!(report.contains("3 rounds of 4s windows"), "{report}");
        assert_eq!(report.matches("not measured |").count(), 16, "{report}");
    }
}
