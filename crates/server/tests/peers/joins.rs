//! Joins that a backend asks one node for, of connections of another, and connections that come while a node is late.

use std::time::Duration;

use respoke_hub::ops::Asker;
use tokio::time::Instant;

use crate::world::{Client, World, endpoint, events, group, id, received, received_from};

/// How long it is waited for that all nodes know who joined.
const SETTLED_WITHIN: Duration = Duration::from_millis(250);
/// How long it is waited for how many others have.
const COUNT_WITHIN: Duration = Duration::from_millis(100);
/// Longer than it takes to find out who is there of a node that answers again.
const LATER: Duration = Duration::from_secs(5);

/// A backend lets a connection of any node join, asking node 0.
async fn let_join(world: &World, client: &Client, name: &str) {
    let asking = world.asking(0).await;
    let asker = Asker { connection_id: Some(client.connection.id), ..asking.asker() };
    world.nodes[0].hub.join(&asker, &[group(name)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_its_join_is_waited_for_is_no_member_again() {
    let world = World::apart(Duration::ZERO).await;
    let bob = world.connect(1, "bob").await;
    // Who cannot hear that bob's node is there for the group is waited for.
    world.cut(1, 2);
    let start = Instant::now();
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(world.members(1), 1);
        world.leave(&bob, "room").await;
    };
    tokio::join!(let_join(&world, &bob, "room"), leaving);
    let waited = start.elapsed();
    tokio::time::sleep(LATER).await;
    assert_eq!(world.members(1), 0);
    assert!(waited >= SETTLED_WITHIN, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_join_that_another_node_asked_for_is_answered_once_every_node_knows_of_it() {
    // Six ways one after the other, which is far less than what is waited for at most.
    let world = World::apart(Duration::from_millis(20)).await;
    let (bob, eve) = (world.connect(1, "bob").await, world.connect(2, "eve").await);
    for round in 0..20 {
        let name = format!("room {round}");
        let start = Instant::now();
        let_join(&world, &bob, &name).await;
        assert!(start.elapsed() < SETTLED_WITHIN, "{:?}", start.elapsed());
        world.publish(&eve, &name).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(received(&bob), events(&[("join", "bob"), ("pubsub", "eve")]), "in round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_late_with_a_join_that_another_node_asked_for_makes_up_for_it() {
    let world = World::apart(Duration::ZERO).await;
    let (bob, dan) = (world.connect(1, "bob").await, world.connect(2, "dan").await);
    world.cut(1, 2);
    let_join(&world, &bob, "room").await;
    world.join(&dan, "room").await;
    world.publish(&dan, "room").await;
    assert_eq!(received(&bob), events(&[("join", "bob")]));
    world.mend(1, 2);
    tokio::time::sleep(LATER).await;
    let mut told = received(&bob);
    told.sort_unstable();
    assert_eq!(told, events(&[("join", "dan"), ("pubsub", "dan")]));
    world.nodes[2].hub.close(&dan.socket, respoke_wire::close::Close::Left);
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&bob), events(&[("leave", "dan")]));
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_a_node_is_late_is_told_that_it_may_have_missed_something() {
    let world = World::apart(Duration::ZERO).await;
    let start = Instant::now();
    world.cut(1, 2);
    let bob = world.connect(1, "bob").await;
    assert!(start.elapsed() < 2 * SETTLED_WITHIN, "{:?}", start.elapsed());
    tokio::time::sleep(LATER / 5).await;
    assert_eq!(received(&bob), []);
    world.mend(1, 2);
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&bob), events(&[("missed", "__SYSTEM__")]));
    // Of one that is lost nothing comes any more.
    world.cut(1, 2);
    let eve = world.connect(1, "eve").await;
    world.between.lose(world.nodes[2].node());
    tokio::time::sleep(LATER).await;
    let (told, missed) = (received(&eve), events(&[("missed", "__SYSTEM__")]));
    assert!(!told.is_empty() && told.iter().all(|told| *told == missed[0]), "{told:?}");
}

/// What a node that ends in order said past somebody whom it did not know of was lost, though nothing else was.
#[tokio::test(start_paused = true)]
async fn who_comes_while_a_node_is_late_that_ends_in_order_is_told_and_nobody_else() {
    let world = World::apart(Duration::ZERO).await;
    let ann = world.connect(1, "ann").await;
    world.between.cut_one_way(world.nodes[1].node().id, world.nodes[2].node().id);
    let bob = world.connect(1, "bob").await;
    world.between.say_farewell(world.nodes[2].node());
    tokio::time::sleep(LATER / 5).await;
    assert_eq!([&ann, &bob].map(received), [vec![], vec![]]);
    world.between.lose(world.nodes[2].node());
    tokio::time::sleep(LATER).await;
    assert_eq!([&ann, &bob].map(received), [vec![], events(&[("missed", "__SYSTEM__")])]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_holds_up_a_connection_for_as_long_as_a_count_and_a_confirmation_wait() {
    let world = World::apart(Duration::ZERO).await;
    world.connect(0, "ann").await;
    world.between.pause(id(2));
    // Everybody knows already that somebody is there as ann.
    for (name, confirmed_within) in [("ann", Duration::ZERO), ("bob", SETTLED_WITHIN)] {
        let start = Instant::now();
        world.connect(0, name).await;
        assert_eq!(start.elapsed().as_millis() / 10, (confirmed_within + COUNT_WITHIN).as_millis() / 10, "{name}");
    }
}

/// Each late node is waited for by itself: one that is cut off keeps nobody from hearing of another.
#[tokio::test(start_paused = true)]
async fn who_comes_while_two_nodes_are_late_is_told_when_one_of_them_knows() {
    let world = World::apart(Duration::ZERO).await;
    world.cut(1, 2);
    let bob = world.connect(1, "bob").await;
    world.cut(1, 0);
    let eve = world.connect(1, "eve").await;
    world.mend(1, 0);
    tokio::time::sleep(LATER).await;
    assert_eq!(received(&eve), events(&[("missed", "__SYSTEM__")]));
    assert_eq!(received(&bob), [], "every node but the one that is cut off knew of it");
}

/// Two nodes that are asked to let somebody join have no common order. So the first to join may not be told of the second, if
/// its node is only just heard to be there for the group; and then it finds the second.
#[tokio::test(start_paused = true)]
async fn who_is_let_join_together_with_another_finds_it_without_being_told() {
    let world = World::apart(Duration::ZERO).await;
    let mut both = [(1, world.connect(1, "dan").await), (2, world.connect(2, "dan").await)];
    both.sort_by_key(|(_, client)| client.connection.id);
    let [(earlier, first), (later, second)] = &both;
    world.between.cut_one_way(id(*earlier), id(*later));
    let let_join = async {
        let asking = world.asking(0).await;
        let asker = Asker { endpoint_id: Some(endpoint("dan")), ..asking.asker() };
        world.nodes[0].hub.join(&asker, &[group("room")]).await.unwrap();
    };
    let mending = async {
        tokio::time::sleep(SETTLED_WITHIN / 5).await;
        world.mend(*earlier, *later);
    };
    tokio::join!(let_join, mending);
    tokio::time::sleep(LATER).await;
    for client in [first, second] {
        let own = ("join".to_owned(), client.connection.id.to_string());
        assert_eq!(received_from(&client.socket, "fromConnection"), [own]);
    }
    let asking = world.asking(*earlier).await;
    let members = world.nodes[*earlier].hub.members(&asking.asker(), &group("room")).await.unwrap();
    assert_eq!(members.len(), 2);
    // From here on each is told of the other.
    world.leave(second, "room").await;
    tokio::time::sleep(LATER).await;
    assert_eq!(received(first), events(&[("leave", "dan")]));
}
