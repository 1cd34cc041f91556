//! Connections of a node that drains, and clients that come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_bus::faulty::Faults;
use respoke_core::app::LimitsPatch;
use respoke_core::id::ConnectionId;
use respoke_core::ports::{Bus, Delivery, Departed, Interest, Question, Receiver, Source};
use respoke_core::refusal::Refusal;
use respoke_hub::Connection;
use respoke_hub::inspected::OwnState;
use respoke_hub::ops::{Asker, SignalRequest};
use respoke_wire::close::Close;
use serde_json::value::RawValue;

use crate::world::{Client, World, endpoint, events, group, id, received};

/// Longer than departures are held back.
const LATER: Duration = Duration::from_secs(1);
/// Longer than a client may take to ask for its groups again.
const TAKEN_UP: Duration = Duration::from_secs(11);

/// Three nodes, an observer and member on each but the first, and alice on the first.
struct Scene {
    world: World,
    others: [Client; 2],
    alice: Client,
}

impl Scene {
    async fn new() -> Self {
        let world = World::apart(Duration::from_millis(40)).await;
        let others = [world.connect(1, "bob").await, world.connect(2, "carol").await];
        for other in &others {
            world.observe(other, "alice").await;
            world.join(other, "room").await;
        }
        let alice = world.connect(0, "alice").await;
        world.join(&alice, "room").await;
        world.say(&alice, "chat").await;
        tokio::time::sleep(LATER).await;
        let scene = Self { world, others, alice };
        scene.told();
        scene
    }

    /// What the others were told since this was asked last.
    fn told(&self) -> [Vec<(String, String)>; 2] {
        self.others.each_ref().map(received)
    }

    fn nothing_is_told(&self) {
        assert_eq!(self.told(), [vec![], vec![]]);
    }

    /// The others were told that alice is gone, and nothing else.
    fn is_told_as_gone(&self) {
        for mut told in self.told() {
            told.sort();
            assert_eq!(told, events(&[("leave", "alice"), ("presence", "alice")]));
        }
    }

    fn send_away(&self, client: &Client) {
        self.world.nodes[client.node].hub.send_away(&client.socket);
        assert_eq!(client.socket.outbox.closed(), Some(Close::GoingAway));
        // What the door does when the transport has ended.
        self.world.nodes[client.node].hub.close(&client.socket, Close::Left);
    }

    /// Alice's node drains.
    async fn drain(&self) {
        assert!(self.world.nodes[0].hub.begin_to_park(LATER).await);
        self.send_away(&self.alice);
        tokio::time::sleep(LATER).await;
        self.nothing_is_told();
    }

    async fn drained(&self, node: usize) {
        self.world.nodes[node].hub.end_parking().await;
        tokio::time::sleep(LATER).await;
    }

    /// A node is no more, and all know it.
    async fn lose(&self, node: usize) {
        self.world.between.lose(self.world.nodes[node].node());
        tokio::time::sleep(LATER).await;
    }

    /// All is kept as it is on other nodes.
    fn is_consistent(&self, nodes: &[usize]) {
        is_consistent(&self.world, nodes);
    }
}

/// What these nodes keep is what these nodes have.
fn is_consistent(world: &World, nodes: &[usize]) {
    let all: BTreeMap<_, _> = nodes.iter().map(|node| (*node, world.nodes[*node].hub.inspected())).collect();
    for (node, inspected) in &all {
        assert_eq!(inspected.faults, Vec::<String>::new(), "node {node}");
        for (interest, kept) in &inspected.kept {
            let mut there: Vec<ConnectionId> = kept.there.keys().copied().collect();
            let mut expected: Vec<ConnectionId> = Vec::new();
            for (other, of) in all.iter().filter(|(other, _)| *other != node) {
                let is_in = |own: &OwnState| match interest {
                    Interest::Group(_, group) => own.groups.contains(group),
                    Interest::Observers(_, endpoint) => own.endpoint == *endpoint,
                    _ => false,
                };
                for (id, _) in of.own.iter().filter(|(_, own)| is_in(own)) {
                    expected.push(*id);
                    assert_eq!(kept.there.get(id).map(|(at, _)| *at), Some(world.nodes[*other].node()), "{interest:?}");
                }
            }
            there.sort();
            expected.sort();
            assert_eq!(there, expected, "{interest:?} at node {node}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_one_that_comes_back() {
    let scene = Scene::new().await;
    scene.drain().await;
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
    scene.lose(0).await;
    tokio::time::sleep(TAKEN_UP).await;
    scene.world.nodes[1].hub.sweep();
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
    let scene = Scene::new().await;
    scene.drain().await;
    scene.drained(0).await;
    scene.is_told_as_gone();
    scene.lose(0).await;
    scene.nothing_is_told();
    scene.is_consistent(&[1, 2]);
    let back = scene.world.connect(2, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
}

#[tokio::test(start_paused = true)]
async fn one_whose_node_is_lost_meanwhile_is_told_as_gone_once() {
    let scene = Scene::new().await;
    scene.drain().await;
    scene.lose(0).await;
    scene.is_told_as_gone();
    let back = scene.world.connect(2, "alice").await;
    assert_ne!(back.connection.id, scene.alice.connection.id);
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
}

#[tokio::test(start_paused = true)]
async fn one_that_has_come_back_is_not_lost_with_the_node_that_it_came_from() {
    let scene = Scene::new().await;
    scene.drain().await;
    let _back = scene.world.connect(2, "alice").await;
    scene.lose(0).await;
    scene.nothing_is_told();
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
    scene.lose(0).await;
    assert!(scene.world.nodes[1].hub.begin_to_park(LATER).await);
    scene.send_away(&scene.alice);
    let back = scene.world.connect(2, "alice").await;
    assert_eq!(back.connection.id, first);
    scene.drained(1).await;
    scene.nothing_is_told();
    scene.is_consistent(&[1, 2]);
    scene.lose(1).await;
    assert_eq!(received(&scene.others[1]), vec![("leave".to_owned(), "bob".to_owned())]);
    assert_eq!(scene.world.members(2), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_and_did_not_arrive_is_told_as_gone() {
    let scene = Scene::new().await;
    scene.drain().await;
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
    let scene = Scene::new().await;
    scene.drain().await;
    scene.world.between.cut_one_way(id(1), id(2));
    let _back = scene.world.connect(1, "alice").await;
    scene.drained(0).await;
    scene.nothing_is_told();
    scene.lose(0).await;
    scene.world.mend(1, 2);
    tokio::time::sleep(LATER).await;
    let [bob, carol] = scene.told();
    assert_eq!(bob, vec![]);
    // She was told of the node's end before, and that it had alice.
    assert!(carol.iter().any(|(name, _)| name == "join"), "{carol:?}");
    scene.is_consistent(&[1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_its_client_does_not_ask_for_again_is_left() {
    let scene = Scene::new().await;
    scene.world.join(&scene.alice, "hall").await;
    scene.drain().await;
    let back = scene.world.connect(1, "alice").await;
    scene.world.join(&back, "hall").await;
    scene.drained(0).await;
    scene.world.nodes[1].hub.sweep();
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
    tokio::time::sleep(TAKEN_UP).await;
    scene.world.nodes[1].hub.sweep();
    tokio::time::sleep(LATER).await;
    scene.is_told_as_gone();
    let own = &scene.world.nodes[1].hub.inspected().own[&back.connection.id];
    assert_eq!(own.groups.iter().cloned().collect::<Vec<_>>(), [group("hall")]);
    assert!(own.presence.as_ref().is_some_and(respoke_core::event::Presence::is_unavailable));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_ended_while_it_is_parked_is_told_as_gone_at_once() {
    let scene = Scene::new().await;
    scene.drain().await;
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
    let scene = Scene::new().await;
    scene.drain().await;
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
async fn who_comes_back_takes_its_own_place() {
    let scene = Scene::new().await;
    scene.world.limit(LimitsPatch { endpoint_connections: Some(Some(1)), ..LimitsPatch::default() }).await;
    for node in &scene.world.nodes {
        node.broker.follow().await.unwrap();
    }
    scene.drain().await;
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    let another = scene.world.try_connect(2, "alice").await;
    assert!(matches!(another, Err(Refusal::ConnectionLimit)));
}

/// Whatever is lost, delayed and doubled between nodes, all know in the end who is where.
#[tokio::test(start_paused = true)]
async fn whatever_lies_between_nodes_all_know_in_the_end_who_came_back() {
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
                *client = world.connect(if drained == 0 && nth % 2 == 0 { 1 } else { 2 }, name).await;
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
    let scene = Scene::new().await;
    scene.drain().await;
    // It never answers.
    let _newcomer = scene.world.between.start(id(3));
    let hub = &scene.world.nodes[0].hub;
    assert!(tokio::time::timeout(3 * LATER, hub.keep_parking()).await.is_err(), "it goes on looking");
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
    let scene = Scene::new().await;
    scene.drain().await;
    assert!(scene.world.nodes[1].hub.begin_to_park(LATER).await);
    let new = scene.world.connect(1, "alice").await;
    assert_ne!(new.connection.id, scene.alice.connection.id);
    let back = scene.world.connect(2, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    tokio::time::sleep(LATER).await;
    scene.nothing_is_told();
}

/// Longer than it is known of a connection from where it went.
#[tokio::test(start_paused = true)]
async fn a_node_that_never_hears_that_one_came_back_ends_nothing_of_it() {
    let scene = Scene::new().await;
    scene.drain().await;
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
    scene.lose(0).await;
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
    let scene = Scene::new().await;
    scene.drain().await;
    let (bus, held_back) = (&scene.world.nodes[1].bus, Arc::new(Mutex::new(None)));
    let holds_back = held_back.clone();
    *bus.when_publishing.lock() = Some(Arc::new(move |delivery, publish| match delivery {
        Delivery::Moved(_) => *holds_back.lock() = Some(delivery.clone()),
        _ => publish(),
    }));
    let back = scene.world.connect(1, "alice").await;
    assert_eq!(back.connection.id, scene.alice.connection.id);
    scene.world.nodes[0].hub.end_parking().await;
    // It has heard that it is gone, and has told nobody.
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.nothing_is_told();
    *bus.when_publishing.lock() = None;
    let moved = held_back.lock().take().unwrap();
    bus.publish(moved);
    tokio::time::sleep(LATER).await;
    let [bob, carol] = scene.told();
    assert_eq!(bob, vec![]);
    is_told_as_gone_and_come(&carol);
    scene.is_consistent(&[0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_as_lost_before_it_is_registered_is_there_in_the_end() {
    let scene = Scene::new().await;
    scene.drain().await;
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
