//! Connections of a node that drains, and clients that come back.

mod claims;
mod late;
mod scene;

use std::task::{Context, Waker};

use respoke_core::id::GroupName;
use respoke_core::refusal::Refusal;
use respoke_hub::ops::{Asker, SignalRequest, Unlimited};
use respoke_wire::close::Close;
use serde_json::value::RawValue;

use self::scene::{LATER, Scene, TAKEN_UP, is_told_as_gone};
use crate::world::{Client, endpoint, events, group, id, received};

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_one_that_comes_back() {
    let scene = Scene::draining().await;
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    // It is in the room already.
    scene.world.publish(&scene.others[1], "room").await;
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&back), events(&[("pubsub", "carol")]));
    assert_eq!(scene.told(), [events(&[("pubsub", "carol")]), vec![]]);
    scene.world.join(&back, "room").await;
    scene.world.say(&back, "chat").await;
    scene.drained(0).await;
    scene.is_consistent(&[0, 1, 2]);
    scene.leave(0).await;
    tokio::time::sleep(TAKEN_UP).await;
    scene.world.nodes[1].hub.give_up_unclaimed().await;
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
    scene.is_consistent(&[1, 2]);
    // From here on it is as any other.
    scene.world.say(&back, "away").await;
    tokio::time::sleep(LATER).await;
    assert_eq!(scene.told(), [events(&[("presence", "alice")]), events(&[("presence", "alice")])]);
    scene.world.nodes[1].hub.close(&back.socket, Close::Left);
    tokio::time::sleep(LATER).await;
    scene.is_told_as_gone();
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_come_back_is_told_as_gone_once() {
    let scene = Scene::draining().await;
    scene.drained(0).await;
    scene.is_told_as_gone();
    scene.leave(0).await;
    scene.nothing_is_told();
    scene.is_consistent(&[1, 2]);
    let back = scene.world.connect(2, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
}

#[tokio::test(start_paused = true)]
async fn one_whose_node_is_lost_meanwhile_is_told_as_gone_once() {
    let scene = Scene::draining().await;
    scene.lose(0).await.into_iter().for_each(is_told_as_gone);
    let back = scene.world.connect(2, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
}

#[tokio::test(start_paused = true)]
async fn one_that_has_come_back_is_not_lost_with_the_node_that_it_came_from() {
    let scene = Scene::draining().await;
    let _back = scene.world.connect(2, "alice").await;
    assert_eq!(scene.lose(0).await, [vec![], vec![]]);
    scene.is_consistent(&[1, 2]);
}

#[tokio::test(start_paused = true)]
async fn one_comes_back_from_one_node_after_the_other() {
    let mut scene = Scene::new().await;
    let first = scene.alice.connection.id;
    scene.drain().await;
    scene.alice = scene.world.connect(1, "alice").await;
    scene.world.join(&scene.alice, "room").await;
    scene.drained(0).await;
    scene.leave(0).await;
    assert!(scene.world.nodes[1].hub.begin_to_park(LATER).await);
    scene.send_away(&scene.alice);
    let back = scene.world.connect(2, "alice").await;
    assert_eq!(back.connection.id, first);
    scene.drained(1).await;
    scene.nothing_is_told();
    scene.is_consistent(&[1, 2]);
    scene.leave(1).await;
    assert_eq!(received(&scene.others[1]), vec![("leave".to_owned(), "bob".to_owned())]);
    assert_eq!(scene.world.members(2), 2);
}

#[tokio::test(start_paused = true)]
async fn what_its_client_does_not_ask_for_again_is_left() {
    let scene = Scene::new().await;
    scene.world.join(&scene.alice, "hall").await;
    scene.drain().await;
    let back = scene.world.connect(1, "alice").await;
    scene.world.join(&back, "hall").await;
    scene.drained(0).await;
    scene.world.nodes[1].hub.give_up_unclaimed().await;
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
    tokio::time::sleep(TAKEN_UP).await;
    scene.world.nodes[1].hub.give_up_unclaimed().await;
    tokio::time::sleep(LATER).await;
    scene.is_told_as_gone();
    let own = &scene.world.nodes[1].hub.inspected().own[&back.connection.id];
    assert_eq!(own.groups.iter().cloned().collect::<Vec<_>>(), [group("hall")]);
    assert!(own.presence.as_ref().is_some_and(respoke_core::event::Presence::is_unavailable));
}

/// Alice comes back to node 1, in these groups and saying something, and her client asks for nothing in time.
async fn back_in(groups: &[GroupName]) -> (Scene, Client) {
    let scene = Scene::new().await;
    let asking = scene.world.asking(0).await;
    scene.world.nodes[0].hub.join(&asking.over(&scene.alice, &Unlimited), groups).await.unwrap();
    scene.drain().await;
    let back = scene.world.connect(1, "alice").await;
    scene.drained(0).await;
    tokio::time::sleep(TAKEN_UP).await;
    scene.nothing_is_told();
    (scene, back)
}

fn many_groups() -> Vec<GroupName> {
    (100..300).map(|nth| group(&format!("group{nth}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_its_client_asks_for_while_others_have_their_turn_is_not_left() {
    let (scene, back) = back_in(&many_groups()).await;
    let own = || scene.world.nodes[1].hub.inspected().own.remove(&back.connection.id).unwrap();
    let before = own().groups.len();
    let mut some = Box::pin(scene.world.nodes[1].hub.give_up_unclaimed());
    assert!(some.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(some);
    assert_eq!(own().groups.len(), before - 64);
    let left = own().groups.into_iter().next_back().unwrap();
    scene.world.join(&back, left.as_str()).await;
    scene.world.say(&back, "chat").await;
    scene.world.nodes[1].hub.give_up_unclaimed().await;
    assert_eq!(own().groups.into_iter().collect::<Vec<_>>(), [left]);
    tokio::time::sleep(LATER).await;
    scene.told().iter().flatten().for_each(|(name, _)| assert_ne!(name, "presence"));
}

#[tokio::test(start_paused = true)]
async fn whose_client_asks_for_a_group_at_the_moment_it_is_left_is_a_member_when_it_is_answered() {
    for _ in 0..5 {
        let mut groups = many_groups();
        let (scene, back) = back_in(&groups).await;
        let (asking, hub) = (scene.world.asking(1).await, scene.world.nodes[1].hub.clone());
        let (gives_up, handle) = (hub.clone(), tokio::runtime::Handle::current());
        let giving_up = tokio::task::spawn_blocking(move || handle.block_on(gives_up.give_up_unclaimed()));
        // From the other end, so that they meet.
        groups.reverse();
        hub.join(&asking.over(&back, &Unlimited), &groups).await.unwrap();
        giving_up.await.unwrap();
        groups.reverse();
        let own = hub.inspected().own.remove(&back.connection.id).unwrap();
        assert_eq!(own.groups.into_iter().collect::<Vec<_>>(), groups);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_ended_while_it_is_parked_is_told_as_gone_at_once() {
    let scene = Scene::draining().await;
    let asking = scene.world.asking(1).await;
    scene.world.nodes[1].hub.disconnect(&asking.asker(), &scene.alice.connection.id.to_string()).await.unwrap();
    tokio::time::sleep(LATER).await;
    scene.is_told_as_gone();
    let back = scene.world.connect(1, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
    scene.drained(0).await;
    scene.nothing_is_told();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_parked_unless_all_nodes_know_of_it() {
    let scene = Scene::new().await;
    scene.world.cut(0, 2);
    assert!(!scene.world.nodes[0].hub.begin_to_park(LATER).await);
    scene.world.mend(0, 2);
    scene.send_away(&scene.alice);
    tokio::time::sleep(LATER).await;
    scene.is_told_as_gone();
}

#[tokio::test(start_paused = true)]
async fn nobody_can_call_one_that_is_parked() {
    let scene = Scene::draining().await;
    let asking = scene.world.asking(1).await;
    let signal = RawValue::from_string(r#"{"signalType":"offer"}"#.to_owned()).unwrap();
    let request = SignalRequest {
        to: endpoint("alice"),
        to_type: None,
        from_type: None,
        to_connection: None,
        cc_self: false,
        signal,
        once: None,
    };
    let hub = &scene.world.nodes[1].hub;
    let called = hub.signal(&asking.asker(), request).await;
    assert!(matches!(called, Err(Refusal::NotFound(_))), "{called:?}");
    let asker = Asker { endpoint_id: Some(endpoint("alice")), ..asking.asker() };
    assert_eq!(hub.connections(&asker).await.unwrap().len(), 0);
    let _back = scene.world.connect(1, "alice").await;
    assert_eq!(hub.connections(&asker).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_by_itself_while_its_node_drains_is_told_as_gone_at_once() {
    let scene = Scene::new().await;
    let hub = &scene.world.nodes[0].hub;
    assert!(hub.begin_to_park(LATER).await);
    hub.close(&scene.alice.socket, Close::Left);
    hub.send_away(&scene.alice.socket);
    tokio::time::sleep(LATER).await;
    scene.is_told_as_gone();
    let back = scene.world.connect(1, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
    scene.drained(0).await;
    scene.nothing_is_told();
}

/// A node that does not know of parking would take who moved for gone.
#[tokio::test(start_paused = true)]
async fn nothing_is_parked_any_more_once_a_node_comes_that_does_not_know_of_it() {
    let scene = Scene::draining().await;
    // It never answers.
    let _newcomer = scene.world.between.start(id(3));
    let hub = &scene.world.nodes[0].hub;
    tokio::time::timeout(3 * LATER, hub.keep_parking()).await.expect("there is one that does not answer");
    scene.drained(0).await;
    scene.is_told_as_gone();
    let another = scene.world.connect(0, "dan").await;
    scene.world.join(&another, "room").await;
    tokio::time::sleep(LATER).await;
    scene.told();
    scene.send_away(&another);
    tokio::time::sleep(LATER).await;
    assert_eq!(scene.told(), [events(&[("leave", "dan")]), events(&[("leave", "dan")])]);
}

/// It would have to be parked again at once.
#[tokio::test(start_paused = true)]
async fn nobody_comes_back_to_a_node_that_drains_too() {
    let scene = Scene::draining().await;
    assert!(scene.world.nodes[1].hub.begin_to_park(LATER).await);
    let new = scene.world.connect(1, "alice").await;
    assert_ne!(new.connection.id, scene.alice.connection.id);
    let back = scene.world.connect(2, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
}
