//! Clients that shook hands with one node and came to another, as the hubs between two doors have them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::ports::{Node, Question, Sealed};
use respoke_hub::HandsOver;
use tokio::time::Instant;

use crate::world::{World, id};

const WITHIN: Duration = Duration::from_millis(250);

/// A door with clients that it gives up, each for what it is asked by.
#[derive(Default)]
struct Door {
    clients: Mutex<Vec<&'static [u8]>>,
    asked_by: Mutex<Vec<Node>>,
}

impl Door {
    fn of(world: &World, node: usize, clients: &[&'static [u8]]) -> Arc<Self> {
        let door = Arc::new(Self { clients: Mutex::new(clients.to_vec()), ..Self::default() });
        world.nodes[node].hub.hands_over_by(&(door.clone() as Arc<dyn HandsOver>));
        door
    }
}

impl HandsOver for Door {
    fn hand_over(&self, to: Node, which: &Sealed) -> Option<Sealed> {
        self.asked_by.lock().push(to);
        let mut clients = self.clients.lock();
        let at = clients.iter().position(|client| **client == which.0[..])?;
        Some(Sealed([b"gave ", clients.remove(at)].concat().into()))
    }
}

async fn ask(world: &World, by: usize, of: usize, which: &'static [u8]) -> Option<Bytes> {
    let (node, which) = (world.nodes[of].node(), Sealed(Bytes::from_static(which)));
    world.nodes[by].hub.ask_for_client(node, which, WITHIN).await.map(|client| client.0)
}

#[tokio::test(start_paused = true)]
async fn a_client_is_handed_over_once_by_the_node_that_is_asked() {
    for world in [World::near().await, World::far(Duration::from_millis(20)).await] {
        let (one, other) = (Door::of(&world, 0, &[b"ann", b"bob"]), Door::of(&world, 1, &[b"ann"]));
        assert_eq!(world.nodes[2].hub.other_node(id(0)), Some(world.nodes[0].node()));
        assert_eq!(ask(&world, 2, 0, b"ann").await.as_deref(), Some(&b"gave ann"[..]));
        assert_eq!(ask(&world, 2, 0, b"ann").await, None);
        assert_eq!(ask(&world, 1, 0, b"bob").await.as_deref(), Some(&b"gave bob"[..]));
        assert_eq!(*one.asked_by.lock(), [2, 2, 1].map(|by: usize| world.nodes[by].node()));
        assert_eq!(*other.asked_by.lock(), []);
        // The other one's is its own.
        assert_eq!(ask(&world, 0, 1, b"ann").await.as_deref(), Some(&b"gave ann"[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_a_silent_node_waits_no_longer_than_it_said() {
    let world = World::apart(Duration::ZERO).await;
    let door = Door::of(&world, 0, &[b"ann"]);
    world.cut(0, 1);
    let began = Instant::now();
    assert_eq!(ask(&world, 1, 0, b"ann").await, None);
    assert!((WITHIN..WITHIN + Duration::from_millis(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    // The question comes once the way is mended, and its answer is nobody's: the client has to shake hands again.
    world.mend(0, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(door.clients.lock().len(), 0);
    assert_eq!(ask(&world, 1, 0, b"ann").await, None);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_who_is_not_there() {
    let world = World::near().await;
    assert_eq!(world.nodes[0].hub.other_node(world.nodes[0].node().id), None, "a node is no other");
    assert_eq!(world.nodes[0].hub.other_node(id(7)), None);
    // No door stands there, or no more.
    assert_eq!(ask(&world, 0, 1, b"ann").await, None);
    drop(Door::of(&world, 1, &[b"ann"]));
    assert_eq!(ask(&world, 0, 1, b"ann").await, None);
    assert!(world.nodes[0].bus.asked().iter().all(|asked| matches!(asked, Question::Client { .. })));
}
