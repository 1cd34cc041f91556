//! The targets of performance.md section 5 that this benchmark measures, and whether they are met.

use super::callgrind::Instructions;
use super::rounds::{Samples, Subject, median_of};
use super::scenario::Scenario;
use super::startup::Startup;
use super::stats::PairedRatio;
use super::stored::Stored;

/// All that was measured; what was left out is `None`.
pub(crate) struct Findings {
    pub(crate) samples: Samples,
    pub(crate) startup: Option<Startup>,
    pub(crate) stored: Option<Stored>,
    pub(crate) instructions: Option<Instructions>,
}

/// One figure beside what it has to reach.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Its number in the list of targets.
    pub(crate) number: u8,
    pub(crate) figure: String,
    pub(crate) must: Bound,
    pub(crate) want: Bound,
    pub(crate) unit: Unit,
    pub(crate) measured: Option<f64>,
}

/// Which side of a number is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(bound) => measured >= bound,
            Self::AtMost(bound) => measured <= bound,
        }
    }

    fn number(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Ratio,
    Times,
    Micros,
    Millis,
    Secs,
    Bytes,
    Kibibytes,
    Mebibytes,
    Megabytes,
}

impl Unit {
    /// `value` as text; sizes come in bytes.
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.2}"),
            Self::Times => format!("{value:.1}x"),
            Self::Micros => format!("{value:.1} µs"),
            Self::Millis => format!("{value:.1} ms"),
            Self::Secs => format!("{value:.1} s"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Kibibytes => format!("{:.1} KiB", value / 1024.0),
            Self::Mebibytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
            Self::Megabytes => format!("{:.1} MB", value / 1e6),
        }
    }
}

/// How far a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Want,
    Must,
    Missed,
    NotMeasured,
}

impl Verdict {
    /// As it stands in a table.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Want => "yes, want",
            Self::Must => "yes, must",
            Self::Missed => "**no**",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Target {
    /// A figure that is the better the greater it is; the bounds are must and want.
    pub(crate) fn least(number: u8, figure: &str, unit: Unit, bounds: (f64, f64), measured: Option<f64>) -> Self {
        let (must, want) = (Bound::AtLeast(bounds.0), Bound::AtLeast(bounds.1));
        Self { number, figure: figure.into(), must, want, unit, measured }
    }

    /// A figure that is the better the smaller it is.
    pub(crate) fn most(number: u8, figure: &str, unit: Unit, bounds: (f64, f64), measured: Option<f64>) -> Self {
        let (must, want) = (Bound::AtMost(bounds.0), Bound::AtMost(bounds.1));
        Self { number, figure: figure.into(), must, want, unit, measured }
    }

    /// How far it is reached.
    pub(crate) fn verdict(&self) -> Verdict {
        match self.measured {
            None => Verdict::NotMeasured,
            Some(measured) if self.want.is_met_by(measured) => Verdict::Want,
            Some(measured) if self.must.is_met_by(measured) => Verdict::Must,
            Some(_) => Verdict::Missed,
        }
    }

    /// The first bound as text.
    pub(crate) fn must_text(&self) -> String {
        self.unit.write(self.must.number())
    }

    /// The second bound as text.
    pub(crate) fn want_text(&self) -> String {
        self.unit.write(self.want.number())
    }

    /// What was measured as text.
    pub(crate) fn measured_text(&self) -> String {
        self.measured.map_or_else(|| "–".to_owned(), |measured| self.unit.write(measured))
    }
}

/// The targets with what was found of them.
pub(crate) fn judge(findings: &Findings) -> Vec<Target> {
    use Scenario::{Mint, MintRedeem, SessionCheck};
    use Subject::{Ceiling, OneCommit, Respoked, Uncached};

    let samples = &findings.samples;
    let rates = |scenario, over, under| samples.rates(scenario, over, under).map(|ratio| ratio.median);
    let mints = samples.of(Mint, Respoked);
    let stored = findings.stored.as_ref();
    let beside =
        stored.map_or_else(|| "10 million tokens".into(), |stored| format!("{} tokens", grouped(stored.reached)));
    let of_stored = |ratio: fn(&Stored) -> Option<PairedRatio>| stored.and_then(ratio).map(|ratio| ratio.median);
    let startup = findings.startup.as_ref();
    vec![
        Target::least(1, "durable mint / bare axum", Unit::Ratio, (0.45, 0.60), rates(Mint, Respoked, Ceiling)),
        Target::least(
            2,
            "mint and redeem in turn / bare axum",
            Unit::Ratio,
            (0.35, 0.50),
            rates(MintRedeem, Respoked, Ceiling),
        ),
        Target::least(
            3,
            "mint / the same with one commit a request",
            Unit::Times,
            (10.0, 12.0),
            rates(Mint, Respoked, OneCommit),
        ),
        Target::least(
            4,
            "session check, cached / bare axum",
            Unit::Ratio,
            (0.85, 0.95),
            rates(SessionCheck, Respoked, Ceiling),
        ),
        Target::least(
            4,
            "session check, uncached / bare axum",
            Unit::Ratio,
            (0.60, 0.75),
            rates(SessionCheck, Uncached, Ceiling),
        ),
        Target::most(
            5,
            "p99 of a durable mint",
            Unit::Millis,
            (4.0, 2.0),
            median_of(mints, |sample| sample.p99_millis),
        ),
        Target::most(
            6,
            "written to disk per mint",
            Unit::Bytes,
            (2048.0, 1024.0),
            median_of(mints, |sample| sample.written_bytes),
        ),
        Target::least(
            7,
            &format!("mint rate beside {beside} / empty"),
            Unit::Ratio,
            (0.85, 0.95),
            of_stored(Stored::rates),
        ),
        Target::least(
            7,
            &format!("mint p99, empty / beside {beside}"),
            Unit::Ratio,
            (0.85, 0.95),
            of_stored(Stored::p99s),
        ),
        Target::most(
            13,
            "resident memory of the idle server",
            Unit::Megabytes,
            (40e6, 20e6),
            startup.map(|startup| startup.idle_bytes),
        ),
        Target::most(
            13,
            "start to ready",
            Unit::Millis,
            (300.0, 50.0),
            startup.map(|startup| startup.first.ready_millis.max(startup.again.ready_millis)),
        ),
        Target::most(13, "release binary", Unit::Megabytes, (40e6, 25e6), startup.map(|startup| startup.binary_bytes)),
        Target::most(
            15,
            "instructions per mint without storage / bare axum",
            Unit::Ratio,
            (2.0, 1.4),
            findings.instructions.as_ref().and_then(Instructions::ratio),
        ),
    ]
}

/// A count with its thousands set apart.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(must: Bound, want: Bound, measured: Option<f64>) -> Target {
        Target { number: 1, figure: "x".into(), must, want, unit: Unit::Ratio, measured }
    }

    #[test]
    fn a_target_is_judged_by_the_farther_bound_it_reaches() {
        let least = |measured| target(Bound::AtLeast(0.45), Bound::AtLeast(0.60), measured).verdict();
        assert_eq!(least(Some(0.60)), Verdict::Want);
        assert_eq!(least(Some(0.45)), Verdict::Must);
        assert_eq!(least(Some(0.44)), Verdict::Missed);
        assert_eq!(least(None), Verdict::NotMeasured);
        let most = |measured| target(Bound::AtMost(4.0), Bound::AtMost(2.0), Some(measured)).verdict();
        assert_eq!([most(1.9), most(3.0), most(4.1)], [Verdict::Want, Verdict::Must, Verdict::Missed]);
        assert_eq!(least(Some(f64::NAN)), Verdict::Missed);
    }

    #[test]
    fn nothing_measured_is_no_target_met() {
        let findings = Findings { samples: Samples::default(), startup: None, stored: None, instructions: None };
        let targets = judge(&findings);
        assert!(targets.iter().all(|target| target.verdict() == Verdict::NotMeasured));
        let mut numbers: Vec<u8> = targets.iter().map(|target| target.number).collect();
        numbers.dedup();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 13, 15]);
    }

    #[test]
    fn figures_are_written_in_their_unit() {
        assert_eq!(Unit::Megabytes.write(23_456_789.0), "23.5 MB");
        assert_eq!(Unit::Times.write(11.96), "12.0x");
        assert_eq!(grouped(10_000_000), "10,000,000");
        assert_eq!(grouped(999), "999");
    }
}
