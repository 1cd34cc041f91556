//! The cases about the places of kept messages: who orders them by these reads what it lacks.

use respoke_core::id::AppId;
use respoke_core::message::{KEPT_BETWEEN_MAX, Place};
use respoke_core::ports::{Removal, Upkeep};

use super::Fixture;
use super::fixture::NOW;
use super::hub_cases::{at, group, message, said};
use super::upkeep_cases::{upkeep_at, whole_pass};

pub(super) async fn what_is_kept_between_two_messages_is_found_by_its_places(fixture: impl Fixture) {
    let world = fixture.opened().await;
    let place_of = async |to: &str, millis| {
        let kept = world.store.append_message(message(&world, to, "alice", at(millis)), u64::MAX).await.unwrap();
        kept.kept().unwrap().place
    };
    let mut epoch = 0;
    for millis in [1, 5, 9, 12, 20] {
        epoch = place_of("room", millis).await.epoch;
        place_of("other", millis).await;
    }
    let found = async |epoch, offsets: std::ops::Range<u64>, before| {
        let kept = world.store.kept_between(world.app, &group("room"), epoch, offsets, at(before)).await.unwrap();
        let (offsets, kept): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        offsets.into_iter().zip(said(&kept)).collect::<Vec<_>>()
    };
    assert_eq!(found(epoch, 2..5, 20).await, [(2, 5), (3, 9), (4, 12)]);
    assert_eq!(found(epoch, 2..4, 12).await, [(2, 5), (3, 9)]);
    assert_eq!(found(epoch, 1..2, 5).await, [(1, 1)]);
    assert_eq!(found(epoch, 0..1, 1).await, []);
    assert_eq!(found(epoch ^ 1, 2..5, 20).await, [], "of another history");
    let elsewhere = world.store.kept_between(AppId::random(), &group("room"), epoch, 2..5, at(20)).await.unwrap();
    assert!(elsewhere.is_empty(), "of another app");

    // What was removed by its age is missing, and what is left has its place.
    whole_pass(&world, Upkeep { messages_before: at(9), ..upkeep_at(NOW) }).await;
    assert_eq!(found(epoch, 1..5, 20).await, [(3, 9), (4, 12)]);
    // Another history of that name has places of its own.
    assert_eq!(world.store.end_group(world.app, &group("room")).await.unwrap(), Removal::Removed);
    let anew = place_of("room", 30).await;
    assert_eq!((anew.offset, place_of("room", 31).await), (1, Place { offset: 2, ..anew }));
    assert_ne!(anew.epoch, epoch);
    assert_eq!(found(epoch, 1..5, 40).await, []);
    assert_eq!(found(anew.epoch, 1..2, 31).await, [(1, 30)]);
    // Of too many those at the end.
    let most = i64::try_from(KEPT_BETWEEN_MAX).unwrap();
    for millis in 32..=most + 40 {
        place_of("room", millis).await;
    }
    let many: Vec<_> = found(anew.epoch, 1..KEPT_BETWEEN_MAX + 9, most + 38).await;
    assert_eq!(many.len(), usize::try_from(most).unwrap());
    assert_eq!((many[0], many[many.len() - 1]), ((9, 38), (KEPT_BETWEEN_MAX + 8, most + 37)));
}
