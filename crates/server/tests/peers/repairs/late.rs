//! What a node costs others that is slow to answer, silent or gone.

use respoke_core::refusal::Refusal;

use super::*;

/// One node that does not answer holds up no repair but its own.
#[tokio::test(start_paused = true)]
async fn whoever_does_not_answer_holds_up_nobody_else() {
    let world = World::new().await;
    let rooms: Vec<_> = (0..900).map(|number| format!("room {number}")).collect();
    for rooms in rooms.chunks(20) {
        world.join(&rooms.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    world.bus.asked.lock().clear();
    world.bus.answer(|asked, _| (asked == node(3)).then(|| (Duration::ZERO, 10, nobody())));
    let began = Instant::now();
    world.misses(node(2), 10);
    world.misses(node(3), 10);
    sleep(10 * SECOND).await;
    let asked = world.bus.asked(node(3));
    assert!(asked.len() >= 4 && asked.iter().all(|at| *at - began < SECOND / 10), "{began:?} {asked:?}");
    // It is asked again, though not all the time.
    let asked = world.bus.asked(node(2));
    assert!((4..12).contains(&asked.len()), "{asked:?}");
}

/// That something is lost of one node is told though another is slow to say who is there.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_slow_to_answer_holds_back_nothing_that_is_to_be_told() {
    let world = World::new().await;
    // It is asked again and again.
    world.bus.answer(|asked, _| (asked == node(3)).then(|| (SECOND * 9 / 10, 10, nobody())));
    for missed in [node(2), node(3)] {
        world.misses(missed, 10);
        sleep(SECOND / 100).await;
        let received = world.received();
        assert_eq!(received.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["missed"], "of {missed:?}");
        sleep(SECOND * 5 / 2).await;
    }
}

/// However much there is to be asked of a node that answers each time just before it is given up, others are asked meanwhile.
#[tokio::test(start_paused = true)]
async fn a_node_that_answers_just_in_time_holds_up_nobody_elses_repair() {
    let world = World::new().await;
    let rooms: Vec<_> = (0..900).map(|number| format!("room {number}")).collect();
    for rooms in rooms.chunks(20) {
        world.join(&rooms.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    world.bus.answer(|asked, _| {
        let takes = if asked == node(2) { SECOND * 9 / 10 } else { Duration::ZERO };
        Some((takes, 10, nobody()))
    });
    world.misses(node(2), 10);
    sleep(SECOND / 10).await;
    world.bus.asked.lock().clear();
    let began = Instant::now();
    world.misses(node(3), 10);
    sleep(20 * SECOND).await;
    let asked = world.bus.asked(node(3));
    assert!(asked.len() == 4 && asked.iter().all(|at| *at - began < SECOND / 10), "{began:?} {asked:?}");
    // The one that is slow has answered all, too, and is not asked for more.
    assert_eq!(world.bus.asked(node(2)).len(), 3, "beside the first, which it was asked before");
}

/// What one node answers is laid though of another something is lost meanwhile, and asked, again and again.
#[tokio::test(start_paused = true)]
async fn what_is_lost_of_one_node_makes_no_answer_of_another_stale() {
    let world = World::new().await;
    let one = ConnectionId::random();
    world.bus.answer(move |asked, _| {
        let slow = asked == node(2);
        let found = if slow { vec![present(one)] } else { Vec::new() };
        let takes = if slow { SECOND * 9 / 10 } else { Duration::ZERO };
        Some((takes, 1_000, Answer::Snapshot { found, more: false }))
    });
    world.misses(node(2), 10);
    for number in 0..10 {
        sleep(SECOND / 5).await;
        world.misses(node(3), 10 + number);
    }
    assert_eq!(of(&world.received(), one), ["join"]);
}

/// Who came while a node was late is told once that knows of it, or is gone.
#[tokio::test(start_paused = true)]
async fn who_came_while_a_node_was_late_has_missed_something_also_if_that_is_gone() {
    let world = World::new().await;
    for confirmed in [1, Confirmation::GONE] {
        world.bus.aware.send_replace(0);
        let socket = world.connect("bob").await;
        sleep(SECOND).await;
        assert_eq!(received_from(&socket, "fromConnection"), []);
        // That it is lost may be heard of later.
        world.bus.aware.send_replace(confirmed);
        sleep(SECOND).await;
        let names: Vec<_> = received_from(&socket, "fromConnection").into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"missed".to_owned()), "{names:?}");
    }
}

/// What a node answers of those that are there, piece by piece, if it is asked who that is.
fn in_pieces(there: &[Present], question: &Question) -> Answer {
    let Question::Snapshot { after, .. } = question else { return Answer::Count(0) };
    let is_behind = |present: &&Present| after.is_none_or(|after| (present.of, present.connection) > after);
    let mut found: Vec<_> = there.iter().filter(is_behind).take(1_001).cloned().collect();
    let more = found.len() > 1_000;
    found.truncate(1_000);
    Answer::Snapshot { found, more }
}

/// What is asked of a node that is well is asked whole, whoever else is silent.
#[tokio::test(start_paused = true)]
async fn a_silent_node_makes_nobody_unheard_who_has_more_to_say() {
    let world = World::new().await;
    // As many as a group may have.
    let full: Vec<_> = ids(10_000).into_iter().map(present).collect();
    world.bus.answer(move |asked, question| {
        (asked == node(2)).then(|| (Duration::from_millis(10), 1_000, in_pieces(&full, question)))
    });
    let joined = world.hub.join(&world.asker(&Context::internal()), &[group("full")]).await;
    assert!(matches!(joined, Err(Refusal::LimitReached(_))), "{joined:?}");
}

/// The same of a carrier that takes its time.
#[tokio::test(start_paused = true)]
async fn whoever_joins_waits_for_answers_as_long_as_they_are_on_their_way() {
    let world = World::new().await;
    let full: Vec<_> = ids(10_000).into_iter().map(present).collect();
    *world.bus.way.lock() = SECOND / 10;
    world.bus.answer(move |_, question| Some((SECOND / 34, 1_000, in_pieces(&full, question))));
    let joined = world.hub.join(&world.asker(&Context::internal()), &[group("full")]).await;
    assert!(matches!(joined, Err(Refusal::LimitReached(_))), "{joined:?}");
}

/// However much is asked about, a node that is well is asked about all of it.
#[tokio::test(start_paused = true)]
async fn a_silent_node_keeps_back_nothing_of_what_others_have() {
    let world = World::new().await;
    let (presence, present_of) = (
        Presence { kind: RawValue::from_string("\"here\"".to_owned()).unwrap(), show: None, status: None },
        ids(1_000),
    );
    world.bus.answer(move |asked, question| {
        let Question::Snapshot { of, .. } = question else { return None };
        let found = of.iter().zip(0..).map(|(interest, of)| {
            let Interest::Observers(_, endpoint) = interest else { panic!("{interest:?}") };
            let nth: usize = endpoint.as_str().trim_start_matches("contact ").parse().unwrap();
            Present { of, endpoint: endpoint.clone(), connection: present_of[nth], presence: Some(presence.clone()) }
        });
        let answer = Answer::Snapshot { found: found.collect(), more: false };
        (asked == node(2)).then_some((SECOND / 10, 1_000, answer))
    });
    let contacts = (0..1_000).map(|nth| endpoint(&format!("contact {nth}"))).collect();
    let found = world.hub.observe(&world.asker(&Context::internal()), contacts).await.unwrap();
    assert_eq!(found.iter().map(|(_, presences)| presences.len()).sum::<usize>(), 1_000);
    assert_eq!(world.bus.asked(node(3)).len(), 4, "once about each portion");
}
