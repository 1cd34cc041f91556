//! Puts the logs of several nodes together, newest first.
//!
//! Each log is fetched a piece at a time, and the next piece when nothing is left of the one before. So of what is shown and
//! what is not shown no more is held than a piece of each.
//!
//! Invariant: what a page shows of a log, and what pages behind it show, follows one on the other by its numbers.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};

use futures_util::future::join_all;
use respoke_core::id::AppId;
use respoke_core::ops::Caller;
use respoke_core::page::{Page, PageKey};
use respoke_core::ports::{Incarnation, NODES_MAX, Node, NodeId};
use respoke_core::request_log::{LoggedRequest, RequestFilter, RequestsAsked, RequestsPiece};
use respoke_hub::ops::At;
use tokio::time::Instant;

use crate::request_log::{PIECE_LEN_MAX, entry_len};
use crate::state::Api;

/// Where each node's log goes on: with smaller numbers than this one, or from its newest on. A log that is not named has
/// nothing left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogPlaces(Vec<(Node, Option<u64>)>);

impl PageKey for LogPlaces {
    /// `3.17:250,4.18:`
    fn text(&self) -> String {
        let place = |(node, before): &(Node, Option<u64>)| {
            format!("{node}:{}", before.map(|before| before.to_string()).unwrap_or_default())
        };
        self.0.iter().map(place).collect::<Vec<_>>().join(",")
    }

    fn read(text: &str) -> Option<Self> {
        let place = |text: &str| {
            let (node, before) = text.split_once(':')?;
            let (id, incarnation) = node.split_once('.')?;
            let node = Node { id: NodeId(id.parse().ok()?), incarnation: Incarnation(incarnation.parse().ok()?) };
            let before = if before.is_empty() { None } else { Some(before.parse().ok()?) };
            Some((node, before))
        };
        let places: Vec<_> = text.split(',').take(NODES_MAX + 1).map(place).collect::<Option<_>>()?;
        (places.len() <= NODES_MAX).then_some(Self(places))
    }
}

/// One node's log.
struct Log {
    node: Node,
    /// What was fetched of it and is not shown yet.
    fetched: VecDeque<LoggedRequest>,
    /// What is left of it behind that.
    rest: Rest,
}

/// What is left of a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// What has smaller numbers than this one; or all of it.
    Before(Option<u64>),
    /// Nothing.
    Nothing,
    /// The same as before it did not answer.
    Silent(Option<u64>),
}

/// Logs that are being put together.
pub(super) struct Merging<'a> {
    api: &'a Api,
    caller: &'a Caller,
    filter: RequestFilter,
    logs: Vec<Log>,
    /// How much is fetched of a log at once.
    piece: u16,
    until: Instant,
    /// Whether the caller sees an app, of each that was met.
    seen: HashMap<AppId, bool>,
    brought: u64,
}

/// What came of it.
pub(super) struct Merged {
    pub(super) page: Page<(Node, LoggedRequest), LogPlaces>,
    /// Who did not answer, or not to the end.
    pub(super) silent: Vec<Node>,
    /// How much other nodes sent, in bytes.
    pub(super) brought: u64,
}

impl<'a> Merging<'a> {
    /// The logs of the nodes at which requests are asked for, and which have something left; other nodes are waited for until
    /// `until` in all.
    pub(super) fn of(
        api: &'a Api,
        caller: &'a Caller,
        filter: RequestFilter,
        (at, after): (Option<At>, Option<LogPlaces>),
        limit: usize,
        until: Instant,
    ) -> Self {
        let here = api.among.as_ref().map_or(Node::ALONE, |among| among.node());
        let mut nodes = api.hub.other_nodes();
        nodes.push(here);
        nodes.retain(|node| match at {
            None => false,
            Some(At::Anywhere) => true,
            Some(At::Here) => *node == here,
            Some(At::There(there)) => *node == there,
        });
        let rest_of = |node: Node| match &after {
            None => Some(None),
            Some(LogPlaces(places)) => places.iter().find(|(of, _)| *of == node).map(|(_, before)| *before),
        };
        let log = |node| Some(Log { node, fetched: VecDeque::new(), rest: Rest::Before(rest_of(node)?) });
        let piece = u16::try_from(limit).unwrap_or(u16::MAX).min(PIECE_LEN_MAX);
        let logs = nodes.into_iter().filter_map(log).collect();
        Self { api, caller, filter, logs, piece, until, seen: HashMap::new(), brought: 0 }
    }

    /// The newest requests of all, and where each log goes on behind them.
    pub(super) async fn read(mut self, limit: usize) -> Merged {
        let mut items = Vec::new();
        loop {
            self.fetch().await;
            let newest = |log: &&mut Log| log.fetched.front().map(|entry| (entry.at, Reverse(log.node)));
            let newest = self.logs.iter_mut().filter(|log| !log.fetched.is_empty()).max_by_key(newest);
            // One more than is wanted is looked for, to know whether the list goes on.
            let Some(log) = newest.filter(|_| items.len() < limit) else { break };
            if let Some(entry) = log.fetched.pop_front() {
                items.push((log.node, entry));
            }
        }
        let silent: Vec<_> =
            self.logs.iter().filter(|log| matches!(log.rest, Rest::Silent(_))).map(|log| log.node).collect();
        Merged { page: Page { items, next: self.places() }, silent, brought: self.brought }
    }

    /// Where each log goes on. Nowhere, if only of those that did not answer something may be left: whoever went on would ask
    /// them again for ever.
    fn places(&self) -> Option<LogPlaces> {
        self.logs.iter().any(|log| !log.fetched.is_empty()).then(|| {
            let place = |log: &Log| match (log.fetched.front(), log.rest) {
                (Some(next), _) => Some((log.node, Some(next.number.saturating_add(1)))),
                (None, Rest::Before(before) | Rest::Silent(before)) => Some((log.node, before)),
                (None, Rest::Nothing) => None,
            };
            LogPlaces(self.logs.iter().filter_map(place).collect())
        })
    }

    /// Fetches more of each log of which nothing is left that was fetched, until there is some, or it has no more.
    async fn fetch(&mut self) {
        loop {
            let dry = |log: &Log| match log.rest {
                Rest::Before(before) if log.fetched.is_empty() => Some((log.node, before)),
                Rest::Before(_) | Rest::Nothing | Rest::Silent(_) => None,
            };
            let dry: Vec<_> = self.logs.iter().filter_map(dry).collect();
            if dry.is_empty() {
                return;
            }
            let pieces = dry.into_iter().map(async |(node, before)| (node, before, self.piece(node, before).await));
            for (node, before, piece) in join_all(pieces).await {
                self.take(node, before, piece).await;
            }
        }
    }

    async fn piece(&self, node: Node, before: Option<u64>) -> Option<RequestsPiece> {
        let asked = RequestsAsked { filter: self.filter.clone(), before, most: self.piece };
        if self.is_here(node) {
            return Some(self.api.watch.requests.piece(&asked));
        }
        self.api.hub.requests_of(node, asked, self.until).await
    }

    fn is_here(&self, node: Node) -> bool {
        self.api.among.as_ref().is_none_or(|among| among.node() == node)
    }

    /// Takes what came of a node's log.
    async fn take(&mut self, node: Node, before: Option<u64>, piece: Option<RequestsPiece>) {
        let mut found = Vec::new();
        let rest = match piece {
            None => Rest::Silent(before),
            Some(piece) => {
                if !self.is_here(node) {
                    self.brought += piece.found.iter().map(|entry| entry_len(entry) as u64).sum::<u64>();
                }
                for entry in piece.found {
                    if self.sees(entry.app_id).await {
                        found.push(entry);
                    }
                }
                // A node that says what it said before would be asked for ever.
                let goes_on = piece.next.filter(|next| before.is_none_or(|before| *next < before));
                goes_on.map_or(Rest::Nothing, |next| Rest::Before(Some(next)))
            }
        };
        if let Some(log) = self.logs.iter_mut().find(|log| log.node == node) {
            log.fetched.extend(found);
            log.rest = rest;
        }
    }

    /// Whether the caller sees requests about an app. Those about none everybody sees who sees the log.
    async fn sees(&mut self, app: Option<AppId>) -> bool {
        let Some(app) = app else { return true };
        if let Some(seen) = self.seen.get(&app) {
            return *seen;
        }
        let seen = self.api.broker.get_app(self.caller, app).await.is_ok();
        self.seen.insert(app, seen);
        seen
    }
}
