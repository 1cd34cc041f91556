//! Observing endpoints of which a silent node has connections.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use respoke_hub::ops::Unlimited;

use crate::world::{Client, World, endpoint, events, received};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Lines that say that something is not known.
    fn count(&self) -> usize {
        String::from_utf8(self.0.lock().clone()).unwrap().matches("not known of every node").count()
    }
}

/// How many connections an observer is told of at once.
async fn observe(world: &World, client: &Client, name: &str) -> usize {
    let asking = world.asking(client.node).await;
    let hub = &world.nodes[client.node].hub;
    let found = hub.observe(&asking.over(client, &Unlimited), vec![endpoint(name)]).await.unwrap();
    found.iter().map(|(_, presences)| presences.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_later_what_a_silent_node_has_and_the_log_says_so() {
    let world = World::apart(Duration::ZERO).await;
    let (ann, bob, eve) = (world.connect(0, "ann").await, world.connect(1, "bob").await, world.connect(2, "eve").await);
    for one in [&bob, &eve] {
        world.say(one, "chat").await;
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    assert_eq!((observe(&world, &ann, "bob").await, log.count()), (1, 0));
    assert_eq!(received(&ann), events(&[("presence", "bob")]));
    world.cut(0, 2);
    assert_eq!((observe(&world, &ann, "eve").await, log.count()), (0, 1));
    assert_eq!((observe(&world, &ann, "eve").await, log.count()), (0, 1), "not each time");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((observe(&world, &ann, "eve").await, log.count()), (0, 2));
    world.mend(0, 2);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(received(&ann), events(&[("presence", "eve")]));
    assert_eq!((observe(&world, &ann, "eve").await, log.count()), (1, 2));
}
