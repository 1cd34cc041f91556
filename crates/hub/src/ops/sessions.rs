//! Where sessions are connected, for whoever lists them.

use respoke_core::page::PAGE_LIMIT_MAX;
use respoke_core::ports::{Change, Node, Whom};
use respoke_core::refusal::Refusal;

use crate::Hub;

/// Where sessions have open sockets.
#[derive(Debug, Default)]
pub struct SessionPlaces {
    /// For each session that was asked for, the nodes on which it has some.
    pub of: Vec<Vec<Node>>,
    /// Who did not say. On these they may have some too.
    pub silent: Vec<Node>,
}

impl Hub {
    /// Where these sessions have open sockets, by their numbers: a page of them at most.
    pub async fn places_of_sessions(&self, numbers: &[u64]) -> SessionPlaces {
        let numbers = &numbers[..numbers.len().min(PAGE_LIMIT_MAX)];
        let (mut of, silent) = match &self.others {
            Some(others) if !numbers.is_empty() => Box::pin(others.sessions(Whom::Others, numbers)).await,
            Some(_) | None => (vec![Vec::new(); numbers.len()], Vec::new()),
        };
        for (of, number) in of.iter_mut().zip(numbers) {
            if self.has_socket_of(*number) {
                of.push(self.bus.node());
            }
            of.sort_unstable();
        }
        SessionPlaces { of, silent }
    }

    /// Whether each of these sessions has an open socket on a node, by their numbers: a page of them at most.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeSilent`] if that node does not say.
    pub async fn are_sessions_at(&self, numbers: &[u64], node: Node) -> Result<Vec<bool>, Refusal> {
        let numbers = &numbers[..numbers.len().min(PAGE_LIMIT_MAX)];
        let Some(others) = self.others.as_ref().filter(|_| node != self.bus.node() && !numbers.is_empty()) else {
            return Ok(numbers.iter().map(|number| node == self.bus.node() && self.has_socket_of(*number)).collect());
        };
        let (of, silent) = Box::pin(others.sessions(Whom::One(node), numbers)).await;
        if silent.is_empty() { Ok(of.iter().map(|at| at.contains(&node)).collect()) } else { Err(Refusal::NodeSilent) }
    }

    /// Which of these sessions have an open socket here, counted from 0: of a page of them at most.
    pub(crate) fn sessions_here(&self, numbers: &[u64]) -> Vec<u32> {
        let asked = (0_u32..).zip(numbers).take(PAGE_LIMIT_MAX);
        asked.filter(|(_, number)| self.has_socket_of(**number)).map(|(index, _)| index).collect()
    }

    fn has_socket_of(&self, number: u64) -> bool {
        !self.local.sockets.concerned(&Change::Session(number)).is_empty()
    }
}
