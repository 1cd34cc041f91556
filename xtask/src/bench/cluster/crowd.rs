//! Clients spread over the nodes, and the windows in which they are timed.

use std::time::{Duration, Instant};

use super::fleet::{Cpu, Fleet, Ground};
use crate::bench::hub::entry::{self, Client};
use crate::bench::hub::net::{Net, turn_until};
use crate::bench::hub::subject::{Guest, Subject};
use crate::bench::hub::swarm::GENTLE;
use crate::bench::hub::talk::{Framed, Talk};

/// Driven but not counted at the start of a window.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

/// A talk that says things at their times.
pub(super) trait Timed: Talk {
    /// Says what is due, and tells for how long nothing more is.
    fn due(&mut self, net: &mut Net) -> anyhow::Result<Duration>;
}

/// The clients of all nodes.
pub(super) struct Crowd {
    pub(super) clients: Vec<Client>,
    pub(super) net: Net,
}

impl Crowd {
    /// Lets `guests` in, each at its node.
    pub(super) fn enter(fleet: &Fleet, guests: Vec<Guest>) -> anyhow::Result<Self> {
        let (mut net, mut clients) = (Net::among(fleet.addresses())?, Vec::new());
        entry::enter(&mut net, (Subject::Respoked, Some(fleet.site())), &mut clients, guests, GENTLE)?;
        Ok(Self { clients, net })
    }

    /// Lets `talk` go on, warms up, and counts for `length`. Returns how long that was and what it cost.
    pub(super) fn window(
        &mut self,
        talk: &mut impl Timed,
        length: Duration,
        (fleet, ground): (&Fleet, &Ground),
    ) -> anyhow::Result<(Duration, Cpu)> {
        talk.start(&mut self.net)?;
        self.go_on(talk, WARM_UP)?;
        let before = fleet.cpu(ground)?;
        talk.tally().open = true;
        let opened = Instant::now();
        self.go_on(talk, length)?;
        talk.tally().open = false;
        let elapsed = opened.elapsed();
        Ok((elapsed, fleet.cpu(ground)? - before))
    }

    fn go_on(&mut self, talk: &mut impl Timed, length: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + length;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let patience = talk.due(&mut self.net)?.min(left);
            self.net.turn(patience, &mut Framed { subject: Subject::Respoked, talk })?;
        }
    }

    /// Hears `talk` until `done`, no longer than `limit`. Whether it was done.
    pub(super) fn until<T: Talk>(
        &mut self,
        talk: &mut T,
        limit: Duration,
        done: impl Fn(&T) -> bool,
    ) -> anyhow::Result<bool> {
        let mut framed = Framed { subject: Subject::Respoked, talk };
        turn_until(&mut self.net, &mut framed, limit, |framed| done(framed.talk))
    }
}
