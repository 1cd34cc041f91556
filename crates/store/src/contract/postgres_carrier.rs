//! The carrier that is made of tables, on real servers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::ports::{Carrier as _, Incarnation, Joining, Node, NodeId, NodeStore as _};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::TaskTracker;

use super::postgres::{Postgres, there_is_a_server};
use super::postgres_pooler::Pooler;
use super::postgres_proxy::{Proxy, Way};
use super::postgres_server::Server;
use crate::postgres::CarrierLimits;
use crate::{CarrierFigures, CarrierOptions, PostgresCarrier, PostgresOptions, PostgresStore};

/// Long after anything that is still to happen has happened.
const LONG: Duration = Duration::from_secs(60);

fn node(id: u32, incarnation: u64) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(incarnation) }
}

/// A node's end, and what came to it.
struct End {
    carrier: PostgresCarrier,
    came: Arc<Came>,
}

#[derive(Default)]
struct Came {
    /// How often each frame came.
    frames: Mutex<HashMap<Vec<u8>, usize>>,
    more: Notify,
}

impl End {
    fn of(config: Config, node: Node) -> Self {
        Self::with(CarrierOptions { database: PostgresOptions::of(config), direct: None, moves: None }, node)
    }

    fn with(options: CarrierOptions, node: Node) -> Self {
        Self::to(PostgresCarrier::open(options, node).unwrap())
    }

    fn within(config: Config, node: Node, limits: CarrierLimits) -> Self {
        let options = CarrierOptions { database: PostgresOptions::of(config), direct: None, moves: None };
        Self::to(PostgresCarrier::open_within(options, node, limits).unwrap())
    }

    fn to(carrier: PostgresCarrier) -> Self {
        let end = Self { carrier, came: Arc::default() };
        let came = end.came.clone();
        end.carrier.attach(move |frame| {
            *came.frames.lock().entry(frame.to_vec()).or_default() += 1;
            came.more.notify_waiters();
        });
        end
    }

    fn send(&self, to: u32, frame: &str) {
        self.carrier.send(NodeId(to), Bytes::copy_from_slice(frame.as_bytes()));
    }

    /// Waits until this came, and returns how often.
    async fn until(&self, frame: &str) -> usize {
        let waiting = async {
            loop {
                let more = self.came.more.notified();
                if let Some(count) = self.came.frames.lock().get(frame.as_bytes()) {
                    return *count;
                }
                more.await;
            }
        };
        timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{frame} never came"))
    }

    fn has(&self, frame: &str) -> bool {
        self.came.frames.lock().contains_key(frame.as_bytes())
    }

    /// Waits until its figures are as is wanted.
    async fn until_figures(&self, wanted: impl Fn(&CarrierFigures) -> bool) -> CarrierFigures {
        let since = Instant::now();
        loop {
            let figures = self.carrier.figures();
            if wanted(&figures) {
                return figures;
            }
            assert!(since.elapsed() < LONG, "it never came to that: {figures:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Sends frames of a name until one comes, and returns which.
async fn until_one_comes(from: &End, to: &End, id: u32, name: &str) -> String {
    let since = Instant::now();
    for nth in 0.. {
        let frame = format!("{name} {nth}");
        from.send(id, &frame);
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Some(came) = (0..=nth).map(|nth| format!("{name} {nth}")).find(|frame| to.has(frame)) {
            return came;
        }
        assert!(since.elapsed() < LONG, "{name} never came");
    }
    unreachable!("it comes or it fails")
}

/// The ends of two nodes that know each other, and the schema.
async fn two(config: &Config) -> [End; 2] {
    PostgresStore::migrate(&PostgresOptions::of(config.clone()), None).await.unwrap();
    let ends = [1, 2].map(|id| End::of(config.clone(), node(id, 7)));
    know(&ends);
    ends
}

fn know(ends: &[End; 2]) {
    for end in ends {
        end.carrier.nodes_are(&[node(1, 7), node(2, 7)]);
    }
}

async fn console(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    // It ends with the client.
    TaskTracker::new().spawn(connection);
    client
}

/// Has time go so much faster for those who carry: turns are short then.
async fn hurry(console: &Client, times: u32) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION respoked.carrier_clock() RETURNS BIGINT LANGUAGE sql VOLATILE RETURN
             (extract(epoch FROM clock_timestamp()) * {times} * 1000000)::bigint"
    );
    console.batch_execute(&sql).await.unwrap();
}

/// A node that sees to tables as often as they take turns when time goes twenty times faster.
const HURRIED: CarrierLimits = CarrierLimits { turn_each: Duration::from_millis(20), table_bytes_max: 1 << 30 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_comes_to_its_node_alone() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    drop(database.store().await);
    let ends = [1, 2, 3].map(|id| End::of(database.config(), node(id, 7)));
    let live = [1, 2, 3].map(|id| node(id, 7));
    for end in &ends {
        end.carrier.nodes_are(&live);
    }
    for nth in 0..1_000 {
        ends[0].send(2 + nth % 2, &nth.to_string());
        ends[1].send(1, &format!("to one {nth}"));
    }
    for nth in 0..1_000 {
        assert_eq!(ends[1 + nth % 2].until(&nth.to_string()).await, 1);
        assert_eq!(ends[0].until(&format!("to one {nth}")).await, 1);
        assert!(!ends[2 - nth % 2].has(&nth.to_string()));
    }
    let figures = ends[0].until_figures(|figures| figures.frames_received >= 1_000).await;
    assert_eq!((figures.frames_sent, figures.frames_received, figures.frames_lost), (1_000, 1_000, 0));
    for end in &ends {
        assert_eq!(end.carrier.usual_delay(), Duration::from_millis(2), "it is woken");
        end.carrier.close().await;
    }
    // What a connection did is counted when it is closed.
    let console = console(&database.config()).await;
    let sql =
        "SELECT sum(seq_scan)::bigint, sum(idx_scan)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'carrier_%'";
    let row = console.query_one(sql, &[]).await.unwrap();
    // Each table was gone through once, when its index was made.
    assert!(row.get::<_, i64>(0) <= 3 && row.get::<_, i64>(1) > 3, "rows are found by the index: {row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_before_others_are_woken_again_waits_until_then() {
    const FRAMES: u32 = 50;
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let ends = two(&database.config()).await;
    ends[1].until_figures(|figures| figures.is_woken).await;
    let (since, before) = (Instant::now(), ends[0].carrier.figures().frames_sent);
    for nth in 1..=FRAMES {
        ends[0].send(2, &nth.to_string());
        while ends[0].carrier.figures().frames_sent < before + u64::from(nth) {
            assert!(since.elapsed() < LONG, "{nth} was never written");
            tokio::task::yield_now().await;
        }
    }
    // Each was sent once the one before was written, and written once others may be woken: each two milliseconds at most.
    assert!(since.elapsed() >= Duration::from_millis(2) * (FRAMES - 1), "{:?}", since.elapsed());
}

/// The rule by which tables take turns, step by step: the clock is the test's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_emptied_that_is_younger_than_five_seconds() {
    const STEP: usize = 500_000;
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    drop(database.store().await);
    let console = console(&database.config()).await;
    let clock = "CREATE TABLE public.clock (micros BIGINT); INSERT INTO public.clock VALUES (0);
                 CREATE OR REPLACE FUNCTION respoked.carrier_clock() RETURNS BIGINT LANGUAGE sql VOLATILE AS
                 'SELECT micros FROM public.clock'";
    console.batch_execute(clock).await.unwrap();
    let at = async |micros: i64| {
        console.execute("UPDATE public.clock SET micros = $1", &[&micros]).await.unwrap();
    };
    let there = async || -> Vec<(i64, i64)> {
        let sql = "SELECT seq, ago FROM respoked.carried(2, '{1}', '{7}', '{0}', 500, 1000000)";
        console.query(sql, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let turn = async || -> Option<bool> {
        console.query_one("SELECT emptied FROM respoked.turn_carrier()", &[]).await.unwrap().get(0)
    };
    for begin in (0..15_000_000).step_by(STEP) {
        let begin = 1_700_000_000_000_000 + begin;
        at(begin).await;
        console.execute("SELECT respoked.carry(1, 7, $1, '{2}', '{abc}', '{}')", &[&begin]).await.unwrap();
        let mut emptied = 0;
        for later in (0..15_000_000).step_by(STEP) {
            at(begin + later).await;
            emptied += usize::from(turn().await == Some(true));
            let there = there().await;
            if later <= 5_000_000 {
                assert_eq!((there, emptied), (vec![(begin, later)], 0), "{later} after {begin}");
            } else if later >= 10_000_000 {
                assert_eq!((there, emptied), (vec![], 1), "{later} after {begin}");
            }
        }
        assert_eq!(turn().await, None, "it is empty");
    }
}

/// What is committed late is read all the same, whatever came from others meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_late_is_not_passed_over() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let ends = two(&database.config()).await;
    ends[0].carrier.nodes_are(&[node(1, 7), node(2, 7), node(3, 1)]);
    let mut console = console(&database.config()).await;
    let late = console.transaction().await.unwrap();
    late.execute("SELECT respoked.carry(3, 1, 1, '{1}', '{late}', '{1}')", &[]).await.unwrap();
    for nth in 0..100 {
        ends[1].send(1, &nth.to_string());
        ends[0].until(&nth.to_string()).await;
    }
    assert!(!ends[0].has("late"));
    late.commit().await.unwrap();
    assert_eq!(ends[0].until("late").await, 1);
}

/// What wakes a node may be lost: it looks all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_woken_looks_by_itself() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let ends = two(&database.config()).await;
    ends[1].until_figures(|figures| figures.is_woken).await;
    let console = console(&database.config()).await;
    console.execute("SELECT respoked.carry(1, 7, 1000, '{2}', '{unsaid}', '{}')", &[]).await.unwrap();
    assert_eq!(ends[1].until("unsaid").await, 1);
}

/// Each life has its own numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_life_is_read_from_its_beginning_and_a_former_one_no_more() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    let ends = two(&database.config()).await;
    for nth in 0..200 {
        ends[1].send(1, &format!("former {nth}"));
    }
    ends[0].until("former 199").await;
    let later = End::of(database.config(), node(2, 8));
    // It tells something before others know of it.
    later.send(1, "early");
    later.until_figures(|figures| figures.frames_sent == 1).await;
    assert!(!ends[0].has("early"));
    ends[0].carrier.nodes_are(&[node(1, 7), node(2, 8)]);
    assert_eq!(ends[0].until("early").await, 1);
    ends[1].send(1, "beyond");
    ends[1].until_figures(|figures| figures.frames_sent == 201).await;
    later.send(1, "now");
    assert_eq!(ends[0].until("now").await, 1);
    assert!(!ends[0].has("beyond"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_emptied_while_they_are_written_and_nothing_is_lost() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    drop(database.store().await);
    let console = console(&database.config()).await;
    hurry(&console, 20).await;
    let ends = [1, 2].map(|id| End::within(database.config(), node(id, 7), HURRIED));
    know(&ends);
    let turns = |ends: &[End; 2]| ends.iter().map(|end| end.carrier.figures().turns).sum::<u64>();
    let (mut sent, since) = (0, Instant::now());
    // Table after table, until each was emptied some times.
    while turns(&ends) < 12 {
        for (nth, end) in ends.iter().enumerate() {
            end.send(2 - u32::try_from(nth).unwrap(), &format!("{nth}-{sent}"));
        }
        // A turn takes a quarter of a second here: whoever is later than that might miss it.
        for (nth, end) in ends.iter().rev().enumerate() {
            assert_eq!(end.until(&format!("{nth}-{sent}")).await, 1);
        }
        sent += 1;
        assert!(since.elapsed() < LONG, "tables are never emptied");
    }
    for end in &ends {
        let figures = end.until_figures(|figures| figures.frames_received >= sent).await;
        assert_eq!((figures.frames_lost, figures.frames_received), (0, sent));
    }
}

/// A dump holds all tables for as long as it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_dump_nothing_stands_still_and_tables_grow_only_so_far() {
    const HELD: &str = "LOCK TABLE respoked.carrier_0, respoked.carrier_1, respoked.carrier_2 IN ACCESS SHARE MODE";
    const LIMIT: u64 = 2 << 20;
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    drop(database.store().await);
    let mut console = console(&database.config()).await;
    hurry(&console, 20).await;
    let limits = CarrierLimits { table_bytes_max: LIMIT, ..HURRIED };
    let ends = [1, 2].map(|id| End::within(database.config(), node(id, 7), limits));
    know(&ends);
    let dump = console.transaction().await.unwrap();
    dump.batch_execute(HELD).await.unwrap();
    let filler = "x".repeat(1_000);
    let mut skipped = 0;
    let mut sent = 0;
    // Several turns long all comes.
    while skipped < 50 {
        let frame = format!("{sent}");
        ends[0].send(2, &frame);
        assert_eq!(ends[1].until(&frame).await, 1);
        sent += 1;
        skipped = ends.iter().map(|end| end.carrier.figures().turns_skipped).sum();
    }
    assert_eq!(ends.iter().map(|end| end.carrier.figures().turns).sum::<u64>(), 0);
    // Until there is too much.
    let since = Instant::now();
    while ends[0].carrier.figures().frames_lost == 0 {
        ends[0].send(2, &format!("{sent} {filler}"));
        sent += 1;
        tokio::time::sleep(Duration::from_micros(500)).await;
        assert!(since.elapsed() < LONG, "it grows without end: {:?}", ends[0].carrier.figures());
    }
    let bytes = ends[0].until_figures(|figures| figures.table_bytes > LIMIT).await.table_bytes;
    assert!(bytes < 4 * LIMIT, "{bytes}");
    dump.rollback().await.unwrap();
    ends[0].until_figures(|figures| figures.table_bytes < LIMIT).await;
    until_one_comes(&ends[0], &ends[1], 2, "after it").await;
}

/// Whatever is done to the server, it is gone on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_under_load_and_starts_anew_carries_again() {
    let Some(mut server) = Server::make("trust") else { return };
    server.start(&[]);
    let ends = two(&server.config()).await;
    until_one_comes(&ends[0], &ends[1], 2, "at first").await;
    for round in 0..3 {
        for nth in 0..5_000 {
            let before = Instant::now();
            ends[0].send(2, &format!("load {round} {nth} {}", "x".repeat(300)));
            assert!(before.elapsed() < Duration::from_secs(5), "who sends waits");
            if nth == 2_500 {
                if round == 1 { server.stop() } else { server.crash() }
            }
        }
        server.start(&[]);
        until_one_comes(&ends[0], &ends[1], 2, &format!("onward {round}")).await;
        until_one_comes(&ends[1], &ends[0], 1, &format!("back {round}")).await;
    }
    for end in &ends {
        end.until_figures(|figures| figures.is_woken).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_or_hang_are_made_anew_and_are_two_at_most() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    drop(database.store().await);
    let proxy = Proxy::to(&database.config()).await;
    let ends = [proxy.config(&database.config()), database.config()];
    let [first, second] = ends;
    let ends = [End::of(first, node(1, 7)), End::of(second, node(2, 7))];
    know(&ends);
    for round in 0..5 {
        until_one_comes(&ends[0], &ends[1], 2, &format!("there {round}")).await;
        until_one_comes(&ends[1], &ends[0], 1, &format!("back {round}")).await;
        proxy.refuse();
        ends[0].send(2, &format!("cut {round}"));
        proxy.mend();
    }
    until_one_comes(&ends[0], &ends[1], 2, "before").await;
    until_one_comes(&ends[1], &ends[0], 1, "before").await;
    // Nothing is answered any more: what is sent is given up in time, and room for it is bounded.
    proxy.set(Way::Hanging);
    for _ in 0..200 {
        ends[0].send(2, &"x".repeat(256 << 10));
    }
    let lost = ends[0].carrier.figures().frames_lost;
    assert!(lost >= 100, "{lost}");
    ends[0].until_figures(|figures| figures.frames_lost > lost).await;
    proxy.mend();
    until_one_comes(&ends[0], &ends[1], 2, "in the end").await;
    assert!(proxy.most() <= 2, "{}", proxy.most());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_a_node_looks_by_itself_unless_there_is_a_way_past_it() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    drop(database.store().await);
    let Some(pooler) = Pooler::to(&database.config()) else { return };
    let through = PostgresOptions::of(pooler.config());
    let past = Some(PostgresOptions::of(database.config()));
    let polls = CarrierOptions { database: through.clone(), direct: None, moves: None };
    let woken = CarrierOptions { database: through, direct: past, moves: None };
    let ends = [End::with(polls, node(1, 7)), End::with(woken, node(2, 7))];
    know(&ends);
    for nth in 0..100 {
        let frame = nth.to_string();
        ends[0].send(2, &frame);
        ends[1].until(&frame).await;
        ends[1].send(1, &frame);
        ends[0].until(&frame).await;
    }
    // It takes a second until it is known that nothing comes.
    ends[0].until_figures(|figures| figures.polls > 100).await;
    ends[1].until_figures(|figures| figures.is_woken && figures.wakes > 0).await;
    let figures = ends[0].carrier.figures();
    assert!(!figures.is_woken && ends[0].carrier.usual_delay() == Duration::from_millis(50), "{figures:?}");
    assert_eq!(ends[1].carrier.usual_delay(), Duration::from_millis(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_way_that_leads_elsewhere_is_refused() {
    if !there_is_a_server() {
        return;
    }
    let (here, other, empty) = (Postgres::default(), Postgres::default(), Postgres::default());
    let store = here.store().await;
    drop(other.store().await);
    let newcomer = super::postgres_nodes::newcomer("one");
    let Joining::Joined { cluster, .. } = store.join(newcomer).await.unwrap() else { panic!("it fits") };
    let mut nowhere = Config::new();
    nowhere.host("127.0.0.1").port(1).user("respoked").dbname("nothing");
    let of = |config| PostgresOptions::of(config);
    let way =
        |direct: Option<Config>| CarrierOptions { database: of(here.config()), direct: direct.map(of), moves: None };
    way(None).check_direct(&cluster.id).await.unwrap();
    way(Some(here.config())).check_direct(&cluster.id).await.unwrap();
    let said = async |config| format!("{:?}", way(Some(config)).check_direct(&cluster.id).await.unwrap_err());
    assert!(said(other.config()).await.contains("Elsewhere"));
    assert!(said(empty.config()).await.contains("Elsewhere"));
    assert!(said(nowhere).await.contains("refused"));
}
