//! What a node says that others may have taken for dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use respoke_core::figures::Figures;
use respoke_core::id::{AppId, MessageId};
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ports::{Bookkeeper, Counted, Node};
use respoke_core::refusal::Refusal;
use respoke_core::request_log::{RequestsAsked, RequestsPiece};
use respoke_hub::ops::{Message, Publish};
use serde_json::value::RawValue;

use crate::world::{World, endpoint, group, heard};

#[derive(Default)]
struct Dead(AtomicBool);

impl Bookkeeper for Dead {
    fn counted(&self, _: Node, _: Counted) {}

    fn figures(&self, _: Option<AppId>) -> Figures {
        Figures::default()
    }

    fn requests(&self, _: &RequestsAsked) -> RequestsPiece {
        RequestsPiece::default()
    }

    fn stands(&self) -> bool {
        !self.0.load(Ordering::SeqCst)
    }
}

fn text() -> Box<RawValue> {
    RawValue::from_string("1".to_owned()).unwrap()
}

async fn send(world: &World, key: &[u8]) -> Result<MessageId, Refusal> {
    let once = Some(IdempotencyKey::new(b"who", "/v1/messages", key, b""));
    let message = Message { to: endpoint("bob"), to_connection: None, body: text(), cc_self: false, once };
    world.nodes[0].hub.send(&world.asking(0).await.asker(), message).await
}

async fn publish(world: &World, persist: bool) -> Result<MessageId, Refusal> {
    let request = Publish { message: text(), persist, once: None };
    world.nodes[0].hub.publish(&world.asking(0).await.asker(), &group("room"), request).await
}

#[tokio::test(start_paused = true)]
async fn what_is_said_too_late_is_refused_and_in_doubt_only_if_it_was_said() {
    let world = World::near().await;
    let bob = world.connect(1, "bob").await;
    let (dead, bus) = (Arc::new(Dead::default()), &world.nodes[0].bus);
    world.nodes[0].hub.attach_books(&(dead.clone() as Arc<dyn Bookkeeper>));
    let be_dead = |is_dead| dead.0.store(is_dead, Ordering::SeqCst);

    // Before it is said: then nothing was, and the same key says it later.
    be_dead(true);
    let refused = [send(&world, b"one").await, publish(&world, false).await, publish(&world, true).await];
    assert!(refused.iter().all(|answer| matches!(answer, Err(Refusal::Isolated))), "{refused:?}");
    be_dead(false);
    assert_eq!(heard(&bob.socket).count(), 0);
    send(&world, b"one").await.unwrap();
    assert_eq!(heard(&bob.socket).count(), 1);

    // Just as it is said.
    let dies = dead.clone();
    *bus.when_publishing.lock() = Some(Arc::new(move |_, publish| {
        dies.0.store(true, Ordering::SeqCst);
        publish();
    }));
    for persist in [false, true] {
        let answer = publish(&world, persist).await;
        be_dead(false);
        // What was kept is read from the history.
        assert_eq!(answer.is_ok(), persist, "{answer:?}");
    }
    let answer = send(&world, b"two").await;
    assert!(matches!(answer, Err(Refusal::NodeInDoubt)), "{answer:?}");
    be_dead(false);
    *bus.when_publishing.lock() = None;
    // It counts as said, which is known.
    send(&world, b"two").await.unwrap();
    assert_eq!(heard(&bob.socket).count(), 1);
}
