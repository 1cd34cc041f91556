//! What is rare: senders that overtake themselves, histories that end, panics, and what is left behind.

use super::*;

/// As much is said as waits, with this offset first, and one more.
fn too_much_from(world: &World, first: u64) {
    let many = first..=first + WAITING_MAX as u64;
    let heard: Vec<_> = many.clone().map(|offset| offset.to_string()).collect();
    assert_eq!(world.heard_of(many.map(|offset| kept(0, offset))), heard);
}

async fn nothing_is_missing(world: &World) {
    assert!(tokio::time::timeout(LATE, world.in_order.next_missing()).await.is_err());
    assert_eq!(world.load(), (0, 0));
}

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
    let (first, second) = (world.missing().await, world.missing().await);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut freed = world.in_order.freed();
        world.in_order.found(&first, vec![Push { app: first.app, ..kept(2, 2) }], &mut freed, &mut |_| panic!());
    }));
    assert!(panicked.is_err());
    // As many ask as may at a time, one each.
    let asked = Mutex::new(Vec::new());
    let ask = || async {
        let missing = world.in_order.next_missing().await;
        asked.lock().push(missing);
    };
    assert!(tokio::time::timeout(PATIENCE, world.in_order.keep_asking(ask)).await.is_err(), "no more is missing");
    let asked = asked.into_inner();
    assert_eq!(asked.len(), 2);
    for again in asked {
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
    let (missing, given) = (world.missing().await, of_epoch(1, 2));
    assert_eq!(world.found(&missing, vec![given.clone()]), ["1:2", "1:3"]);
    assert_eq!(world.heard_of([of_epoch(2, 1), given, of_epoch(2, 2)]), ["2:1", "2:2"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_skipped_is_read_and_said_late() {
    let (world, began) = (World::default(), Instant::now());
    assert_eq!(world.heard_of([kept(0, 1)]), ["1"]);
    too_much_from(&world, 4);
    let (missing, given) = (world.missing().await, [kept(2, 2), kept(2, 3)]);
    assert_eq!((began.elapsed(), missing.next, missing.until.0), (PATIENCE, 2, 4));
    // One comes while the store is read, and one after it.
    assert_eq!(world.heard_of([given[0].clone()]), ["2"]);
    assert_eq!(world.found(&missing, given.to_vec()), ["3"]);
    assert_eq!(world.heard_of([given[1].clone()]), [""; 0]);
    nothing_is_missing(&world).await;
    // What comes late by itself needs no store.
    too_much_from(&world, 70);
    assert_eq!(world.heard_of([kept(2, 69)]), ["69"]);
    nothing_is_missing(&world).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_skipped_while_the_store_was_read_is_said_late() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(0, 1), kept(0, 3)]), ["1"]);
    let first = world.missing().await;
    assert_eq!(world.heard_of((4..3 + WAITING_MAX as u64).map(|offset| kept(0, offset))), [""; 0]);
    assert_eq!(world.heard_of([kept(0, 90)]).len(), WAITING_MAX + 1);
    assert_eq!(world.found(&first, vec![kept(2, 2)]), ["2"]);
    // There is another gap, which was not asked for. Of a long one the last are read.
    let missing = world.missing().await;
    assert_eq!((missing.next, missing.until.0), (67, 90));
    assert_eq!(world.found(&missing, Vec::new()), [""; 0]);
    nothing_is_missing(&world).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_skipped_for_a_senders_line_is_read() {
    let world = World::default();
    assert_eq!(world.heard_of([kept_from(1, "jo", 1), kept_from(1, "jo", 3)]), ["1"]);
    let line = (0..=WAITING_MAX).map(|nth| private(1, "jo", &format!("nth {nth}")));
    assert_eq!(world.heard_of(line).len(), WAITING_MAX + 2);
    let missing = world.missing().await;
    assert_eq!(world.found(&missing, vec![kept(2, 2)]), ["2"]);
    nothing_is_missing(&world).await;
}

#[tokio::test(start_paused = true)]
async fn not_all_that_was_skipped_is_remembered() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(0, 1)]), ["1"]);
    let gappy = (1..=WAITING_MAX as u64 + 1).map(|nth| kept(0, nth * 1_000));
    assert_eq!(world.heard_of(gappy).len(), WAITING_MAX + 1);
    let mut asked = Vec::new();
    while let Ok(missing) = tokio::time::timeout(LATE, world.in_order.next_missing()).await {
        world.found(&missing, Vec::new());
        asked.push((missing.next, missing.until.0));
    }
    assert!(asked.iter().copied().eq((50..=65).map(|nth| (nth * 1_000 - 64, nth * 1_000))), "{asked:?}");
    nothing_is_missing(&world).await;
}

#[test]
fn a_connection_that_came_from_another_node_is_the_sender_that_it_was() {
    let world = World::default();
    let connection = ConnectionId::random();
    let of_connection = |push: Push| {
        let event = Event { from_connection: Some(connection), ..Event::clone(&push.event) };
        Push { event: Arc::new(event), ..push }
    };
    let said = [kept(3, 1), of_connection(kept_from(1, "jo", 3)), of_connection(private(2, "jo", "a"))];
    assert_eq!(world.heard_of(said), ["1"]);
    // Of an endpoint that speaks by no connection, each node is a sender of its own.
    assert_eq!(world.heard_of([private(2, "jo", "b")]), ["b"]);
    assert_eq!(world.heard_of([kept(3, 2)]), ["2", "3", "a"]);
    assert_eq!(world.load(), (0, 0));
}

#[test]
fn a_panic_leaves_nothing_in_what_waits() {
    let world = World::default();
    let brought = [kept_from(1, "jo", 1), kept_from(1, "jo", 3), private(1, "jo", "lost"), private(1, "jo", "too")];
    assert_eq!(world.heard_of(brought), ["1"]);
    let panicked = |of: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(of)).is_err();
    assert!(panicked(&|| {
        let (known, mut freed) = (world.group(app(), &room()), world.in_order.freed());
        world.in_order.take(&known, kept(2, 2), &mut freed, &mut |push| match push.kept() {
            Some((_, _, Place { offset: 3, .. })) => panic!("cannot be encoded"),
            _ => world.hear(push),
        });
    }));
    assert_eq!(world.load(), (0, 0));
    // And while somebody goes on with a line.
    assert_eq!(world.heard_of([kept_from(1, "jo", 5), private(1, "jo", "lost"), private(1, "jo", "too")]), ["2"]);
    assert!(panicked(&|| {
        let (known, mut freed) = (world.group(app(), &room()), world.in_order.freed());
        world.in_order.take(&known, kept(2, 4), &mut freed, &mut |push| world.hear(push));
        assert!(freed.next().is_none(), "it cannot be handed out");
    }));
    assert_eq!(world.take_heard(), ["4", "5"]);
    assert_eq!(world.load(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_busy_when_it_is_to_be_forgotten_is_forgotten_later() {
    let world = World::default();
    let groups = || world.in_order.groups.read().values().map(HashMap::len).sum::<usize>();
    let other = GroupName::parse("other").unwrap();
    let room_order = world.group(app(), &room());
    world.in_order.leave(app(), &room());
    tokio::time::advance(LATE + PATIENCE).await;
    {
        let _busy = room_order.order.lock();
        world.group(app(), &other);
        world.in_order.leave(app(), &other);
    }
    assert_eq!(groups(), 2);
    tokio::time::advance(LATE + PATIENCE).await;
    world.group(app(), &GroupName::parse("third").unwrap());
    world.in_order.leave(app(), &GroupName::parse("third").unwrap());
    assert_eq!(groups(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_gave_long_ago_is_not_remembered_of_who_left() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(1, 1), kept(1, 3)]), ["1"]);
    let (missing, given) = (world.missing().await, kept(2, 2));
    assert_eq!(world.found(&missing, vec![given.clone()]), ["2", "3"]);
    tokio::time::advance(LATE).await;
    world.in_order.leave(app(), &room());
    world.in_order.come(app(), &room());
    assert_eq!(world.heard_of([given]), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_waited_for_since_there_was_something_to_ask() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(1, 1), kept(1, 3), kept(1, 5)]), ["1"]);
    let first = world.missing().await;
    // What waited in its sender's line while the store was slow has waited for no turn.
    tokio::time::advance(READ_WITHIN).await;
    assert_eq!(world.found(&first, Vec::new()), ["3"]);
    let since = Instant::now();
    tokio::time::advance(PATIENCE).await;
    let second = world.missing().await;
    assert_eq!((second.next, second.due), (4, since));
    assert_eq!(world.found(&second, Vec::new()), ["5"]);
    nothing_is_missing(&world).await;
    // Nor has what is not due yet.
    let (began, _) = (Instant::now(), world.heard_of([kept(2, 7)]));
    tokio::time::advance(READ_WITHIN * 2).await;
    assert_eq!(world.missing().await.due, began + PATIENCE);
}

#[test]
fn what_seems_newer_and_is_of_an_older_history_ends_no_order_for_good() {
    let world = World::default();
    let at = |secs: i64, push: Push| {
        let event = Event { at: Timestamp::from_secs(secs), ..Event::clone(&push.event) };
        Push { event: Arc::new(event), ..push }
    };
    // By the clock of its node it was kept after the other history began.
    assert_eq!(world.heard_of([of_epoch(2, 1), at(3, of_epoch(1, 70)), of_epoch(2, 2)]), ["2:1", "1:70", "2:2"]);
    let newer = [at(4, of_epoch(2, 3)), at(5, of_epoch(2, 5)), at(4, of_epoch(2, 4))];
    assert_eq!(world.heard_of(newer), ["2:3", "2:4", "2:5"]);
    assert_eq!(world.load(), (0, 0));
}
