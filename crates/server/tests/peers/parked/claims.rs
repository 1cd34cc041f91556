//! Who gets a connection that is parked, and who is let in beside it.

use std::time::Duration;

use respoke_core::app::LimitsPatch;
use respoke_core::id::{ConnectionId, RoleId};
use respoke_core::ops::{Caller, Credential};
use respoke_core::ports::Question;
use respoke_core::refusal::Refusal;
use respoke_core::role::{GroupRule, Groups, Permissions};
use respoke_wire::close::Close;

use super::scene::{LATER, Scene, is_consistent};
use crate::prices::Empty;
use crate::world::{Coming, Peer, World, events, group, received};

/// So many connections of an endpoint, or of the whole app.
#[derive(Clone, Copy)]
enum Most {
    OfEndpoint(u32),
    OfApp(u32),
}

/// Alice's node drains, and has sent her away. There may be so many connections.
async fn draining_within(most: Most) -> Scene {
    let scene = Scene::new().await;
    let limits = match most {
        Most::OfEndpoint(most) => LimitsPatch { endpoint_connections: Some(Some(most)), ..LimitsPatch::default() },
        Most::OfApp(most) => LimitsPatch { connections: Some(Some(most)), ..LimitsPatch::default() },
    };
    scene.world.limit(limits).await;
    for node in &scene.world.nodes {
        node.broker.follow().await.unwrap();
    }
    scene.drain().await;
    scene
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_takes_its_own_place() {
    for most in [Most::OfEndpoint(1), Most::OfApp(3)] {
        let scene = draining_within(most).await;
        let back = scene.world.connect(1, "alice").await;
        assert_eq!(back.connection.id, scene.alice.connection.id);
        for node in 0..3 {
            let another = scene.world.try_connect(node, "alice").await;
            assert!(matches!(another, Err(Refusal::ConnectionLimit)));
        }
    }
}

/// It may be the same client, with another session and from another place.
#[tokio::test(start_paused = true)]
async fn who_comes_back_as_another_finds_room_and_nobody_takes_more_than_there_is() {
    for most in [Most::OfEndpoint(1), Most::OfApp(3)] {
        for node in 0..3 {
            let scene = draining_within(most).await;
            let role = scene.world.role(Permissions::default()).await;
            let session = scene.world.session("alice", role).await;
            let another = scene.world.come(node, "alice", Coming::by(&session).elsewhere()).await.unwrap();
            assert_ne!(another.connection.id, scene.alice.connection.id);
            // Who would take up what is parked is one too many by now, on whatever node.
            for node in 0..3 {
                let back = scene.world.try_connect(node, "alice").await;
                assert!(matches!(back, Err(Refusal::ConnectionLimit)));
            }
            tokio::time::sleep(LATER).await;
            scene.told();
            scene.drained(0).await;
            let [bob, carol] = scene.told();
            for told in [bob, carol] {
                assert_eq!(told.len(), 2, "the one that is parked is told as gone: {told:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_takes_nothing_that_is_parked() {
    let scene = Scene::draining().await;
    let refused = scene.world.come(1, "alice", Coming { purse: &Empty, ..Coming::by(&scene.world.backend) }).await;
    assert!(matches!(refused, Err(Refusal::RateLimited { .. })));
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    scene.drained(0).await;
    scene.nothing_is_told();
    scene.is_consistent(&[0, 1, 2]);
}

/// Or because there is no room: when there is, it may come back.
#[tokio::test(start_paused = true)]
async fn who_finds_no_room_takes_nothing_that_is_parked() {
    let scene = draining_within(Most::OfEndpoint(1)).await;
    let role = scene.world.role(Permissions::default()).await;
    let session = scene.world.session("alice", role).await;
    let another = scene.world.come(2, "alice", Coming::by(&session).elsewhere()).await.unwrap();
    assert!(matches!(scene.world.try_connect(1, "alice").await, Err(Refusal::ConnectionLimit)));
    scene.world.nodes[2].hub.close(&another.socket, Close::Left);
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
}

/// Two devices of dan at alice's node, which parks both, and by what they prove themselves.
async fn two_devices() -> (Scene, [Credential; 2], RoleId) {
    let scene = Scene::new().await;
    let role = scene.world.role(Permissions::default()).await;
    let sessions = [scene.world.session("dan", role).await, scene.world.session("dan", role).await];
    devices_by(scene, sessions, role).await
}

/// The same by what they prove themselves.
async fn devices_by(scene: Scene, sessions: [Credential; 2], role: RoleId) -> (Scene, [Credential; 2], RoleId) {
    let mut devices = Vec::new();
    for session in &sessions {
        devices.push(scene.world.come(0, "dan", Coming::by(session)).await.unwrap());
    }
    scene.world.join(&devices[0], "room").await;
    scene.world.join(&devices[1], "hall").await;
    tokio::time::sleep(LATER).await;
    scene.told();
    for node in &scene.world.nodes {
        node.clock.advance_secs(60);
    }
    scene.drain().await;
    for device in &devices {
        scene.send_away(device);
    }
    (scene, sessions, role)
}

/// The connections of a node.
fn ids(scene: &Scene, node: usize) -> Vec<ConnectionId> {
    scene.world.nodes[node].hub.inspected().own.into_keys().collect()
}

#[tokio::test(start_paused = true)]
async fn who_comes_with_another_session_gets_what_is_parked_if_it_is_all_that_may_be_meant() {
    let (scene, [one, _], role) = two_devices().await;
    let parked = ids(&scene, 0);
    let another = scene.world.session("dan", role).await;
    let third = scene.world.come(1, "dan", Coming::by(&another)).await.unwrap();
    assert!(!parked.contains(&third.connection.id), "it may be either of two");
    // By its own session each is known, and then the other is the only one.
    let first = scene.world.come(1, "dan", Coming::by(&one).elsewhere()).await.unwrap();
    assert!(parked.contains(&first.connection.id));
    let fourth = scene.world.come(2, "dan", Coming::by(&another).elsewhere()).await.unwrap();
    assert!(!parked.contains(&fourth.connection.id), "it comes from elsewhere");
    let second = scene.world.come(2, "dan", Coming::by(&another)).await.unwrap();
    assert!(parked.contains(&second.connection.id) && second.connection.id != first.connection.id);
}

/// Tabs of a browser share a session, and replicas of a backend a secret. They would come back as each other.
#[tokio::test(start_paused = true)]
async fn who_may_be_the_one_or_the_other_is_neither() {
    for is_backend in [false, true] {
        let scene = Scene::new().await;
        let role = scene.world.role(Permissions::default()).await;
        let shared = if is_backend { scene.world.backend.clone() } else { scene.world.session("dan", role).await };
        let (scene, ..) = devices_by(scene, [shared.clone(), shared.clone()], role).await;
        let parked = ids(&scene, 0);
        for name in ["hall", "room"] {
            let back = scene.world.come(1, "dan", Coming::by(&shared)).await.unwrap();
            assert!(!parked.contains(&back.connection.id), "{shared:?}");
            scene.world.join(&back, name).await;
        }
        tokio::time::sleep(LATER).await;
        let come = events(&[("join", "dan")]);
        assert_eq!(scene.told(), [come.clone(), come], "those in the room");
        scene.drained(0).await;
        for told in scene.told() {
            let mut left: Vec<_> = told.into_iter().filter(|(_, from)| from == "dan").collect();
            left.sort();
            assert_eq!(left, events(&[("leave", "dan")]));
        }
        scene.is_consistent(&[0, 1, 2]);
    }
}

/// It sees the one that is left to be the only one when the other ended.
#[tokio::test(start_paused = true)]
async fn who_shares_its_session_with_nobody_who_is_away_comes_back() {
    let scene = Scene::new().await;
    let role = scene.world.role(Permissions::default()).await;
    let session = scene.world.session("dan", role).await;
    let (scene, ..) = devices_by(scene, [session.clone(), session.clone()], role).await;
    let parked = ids(&scene, 0);
    let socket = scene.world.nodes[0].hub.sockets().into_iter().find(|socket| {
        let connection = socket.connection();
        connection.is_some_and(|connection| connection.endpoint.as_str() == "dan")
    });
    scene.world.nodes[0].hub.close(&socket.expect("both are parked"), Close::SessionEnded);
    let back = scene.world.come(1, "dan", Coming::by(&session)).await.unwrap();
    assert!(parked.contains(&back.connection.id));
}

/// Somebody takes the last place, or the socket is closed, while the answer to the claim is on its way.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_to_who_cannot_take_it_is_told_as_gone_at_once() {
    for is_closed in [false, true] {
        let scene = draining_within(Most::OfEndpoint(1)).await;
        let role = scene.world.role(Permissions::default()).await;
        let session = scene.world.session("alice", role).await;
        let Peer { bus, hub, .. } = &scene.world.nodes[1];
        let mut coming = Box::pin(scene.world.try_connect(1, "alice"));
        let asks = async {
            while !bus.asked().iter().any(|asked| matches!(asked, Question::Parked(_))) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = &mut coming => panic!("it is not asked for yet"),
            asked = tokio::time::timeout(LATER, asks) => asked.unwrap(),
        }
        let refused = if is_closed {
            let coming_up = hub.sockets().into_iter().find(|socket| socket.connection().is_none());
            hub.close(&coming_up.expect("its socket is open"), Close::Left);
            matches!(coming.await, Err(Refusal::Unauthenticated))
        } else {
            scene.world.come(1, "alice", Coming::by(&session).elsewhere()).await.unwrap();
            matches!(coming.await, Err(Refusal::ConnectionLimit))
        };
        assert!(refused);
        tokio::time::sleep(LATER).await;
        scene.is_told_as_gone();
        scene.drained(0).await;
        scene.nothing_is_told();
        scene.is_consistent(&[0, 1, 2]);
        let own = scene.world.nodes.iter().flat_map(|node| node.hub.inspected().own.into_keys());
        assert_eq!(own.filter(|id| *id == scene.alice.connection.id).count(), 0);
    }
}

/// It had another connection, which was not parked.
#[tokio::test(start_paused = true)]
async fn who_comes_with_a_session_of_before_is_no_other_device_that_is_away() {
    let scene = Scene::new().await;
    let role = scene.world.role(Permissions::default()).await;
    let [parked, another] = [scene.world.session("dan", role).await, scene.world.session("dan", role).await];
    let away = scene.world.come(0, "dan", Coming::by(&parked)).await.unwrap();
    for node in &scene.world.nodes {
        node.clock.advance_secs(60);
    }
    scene.drain().await;
    scene.send_away(&away);
    let came = scene.world.come(1, "dan", Coming::by(&another)).await.unwrap();
    assert_ne!(came.connection.id, away.connection.id);
    let back = scene.world.come(1, "dan", Coming::by(&parked).elsewhere()).await.unwrap();
    assert_eq!(back.connection.id, away.connection.id);
}

/// It cannot be meant any more.
#[tokio::test(start_paused = true)]
async fn what_ended_while_it_was_parked_leaves_the_other_one_as_the_only_one() {
    let (scene, [one, _], role) = two_devices().await;
    let Caller::Endpoint { session, .. } = scene.world.nodes[0].broker.authenticate(&one, None).await.unwrap() else {
        panic!("it is in session");
    };
    let number = session.record.number;
    for socket in scene.world.nodes[0].hub.sockets() {
        if matches!(&socket.opening.caller, Caller::Endpoint { session, .. } if session.record.number == number) {
            scene.world.nodes[0].hub.close(&socket, Close::SessionEnded);
        }
    }
    let parked = ids(&scene, 0);
    let another = scene.world.session("dan", role).await;
    let back = scene.world.come(1, "dan", Coming::by(&another)).await.unwrap();
    assert!(parked.contains(&back.connection.id));
}

/// A backend may have had it join, or its role permitted more then.
#[tokio::test(start_paused = true)]
async fn who_comes_back_is_left_out_of_groups_that_it_may_not_join() {
    let world = World::apart(Duration::from_millis(40)).await;
    let rule = GroupRule { subscribe: Some(true), ..GroupRule::default() };
    let groups = Groups { list: None, rules: [("room".to_owned(), rule)].into() };
    let role = world.role(Permissions { groups, ..Permissions::default() }).await;
    let session = world.session("dan", role).await;
    // Somebody at each node who knows it by the one group, and somebody by the other.
    let mut others = Vec::new();
    for (node, name) in [(1, "room"), (1, "hall"), (2, "hall")] {
        let other = world.connect(node, "bob").await;
        world.join(&other, name).await;
        others.push(other);
    }
    let dan = world.come(0, "dan", Coming::by(&session)).await.unwrap();
    world.join(&dan, "room").await;
    world.join(&dan, "hall").await;
    tokio::time::sleep(LATER).await;
    for other in &others {
        received(other);
    }
    assert!(world.nodes[0].hub.begin_to_park(LATER).await);
    world.nodes[0].hub.send_away(&dan.socket);
    let back = world.come(1, "dan", Coming::by(&session)).await.unwrap();
    assert_eq!(back.connection.id, dan.connection.id);
    tokio::time::sleep(LATER).await;
    let own = &world.nodes[1].hub.inspected().own[&back.connection.id];
    assert_eq!(own.groups.iter().cloned().collect::<Vec<_>>(), [group("room")]);
    world.nodes[0].hub.end_parking().await;
    world.between.say_farewell(world.nodes[0].node());
    tokio::time::sleep(LATER).await;
    world.between.lose(world.nodes[0].node());
    tokio::time::sleep(LATER).await;
    let told: Vec<_> = others.iter().map(received).collect();
    assert_eq!(
        told,
        [vec![], events(&[("leave", "dan")]), events(&[("leave", "dan")])],
        "once, and nothing of the room"
    );
    is_consistent(&world, &[1, 2]);
}

/// Who else is in what it inherited the node does not know of itself, and asks.
#[tokio::test(start_paused = true)]
async fn a_node_that_one_comes_back_to_learns_who_is_in_its_groups() {
    let scene = Scene::new().await;
    scene.world.join(&scene.alice, "hall").await;
    scene.world.join(&scene.others[1], "hall").await;
    tokio::time::sleep(LATER).await;
    scene.told();
    scene.drain().await;
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    tokio::time::sleep(LATER).await;
    scene.is_consistent(&[0, 1, 2]);
    // So it tells when that is gone whose node told it nothing.
    scene.leave(2).await;
    assert_eq!(received(&back), events(&[("leave", "carol"), ("leave", "carol")]));
}
