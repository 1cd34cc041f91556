//! All clients of one server, and the windows in which they are timed.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;

use super::super::procfs::Usage;
use super::entry::{self, Client, Entrance};
use super::host::Host;
use super::net::{Net, turn_until};
use super::subject::{Guest, Subject};
use super::talk::{Framed, Silence, Talk};

/// Driven but not counted at the start of a window, so that caches and compilers are warm.
const WARM_UP: Duration = Duration::from_secs(1);
/// Clients on their way in at a time, where their number is not what is measured.
pub(in crate::bench) const GENTLE: usize = 64;

/// The clients of one server.
pub(super) struct Swarm<'a> {
    pub(super) clients: Vec<Client>,
    subject: Subject,
    host: &'a Host,
    net: Net,
}

/// What a window counted.
pub(super) struct Window {
    pub(super) elapsed: Duration,
    pub(super) count: u64,
    /// In microseconds.
    pub(super) latencies: Histogram<u64>,
    /// CPU time that the server and the generator spent in it.
    pub(super) server_secs: f64,
    pub(super) generator_secs: f64,
}

impl<'a> Swarm<'a> {
    /// Nobody yet.
    pub(super) fn new(host: &'a Host, subject: Subject) -> anyhow::Result<Self> {
        Ok(Self { clients: Vec::new(), subject, host, net: Net::new(host.child().address())? })
    }

    /// Lets `guests` in, at most `at_once` on their way at a time.
    pub(super) fn enter(&mut self, guests: Vec<Guest>, at_once: usize) -> anyhow::Result<Entrance> {
        let with = (self.subject, self.host.site());
        entry::enter(&mut self.net, with, &mut self.clients, guests, at_once)
    }

    /// Lets `talk` go on, warms up, and counts for `length`.
    pub(super) fn window<T: Talk>(&mut self, talk: &mut T, length: Duration) -> anyhow::Result<Window> {
        talk.start(&mut self.net)?;
        self.turn(talk, WARM_UP)?;
        let before = self.usage()?;
        talk.tally().open = true;
        let opened = Instant::now();
        self.turn(talk, length)?;
        let (elapsed, after) = (opened.elapsed(), self.usage()?);
        let tally = talk.tally();
        tally.open = false;
        Ok(Window {
            elapsed,
            count: tally.count,
            latencies: tally.latencies.clone(),
            server_secs: after.0.cpu_secs - before.0.cpu_secs,
            generator_secs: after.1.cpu_secs - before.1.cpu_secs,
        })
    }

    /// Hears `talk` for a while.
    pub(super) fn turn<T: Talk>(&mut self, talk: &mut T, length: Duration) -> anyhow::Result<()> {
        turn_until(&mut self.net, &mut Framed { subject: self.subject, talk }, length, |_| false).map(drop)
    }

    /// Hears `talk` until `gone` sockets were closed by the server.
    pub(super) fn until_gone(&mut self, talk: &mut Silence, gone: u64, limit: Duration) -> anyhow::Result<()> {
        let mut framed = Framed { subject: self.subject, talk };
        let done = turn_until(&mut self.net, &mut framed, limit, |framed| framed.talk.gone >= gone)?;
        ensure!(done, "only {} of {gone} sockets were closed within {limit:?}", talk.gone);
        Ok(())
    }

    /// What the kernel counts for the server and for the generator.
    pub(super) fn usage(&self) -> anyhow::Result<(Usage, Usage)> {
        Ok((Usage::of(self.host.child().id())?, Usage::of(std::process::id())?))
    }
}
