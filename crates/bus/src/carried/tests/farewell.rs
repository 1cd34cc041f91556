//! What is told of a node that is gone: what it said last, and nobody heard, unless it took leave behind that.

use std::ops::RangeInclusive;

use respoke_wire::bus::pieces;

use super::unknown::{among_others, bring, change};
use super::*;

fn farewell() -> Bytes {
    farewell_knowing(0)
}

fn farewell_knowing(known: u64) -> Bytes {
    Item::News(InterestNews::Farewell { known }).encode().unwrap()
}

/// What is told as missed when the other node is gone, of which this arrived, each with its number.
fn missed_after(items: &[(u64, Bytes)]) -> Vec<RangeInclusive<u64>> {
    let (bus, _, told) = among_others();
    for (number, item) in items {
        bring(&bus, *number, item);
    }
    bus.nodes_are(&[]);
    assert_eq!(*told.lost.lock(), [node(2)]);
    told.missed.lock().iter().map(|gap| gap.numbers.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_node_may_have_said_last_is_told_as_missed_unless_it_took_leave() {
    assert_eq!(missed_after(&[(2, change())]), [1..=u64::MAX]);
    assert_eq!(missed_after(&[(1, change()), (2, change())]), [3..=u64::MAX]);
    assert_eq!(missed_after(&[(1, change()), (2, farewell())]), []);
    // What it answers to those who ask it meanwhile is nothing that was said.
    let answer = Item::NoAnswer { ask: 7 }.encode().unwrap();
    assert_eq!(missed_after(&[(1, change()), (2, farewell()), (3, answer)]), []);
}

/// It could not begin.
#[tokio::test(start_paused = true)]
async fn of_a_node_that_never_spoke_nothing_is_missed() {
    assert_eq!(missed_after(&[]), []);
}

#[tokio::test(start_paused = true)]
async fn a_farewell_that_came_before_something_that_did_not_is_none() {
    assert_eq!(missed_after(&[(1, change()), (3, farewell())]), [2..=u64::MAX]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_whole_yet_is_missed_with_all_of_its_parts() {
    let long = Item::News(InterestNews::App(AppId::from_uuid(uuid::Uuid::nil()), vec![InterestHash(7); 40_000]));
    let parts: Vec<_> = pieces(&long.encode().unwrap()).collect();
    assert!(parts.len() > 2);
    assert_eq!(missed_after(&[(1, change()), (2, parts[0].clone()), (3, parts[1].clone())]), [2..=u64::MAX]);
}

/// What it made up for last goes out behind its farewell.
#[tokio::test(start_paused = true)]
async fn what_is_known_to_have_been_sent_behind_a_farewell_and_did_not_come_is_missed() {
    assert_eq!(missed_after(&[(1, farewell()), (2, change())]), []);
    assert_eq!(missed_after(&[(1, farewell()), (3, change())]), [2..=u64::MAX]);
}

/// Who could not read the database meanwhile knew nobody to take it from.
#[tokio::test(start_paused = true)]
async fn of_a_node_that_came_and_went_unknown_all_that_it_said_is_missed_once() {
    let (bus, _, told) = among_others();
    let (known, unknown) = (node(2), node(3));
    bring(&bus, 1, &farewell());
    bus.nodes_are(&[node(1)]);
    for _ in 0..2 {
        bus.are_over(&[known, unknown, later(node(1))]);
    }
    assert_eq!(*told.missed.lock(), [Gap { from: unknown, numbers: 1..=u64::MAX }]);
    assert_eq!(*told.lost.lock(), [known, unknown]);
    // It does not come back by an old list.
    bus.nodes_are(&[unknown]);
    assert_eq!(bus.other_nodes(), []);
}

/// Nobody is connected there any more, so nothing has to be known of it, and nothing more is said there.
#[tokio::test(start_paused = true)]
async fn whoever_took_leave_is_neither_waited_for_nor_asked() {
    let (bus, keeps, _) = among_others();
    let mut before = bus.hold(&room("before"));
    assert_eq!((before.missing(), bus.other_nodes()), (vec![node(2)], vec![node(2)]));
    bring(&bus, 1, &farewell());
    assert_eq!((bus.hold(&room("after")).missing(), bus.other_nodes()), (vec![], vec![]));
    let question = Question::Count { app_id: AppId::random(), of: respoke_core::ports::Holder::App };
    let answers = bus.ask(Whom::Others, question, Duration::from_secs(60)).await;
    assert!(answers.given.is_empty() && answers.silent.is_empty(), "{answers:?}");
    assert!(!keeps.items().iter().any(|item| matches!(item, Item::Question { .. })));
    // Whoever waited before waits until it is gone: what was said there until then may have gone past them.
    assert_eq!(before.missing(), [node(2)]);
    bus.nodes_are(&[]);
    before.done().await;
}

/// One may be heard that hears nothing.
#[tokio::test(start_paused = true)]
async fn whoever_is_not_known_to_have_heard_anything_is_named() {
    let (bus, _, _) = among_others();
    bring(&bus, 1, &Item::News(InterestNews::Complete).encode().unwrap());
    assert_eq!(bus.deaf(), [node(2)]);
    let seen = Frame { from: node(2), to: node(1), content: Content::Seen(1) };
    bus.arrived(&seen.encode().unwrap()).unwrap();
    assert!(bus.deaf().is_empty() && bus.is_all_seen());
}

/// How often a farewell was sent.
fn farewells(items: &[Item]) -> usize {
    items.iter().filter(|item| matches!(item, Item::News(InterestNews::Farewell { .. }))).count()
}

#[tokio::test(start_paused = true)]
async fn whoever_is_heard_of_after_the_farewell_is_told_too() {
    let (bus, keeps, _) = among_others();
    bus.say_farewell();
    assert_eq!(farewells(&keeps.items()), 1);
    assert!(!bus.is_all_seen());
    bus.nodes_are(&[node(2), node(3)]);
    bus.nodes_are(&[node(2), node(3)]);
    assert_eq!(farewells(&keeps.items()), 2);
}

/// Whoever hears that knows that nothing more is made up for.
#[tokio::test(start_paused = true)]
async fn what_was_made_up_for_behind_a_farewell_is_followed_by_another() {
    let (bus, keeps, _) = among_others();
    let late =
        Item::News(InterestNews::Late { app_id: AppId::random(), of: Vec::new(), millis: 300 }).encode().unwrap();
    bring(&bus, 1, &late);
    assert_eq!(farewells(&keeps.items()), 0);
    bus.say_farewell();
    bring(&bus, 2, &late);
    // What both say when both end is answered by neither.
    bring(&bus, 3, &farewell());
    let items = keeps.items();
    assert_eq!(farewells(&items), 2);
    assert!(matches!(items.last(), Some(Item::News(InterestNews::Farewell { known: 2 }))), "{items:?}");
}

/// Who has it says so at once: whoever leaves waits for that.
#[tokio::test(start_paused = true)]
async fn a_farewell_is_confirmed_at_once() {
    let (bus, keeps, _) = among_others();
    bring(&bus, 1, &farewell());
    assert!(keeps.says_seen(1));
}
