//! The errands are done here, each kind in a loop of its own.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use respoke_core::ports::Node;

use super::super::Others;
use super::{Ends, Joined, Newcomer, Newcomers};
use crate::Hub;
use crate::settle::settle;

impl Hub {
    /// Does for other nodes, and because of them, what could not be done at once. Never ends.
    pub(in crate::others) async fn run_errands(&self, others: &Others) {
        tokio::join!(self.settle_joins_of(others), self.catch_up(others), self.end_groups_of(others));
    }

    /// Waits for each join that another node asked for until all know of it, and tells that. Who does not know until then is
    /// asked who is there: it may have told past it.
    ///
    /// One after the other, for nodes confirm in order: what was held later is not confirmed earlier.
    async fn settle_joins_of(&self, others: &Others) {
        loop {
            let Joined { interest, mut held, until, asked } = others.errands.joins.next().await;
            settle(&mut held, until).await;
            let late = held.missing();
            if late.is_empty() {
                others.tell_done(asked);
            } else {
                others.late(&interest, &late);
            }
        }
    }

    /// Tells connections that came while a node was late, once it knows of them, that they may have missed something: what it
    /// said to their endpoints until then is kept nowhere. Each late node is waited for beside the others. Never ends.
    async fn catch_up(&self, others: &Others) {
        let newcomers = &others.errands.newcomers;
        let (mut under_way, mut running) = (BTreeSet::new(), FuturesUnordered::new());
        loop {
            let late = newcomers.nodes().into_iter().filter(|node| under_way.insert(*node));
            running.extend(late.map(|node| self.catch_up_with(newcomers, node)));
            tokio::select! {
                Some(node) = running.next() => {
                    under_way.remove(&node);
                }
                () = newcomers.added.notified() => {}
            }
        }
    }

    /// The same for one node, until nobody is left. If it is gone before it knows of them, they are told as well: what it said past
    /// them never left it.
    ///
    /// One after the other, for a node confirms in order: what was held later is not confirmed earlier.
    async fn catch_up_with(&self, newcomers: &Newcomers, node: Node) -> Node {
        while let Some(Newcomer { which, mut held }) = newcomers.next_of(node) {
            held.done().await;
            match which {
                Some((app_id, id)) => self.offer_missed(self.local.registry.connection(app_id, id).iter()),
                None => self.tell_missed().await,
            }
        }
        node
    }

    /// Ends groups that other nodes want ended: a portion of each by turns, for one of them may be large. Never ends.
    async fn end_groups_of(&self, others: &Others) {
        let ends = &others.errands.ends;
        loop {
            let Ends { app_id, group, mut ending, asked } = ends.next().await;
            self.end_some_here(app_id, &group, &mut ending, asked.in_request, None);
            if ending.is_over {
                others.tell_done(asked);
            } else {
                ends.put_back(Ends { app_id, group, ending, asked });
            }
            tokio::task::yield_now().await;
        }
    }
}
