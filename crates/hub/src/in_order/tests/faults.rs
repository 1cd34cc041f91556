//! What is rare: senders that overtake themselves, histories that end, panics, and what is left behind.

use super::*;

#[test]
fn what_a_sender_says_waits_for_the_later_of_two_of_his_that_are_early() {
    let world = World::default();
    let said = [kept_from(1, "jo", 1), kept_from(1, "jo", 5), kept_from(1, "jo", 3), private(1, "jo", "a")];
    assert_eq!(world.heard_of(said), ["1"]);
    assert_eq!(world.heard_of([kept(2, 2)]), ["2", "3"]);
    assert_eq!(world.heard_of([private(1, "jo", "b")]), [""; 0]);
    assert_eq!(world.heard_of([kept(2, 4)]), ["4", "5", "a", "b"]);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_for_again_after_a_panic_of_whoever_asked() {
    let world = World::default();
    let other = AppId::random();
    let of_other = |offset| Push { app: other, ..kept(1, offset) };
    let brought = [kept(1, 1), kept(1, 3), of_other(1), of_other(3)];
    assert_eq!(world.heard_of(brought), ["1", "1"]);
    // One is asked for, and the other was found, when all that asks is dropped.
    let (first, second) = (world.in_order.next_missing().await, world.in_order.next_missing().await);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut freed = world.in_order.freed();
        world.in_order.found(&first, vec![Push { app: first.app, ..kept(2, 2) }], &mut freed, &mut |_| panic!());
    }));
    assert!(panicked.is_err());
    world.in_order.nobody_asks();
    for _ in 0..2 {
        let again = tokio::time::timeout(PATIENCE, world.in_order.next_missing()).await.unwrap();
        let expected = if again.app == first.app { (3, 3) } else { (second.next, second.until.0) };
        assert_eq!((again.next, again.until.0), expected);
        world.found(&again, Vec::new());
    }
    assert!(tokio::time::timeout(LATE, world.in_order.next_missing()).await.is_err(), "nothing is missing");
}

#[tokio::test(start_paused = true)]
async fn who_says_something_that_waits_is_answered_though_nobody_asks_for_what_is_missing() {
    let (world, room, began) = (World::default(), room(), Instant::now());
    assert_eq!(world.heard_of([kept(1, 1), kept(0, 3)]), ["1"]);
    let told = world.in_order.until_handed_out(app(), &room, Place { epoch: 1, offset: 3 });
    tokio::time::timeout(LATE, told).await.expect("it has a bound");
    assert_eq!(began.elapsed(), PATIENCE + READ_WITHIN * 2);
}

#[test]
fn what_is_late_of_an_older_history_changes_nothing() {
    let world = World::default();
    let late = [of_epoch(2, 1), of_epoch(1, 70), of_epoch(2, 3), of_epoch(2, 2)];
    assert_eq!(world.heard_of(late), ["2:1", "1:70", "2:2", "2:3"]);
    // However many there were.
    assert_eq!(world.heard_of([of_epoch(3, 1), of_epoch(1, 71), of_epoch(2, 4)]), ["3:1", "1:71", "2:4"]);
    assert_eq!(world.heard_of([of_epoch(3, 3), of_epoch(3, 2)]), ["3:2", "3:3"]);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_gave_of_a_history_that_is_over_is_not_said_again() {
    let world = World::default();
    assert_eq!(world.heard_of([of_epoch(1, 1), of_epoch(1, 3)]), ["1:1"]);
    let (missing, given) = (world.in_order.next_missing().await, of_epoch(1, 2));
    assert_eq!(world.found(&missing, vec![given.clone()]), ["1:2", "1:3"]);
    assert_eq!(world.heard_of([of_epoch(2, 1), given, of_epoch(2, 2)]), ["2:1", "2:2"]);
}
