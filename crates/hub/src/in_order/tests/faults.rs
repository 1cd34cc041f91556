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
