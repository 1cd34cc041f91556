//! The last requests, for whoever looks for what went wrong: kept in memory, and only so many.
//!
//! Invariant: no query, body or credential is kept, and of the path the route's template alone.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

use parking_lot::Mutex;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, RequestId};
use respoke_core::page::{Page, PageRequest, RowNumber};

use crate::metrics::Route;

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

/// Which requests are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestFilter {
    pub(crate) app_id: Option<AppId>,
    pub(crate) endpoint_id: Option<String>,
    pub(crate) route: Option<String>,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) status: Option<StatusFilter>,
}

/// One status, or a hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusFilter {
    /// This one.
    Exactly(u16),
    /// Those that begin with this digit.
    Class(u16),
}

impl StatusFilter {
    /// Reads `404` or `4xx`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        match (class, text.parse()) {
            (Some(class), _) => class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class),
            (None, Ok(status)) if (100..600).contains(&status) => Some(Self::Exactly(status)),
            (None, _) => None,
        }
    }

    fn takes(self, status: u16) -> bool {
        match self {
            Self::Exactly(exactly) => status == exactly,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl RequestFilter {
    fn takes(&self, entry: &RequestEntry) -> bool {
        self.app_id.is_none_or(|app| entry.app_id == Some(app))
            && self.request_id.is_none_or(|id| entry.request_id == id)
            && self.status.is_none_or(|status| status.takes(entry.status))
            && self.route.as_ref().is_none_or(|route| entry.route.as_ref().is_some_and(|at| at.as_str() == route))
            && self
                .endpoint_id
                .as_ref()
                .is_none_or(|id| entry.endpoint_id.as_ref().is_some_and(|endpoint| endpoint.as_str() == id))
    }
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

    /// The apps that are told of.
    pub(crate) fn apps(&self) -> HashSet<AppId> {
        self.entries.lock().kept.iter().filter_map(|entry| entry.app_id).collect()
    }

    /// Requests of these apps and of none, newest first.
    pub(crate) fn find(
        &self,
        filter: &RequestFilter,
        seen: &HashSet<AppId>,
        request: &PageRequest<RowNumber>,
    ) -> Page<RequestEntry, RowNumber> {
        let entries = self.entries.lock();
        let key = |entry: &RequestEntry| RowNumber::new(entry.number);
        let found = entries.kept.iter().rev().filter(|entry| {
            request.after.is_none_or(|after| key(entry).get() < after.get())
                && entry.app_id.is_none_or(|app| seen.contains(&app))
                && filter.takes(entry)
        });
        Page::cut(found.take(request.limit + 1).cloned().collect(), request.limit, key)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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

    #[test]
    fn the_oldest_gives_way() {
        let log = RequestLog::new(3);
        (200..205).for_each(|status| log.add(entry(None, status, "")));
        let find = |after| log.find(&RequestFilter::default(), &HashSet::new(), &PageRequest { limit: 2, after });
        let page = find(None);
        let statuses =
            |page: &Page<RequestEntry, RowNumber>| page.items.iter().map(|entry| entry.status).collect::<Vec<_>>();
        assert_eq!((statuses(&page), page.next), (vec![204, 203], Some(RowNumber::new(4))));
        let page = find(page.next);
        assert_eq!((statuses(&page), page.next), (vec![202], None));
        assert!(!RequestLog::new(0).is_on());
    }

    #[test]
    fn only_what_is_asked_for_and_may_be_seen_is_found() {
        let (own, other) = (AppId::random(), AppId::random());
        let log = RequestLog::new(10);
        for (app, status, endpoint) in
            [(Some(own), 200, "jo"), (Some(own), 404, "flo"), (Some(other), 404, "jo"), (None, 401, "")]
        {
            log.add(entry(app, status, endpoint));
        }
        let seen = HashSet::from([own]);
        assert_eq!(log.apps(), HashSet::from([own, other]));
        let count = |filter: RequestFilter| log.find(&filter, &seen, &PageRequest::first()).items.len();
        assert_eq!(count(RequestFilter::default()), 3);
        assert_eq!(count(RequestFilter { app_id: Some(own), ..RequestFilter::default() }), 2);
        assert_eq!(count(RequestFilter { app_id: Some(other), ..RequestFilter::default() }), 0);
        assert_eq!(count(RequestFilter { endpoint_id: Some("jo".into()), ..RequestFilter::default() }), 1);
        let status = StatusFilter::parse("4xx");
        assert_eq!(count(RequestFilter { status, ..RequestFilter::default() }), 2);
        let request_id = Some(log.entries.lock().kept[0].request_id);
        assert_eq!(count(RequestFilter { request_id, ..RequestFilter::default() }), 1);
    }

    #[test]
    fn a_status_is_one_or_a_class() {
        assert_eq!(StatusFilter::parse("404"), Some(StatusFilter::Exactly(404)));
        assert_eq!(StatusFilter::parse("5XX"), Some(StatusFilter::Class(5)));
        for text in ["", "xx", "6xx", "0xx", "44xx", "99", "600", "-1", "4x"] {
            assert_eq!(StatusFilter::parse(text), None, "{text}");
        }
    }
}
