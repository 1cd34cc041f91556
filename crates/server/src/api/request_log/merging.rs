//! Puts the logs of several nodes together, newest first.
//!
//! A piece of each log is fetched, and its next piece when all of that is shown. So besides what is shown, one piece of each log
//! is held at most.
//!
//! Invariant: of one log, pages show numbers that only fall, with none left out.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};

use futures_util::future::join_all;
use respoke_core::id::AppId;
use respoke_core::page::{Page, PageKey};
use respoke_core::ports::{Incarnation, NODES_MAX, Node, NodeId};
use respoke_core::refusal::Refusal;
use respoke_core::request_log::{LoggedRequest, RequestFilter, RequestsAsked, RequestsPiece};

use crate::request_log::PIECE_LEN_MAX;

/// Pieces that are fetched of a log for one page, at most. Each looks at a bounded stretch of the log, whether it finds anything
/// there or not.
const PIECES_MAX: usize = 32;

/// Where logs are.
pub(super) trait Logs {
    /// A piece of a node's log. None: it does not answer in time.
    async fn piece(&self, node: Node, asked: RequestsAsked) -> Option<RequestsPiece>;

    /// Whether whoever asks sees requests about an app.
    async fn sees(&self, app: AppId) -> Result<bool, Refusal>;
}

/// Before which number a log is read. None: from its newest on.
type Before = Option<u64>;

/// Where each node's log goes on: with smaller numbers than this one, or from its newest on. A log that is not named has
/// nothing left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogPlaces(Vec<(Node, Before)>);

impl PageKey for LogPlaces {
    /// `3.17:250,4.18:`
    fn text(&self) -> String {
        let place = |(node, before): &(Node, Before)| {
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
    /// Where the page begins in it.
    began: Before,
    /// What was fetched of it and is not shown yet.
    fetched: VecDeque<LoggedRequest>,
    /// What is left of it behind that.
    rest: Rest,
    /// How many pieces of it were asked for.
    pieces: usize,
}

/// What is left of a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// What has smaller numbers than this one; or all of it.
    Before(Before),
    /// Nothing.
    Nothing,
    /// It did not answer; it is to go on here.
    Silent(Before),
}

impl Log {
    /// Where it goes on. None: nothing is left.
    fn place(&self) -> Option<Before> {
        match (self.fetched.front(), self.rest) {
            (Some(next), _) => Some(Some(next.number.saturating_add(1))),
            (None, Rest::Before(before) | Rest::Silent(before)) => Some(before),
            (None, Rest::Nothing) => None,
        }
    }

    /// What its next piece is to begin before, if its newest request is unknown until that is fetched.
    fn due(&self) -> Option<Before> {
        match self.rest {
            Rest::Before(before) if self.fetched.is_empty() => Some(before),
            Rest::Before(_) | Rest::Nothing | Rest::Silent(_) => None,
        }
    }
}

/// Logs that are being put together.
pub(super) struct Merging<L> {
    logs: L,
    filter: RequestFilter,
    of: Vec<Log>,
    /// Whose places the page before named, and who are no more.
    gone: Vec<Node>,
    /// Whether the caller sees an app, of each that was met.
    seen: HashMap<AppId, bool>,
}

/// What came of it.
pub(super) struct Merged {
    pub(super) page: Page<(Node, LoggedRequest), LogPlaces>,
    /// Who did not answer, or not to the end, or is no more.
    pub(super) silent: Vec<Node>,
}

impl<L: Logs> Merging<L> {
    /// The logs of those nodes that are asked, as far as they have something left. `nodes` are all.
    pub(super) fn of(
        logs: L,
        filter: RequestFilter,
        nodes: &[Node],
        is_asked: impl Fn(Node) -> bool,
        after: Option<&LogPlaces>,
    ) -> Self {
        // Whoever made a cursor up may have named a node in it more than once.
        let began = |node: Node| match after {
            None => Some(None),
            Some(LogPlaces(places)) => places.iter().find(|(of, _)| *of == node).map(|(_, before)| *before),
        };
        let log = |node: &Node| {
            let began = began(*node)?;
            Some(Log { node: *node, began, fetched: VecDeque::new(), rest: Rest::Before(began), pieces: 0 })
        };
        let of = nodes.iter().filter(|node| is_asked(**node)).filter_map(log).collect();
        let named: BTreeSet<_> = after.into_iter().flat_map(|places| places.0.iter().map(|(node, _)| *node)).collect();
        let gone = named.into_iter().filter(|node| !nodes.contains(node)).collect();
        Self { logs, filter, of, gone, seen: HashMap::new() }
    }

    /// The newest requests of all, and where each log goes on behind them.
    ///
    /// # Errors
    ///
    /// [`Refusal::NodeSilent`] if all that is left is in logs of nodes that did not answer: whoever asked goes on with the same
    /// cursor. Besides as [`Logs::sees`].
    pub(super) async fn read(mut self, limit: usize) -> Result<Merged, Refusal> {
        // With one more than is shown it is known whether a log goes on.
        let most = u16::try_from(limit.saturating_add(1)).unwrap_or(u16::MAX).min(PIECE_LEN_MAX);
        let mut items = Vec::new();
        while items.len() < limit && self.fetch(most).await? {
            let newest = |log: &&mut Log| log.fetched.front().map(|entry| (entry.at, Reverse(log.node)));
            let newest = self.of.iter_mut().filter(|log| !log.fetched.is_empty()).max_by_key(newest);
            let Some(log) = newest else { break };
            if let Some(entry) = log.fetched.pop_front() {
                items.push((log.node, entry));
            }
        }
        let is_silent = |log: &&Log| matches!(log.rest, Rest::Silent(_));
        let mut silent = self.gone.clone();
        silent.extend(self.of.iter().filter(is_silent).map(|log| log.node));
        Ok(Merged { page: Page { items, next: self.places()? }, silent })
    }

    /// Where each log goes on. If something is left, and this page got no further in any log, it was in vain.
    fn places(&self) -> Result<Option<LogPlaces>, Refusal> {
        let is_further = self.of.iter().any(|log| log.place() != Some(log.began));
        let places: Vec<_> = self.of.iter().filter_map(|log| Some((log.node, log.place()?))).collect();
        match (places.is_empty(), is_further) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(LogPlaces(places))),
            (false, false) => Err(Refusal::NodeSilent),
        }
    }

    /// Fetches more of each log of which nothing is left that was fetched, until there is some, or it has no more. Returns false
    /// if a log would have to be asked more often than one may be for a page.
    async fn fetch(&mut self, most: u16) -> Result<bool, Refusal> {
        loop {
            let due: Vec<_> = self.of.iter().filter_map(|log| Some((log.node, log.due()?, log.pieces))).collect();
            if due.iter().any(|(.., pieces)| *pieces >= PIECES_MAX) {
                return Ok(false);
            }
            if due.is_empty() {
                return Ok(true);
            }
            let pieces = due.into_iter().map(async |(node, before, _)| {
                let asked = RequestsAsked { filter: self.filter.clone(), before, most };
                (node, before, self.logs.piece(node, asked).await)
            });
            for (node, before, piece) in join_all(pieces).await {
                self.take(node, before, piece).await?;
            }
        }
    }

    /// Takes what came of a node's log.
    async fn take(&mut self, node: Node, before: Before, piece: Option<RequestsPiece>) -> Result<(), Refusal> {
        let mut found = Vec::new();
        let rest = match piece {
            None => Rest::Silent(before),
            Some(piece) => {
                for entry in piece.found {
                    if self.sees(entry.app_id).await? {
                        found.push(entry);
                    }
                }
                // A node that says what it said before would be asked for ever.
                let goes_on = piece.next.filter(|next| before.is_none_or(|before| *next < before));
                goes_on.map_or(Rest::Nothing, |next| Rest::Before(Some(next)))
            }
        };
        if let Some(log) = self.of.iter_mut().find(|log| log.node == node) {
            log.fetched.extend(found);
            log.rest = rest;
            log.pieces += 1;
        }
        Ok(())
    }

    /// Whether the caller sees requests about an app. Those about none everybody sees who sees the log.
    async fn sees(&mut self, app: Option<AppId>) -> Result<bool, Refusal> {
        let Some(app) = app else { return Ok(true) };
        if let Some(seen) = self.seen.get(&app) {
            return Ok(*seen);
        }
        let seen = self.logs.sees(app).await?;
        self.seen.insert(app, seen);
        Ok(seen)
    }
}

#[cfg(test)]
mod tests;
