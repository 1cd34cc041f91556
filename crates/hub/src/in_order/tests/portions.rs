//! Much that waited is not handed out in one go.

use super::*;

#[test]
fn much_that_waited_is_handed_out_in_portions_and_in_order() {
    const SENDERS: usize = 40;
    const EACH: usize = 60;
    // What waits in a group, and behind one of its senders.
    const PORTION: usize = 2 * WAITING_MAX;
    let (world, who) = (World::default(), |nth: usize| format!("sender-{nth}"));
    let say = |nth: usize, said: usize| private(1, &who(nth), &format!("{nth}: {said}"));
    assert_eq!(world.heard_of([kept(1, 1)]), ["1"]);
    for nth in 0..SENDERS {
        let line = (0..EACH).map(|said| say(nth, said));
        assert_eq!(world.heard_of([kept_from(1, &who(nth), nth as u64 + 3)].into_iter().chain(line)), [""; 0]);
    }
    let mut heard = world.heard_of([kept(2, 2)]);
    assert!(heard.len() <= PORTION + 1, "{}", heard.len());
    // What one says meanwhile comes behind what he said, also where he has to go on by himself with it.
    let mut said = [EACH; SENDERS];
    let mut portions = 1;
    loop {
        for nth in [3, 17, 39] {
            for _ in 0..3 {
                let portion = world.heard_of([say(nth, said[nth])]);
                assert!(portion.len() <= PORTION, "{}", portion.len());
                heard.extend(portion);
                said[nth] += 1;
            }
        }
        assert!(world.load().0 <= (SENDERS + 1) * (WAITING_MAX + 2), "{}", world.load().0);
        let Some(portion) = world.heard_later() else { break };
        assert!(portion.len() <= PORTION, "{}", portion.len());
        (heard, portions) = ([heard, portion].concat(), portions + 1);
    }
    assert!(portions >= SENDERS * EACH / PORTION, "{portions}");
    for (nth, said) in said.into_iter().enumerate() {
        let prefix = format!("{nth}: ");
        let of_one = heard.iter().filter_map(|heard| heard.strip_prefix(&prefix)?.parse::<usize>().ok());
        assert!(of_one.eq(0..said), "{nth}");
    }
    assert_eq!(world.load(), (0, 0));
}

#[test]
fn who_goes_on_speaking_while_much_is_handed_out_has_no_longer_line_than_may_be() {
    let world = World::default();
    assert_eq!(world.heard_of([kept(1, 1)]), ["1"]);
    for nth in 0..10 {
        let who = format!("sender-{nth}");
        let line = (0..WAITING_MAX).map(|said| private(1, &who, &format!("{nth}: {said}")));
        world.heard_of([kept_from(1, &who, nth + 3)].into_iter().chain(line));
    }
    let mut heard = world.heard_of([kept(2, 2)]);
    let (before, _) = world.load();
    // Nobody goes on with what is left, but who says more than may wait.
    for said in WAITING_MAX..WAITING_MAX * 20 {
        heard.extend(world.heard_of([private(1, "sender-0", &format!("0: {said}"))]));
        assert!(world.load().0 <= before + WAITING_MAX + 1, "{said}");
    }
    while let Some(portion) = world.heard_later() {
        heard.extend(portion);
    }
    let of_one = heard.iter().filter_map(|heard| heard.strip_prefix("0: ")?.parse::<usize>().ok());
    assert!(of_one.eq(0..WAITING_MAX * 20));
    assert_eq!(world.load(), (0, 0));
}
