//! The report of the hub, and its targets.

use std::fmt::Write as _;

use super::super::machine::Machine;
use super::super::report::{Table, section, spread, targets};
use super::super::targets::{Target, Unit, grouped};
use super::rounds::{
    CHANGERS, ECHOERS, Effort, GROUP_LEN, GROUPS_EACH, Idle, MEMBERS, RETURNING, Sample, Samples, Scenario, median_of,
};
use super::subject::Subject;

/// What stands above the figures.
pub(crate) struct Heading {
    /// The day it was measured, as `2026-11-23`.
    pub(crate) date: String,
    pub(crate) machine: Machine,
    /// The command that was given.
    pub(crate) command: String,
    pub(crate) effort: Effort,
    /// The version of Node that the peers run on; `None` without peers.
    pub(crate) node: Option<String>,
}

/// The whole report as markdown.
pub(crate) fn render(heading: &Heading, samples: &Samples) -> String {
    let mut out = String::new();
    let Heading { date, machine, command, effort, node } = heading;
    let Effort { rounds, idle_rounds, window, idle_window, .. } = effort;
    let node = node.as_ref().map_or_else(String::new, |node| format!(" The peers run on Node {node}."));
    let _ = write!(
        out,
        "Measured on {date} with `{command}` on {machine}.\n\n\
         Everything over loopback from the same machine; {rounds} interleaved rounds of {window:?} windows, {idle_rounds} \
         of them with idle sockets, which are watched for {idle_window:?}. Figures are medians of the rounds, ratios are \
         paired within a round.{node} uWebSockets.js is not in the npm registry and was not measured.\n",
        machine = machine.line(),
    );
    section(&mut out, "Targets of the hub", &targets(&judge(samples)));
    if samples.iter().next().is_some() {
        section(&mut out, "Requests, fan-out, storms", &windows(samples));
    }
    if !samples.idle.is_empty() {
        section(&mut out, "Idle sockets", &idle_sockets(samples, *effort));
    }
    out
}

fn windows(samples: &Samples) -> String {
    let mut table = Table::new(&[
        "scenario",
        "server",
        "per second",
        "to socket.io 0.9",
        "by server CPU",
        "to socket.io 4",
        "p50 ms",
        "p99 ms",
        "max ms",
        "CPU µs each",
        "server",
        "generator",
    ]);
    for (scenario, subject, of) in samples.iter() {
        let figure = |digits: usize, figure: fn(&Sample) -> f64| {
            median_of(of, figure).map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        // A pipeline says nothing of the time that one delivery takes.
        let latency = |figure_of: fn(&Sample) -> f64| {
            if scenario == Scenario::Saturated { String::new() } else { figure(2, figure_of) }
        };
        let ratio = |peer: Subject, figure: fn(&Sample) -> f64| {
            let ratio = (subject == Subject::Respoked).then(|| samples.ratio(scenario, peer, figure)).flatten();
            ratio.as_ref().map_or_else(String::new, spread)
        };
        table.row([
            scenario.to_string(),
            subject.to_string(),
            figure(0, |sample| sample.rate),
            ratio(Subject::SocketIo09, |sample| sample.rate),
            ratio(Subject::SocketIo09, |sample| 1.0 / sample.cpu_micros),
            ratio(Subject::SocketIo4, |sample| sample.rate),
            latency(|sample| sample.p50_millis),
            latency(|sample| sample.p99_millis),
            latency(|sample| sample.max_millis),
            figure(2, |sample| sample.cpu_micros),
            figure(2, |sample| sample.server_share),
            figure(2, |sample| sample.generator_share),
        ]);
    }
    let note = format!(
        "Requests with ack: {ECHOERS} sockets, one request under way on each, `POST /v1/messages` to oneself, which only the \
         ack answers; peers send the same text back. Fan-out: one publisher that is no member, {members} members, deliveries \
         counted; one at a time, the next publication follows once all have the one before, and the time of a delivery is \
         from its publication; saturated, publications follow without waiting. Presence storm: {CHANGERS} endpoints change \
         their presence at once, {members} connections observe all of them, deliveries counted from the change. Revocation: \
         from the answer of `DELETE /v1/sessions` to the close at the socket. Clients back at once: {returning} clients \
         on a fresh server, each minting, redeeming, shaking hands, opening a socket, registering and joining {GROUPS_EACH} \
         groups of {GROUP_LEN}; the times are from the first connect. Server and generator are shares of one core; by server CPU is the ratio \
         of what a second of the servers' own CPU time did.\n",
        members = grouped(MEMBERS as u64),
        returning = grouped(RETURNING as u64),
    );
    format!("{}\n{note}", table.render())
}

fn idle_sockets(samples: &Samples, effort: Effort) -> String {
    let [first, all] = effort.idle.map(|count| grouped(count as u64));
    let (each_first, each_all) = (format!("KiB each, {first}"), format!("KiB each, {all}"));
    let mut table = Table::new(&["server", &each_first, &each_all, "CPU s a minute", "generator"]);
    for &subject in samples.idle.keys() {
        let figure = |digits: usize, figure: fn(&Idle) -> f64| {
            samples.idle(subject, figure).map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        table.row([
            subject.to_string(),
            figure(2, |idle| idle.bytes_each[0] / 1024.0),
            figure(2, |idle| idle.bytes_each[1] / 1024.0),
            figure(2, |idle| idle.cpu_secs),
            figure(2, |idle| idle.generator_secs),
        ]);
    }
    format!(
        "{}\nGrowth of the resident memory of a fresh server, divided by the sockets; CPU time is the server's with {first} \
         sockets that do nothing but answer its heartbeats. On respoked each has a session, a connection, a presence and \
         is in a group of {GROUP_LEN}; on the peers it is in a room of {GROUP_LEN}.\n",
        table.render()
    )
}

/// The targets with what was found of them.
fn judge(samples: &Samples) -> Vec<Target> {
    use Scenario::{Echo, FanOut, Saturated, Storm};
    use Subject::{Respoked, SocketIo09};

    let to_original = |scenario| samples.ratio(scenario, SocketIo09, |sample| sample.rate).map(|ratio| ratio.median);
    let storm = median_of(samples.of(Storm, Respoked), |sample| sample.max_millis / 1e3);
    let each = |of: usize| samples.idle(Respoked, |idle| idle.bytes_each[of]);
    let most_each = each(0).zip(each(1)).map(|(first, all)| first.max(all));
    vec![
        Target::most(9, "resident memory per idle connection", Unit::Kibibytes, (10_240.0, 5_120.0), most_each),
        Target::least(10, "fan-out, one at a time / socket.io 0.9", Unit::Times, (1.2, 1.6), to_original(FanOut)),
        Target::least(10, "fan-out, one at a time / uWebSockets.js", Unit::Times, (0.8, 1.0), None),
        Target::least(11, "fan-out, saturated / socket.io 0.9", Unit::Times, (15.0, 25.0), to_original(Saturated)),
        Target::least(11, "fan-out, saturated / uWebSockets.js", Unit::Times, (0.75, 1.0), None),
        Target::least(12, "request with ack / socket.io 0.9", Unit::Times, (2.0, 3.0), to_original(Echo)),
        Target::most(14, "10,000 clients back at once", Unit::Secs, (15.0, 6.0), storm),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_nothing_still_lists_every_target() {
        let machine = Machine::of_a_test();
        let second = std::time::Duration::from_secs(1);
        let effort = Effort { rounds: 5, idle_rounds: 3, window: second * 3, idle: [10, 20], idle_window: second * 25 };
        let heading = Heading {
            date: "2026-11-24".into(),
            machine,
            command: "cargo xtask bench hub".into(),
            effort,
            node: Some("v20".into()),
        };
        let report = render(&heading, &Samples::default());
        assert!(report.contains("on P, 2 cores, 24 GiB, ext4, Linux 6.18.44."), "{report}");
        assert!(report.contains("5 interleaved rounds of 3s windows, 3 of them"), "{report}");
        assert_eq!(report.matches("not measured |").count(), 7, "{report}");
    }
}
