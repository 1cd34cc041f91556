//! The last requests, for whoever looks for what went wrong: kept in memory, and only so many.
//!
//! Invariant: no query, body or credential is kept, and of the path the route's template alone.

use std::collections::VecDeque;
use std::net::IpAddr;

use parking_lot::Mutex;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, RequestId};
use respoke_core::request_log::{LoggedRequest, RequestFilter, RequestsAsked, RequestsPiece};

use crate::metrics::Route;

/// The route of a request that reached no handler, in logs and metrics.
pub(crate) const UNMATCHED: &str = "unmatched";

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct RequestEntry {
    /// Its place in the log; given by the log.
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) request_id: RequestId,
    pub(crate) app_id: Option<AppId>,
    pub(crate) endpoint_id: Option<EndpointId>,
    /// What kind of caller it was.
    pub(crate) caller: &'static str,
    pub(crate) method: &'static str,
    /// None: no handler was reached.
    pub(crate) route: Option<Route>,
    pub(crate) status: u16,
    /// Of a refusal.
    pub(crate) code: Option<&'static str>,
    pub(crate) took_micros: u64,
    pub(crate) address: IpAddr,
    pub(crate) over_socket: bool,
}

/// Whether it is asked for.
fn is_asked_for(filter: &RequestFilter, entry: &RequestEntry) -> bool {
    filter.app_id.is_none_or(|app| entry.app_id == Some(app))
        && filter.request_id.is_none_or(|id| entry.request_id == id)
        && filter.status.is_none_or(|status| status.takes(entry.status))
        && filter.route.as_ref().is_none_or(|route| entry.route.as_ref().is_some_and(|at| at.as_str() == route))
        && filter
            .endpoint_id
            .as_ref()
            .is_none_or(|id| entry.endpoint_id.as_ref().is_some_and(|endpoint| endpoint.as_str() == id))
}

impl RequestEntry {
    fn told(&self) -> LoggedRequest {
        LoggedRequest {
            number: self.number,
            at: self.at,
            request_id: self.request_id,
            app_id: self.app_id,
            endpoint_id: self.endpoint_id.clone(),
            caller: self.caller.into(),
            method: self.method.into(),
            route: self.route.as_ref().map_or(UNMATCHED, |route| route.as_str()).to_owned(),
            status: self.status,
            code: self.code.map(Into::into),
            took_micros: self.took_micros,
            address: self.address,
            over_socket: self.over_socket,
        }
    }
}

/// Entries of the longest piece. Another node holds so many at once for whoever asks it.
pub(crate) const PIECE_LEN_MAX: u16 = 1_000;
/// What a piece takes at most besides its last entry, in bytes: as much as a frame between nodes.
const PIECE_BYTES_MAX: usize = 256 * 1_024;
/// What an entry takes besides its texts, about.
const ENTRY_LEN: usize = 128;
/// Entries that are looked at for a piece, at most: they take about a quarter of a millisecond, in which nothing is added.
const LOOKED_AT_MAX: u16 = 5_000;
/// What it costs to look at an entry, in bytes of an answer: a millisecond's work is as much as a megabyte, about.
const LOOK_COSTS: u64 = 64;

/// What it cost to look for a piece, in bytes of an answer. If it is not known how much was looked at, it is as much as may be.
pub(crate) fn search_cost(asked: &RequestsAsked, piece: &RequestsPiece) -> u64 {
    // Where the newest request is, only what was found tells.
    let before = asked.before.or_else(|| Some(piece.found.first()?.number.saturating_add(1)));
    let looked_at = before.map_or(u64::MAX, |before| before.saturating_sub(piece.next.unwrap_or(1)));
    looked_at.min(LOOKED_AT_MAX.into()) * LOOK_COSTS
}

/// What an entry takes in an answer to another node, about, in bytes.
pub(crate) fn entry_len(entry: &LoggedRequest) -> usize {
    let code = entry.code.as_ref().map_or(0, |code| code.len());
    let endpoint = entry.endpoint_id.as_ref().map_or(0, |endpoint| endpoint.as_str().len());
    ENTRY_LEN + entry.route.len() + code + endpoint
}

/// The log.
#[derive(Debug)]
pub(crate) struct RequestLog {
    entries: Mutex<Entries>,
    entries_max: usize,
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<RequestEntry>,
    /// The number of the last one added.
    last: u64,
}

impl RequestLog {
    /// A log of the last `entries_max` requests; of none with 0.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: Mutex::default(), entries_max }
    }

    /// Whether anything is kept at all.
    pub(crate) fn is_on(&self) -> bool {
        self.entries_max > 0
    }

    /// Adds a request; the oldest gives way.
    pub(crate) fn add(&self, entry: RequestEntry) {
        let mut entries = self.entries.lock();
        entries.last += 1;
        let number = entries.last;
        if entries.kept.len() >= self.entries_max {
            entries.kept.pop_front();
        }
        entries.kept.push_back(RequestEntry { number, ..entry });
    }

    /// A piece of it, newest first, of bounded length and found in bounded time.
    pub(crate) fn piece(&self, asked: &RequestsAsked) -> RequestsPiece {
        let most = usize::from(asked.most.min(PIECE_LEN_MAX));
        let entries = self.entries.lock();
        let end = entries.last + 1;
        let oldest = end - entries.kept.len() as u64;
        let mut before = asked.before.unwrap_or(end).min(end);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for _ in 0..LOOKED_AT_MAX {
            if before <= oldest || found.len() >= most || bytes > PIECE_BYTES_MAX {
                break;
            }
            before -= 1;
            let entry = usize::try_from(before - oldest).ok().and_then(|at| entries.kept.get(at));
            if let Some(entry) = entry.filter(|entry| is_asked_for(&asked.filter, entry)) {
                let told = entry.told();
                bytes += entry_len(&told);
                found.push(told);
            }
        }
        RequestsPiece { found, next: (before > oldest).then_some(before) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use respoke_core::request_log::StatusFilter;

    use super::*;

    fn entry(app: Option<AppId>, status: u16, endpoint: &str) -> RequestEntry {
        RequestEntry {
            number: 0,
            at: Timestamp::from_secs(1),
            request_id: RequestId::random(),
            app_id: app,
            endpoint_id: EndpointId::parse(endpoint).ok(),
            caller: "secret",
            method: "GET",
            route: None,
            status,
            code: None,
            took_micros: 1,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            over_socket: false,
        }
    }

    fn asked(filter: RequestFilter, before: Option<u64>, most: u16) -> RequestsAsked {
        RequestsAsked { filter, before, most }
    }

    #[test]
    fn the_oldest_gives_way() {
        let log = RequestLog::new(3);
        (200..205).for_each(|status| log.add(entry(None, status, "")));
        let find = |before, most| {
            let RequestsPiece { found, next } = log.piece(&asked(RequestFilter::default(), before, most));
            (found.iter().map(|entry| entry.status).collect::<Vec<_>>(), next)
        };
        assert_eq!(find(None, 2), (vec![204, 203], Some(4)));
        assert_eq!(find(Some(4), 2), (vec![202], None));
        // What is asked for was pushed out meanwhile.
        assert_eq!(find(Some(2), 2), (vec![], None));
        assert_eq!(find(Some(u64::MAX), 1), (vec![204], Some(5)));
        assert_eq!(find(None, 0), (vec![], Some(6)));
        assert!(!RequestLog::new(0).is_on());
        assert_eq!(RequestLog::new(0).piece(&asked(RequestFilter::default(), None, 9)), RequestsPiece::default());
    }

    #[test]
    fn only_what_is_asked_for_is_found() {
        let (own, other) = (AppId::random(), AppId::random());
        let log = RequestLog::new(10);
        for (app, status, endpoint) in
            [(Some(own), 200, "jo"), (Some(own), 404, "flo"), (Some(other), 404, "jo"), (None, 401, "")]
        {
            log.add(entry(app, status, endpoint));
        }
        let count = |filter: RequestFilter| log.piece(&asked(filter, None, 9)).found.len();
        assert_eq!(count(RequestFilter::default()), 4);
        assert_eq!(count(RequestFilter { app_id: Some(own), ..RequestFilter::default() }), 2);
        assert_eq!(count(RequestFilter { endpoint_id: Some("jo".into()), ..RequestFilter::default() }), 2);
        let status = StatusFilter::parse("4xx");
        assert_eq!(count(RequestFilter { status, ..RequestFilter::default() }), 3);
        let request_id = Some(log.entries.lock().kept[0].request_id);
        assert_eq!(count(RequestFilter { request_id, ..RequestFilter::default() }), 1);
    }

    #[test]
    fn a_piece_is_bounded_in_length_bytes_and_time() {
        let log = RequestLog::new(100_000);
        let long = "x".repeat(256);
        (0..50_000).for_each(|_| log.add(entry(None, 200, &long)));
        let piece = log.piece(&asked(RequestFilter::default(), None, u16::MAX));
        assert!(piece.found.len() < 1_000 && piece.found.iter().map(entry_len).sum::<usize>() < 257 * 1_024);
        assert_eq!(piece.next, Some(50_001 - piece.found.len() as u64));
        let short = RequestLog::new(100_000);
        (0..50_000).for_each(|_| short.add(entry(None, 200, "")));
        assert_eq!(short.piece(&asked(RequestFilter::default(), None, u16::MAX)).found.len(), 1_000);
        let status = StatusFilter::parse("5xx");
        let nothing = short.piece(&asked(RequestFilter { status, ..RequestFilter::default() }, None, 9));
        assert_eq!(nothing, RequestsPiece { found: vec![], next: Some(45_001) });
    }
    #[test]
    fn whoever_finds_nothing_pays_for_what_was_looked_at() {
        let log = RequestLog::new(20_000);
        (0..12_000).for_each(|number| log.add(entry(None, if number % 4 == 0 { 404 } else { 200 }, "")));
        let cost = |status: &str, before| {
            let filter = RequestFilter { status: StatusFilter::parse(status), ..RequestFilter::default() };
            let asked = asked(filter, before, 10);
            let piece = log.piece(&asked);
            (piece.found.len(), search_cost(&asked, &piece))
        };
        // Each fourth of them is found.
        assert_eq!(cost("404", None), (10, 37 * 64));
        assert_eq!(cost("404", Some(12_001)), (10, 40 * 64));
        assert_eq!(cost("5xx", None), (0, 5_000 * 64));
        assert_eq!(cost("5xx", Some(7_001)), (0, 5_000 * 64));
        assert_eq!(cost("5xx", Some(2_001)), (0, 2_000 * 64));
    }
}
