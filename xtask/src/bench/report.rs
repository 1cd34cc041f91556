//! The report: one text, read on the terminal and kept as markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::callgrind::Instructions;
use super::machine::Machine;
use super::metrics::Commits;
use super::rounds::{Effort, Sample, Samples, Subject, median_of};
use super::script::USERS;
use super::startup::Startup;
use super::stats::{PairedRatio, median};
use super::stored::Stored;
use super::targets::{Findings, Target, Unit, grouped, judge};
use super::workplace::Workplace;

/// What stands above the figures.
pub(crate) struct Heading {
    /// The day it was measured, as `2026-11-23`.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// The command that was given.
    pub(crate) command: String,
    pub(crate) effort: Effort,
}

impl Heading {
    pub(super) fn of(workplace: &Workplace, effort: Effort) -> anyhow::Result<Self> {
        Ok(Self { date: today(), machine: Machine::read(workplace.folder())?, command: command(), effort })
    }
}

/// The day, as `2026-11-23`.
pub(super) fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

/// The command that was given.
pub(super) fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).map(without_folders).collect();
    format!("cargo xtask {}", arguments.join(" "))
}

/// An argument as it is shown: of an absolute path, the last part.
fn without_folders(argument: String) -> String {
    match argument.rsplit_once('/') {
        Some((_, last)) if argument.starts_with('/') => last.to_owned(),
        _ => argument,
    }
}

/// The whole report as markdown.
pub(crate) fn render(heading: &Heading, findings: &Findings) -> String {
    let mut out = String::new();
    let Heading { date, machine, command, effort } = heading;
    let Effort { rounds, window, connections } = effort;
    let flush = median(findings.samples.flush_micros.iter().copied());
    let flush = flush.map_or_else(String::new, |micros| {
        format!(" Appending 4 KiB and flushing it took {micros:.0} µs between the rounds.")
    });
    let _ = write!(
        out,
        "Measured on {date} with `{command}` on {machine}.\n\n\
         {connections} kept-alive connections over loopback from the same machine, each with one request under way, \
         tokens of {users} users; {rounds} interleaved rounds of {window:?} windows. Figures are medians of the rounds, \
         ratios are paired within a round.{flush}\n",
        machine = machine.line(),
        users = grouped(USERS),
    );
    section(&mut out, "Targets", &targets(&judge(findings)));
    section(&mut out, "Scenarios", &scenarios(&findings.samples));
    if let Some(stored) = &findings.stored {
        section(&mut out, "With tokens stored", &stored_tokens(stored));
    }
    if let Some(startup) = &findings.startup {
        section(&mut out, "Start, memory, size", &start_and_size(startup));
    }
    if let Some(instructions) = &findings.instructions {
        section(&mut out, "Instructions per mint", &instruction_counts(instructions));
    }
    out
}

/// Appends a section.
pub(super) fn section(out: &mut String, title: &str, body: &str) {
    let _ = write!(out, "\n## {title}\n\n{body}");
}

/// The table of targets.
pub(super) fn targets(targets: &[Target]) -> String {
    let mut table = Table::new(&["#", "figure", "must", "want", "measured", "met"]);
    for target in targets {
        table.row([
            target.number.to_string(),
            target.figure.clone(),
            target.must_text(),
            target.want_text(),
            target.measured_text(),
            target.verdict().text().into(),
        ]);
    }
    table.render()
}

/// The table of all scenarios and servers.
pub(crate) fn scenarios(samples: &Samples) -> String {
    let mut table = Table::new(&[
        "scenario",
        "server",
        "req/s",
        "to bare axum",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "written B",
        "per commit",
        "RSS MB",
        "answers",
    ]);
    for (scenario, subject, of) in samples.iter() {
        let ratio = (subject != Subject::Ceiling).then(|| samples.rates(scenario, subject, Subject::Ceiling)).flatten();
        table.row([
            scenario.to_string(),
            subject.to_string(),
            figure(of, 0, |sample| sample.rate),
            ratio.as_ref().map_or_else(String::new, spread),
            figure(of, 2, |sample| sample.p50_millis),
            figure(of, 2, |sample| sample.p99_millis),
            figure(of, 1, |sample| sample.cpu_micros),
            figure(of, 0, |sample| sample.written_bytes),
            commit_size(of),
            resident(of),
            statuses(of),
        ]);
    }
    let note = "CPU, written bytes (log and checkpoints) and commits are the server's alone, per request; RSS at the \
                end of a window, and at most. `a commit each` is the same binary with `RESPOKED_COMMIT_BATCH_MAX=1`, `no cache` with \
                `RESPOKED_SESSION_CACHE_MAX=0`.\n";
    format!("{}\n{note}", table.render())
}

fn stored_tokens(stored: &Stored) -> String {
    let Stored { wanted, reached, fill_secs, full, empty } = stored;
    let mut table = Table::new(&["mint", "req/s", "p50 ms", "p99 ms", "CPU µs", "written B", "per commit", "RSS MB"]);
    for (name, of) in [("empty".to_owned(), empty), (format!("beside {} tokens", grouped(*reached)), full)] {
        table.row([
            name,
            figure(of, 0, |sample| sample.rate),
            figure(of, 2, |sample| sample.p50_millis),
            figure(of, 2, |sample| sample.p99_millis),
            figure(of, 1, |sample| sample.cpu_micros),
            figure(of, 0, |sample| sample.written_bytes),
            commit_size(of),
            resident(of),
        ]);
    }
    let reached_all = if reached < wanted {
        format!(" The time limit ended this before the {} that were wanted.", grouped(*wanted))
    } else {
        String::new()
    };
    let rate = *reached as f64 / fill_secs;
    let ratios = [("rate", stored.rates()), ("p99, turned over", stored.p99s())]
        .into_iter()
        .filter_map(|(name, ratio)| Some(format!("{name} {}", spread(&ratio?))))
        .collect::<Vec<_>>();
    format!(
        "{}\nFilled through the API in {fill_secs:.0} s, {rate:.0} a second.{reached_all} Against empty: {}.\n",
        table.render(),
        ratios.join("; ")
    )
}

fn start_and_size(startup: &Startup) -> String {
    let mut table = Table::new(&["", "ready", "RSS then"]);
    for (name, start) in [("first start, empty folder", startup.first), ("start on an existing folder", startup.again)]
    {
        table.row([name.into(), Unit::Millis.write(start.ready_millis), Unit::Megabytes.write(start.resident_bytes)]);
    }
    let stripped = startup
        .stripped_bytes
        .map_or_else(String::new, |bytes| format!(", {} without symbols", Unit::Megabytes.write(bytes)));
    format!(
        "{}\nAfter a first start and 20 s of rest it holds {}. The binary has {}{stripped}.\n",
        table.render(),
        Unit::Megabytes.write(startup.idle_bytes),
        Unit::Megabytes.write(startup.binary_bytes)
    )
}

/// The table of instruction counts.
pub(crate) fn instruction_counts(instructions: &Instructions) -> String {
    let mut table = Table::new(&["", "instructions"]);
    table.row(["bare axum".into(), format!("{:.0}", instructions.ceiling)]);
    table.row(["respoked, all threads".into(), format!("{:.0}", instructions.total)]);
    for thread in &instructions.threads {
        let what = if thread.speaks_http { ", with HTTP" } else { "" };
        table.row([format!("respoked, thread {}{what}", thread.number), format!("{:.0}", thread.per_request)]);
    }
    format!("{}\nBy callgrind, with N and 2N mints; the difference divided by N.\n", table.render())
}

fn figure(samples: &[Sample], digits: usize, figure: impl Fn(&Sample) -> f64) -> String {
    median_of(samples, figure).map_or_else(String::new, |value| format!("{value:.digits$}"))
}

/// Resident memory in megabytes: at the end of a window, and at most in any of them.
fn resident(samples: &[Sample]) -> String {
    let most = samples.iter().map(|sample| sample.resident_bytes_max).fold(0.0, f64::max);
    format!("{} / {:.0}", figure(samples, 0, |sample| sample.resident_bytes / 1e6), most / 1e6)
}

fn commit_size(samples: &[Sample]) -> String {
    let sizes = samples.iter().filter_map(|sample| sample.commits).filter(|commits| commits.commits > 0.0);
    median(sizes.map(Commits::size_mean)).map_or_else(String::new, |size| format!("{size:.1}"))
}

/// A paired ratio with the least and the greatest of the rounds.
pub(super) fn spread(ratio: &PairedRatio) -> String {
    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.least, ratio.greatest)
}

/// The statuses of all rounds, with their shares when there are several.
fn statuses(samples: &[Sample]) -> String {
    let mut sums = BTreeMap::<u16, u64>::new();
    for (status, count) in samples.iter().flat_map(|sample| &sample.statuses) {
        *sums.entry(*status).or_default() += count;
    }
    let all: u64 = sums.values().sum();
    if let [status] = sums.keys().collect::<Vec<_>>()[..] {
        return status.to_string();
    }
    let shares = sums.iter().map(|(status, &count)| format!("{status}: {:.1} %", count as f64 * 100.0 / all as f64));
    shares.collect::<Vec<_>>().join(", ")
}

/// A markdown table whose columns are also aligned as plain text.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(out, "| {cell:width$} ");
            }
            out.push_str("|\n");
            if number == 0 {
                for width in &widths {
                    let _ = write!(out, "|{:-<1$}", "", width + 2);
                }
                out.push_str("|\n");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_has_a_rule_below_its_head() {
        let mut table = Table::new(&["a", "figure"]);
        table.row(["µs".into(), "1".into()]);
        assert_eq!(table.render(), "| a  | figure |\n|----|--------|\n| µs | 1      |\n");
    }

    #[test]
    fn a_report_of_nothing_still_lists_every_target() {
        let machine = Machine::of_a_test();
        let effort = Effort { rounds: 5, window: std::time::Duration::from_secs(4), connections: 64 };
        let heading =
            Heading { date: "2026-11-23".into(), machine, command: "cargo xtask bench tokens".into(), effort };
        let findings = Findings { samples: Samples::default(), startup: None, stored: None, instructions: None };
        let report = render(&heading, &findings);
        assert!(report.contains("on P, 2 cores, 24 GiB, ext4, Linux 6.18.44."), "{report}");
        assert!(report.contains("5 interleaved rounds of 4s windows"), "{report}");
        assert_eq!(report.matches("not measured").count(), 13);
    }
}
