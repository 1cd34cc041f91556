//! What is told of a connection that moves, when something of that comes late, never or in another order.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_bus::faulty::Faults;
use respoke_core::id::RequestId;
use respoke_core::ports::{Answer, Bus, Deed, Delivery, Departed, Done, Gap, Question, Receiver, Source};
use respoke_core::refusal::Refusal;
use respoke_hub::Connection;
use respoke_hub::ops::Asker;
use tokio::time::Instant;

use super::scene::{LATER, Scene, is_consistent};
use crate::world::{World, events, group, id};

#[tokio::test(start_paused = true)]
async fn what_was_given_up_and_did_not_arrive_is_told_as_gone() {
    let scene = Scene::draining().await;
    // It is asked for and given up, and the answer is lost for longer than is waited for it.
    scene.world.between.cut_one_way(id(0), id(1));
    let back = scene.world.connect(1, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
    scene.world.mend(0, 1);
    assert!(scene.world.nodes[1].bus.asked().iter().any(|asked| matches!(asked, Question::Parked(_))));
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
    scene.drained(0).await;
    scene.is_told_as_gone();
    scene.is_consistent(&[0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hears_late_where_one_came_back_to_knows_it_at_last() {
    let scene = Scene::draining().await;
    scene.world.between.cut_one_way(id(1), id(2));
    let _back = scene.world.connect(1, "alice").await;
    scene.drained(0).await;
    scene.nothing_is_told();
    scene.leave(0).await;
    scene.world.mend(1, 2);
    tokio::time::sleep(LATER).await;
    let [bob, carol] = scene.told();
    assert_eq!(bob, vec![]);
    // She was told of the node's end before, and that it had alice.
    assert!(carol.iter().any(|(name, _)| name == "join"), "{carol:?}");
    scene.is_consistent(&[1, 2]);
}

/// Whatever is lost, delayed and doubled between nodes, all know in the end who is where.
#[tokio::test(start_paused = true)]
async fn whatever_lies_between_nodes_all_know_in_the_end_who_came_back() {
    let mut kept = 0;
    for seed in 1..=30 {
        let faults = Faults { delay_max: Duration::from_millis(30 + 20 * (seed % 5)), ..Faults::MANY };
        let world = World::with_between(3, seed, faults).await;
        let mut clients = Vec::new();
        for (nth, name) in ["ann", "bob", "cat", "dan", "eve", "fay"].into_iter().enumerate() {
            let client = world.connect(nth % 3, name).await;
            world.join(&client, "room").await;
            world.observe(&client, ["bob", "cat", "ann"][nth % 3]).await;
            world.say(&client, "chat").await;
            clients.push((name, client));
        }
        for drained in 0..2 {
            let hub = &world.nodes[drained].hub;
            hub.begin_to_park(LATER).await;
            for (nth, (name, client)) in
                clients.iter_mut().enumerate().filter(|(_, (_, client))| client.node == drained)
            {
                hub.send_away(&client.socket);
                tokio::time::sleep(Duration::from_millis((seed * 37 + nth as u64 * 101) % 300)).await;
                if (seed + nth as u64).is_multiple_of(4) {
                    // It comes back late, or to nobody.
                    continue;
                }
                let before = client.connection.id;
                *client = world.connect(if drained == 0 && nth % 2 == 0 { 1 } else { 2 }, name).await;
                kept += usize::from(client.connection.id == before);
                world.join(client, "room").await;
                if nth % 3 == 0 {
                    world.join(client, "hall").await;
                }
            }
            hub.end_parking().await;
            world.between.lose(world.nodes[drained].node());
            clients.retain(|(_, client)| client.node != drained);
            tokio::time::sleep(8 * LATER).await;
            let left: Vec<_> = (drained + 1..3).collect();
            is_consistent(&world, &left);
            assert_eq!(left.iter().map(|node| world.members(*node)).sum::<usize>(), {
                let own = |node: &usize| world.nodes[*node].hub.inspected().own;
                left.iter().flat_map(|node| own(node).into_values()).map(|own| own.groups.len()).sum::<usize>()
            });
        }
    }
    assert!(kept >= 80, "so few came back as what they were: {kept}");
}

/// Longer than it is known of a connection from where it went.
#[tokio::test(start_paused = true)]
async fn a_node_that_never_hears_that_one_came_back_ends_nothing_of_it() {
    let scene = Scene::draining().await;
    let between = scene.world.between.clone();
    *scene.world.nodes[1].bus.when_claimed.lock() = Some(Box::new(move || between.cut_one_way(id(1), id(0))));
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    tokio::time::sleep(12 * LATER).await;
    scene.world.mend(0, 1);
    tokio::time::sleep(2 * LATER).await;
    let is_missed = |(name, _): &(String, String)| name == "missed";
    scene.told().iter().flatten().for_each(|told| assert!(is_missed(told), "{told:?}"));
    scene.drained(0).await;
    scene.told().iter().flatten().for_each(|told| assert!(is_missed(told), "{told:?}"));
    scene.leave(0).await;
    scene.nothing_is_told();
    scene.is_consistent(&[1, 2]);
}

/// It is told as gone and then as come, for each who is told at all.
#[track_caller]
fn is_told_as_gone_and_come(told: &[(String, String)]) {
    assert_eq!(told.len(), 4, "{told:?}");
    let (gone, come) = told.split_at(2);
    for (told, group) in [(gone, "leave"), (come, "join")] {
        let mut told = told.to_vec();
        told.sort();
        assert_eq!(told, events(&[(group, "alice"), ("presence", "alice")]));
    }
}

/// What one node says of it comes behind what the one says that drained: it is given up there as lost on its way.
#[tokio::test(start_paused = true)]
async fn one_that_arrives_when_it_is_given_up_as_lost_is_there_in_the_end() {
    let scene = Scene::draining().await;
    let publish = hold_back_moved(&scene, 1);
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    scene.world.nodes[0].hub.end_parking().await;
    // It has heard that it is gone, and has told nobody.
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.nothing_is_told();
    publish();
    tokio::time::sleep(LATER).await;
    let [bob, carol] = scene.told();
    assert_eq!(bob, vec![]);
    is_told_as_gone_and_come(&carol);
    scene.is_consistent(&[0, 1, 2]);
}

/// A gap costs what said that it moved, and who asks finds it where it is now.
#[tokio::test(start_paused = true)]
async fn one_that_is_found_by_asking_when_it_is_given_up_as_lost_is_told_as_gone_and_then_as_come() {
    let scene = Scene::draining().await;
    let _never = hold_back_moved(&scene, 1);
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    scene.world.nodes[0].hub.end_parking().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.nothing_is_told();
    scene.world.nodes[2].hub.missed(Gap { from: scene.world.nodes[1].node(), numbers: 1..=1 });
    tokio::time::sleep(LATER).await;
    let [_, mut carol] = scene.told();
    let missed = carol.iter().position(|(name, _)| name == "missed");
    carol.remove(missed.expect("she is told of the gap"));
    is_told_as_gone_and_come(&carol);
    scene.is_consistent(&[1, 2]);
}

/// What it says now is not what it said last.
#[tokio::test(start_paused = true)]
async fn one_that_speaks_when_it_is_given_up_as_lost_is_told_as_gone_before() {
    let scene = Scene::draining().await;
    let _never = hold_back_moved(&scene, 1);
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    scene.world.nodes[0].hub.end_parking().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.nothing_is_told();
    scene.world.say(&back, "away").await;
    tokio::time::sleep(LATER).await;
    let [_, carol] = scene.told();
    assert_eq!(carol, events(&[("leave", "alice"), ("presence", "alice"), ("presence", "alice")]));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_as_lost_before_it_is_registered_is_there_in_the_end() {
    let scene = Scene::draining().await;
    let Connection { app_id, endpoint, id, .. } = &*scene.alice.connection;
    let (app_id, endpoint, connection) = (*app_id, endpoint.clone(), *id);
    let departed = Departed { app_id, endpoint, connection, groups: vec![group("room")] };
    let (hub, from) = (scene.world.nodes[1].hub.clone(), scene.world.nodes[0].node());
    *scene.world.nodes[1].bus.when_claimed.lock() = Some(Box::new(move || {
        hub.receive(Source::There { node: from, number: 1_000_000 }, Delivery::Departed(departed));
    }));
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, connection);
    tokio::time::sleep(LATER).await;
    let [bob, carol] = scene.told();
    is_told_as_gone_and_come(&bob);
    assert_eq!(carol, vec![]);
    scene.is_consistent(&[1, 2]);
}

/// Says of a node's `Moved` when it is to be published, and holds it back until then.
fn hold_back_moved(scene: &Scene, node: usize) -> impl FnOnce() {
    let (bus, held_back) = (scene.world.nodes[node].bus.clone(), Arc::new(Mutex::new(None)));
    let holds_back = held_back.clone();
    *bus.when_publishing.lock() = Some(Arc::new(move |delivery, publish| match delivery {
        Delivery::Moved(_) => *holds_back.lock() = Some(delivery.clone()),
        _ => publish(),
    }));
    move || {
        *bus.when_publishing.lock() = None;
        let moved = held_back.lock().take().expect("something moved");
        bus.publish(moved);
    }
}

/// The node that it came to is about to tell so.
#[tokio::test(start_paused = true)]
async fn one_that_arrives_when_parking_ends_is_not_given_up_as_lost() {
    let scene = Scene::draining().await;
    let publish = hold_back_moved(&scene, 1);
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    let ends = async {
        let start = Instant::now();
        scene.world.nodes[0].hub.end_parking().await;
        start.elapsed()
    };
    let arrives = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publish();
    };
    let (took, ()) = tokio::join!(ends, arrives);
    assert!(took < Duration::from_millis(200), "it waits no longer than until it arrived: {took:?}");
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
    scene.is_consistent(&[0, 1, 2]);
}

/// Nobody has to wait for that until the node ends.
#[tokio::test(start_paused = true)]
async fn what_does_not_arrive_is_told_as_gone_while_others_are_still_waited_for() {
    let scene = Scene::draining().await;
    scene.world.between.cut_one_way(id(0), id(1));
    let back = scene.world.connect(1, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
    scene.world.mend(0, 1);
    let keeping = scene.world.nodes[0].hub.keep_parking();
    assert!(tokio::time::timeout(4 * LATER, keeping).await.is_err(), "it goes on parking");
    scene.is_told_as_gone();
    assert!(!scene.world.nodes[0].hub.has_parked());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_with_one_that_is_on_its_way_and_who_asked_is_told_to_try_again() {
    let scene = Scene::draining().await;
    scene.world.between.cut_one_way(id(0), id(1));
    let _another = scene.world.connect(1, "alice").await;
    scene.world.mend(0, 1);
    tokio::time::sleep(LATER).await;
    let connection = scene.alice.connection.id;
    for node in 0..3 {
        let (hub, asking) = (&scene.world.nodes[node].hub, scene.world.asking(node).await);
        let asker = Asker { connection_id: Some(connection), ..asking.asker() };
        let done = [
            hub.join(&asker, &[group("hall")]).await,
            hub.leave(&asker, &[group("room")]).await,
            hub.disconnect(&asking.asker(), &connection.to_string()).await,
        ];
        for done in done {
            assert!(matches!(done, Err(Refusal::NodeSilent)), "node {node}: {done:?}");
        }
    }
    scene.drained(0).await;
    let asking = scene.world.asking(2).await;
    let gone = scene.world.nodes[2].hub.disconnect(&asking.asker(), &connection.to_string()).await;
    assert!(matches!(gone, Err(Refusal::NotFound(_))), "{gone:?}");
}

/// They found it where it was parked.
#[tokio::test(start_paused = true)]
async fn who_wants_something_done_with_one_that_has_just_moved_is_not_told_that_it_is_gone() {
    let scene = Scene::draining().await;
    let back = scene.world.connect(1, "alice").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let hub = &scene.world.nodes[0].hub;
    let ask = |deed| {
        let request_id = RequestId::random();
        hub.answer(scene.world.nodes[2].node(), Question::Do { app_id: scene.world.app, request_id, deed })
    };
    let connection = back.connection.id;
    let join = || Deed::Join { connection, group: group("hall"), groups_max: None, members_max: None };
    for deed in [join(), Deed::Leave { connection, group: group("room") }, Deed::End { connection }] {
        let answer = ask(deed);
        assert!(matches!(answer, Answer::Done(Done::Moving)), "{answer:?}");
    }
    tokio::time::sleep(LATER).await;
    let answer = ask(join());
    assert!(matches!(answer, Answer::Done(Done::Gone)), "who looks for it now finds it: {answer:?}");
    let asking = scene.world.asking(2).await;
    let asker = Asker { connection_id: Some(connection), ..asking.asker() };
    scene.world.nodes[2].hub.join(&asker, &[group("hall")]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_parks_nothing_any_more_is_asked_once() {
    let scene = Scene::draining().await;
    let claims = || {
        let asked = scene.world.nodes[1].bus.asked();
        asked.iter().filter(|asked| matches!(asked, Question::Parked(_))).count()
    };
    scene.world.connect(1, "dan").await;
    scene.world.connect(1, "dan").await;
    assert_eq!(claims(), 2);
    scene.drained(0).await;
    scene.world.connect(1, "alice").await;
    scene.world.connect(1, "alice").await;
    assert_eq!(claims(), 1);
    // It is no better a node to come to.
    assert!(scene.world.nodes[2].hub.begin_to_park(LATER).await);
    scene.world.connect(0, "dan").await;
    assert!(!scene.world.nodes[0].bus.asked().iter().any(|asked| matches!(asked, Question::Parked(_))));
}
