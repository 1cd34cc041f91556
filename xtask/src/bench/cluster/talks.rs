//! What clients of several nodes say, and what they hear of each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::crowd::Timed;
use crate::bench::hub::net::Net;
use crate::bench::hub::subject::{self, LINE, Packet};
use crate::bench::hub::talk::Talk;
use crate::bench::hub::tally::{Tally, shown};

/// Stands before the time in a publication. No other text of a push has it.
const MARK: &[u8] = b"at~";
/// Digits of that time.
const DIGITS: usize = 12;

/// Publications at a steady rate, each by the next of the publishers. What a delivery took is counted from the moment at which
/// its publication was due, whether or not the generator came to it in time.
pub(super) struct Publications {
    publishers: Vec<Publisher>,
    /// Members of each group.
    receivers: u64,
    step: Duration,
    begun: Instant,
    pub(super) said: u64,
    pub(super) heard: u64,
    /// When that was due which each client heard last. Each hears one publisher.
    last: BTreeMap<usize, Duration>,
    /// Deliveries that came twice, or behind a later one. They are not among those that were heard.
    pub(super) disordered: u64,
    tally: Tally,
}

/// A client that publishes to its group.
struct Publisher {
    client: usize,
    frame: Vec<u8>,
    /// Where the time stands in it.
    time: usize,
}

impl Publications {
    /// What each of `publishers` says, by its client, its App-Token and its group, reaches `receivers`.
    pub(super) fn new<'a>(
        publishers: impl Iterator<Item = (usize, &'a str, String)>,
        receivers: u64,
        per_second: f64,
    ) -> anyhow::Result<Self> {
        let publisher = |(client, token, group): (usize, &str, String)| {
            let message = format!("{}{} {LINE}", String::from_utf8_lossy(MARK), "0".repeat(DIGITS));
            let frame = subject::publication_of(token, &group, &message);
            let time = time_in(&frame).context("a publication has its time")?;
            anyhow::Ok(Publisher { client, frame, time })
        };
        Ok(Self {
            publishers: publishers.map(publisher).collect::<anyhow::Result<_>>()?,
            receivers,
            step: Duration::from_secs_f64(1.0 / per_second),
            begun: Instant::now(),
            said: 0,
            heard: 0,
            last: BTreeMap::new(),
            disordered: 0,
            tally: Tally::new()?,
        })
    }

    /// Whether everything that was said was heard by everybody.
    pub(super) fn all_heard(&self) -> bool {
        self.heard == self.said * self.receivers
    }

    /// Deliveries that did not come.
    pub(super) fn missing(&self) -> u64 {
        (self.said * self.receivers).saturating_sub(self.heard)
    }

    fn say(&mut self, net: &mut Net, due: Duration) -> anyhow::Result<()> {
        let count = self.publishers.len() as u64;
        let publisher = &mut self.publishers[usize::try_from(self.said % count)?];
        let digits = format!("{:0DIGITS$}", due.as_micros());
        publisher.frame[publisher.time..publisher.time + DIGITS].copy_from_slice(digits.as_bytes());
        self.said += 1;
        net.send(publisher.client, &publisher.frame)
    }
}

impl Timed for Publications {
    fn due(&mut self, net: &mut Net) -> anyhow::Result<Duration> {
        // No more at once than fits between two looks at the sockets.
        for _ in 0..64 {
            let due = Duration::from_secs_f64(self.step.as_secs_f64() * self.said as f64);
            let left = due.saturating_sub(self.begun.elapsed());
            if !left.is_zero() {
                return Ok(left);
            }
            self.say(net, due)?;
        }
        Ok(Duration::ZERO)
    }
}

impl Talk for Publications {
    fn start(&mut self, _: &mut Net) -> anyhow::Result<()> {
        self.begun = Instant::now();
        Ok(())
    }

    fn heard(&mut self, _: &mut Net, client: usize, packet: Packet, payload: &[u8]) -> anyhow::Result<()> {
        if packet == Packet::Push {
            let digits = time_in(payload).and_then(|at| payload.get(at..at + DIGITS));
            let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            let Some(said) = digits.map(Duration::from_micros) else {
                bail!("client {client} heard what nobody said: {}", shown(payload));
            };
            if self.last.get(&client).is_some_and(|last| said <= *last) {
                self.disordered += 1;
                return Ok(());
            }
            self.last.insert(client, said);
            self.heard += 1;
            self.tally.took(self.begun.elapsed().saturating_sub(said));
        }
        Ok(())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Where the time begins in a publication.
fn time_in(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARK.len()).position(|part| part == MARK).map(|at| at + MARK.len())
}

/// One client after the other joins a group of its own; what its ack took is counted.
pub(super) struct Joins {
    /// By client: what it says.
    left: Vec<(usize, Vec<u8>)>,
    asked: Option<(usize, Instant)>,
    tally: Tally,
}

impl Joins {
    /// The last comes first.
    pub(super) fn new(joins: Vec<(usize, Vec<u8>)>) -> anyhow::Result<Self> {
        let mut tally = Tally::new()?;
        tally.open = true;
        Ok(Self { left: joins, asked: None, tally })
    }

    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty() && self.asked.is_none()
    }
}

impl Talk for Joins {
    fn start(&mut self, net: &mut Net) -> anyhow::Result<()> {
        let Some((client, frame)) = self.left.pop() else {
            self.asked = None;
            return Ok(());
        };
        self.asked = Some((client, Instant::now()));
        net.send(client, &frame)
    }

    fn heard(&mut self, net: &mut Net, client: usize, packet: Packet, _: &[u8]) -> anyhow::Result<()> {
        match self.asked {
            Some((asked, since)) if packet == Packet::Ack && asked == client => {
                self.tally.took(since.elapsed());
                self.start(net)
            }
            _ => Ok(()),
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Sockets are closed one by one. What each took is counted from when its end was asked for.
pub(super) struct Ends {
    pub(super) gone: BTreeMap<usize, Instant>,
    tally: Tally,
}

impl Ends {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { gone: BTreeMap::new(), tally: Tally::new()? })
    }

    /// Counts what the end of a socket took.
    pub(super) fn took(&mut self, latency: Duration) {
        self.tally.open = true;
        self.tally.took(latency);
    }
}

impl Talk for Ends {
    fn start(&mut self, _: &mut Net) -> anyhow::Result<()> {
        Ok(())
    }

    fn heard(&mut self, _: &mut Net, _: usize, _: Packet, _: &[u8]) -> anyhow::Result<()> {
        Ok(())
    }

    fn gone(&mut self, client: usize) -> anyhow::Result<()> {
        self.gone.entry(client).or_insert_with(Instant::now);
        Ok(())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// What is heard of clients whose node was killed.
pub(super) struct Farewells {
    killed: Instant,
    /// Clients whose own sockets end with the node.
    leaving: std::ops::Range<usize>,
    pub(super) cut: usize,
    /// How often each of the others heard of each of them that it left, or is unavailable.
    pub(super) heard: BTreeMap<(usize, &'static str, String), u32>,
    tally: Tally,
}

impl Farewells {
    pub(super) fn new(leaving: std::ops::Range<usize>) -> anyhow::Result<Self> {
        let mut tally = Tally::new()?;
        tally.open = true;
        Ok(Self { killed: Instant::now(), leaving, cut: 0, heard: BTreeMap::new(), tally })
    }

    pub(super) fn killed_now(&mut self) {
        self.killed = Instant::now();
    }

    /// How many were heard more than once.
    pub(super) fn doubled(&self) -> usize {
        self.heard.values().filter(|&&count| count > 1).count()
    }
}

impl Talk for Farewells {
    fn start(&mut self, _: &mut Net) -> anyhow::Result<()> {
        Ok(())
    }

    fn heard(&mut self, _: &mut Net, client: usize, _: Packet, payload: &[u8]) -> anyhow::Result<()> {
        let text = String::from_utf8_lossy(payload);
        let kind = if text.starts_with(r#"5:::{"name":"leave""#) {
            "leave"
        } else if text.starts_with(r#"5:::{"name":"presence""#) && text.contains(r#""type":"unavailable""#) {
            "unavailable"
        } else {
            return Ok(());
        };
        let after = |label: &str| text.split_once(label)?.1.split_once('"').map(|(value, _)| value);
        let (from, channel) = (after(r#""from":""#), after(r#""channel":""#));
        let (Some(from), Some(channel)) = (from, channel) else { bail!("of whom is this: {text}") };
        *self.heard.entry((client, kind, format!("{from} {channel}"))).or_default() += 1;
        self.tally.took(self.killed.elapsed());
        Ok(())
    }

    fn gone(&mut self, client: usize) -> anyhow::Result<()> {
        if !self.leaving.contains(&client) {
            bail!("a node that lives closed the socket of client {client}");
        }
        self.cut += 1;
        Ok(())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_found_in_what_is_said_and_in_what_is_heard() {
        let frame = subject::publication_of("T", "room", "at~000000001234 and so on");
        let at = time_in(&frame).unwrap();
        assert_eq!(&frame[at..at + DIGITS], b"000000001234");
        assert_eq!(time_in(b"no time"), None);
    }

    /// Otherwise it would stand for one that is lost.
    #[test]
    fn what_comes_twice_or_out_of_order_is_no_delivery() {
        let mut net = Net::among(Vec::new()).unwrap();
        let mut talk = Publications::new(std::iter::empty(), 1, 1.0).unwrap();
        for (client, micros) in [(1, 0), (1, 3), (1, 3), (2, 3), (1, 2), (1, 4), (1, 0)] {
            let payload = format!("5:::{{at~{micros:0DIGITS$} and so on");
            talk.heard(&mut net, client, Packet::Push, payload.as_bytes()).unwrap();
        }
        assert_eq!((talk.heard, talk.disordered), (4, 3));
    }

    #[test]
    fn what_is_told_twice_is_noticed() {
        let mut net = Net::among(Vec::new()).unwrap();
        let mut farewells = Farewells::new(5..6).unwrap();
        let left = br#"5:::{"name":"leave","args":[{"header":{"type":"leave","from":"bob","channel":"room"},"endpointId":"bob"}]}"#;
        let gone = br#"5:::{"name":"presence","args":[{"header":{"type":"presence","from":"bob","channel":"presence:bob"},"type":"unavailable"}]}"#;
        for payload in [&left[..], &gone[..]] {
            farewells.heard(&mut net, 1, Packet::Other, payload).unwrap();
        }
        assert_eq!((farewells.heard.len(), farewells.doubled()), (2, 0));
        farewells.heard(&mut net, 1, Packet::Other, left).unwrap();
        assert_eq!((farewells.heard.len(), farewells.doubled()), (2, 1));
        farewells.gone(5).unwrap();
        assert!(farewells.gone(1).is_err(), "its node lives");
    }
}
