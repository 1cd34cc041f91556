//! What several do at the same moment.

use std::collections::BTreeSet;

use tokio::sync::Barrier;
use tokio_util::task::TaskTracker;

use super::*;

const ROUNDS: usize = 20;

/// Lets so many act at once, each by one of the handles. What came of it, in no order.
async fn race<T, F>(both: &Both, racers: usize, act: impl Fn(Arc<PostgresStore>, usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(racers));
    let mut racing = JoinSet::new();
    for nth in 0..racers {
        let (barrier, store) = (barrier.clone(), if nth % 2 == 0 { &both.here } else { &both.there });
        let acting = act(store.clone(), nth);
        racing.spawn(async move {
            barrier.wait().await;
            acting.await
        });
    }
    racing.join_all().await
}

pub(super) async fn a_node_is_declared_dead_once(both: Both) {
    let mut by = Vec::new();
    for _ in 0..10 {
        by.push(join(&both.here, newcomer("by")).await);
    }
    for node in &by {
        both.steady(*node, LATE);
    }
    for _ in 0..ROUNDS {
        let late = join(&both.there, newcomer("late")).await;
        both.silent(late, LATE);
        let before = both.told().await;
        let declared = race(&both, by.len(), |store, nth| {
            let by = by[nth];
            async move { store.declare_dead(by, late).await.unwrap() }
        });
        assert_eq!(declared.await.into_iter().filter(|declared| *declared).count(), 1);
        assert_eq!((both.told().await, both.living().await), (before + 1, by.clone()));
    }
    both.close().await;
}

pub(super) async fn one_that_beats_is_dead_or_lives(both: Both) {
    let by = join(&both.here, newcomer("by")).await;
    both.steady(by, LATE);
    for _ in 0..ROUNDS {
        let late = join(&both.there, newcomer("late")).await;
        both.silent(late, LATE);
        let came = race(&both, 2, |store, nth| async move {
            if nth == 0 { store.declare_dead(by, late).await.unwrap() } else { beat(&store, late).await.is_some() }
        });
        let one = came.await.into_iter().filter(|came| *came).count();
        assert_eq!(one, 1, "it is either dead or lives");
        let lives = beat(&both.there, late).await.is_some();
        assert_eq!(both.living().await.contains(&late), lives);
        both.there.leave(late).await.unwrap();
    }
    both.close().await;
}

pub(super) async fn who_comes_second_hears_what_the_first_did(both: Both) {
    let (by, late) = (join(&both.here, newcomer("by")).await, join(&both.there, newcomer("late")).await);
    both.steady(by, LATE);
    let tasks = TaskTracker::new();
    let declared = |late| {
        let here = both.here.clone();
        tasks.spawn(async move { here.declare_dead(by, late).await.unwrap() })
    };
    assert!(beat(&both.there, late).await.is_some());
    both.silent(late, LATE);
    // One who declares has the row, and waits for the feed.
    let holder = both.console().await;
    holder.batch_execute("BEGIN; SELECT 1 FROM respoked.feed FOR UPDATE").await.unwrap();
    let declaring = declared(late);
    both.until_waiting(1).await;
    let there = both.there.clone();
    let beating = tasks.spawn(async move { beat(&there, late).await });
    both.until_waiting(2).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert!(declaring.await.unwrap());
    assert_eq!(beating.await.unwrap(), None);

    // One who beats has it.
    let late = join(&both.there, newcomer("late")).await;
    both.silent(late, LATE);
    let beat_now = "BEGIN; UPDATE respoked.nodes SET beat_at = beat_at + 10000 WHERE id = ";
    holder.batch_execute(&format!("{beat_now}{}", late.id.0)).await.unwrap();
    let declaring = declared(late);
    both.until_waiting(1).await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(!declaring.await.unwrap());
    assert_eq!(both.living().await, [by, late]);
    both.close().await;
}

pub(super) async fn of_two_carriers_that_start_at_once_one_wins(both: Both) {
    for _ in 0..ROUNDS {
        let joined = race(&both, 5, |store, nth| async move {
            let carrier = if nth < 2 { CarrierKind::Nats } else { CarrierKind::Postgres };
            match store.join(Newcomer { carrier, ..newcomer("node") }).await.unwrap() {
                Joining::Joined { node, .. } => Some((node, carrier)),
                Joining::Refused(_) => None,
            }
        });
        let joined: Vec<_> = joined.await.into_iter().flatten().collect();
        let carriers: BTreeSet<_> = joined.iter().map(|(_, carrier)| carrier.name()).collect();
        let all = if carriers.contains("nats") { 2 } else { 3 };
        assert_eq!((carriers.len(), joined.len()), (1, all), "{joined:?}");
        let ids: BTreeSet<_> = joined.iter().map(|(node, _)| node.id).collect();
        assert_eq!(ids.len(), all);
        for (node, _) in joined {
            both.here.leave(node).await.unwrap();
        }
    }
    both.close().await;
}
