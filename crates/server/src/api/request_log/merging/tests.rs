use std::net::{IpAddr, Ipv4Addr};

use parking_lot::Mutex;
use respoke_core::clock::Timestamp;
use respoke_core::id::RequestId;
use respoke_core::ports::StoreError;

use super::*;

const A: Node = Node { id: NodeId(1), incarnation: Incarnation(11) };
const B: Node = Node { id: NodeId(2), incarnation: Incarnation(12) };

/// Logs of two nodes, each with the requests 1 to `len`, and what was asked of them.
#[derive(Default)]
struct Written {
    len: HashMap<Node, u64>,
    /// How many entries a piece looks at.
    stretch: u64,
    /// Which of the questions to each node are answered. None: all.
    answered: HashMap<Node, Vec<bool>>,
    asked: Mutex<Vec<Node>>,
    /// Whom the requests are about, and whether the caller sees that app.
    app: Option<AppId>,
    seen: Mutex<VecDeque<Result<bool, Refusal>>>,
    /// Whether anything is asked for.
    matches: bool,
}

impl Written {
    fn of(a: u64, b: u64) -> Self {
        let len = [(A, a), (B, b)].into_iter().filter(|(_, len)| *len > 0).collect();
        Self { len, stretch: 20_000, matches: true, ..Self::default() }
    }

    fn entry(&self, number: u64) -> LoggedRequest {
        LoggedRequest {
            number,
            at: Timestamp::from_secs(i64::try_from(number).unwrap()),
            request_id: RequestId::random(),
            app_id: self.app,
            endpoint_id: None,
            caller: "app".into(),
            method: "GET".into(),
            route: "/v1/roles".into(),
            status: 200,
            code: None,
            took_micros: 1,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            over_socket: false,
        }
    }
}

impl Logs for &Written {
    async fn piece(&self, node: Node, asked: RequestsAsked) -> Option<RequestsPiece> {
        let nth = self.asked.lock().iter().filter(|asked| **asked == node).count();
        self.asked.lock().push(node);
        if !self.answered.get(&node).and_then(|answered| answered.get(nth)).is_none_or(|is| *is) {
            return None;
        }
        let end = asked.before.unwrap_or(u64::MAX).min(self.len.get(&node).map_or(1, |len| len + 1));
        let most = if self.matches { self.stretch.min(u64::from(asked.most)) } else { self.stretch };
        let next = end.saturating_sub(most).max(1);
        let found =
            if self.matches { (next..end).rev().map(|number| self.entry(number)).collect() } else { Vec::new() };
        Some(RequestsPiece { found, next: (next > 1).then_some(next) })
    }

    async fn sees(&self, _: AppId) -> Result<bool, Refusal> {
        self.seen.lock().pop_front().unwrap_or(Ok(true))
    }
}

async fn page(logs: &Written, after: Option<LogPlaces>, limit: usize) -> Merged {
    Merging::of(logs, RequestFilter::default(), &[A, B], |_| true, after.as_ref()).read(limit).await.unwrap()
}

fn numbers(merged: &Merged) -> Vec<(Node, u64)> {
    merged.page.items.iter().map(|(node, entry)| (*node, entry.number)).collect()
}

fn places<const N: usize>(places: [(Node, Option<u64>); N]) -> LogPlaces {
    LogPlaces(places.to_vec())
}

#[tokio::test]
async fn a_page_that_is_full_asks_nobody_just_to_know_whether_more_is_left() {
    let (mut logs, limit) = (Written::of(0, 1_500), usize::from(PIECE_LEN_MAX));
    logs.answered.insert(B, vec![true, false]);
    let first = page(&logs, None, limit).await;
    assert_eq!((first.page.items.len(), &*first.silent), (limit, &[][..]));
    assert_eq!(first.page.next, Some(places([(B, Some(501))])));
    assert_eq!(*logs.asked.lock(), [A, B]);
    let exactly = page(&Written::of(0, 200), None, 200).await;
    assert_eq!((exactly.page.items.len(), exactly.page.next), (200, None));
}

#[tokio::test]
async fn a_list_goes_on_behind_a_log_that_was_late_once() {
    // Its first piece is short, so that it is asked once more for the page.
    let mut logs = Written { stretch: 150, ..Written::of(3, 500) };
    logs.answered.insert(B, vec![true, false]);
    let first = page(&logs, None, 200).await;
    assert_eq!((first.page.items.len(), &*first.silent), (153, &[B][..]));
    assert_eq!(first.page.next, Some(places([(B, Some(351))])));
    let (mut shown, mut next) = (first.page.items.len(), first.page.next);
    while let Some(after) = next {
        let page = page(&logs, Some(after), 200).await;
        shown += page.page.items.len();
        next = page.page.next;
    }
    assert_eq!(shown, 503);
}

/// It would look like the end of the log.
#[tokio::test]
async fn a_page_that_got_no_further_is_refused_and_its_cursor_goes_on() {
    let mut logs = Written::of(3, 500);
    logs.answered.insert(B, vec![false; 3]);
    let first = page(&logs, None, 200).await;
    assert_eq!((first.page.items.len(), &*first.silent), (3, &[B][..]));
    assert_eq!(first.page.next, Some(places([(B, None)])), "it is asked once more, from its newest on");
    let again = || Merging::of(&logs, RequestFilter::default(), &[A, B], |_| true, first.page.next.as_ref()).read(200);
    for _ in 0..2 {
        assert!(matches!(again().await, Err(Refusal::NodeSilent)));
    }
    let second = again().await.unwrap();
    assert_eq!((second.page.items.len(), &*second.silent), (200, &[][..]));
    assert_eq!(second.page.next, Some(places([(B, Some(301))])));
    // So is the first page, of a node alone.
    logs.answered.insert(B, vec![false; 9]);
    let alone = Merging::of(&logs, RequestFilter::default(), &[A, B], |node| node == B, None).read(200).await;
    assert!(matches!(alone, Err(Refusal::NodeSilent)));
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_stretch_and_the_next_one_goes_on_there() {
    let logs = Written { matches: false, stretch: 10, ..Written::of(500, 1_000) };
    let (mut pages, mut next) = (1, page(&logs, None, 200).await.page.next);
    assert_eq!(next, Some(places([(A, Some(181)), (B, Some(681))])));
    assert_eq!(logs.asked.lock().len(), 2 * PIECES_MAX);
    while let Some(after) = next {
        let merged = page(&logs, Some(after), 200).await;
        assert!(merged.page.items.is_empty() && merged.silent.is_empty());
        (pages, next) = (pages + 1, merged.page.next);
    }
    assert_eq!((pages, logs.asked.lock().len()), (4, 150));
}

#[tokio::test]
async fn what_is_not_known_to_be_anothers_is_not_left_out() {
    let logs = Written { app: Some(AppId::random()), ..Written::of(3, 0) };
    let read = async |seen| {
        logs.seen.lock().push_back(seen);
        let merging = Merging::of(&logs, RequestFilter::default(), &[A], |_| true, None);
        merging.read(200).await.map(|merged| merged.page.items.len())
    };
    assert_eq!((read(Ok(true)).await.unwrap(), read(Ok(false)).await.unwrap()), (3, 0));
    let refused = read(Err(Refusal::Store(StoreError::Unavailable("away".into())))).await;
    assert!(matches!(refused, Err(Refusal::Store(_))), "{refused:?}");
}

#[tokio::test]
async fn a_node_that_is_no_more_is_named_once() {
    let logs = Written::of(30, 0);
    let after = Some(places([(A, Some(21)), (B, Some(5))]));
    let read = |after: Option<LogPlaces>| {
        Merging::of(&logs, RequestFilter::default(), &[A], |_| true, after.as_ref()).read(10)
    };
    let first = read(after).await.unwrap();
    assert_eq!((first.page.items.len(), &*first.silent), (10, &[B][..]));
    assert_eq!(first.page.next, Some(places([(A, Some(11))])));
    let second = read(first.page.next).await.unwrap();
    assert_eq!((second.page.items.len(), &*second.silent, second.page.next), (10, &[][..], None));
}

#[tokio::test]
async fn a_node_that_a_cursor_names_twice_has_one_log() {
    let logs = Written::of(30, 0);
    let after = Some(places([(A, Some(21)), (A, Some(11)), (B, None), (B, Some(1))]));
    let merging = Merging::of(&logs, RequestFilter::default(), &[A], |_| true, after.as_ref());
    let merged = merging.read(200).await.unwrap();
    assert_eq!((merged.page.items.len(), &*merged.silent, merged.page.next), (20, &[B][..], None));
}

#[tokio::test]
async fn logs_are_put_together_by_their_times() {
    let merged = page(&Written::of(2, 3), None, 4).await;
    assert_eq!(numbers(&merged), [(B, 3), (A, 2), (B, 2), (A, 1)]);
    assert_eq!(merged.page.next, Some(places([(B, Some(2))])));
}
