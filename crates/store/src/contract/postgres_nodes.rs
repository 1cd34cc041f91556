//! Which nodes serve together, on PostgreSQL alone: by one server directly, and through `PgBouncer` in transaction mode.
//!
//! Nothing waits for time to pass: the times that rows hold are moved back instead.

mod fitting;
mod promoted;
mod races;
mod servers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use respoke_core::clock::{Clock as _, SystemClock};
use respoke_core::id::AppId;
use respoke_core::ports::{
    AppStore as _, Beating, CarrierKind, Change, ChangeStore as _, Draining, Joining, Load, MaintenanceStore as _,
    Newcomer, Node, NodeId, NodeRecord, NodeState, NodeStore as _,
};
use tokio::task::{JoinSet, block_in_place};
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

use super::fixture::NOW;
use super::postgres::{Postgres, there_is_a_server};
use super::postgres_pooled::POOLER;
use super::upkeep_cases::upkeep_at;
use crate::postgres::Patience;
use crate::{PostgresOptions, PostgresStore};

/// After which a node may be declared dead, and the longest gap between two beats that is no break, in milliseconds.
const LATE: i64 = 10_000;
const GAP: i64 = 6_000;

/// How long others are waited for on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Two handles on one database.
struct Both {
    here: Arc<PostgresStore>,
    there: Arc<PostgresStore>,
    database: Postgres,
}

impl Both {
    /// By the server directly, or through the pooler. None: there is none.
    async fn open(pooled: bool) -> Option<Self> {
        if !there_is_a_server() {
            return None;
        }
        let database = Postgres::default();
        let mut config = database.config();
        if pooled {
            let name = config.get_dbname().expect("it has a name").to_owned();
            config = block_in_place(|| POOLER.clone())?;
            config.dbname(name);
        }
        let open = async || Arc::new(PostgresStore::open(PostgresOptions::of(config.clone())).await.unwrap());
        Some(Self { here: open().await, there: open().await, database })
    }

    async fn close(self) {
        self.here.close().await;
        self.there.close().await;
    }

    fn set(&self, what: &str, node: Node) {
        let sql = format!("UPDATE respoked.nodes SET {what} WHERE id = {} RETURNING 1", node.id.0);
        assert_eq!(self.database.run_inside(&sql), 1, "{sql}");
    }

    /// So much time goes by in which the node does not beat.
    fn silent(&self, node: Node, millis: i64) {
        self.set(&format!("beat_at = beat_at - {millis}, unbroken_since = unbroken_since - {millis}"), node);
    }

    /// So much time goes by in which the node beats.
    fn steady(&self, node: Node, millis: i64) {
        self.set(&format!("unbroken_since = unbroken_since - {millis}"), node);
    }

    /// A time goes by in which nobody beats, such as one without a database.
    fn everybody_silent(&self, millis: i64) {
        let sql = "beat_at = beat_at - $, unbroken_since = unbroken_since - $, doubted_at = doubted_at - $";
        self.database.run_inside(&format!("UPDATE respoked.nodes SET {}", sql.replace('$', &millis.to_string())));
    }

    /// A connection that is no store's.
    async fn console(&self) -> Client {
        let (client, connection) = self.database.config().connect(NoTls).await.unwrap();
        // It ends with the client.
        TaskTracker::new().spawn(connection);
        client
    }

    /// Waits until so many wait for a lock.
    async fn until_waiting(&self, number: usize) {
        let since = Instant::now();
        let sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while self.database.run_inside(sql) < number {
            assert!(since.elapsed() < DEADLINE, "they do not wait");
            tokio::task::yield_now().await;
        }
    }

    /// How many changes told of nodes so far.
    async fn told(&self) -> usize {
        let changes = self.there.changes(0).await.unwrap();
        changes.told.iter().filter(|change| change.what == Some(Change::Nodes)).count()
    }

    /// Who lives, as the other handle sees it.
    async fn living(&self) -> Vec<Node> {
        self.there.nodes().await.unwrap().iter().map(|record| record.node).collect()
    }
}

pub(crate) fn newcomer(name: &str) -> Newcomer {
    Newcomer {
        was: None,
        place: None,
        name: name.into(),
        address: "192.0.2.7:3000".into(),
        version: "0.3.0".into(),
        carrier: CarrierKind::Postgres,
        codec: 2..=3,
        now: SystemClock.now(),
    }
}

pub(crate) async fn join(store: &PostgresStore, newcomer: Newcomer) -> Node {
    match store.join(newcomer).await.unwrap() {
        Joining::Joined { node, .. } => node,
        refused @ Joining::Refused(_) => panic!("{refused:?}"),
    }
}

async fn beat(store: &PostgresStore, node: Node) -> Option<Vec<NodeRecord>> {
    match store.beat(node, NodeState::Serving, Load::default()).await.unwrap() {
        Beating::Lives { nodes, .. } => Some(nodes),
        Beating::Dead => None,
    }
}

async fn a_node_lives_from_its_join_until_it_leaves(both: Both) {
    let Joining::Joined { node: one, cluster, now } = both.here.join(newcomer("one")).await.unwrap() else {
        panic!("nobody is there");
    };
    assert!(one.id.0 > 0 && (now.millis() - SystemClock.now().millis()).abs() < 5_000);
    let Joining::Joined { node: two, cluster: same, .. } = both.there.join(newcomer("two")).await.unwrap() else {
        panic!("they fit");
    };
    assert_eq!((cluster.id, cluster.key.expose()), (same.id, same.key.expose()));
    assert!(cluster.id != [0; 16] && cluster.key.expose().len() == 64);
    assert_eq!((both.living().await, both.told().await), (vec![one, two], 2));
    assert_ne!(one.id, two.id);

    let load = Load { sockets: 7, connections: 6, lag_millis: 5, skew_millis: -4, feed_age_millis: 3 };
    let Beating::Lives { nodes, .. } = both.here.beat(one, NodeState::Serving, load).await.unwrap() else {
        panic!("it lives");
    };
    assert_eq!(both.told().await, 3, "its state is another");
    let told = (&*nodes[0].name, &*nodes[0].address, &*nodes[0].version, &nodes[0].codec);
    assert_eq!(told, ("one", "192.0.2.7:3000", "0.3.0", &(2..=3)));
    assert_eq!((nodes[0].state, nodes[0].load, nodes[0].is_to_drain), (NodeState::Serving, load, false));
    assert_eq!((nodes[1].node, nodes[1].state), (two, NodeState::Starting));
    assert_eq!(both.there.have_drain(one.id).await.unwrap(), Draining::Alone, "the other does not serve yet");
    assert_eq!(both.told().await, 3);
    assert_eq!(both.there.nodes().await.unwrap(), nodes);
    assert_eq!(beat(&both.there, two).await.unwrap()[0], nodes[0]);
    assert!(beat(&both.here, one).await.is_some());
    assert_eq!(both.told().await, 4, "a beat that changes nothing is no change");

    let (to_one, to_two) = tokio::join!(both.there.have_drain(one.id), both.here.have_drain(two.id));
    let (gone, stays) = match (to_one.unwrap(), to_two.unwrap()) {
        (Draining::Told, Draining::Alone) => (one, two),
        (Draining::Alone, Draining::Told) => (two, one),
        other => panic!("one of them has to go on: {other:?}"),
    };
    assert_eq!(both.there.have_drain(gone.id).await.unwrap(), Draining::Told, "once more");
    assert_eq!(both.told().await, 5, "it is told once");
    let nodes = beat(&both.here, gone).await.unwrap();
    assert!(nodes.iter().all(|record| record.is_to_drain == (record.node == gone)), "{nodes:?}");
    both.here.leave(gone).await.unwrap();
    both.here.leave(gone).await.unwrap();
    assert_eq!((both.living().await, both.told().await), (vec![stays], 6));
    assert_eq!(beat(&both.here, gone).await, None);
    assert_eq!(both.there.have_drain(gone.id).await.unwrap(), Draining::Gone);
    both.close().await;
}

async fn over(store: &PostgresStore, node: Node) -> Vec<Node> {
    match store.beat(node, NodeState::Serving, Load::default()).await.unwrap() {
        Beating::Lives { over, .. } => over,
        Beating::Dead => panic!("it lives"),
    }
}

/// One that cannot reach the database meanwhile hears of it in no other way.
async fn who_served_and_is_gone_is_told_to_those_who_began_before(both: Both) {
    let before = join(&both.here, newcomer("before")).await;
    let mut served = Vec::new();
    for name in ["first", "second"] {
        let node = join(&both.there, newcomer(name)).await;
        assert!(beat(&both.there, node).await.is_some());
        both.there.leave(node).await.unwrap();
        served.push(node);
    }
    let never = join(&both.there, newcomer("never")).await;
    both.there.leave(never).await.unwrap();
    for _ in 0..2 {
        assert_eq!(over(&both.here, before).await, served, "who does not serve says nothing");
    }
    let after = join(&both.there, newcomer("after")).await;
    assert_eq!(over(&both.there, after).await, [], "that was before its time");
    assert_eq!(both.living().await, [before, after]);
    both.close().await;
}

async fn who_is_late_is_declared_dead_by_one_whose_beats_had_no_break(both: Both) {
    let (by, late) = (join(&both.here, newcomer("by")).await, join(&both.there, newcomer("late")).await);
    let declares = async || both.here.declare_dead(by, late).await.unwrap();
    both.silent(late, LATE + 10);
    assert!(!declares().await, "it did not beat for long enough itself");
    both.steady(by, LATE + 10);
    both.set(&format!("beat_at = beat_at + {LATE}"), late);
    assert!(!declares().await, "it is not late");
    both.silent(late, LATE);
    both.set(&format!("beat_at = beat_at - {GAP} - 100"), by);
    assert!(!declares().await, "its own last beat is too long ago");
    both.set(&format!("beat_at = beat_at + {GAP}"), by);
    let another = Node { incarnation: by.incarnation, ..late };
    assert!(!both.here.declare_dead(by, another).await.unwrap(), "it has another life");
    let another = Node { incarnation: late.incarnation, ..by };
    assert!(!both.here.declare_dead(another, late).await.unwrap(), "its life is over");

    let before = both.told().await;
    assert!(declares().await);
    assert!(!declares().await, "it is dead");
    assert_eq!((both.told().await, both.living().await), (before + 1, vec![by]));
    assert_eq!(beat(&both.there, late).await, None);

    both.set("is_to_drain = true", late);
    let again = join(&both.there, Newcomer { was: Some(late.id), ..newcomer("again") }).await;
    assert!(beat(&both.there, again).await.unwrap()[1].is_to_drain, "that was said of the node");
    assert!(again.id == late.id && again.incarnation > late.incarnation);
    assert_eq!(both.living().await, [by, again]);
    assert_eq!(beat(&both.there, late).await, None, "that life is over");
    assert!(beat(&both.there, again).await.is_some());
    both.close().await;
}

async fn who_was_late_and_was_not_declared_dead_goes_on(both: Both) {
    let (by, late) = (join(&both.here, newcomer("by")).await, join(&both.there, newcomer("late")).await);
    both.steady(by, LATE);
    both.silent(late, 6 * LATE);
    assert_eq!(beat(&both.there, late).await.unwrap().len(), 2);
    assert!(!both.here.declare_dead(by, late).await.unwrap());
    both.close().await;
}

async fn a_gap_in_beats_begins_them_anew(both: Both) {
    let (one, other) = (join(&both.here, newcomer("one")).await, join(&both.there, newcomer("other")).await);
    both.steady(one, 60_000);
    // Without a database nobody beats. The first who does again knows nothing of the others.
    both.everybody_silent(60_000);
    assert!(!both.here.declare_dead(one, other).await.unwrap());
    assert!(beat(&both.here, one).await.is_some());
    assert!(!both.here.declare_dead(one, other).await.unwrap());
    // One that is so short that the others may have missed it as well.
    both.steady(one, LATE);
    both.silent(one, GAP + 100);
    assert!(beat(&both.here, one).await.is_some());
    assert!(!both.here.declare_dead(one, other).await.unwrap());
    // A shorter one is none.
    both.steady(one, LATE);
    both.silent(one, GAP - 2_000);
    assert!(beat(&both.here, one).await.is_some());
    assert!(both.here.declare_dead(one, other).await.unwrap());
    both.close().await;
}

async fn a_clock_that_was_set_begins_beats_anew_too(both: Both) {
    let (one, other) = (join(&both.here, newcomer("one")).await, join(&both.there, newcomer("other")).await);
    // It was set back by an hour.
    both.steady(one, LATE);
    both.everybody_silent(-3_600_000);
    assert!(beat(&both.here, one).await.is_some());
    both.silent(other, 3_600_000 + LATE);
    assert!(!both.here.declare_dead(one, other).await.unwrap());
    both.steady(one, LATE);
    assert!(both.here.declare_dead(one, other).await.unwrap());
    // Who does not beat any more is not late before that hour is over, unless somebody sees to it.
    let other = join(&both.there, newcomer("other")).await;
    both.silent(other, -3_600_000);
    both.here.upkeep(upkeep_at(NOW)).await.unwrap();
    both.silent(other, LATE);
    assert!(both.here.declare_dead(one, other).await.unwrap());
    both.close().await;
}

async fn rows_of_those_who_are_gone_go_after_an_hour(both: Both) {
    let (stays, goes) = (join(&both.here, newcomer("stays")).await, join(&both.there, newcomer("goes")).await);
    let rows = || both.database.run_inside("SELECT 1 FROM respoked.nodes");
    both.there.leave(goes).await.unwrap();
    both.silent(stays, 4_000_000);
    both.set("gone_at = gone_at - 3500000", goes);
    both.here.upkeep(upkeep_at(NOW)).await.unwrap();
    assert_eq!(rows(), 2);
    both.set("gone_at = gone_at - 200000", goes);
    both.here.upkeep(upkeep_at(NOW)).await.unwrap();
    assert_eq!((rows(), both.living().await), (1, vec![stays]));
    // It comes back all the same, and nobody else has its id.
    let again = join(&both.there, Newcomer { was: Some(goes.id), ..newcomer("again") }).await;
    assert!(again.id == goes.id && again.incarnation > goes.incarnation);
    // One that was never given is nobody's.
    let other = join(&both.there, Newcomer { was: Some(NodeId(u32::MAX)), ..newcomer("other") }).await;
    assert!(other.id.0 < u32::MAX && other.id != again.id);
    both.close().await;
}

async fn one_beats_where_all_else_waits(both: Both) {
    let mut options = PostgresOptions::of(both.database.config());
    options.patience = Patience { answer: DEADLINE, turn: DEADLINE, ..Patience::default() };
    let store = Arc::new(PostgresStore::open(options).await.unwrap());
    let node = join(&store, newcomer("node")).await;
    assert!(beat(&store, node).await.is_some());
    let holder = both.console().await;
    holder.batch_execute("BEGIN; LOCK TABLE respoked.apps").await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        waiting.spawn(async move { store.app(AppId::random()).await.unwrap() });
    }
    // All that may have a connection for this.
    both.until_waiting(3).await;
    assert!(beat(&store, node).await.is_some());
    assert!(waiting.try_join_next().is_none(), "it waits for none of them");
    holder.batch_execute("ROLLBACK").await.unwrap();
    waiting.join_all().await;
    store.close().await;
    both.close().await;
}

macro_rules! cases {
    ($($case:ident)*) => {
        cases! { direct: false $($case)* }
        cases! { pooled: true $($case)* }
    };
    ($how:ident: $pooled:literal $($case:ident)*) => {
        mod $how {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    if let Some(both) = super::Both::open($pooled).await {
                        super::$case(both).await;
                    }
                }
            )*
        }
    };
}
use fitting::{
    a_clock_that_is_off_is_refused, only_so_many_nodes_live, who_is_killed_stands_in_nobodys_way_for_ever,
    who_starts_where_another_was_takes_its_place, who_talks_otherwise_is_refused,
};
use races::{
    a_node_is_declared_dead_once, of_two_carriers_that_start_at_once_one_wins, one_that_beats_is_dead_or_lives,
    who_comes_second_hears_what_the_first_did,
};
cases! {
    a_node_lives_from_its_join_until_it_leaves
    who_served_and_is_gone_is_told_to_those_who_began_before
    who_is_late_is_declared_dead_by_one_whose_beats_had_no_break
    who_was_late_and_was_not_declared_dead_goes_on
    a_gap_in_beats_begins_them_anew
    a_clock_that_was_set_begins_beats_anew_too
    rows_of_those_who_are_gone_go_after_an_hour
    one_beats_where_all_else_waits
    a_clock_that_is_off_is_refused
    only_so_many_nodes_live
    who_is_killed_stands_in_nobodys_way_for_ever
    who_starts_where_another_was_takes_its_place
    who_talks_otherwise_is_refused
    a_node_is_declared_dead_once
    of_two_carriers_that_start_at_once_one_wins
    one_that_beats_is_dead_or_lives
    who_comes_second_hears_what_the_first_did
}
