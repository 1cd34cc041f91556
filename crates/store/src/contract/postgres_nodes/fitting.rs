//! Who does not fit with those who live.

use respoke_core::ports::{JoinRefusal, NODES_MAX};

use super::*;

async fn refusal(store: &PostgresStore, newcomer: Newcomer) -> JoinRefusal {
    match store.join(newcomer).await.unwrap() {
        Joining::Refused(refusal) => refusal,
        joined @ Joining::Joined { .. } => panic!("{joined:?}"),
    }
}

fn by_nats(name: &str) -> Newcomer {
    Newcomer { carrier: CarrierKind::Nats, ..newcomer(name) }
}

pub(super) async fn who_talks_otherwise_is_refused(both: Both) {
    let first = join(&both.here, newcomer("first")).await;
    let of_carrier = JoinRefusal::Carrier { theirs: CarrierKind::Postgres, name: "first".into() };
    assert_eq!(refusal(&both.there, by_nats("other")).await, of_carrier);
    for codec in [0..=1, 4..=9] {
        let refused = refusal(&both.there, Newcomer { codec, ..newcomer("other") }).await;
        assert_eq!(refused, JoinRefusal::Codec { name: "first".into(), version: "0.3.0".into() });
    }
    assert_eq!((both.told().await, both.living().await), (1, vec![first]), "nothing came of it");
    for codec in [1..=2, 3..=4, 1..=9, 2..=2] {
        let other = join(&both.there, Newcomer { codec, ..newcomer("other") }).await;
        both.there.leave(other).await.unwrap();
    }
    // It is no obstacle to itself, nor are those who are gone.
    let first = join(&both.here, Newcomer { was: Some(first.id), ..by_nats("first") }).await;
    both.here.leave(first).await.unwrap();
    join(&both.there, newcomer("other")).await;
    both.close().await;
}

pub(super) async fn a_clock_that_is_off_is_refused(both: Both) {
    for (secs, fits) in [(-4, true), (4, true), (-6, false), (6, false)] {
        let newcomer = Newcomer { now: SystemClock.now().plus_secs(secs), ..newcomer("node") };
        match both.here.join(newcomer).await.unwrap() {
            Joining::Joined { .. } => assert!(fits, "{secs}"),
            Joining::Refused(JoinRefusal::Clock { millis }) => {
                assert!(!fits && (millis - secs * 1_000).abs() < 1_000, "{secs}: {millis}");
            }
            Joining::Refused(refusal) => panic!("{refusal}"),
        }
    }
    assert_eq!(both.living().await.len(), 2);
    both.close().await;
}

pub(super) async fn only_so_many_nodes_live(both: Both) {
    let first = join(&both.here, newcomer("first")).await;
    for nth in 1..NODES_MAX {
        join(if nth % 2 == 0 { &both.here } else { &both.there }, newcomer("another")).await;
    }
    assert_eq!(refusal(&both.there, newcomer("one more")).await, JoinRefusal::TooMany);
    assert_eq!(both.living().await.len(), NODES_MAX);
    let again = join(&both.there, Newcomer { was: Some(first.id), ..newcomer("again") }).await;
    both.here.leave(again).await.unwrap();
    join(&both.there, newcomer("one more")).await;
    both.close().await;
}

/// All nodes were killed, and the next is to talk otherwise: there is nobody who could declare them dead.
pub(super) async fn who_is_killed_stands_in_nobodys_way_for_ever(both: Both) {
    let (one, two) = (join(&both.here, newcomer("one")).await, join(&both.here, newcomer("two")).await);
    let refused = async || {
        let refused = refusal(&both.there, by_nats("other")).await;
        assert!(matches!(refused, JoinRefusal::Carrier { .. }), "{refused}");
    };
    refused().await;
    both.everybody_silent(LATE);
    refused().await;
    refused().await;
    // One of them was late only, and lives.
    assert!(beat(&both.here, one).await.is_some());
    both.everybody_silent(LATE);
    refused().await;
    assert_eq!(both.living().await, [one], "the other had the time to beat");
    assert_eq!(both.told().await, 4);
    // What was seen long ago says nothing of now: the database may have been away since.
    both.everybody_silent(600_000);
    refused().await;
    assert_eq!(both.living().await, [one]);
    both.everybody_silent(LATE);
    let other = join(&both.there, by_nats("other")).await;
    assert_eq!(both.living().await, [other]);
    assert_eq!((beat(&both.here, one).await, beat(&both.here, two).await), (None, None));
    both.close().await;
}

pub(super) async fn who_starts_where_another_was_takes_its_place(both: Both) {
    let at = |place: &str| Newcomer { place: Some(place.into()), ..newcomer(place) };
    let (here, there) = (join(&both.here, at("here")).await, join(&both.there, at("there")).await);
    let told = both.told().await;
    let again = join(&both.there, at("here")).await;
    assert_eq!(both.living().await, [there, again]);
    assert_eq!((both.told().await - told, beat(&both.here, here).await), (2, None));
    // One that drains listens nowhere any more, and is not gone yet.
    let draining = both.here.beat(again, NodeState::Draining, Load::default()).await.unwrap();
    assert!(matches!(draining, Beating::Lives { .. }));
    let third = join(&both.here, at("here")).await;
    assert_eq!(both.living().await, [there, again, third]);
    both.close().await;
}
