//! The carrier that is made of tables, on real servers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use respoke_core::ports::{Carrier as _, Incarnation, Node, NodeId};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::Config;

use super::postgres::{Postgres, there_is_a_server};
use crate::{CarrierOptions, PostgresCarrier, PostgresOptions};

/// Long after anything that is still to happen has happened.
const LONG: Duration = Duration::from_secs(60);

fn node(id: u32, incarnation: u64) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(incarnation) }
}

/// A node's end, and what came to it.
struct End {
    carrier: PostgresCarrier,
    came: Arc<Came>,
}

#[derive(Default)]
struct Came {
    /// How often each frame came.
    frames: Mutex<HashMap<Vec<u8>, usize>>,
    more: Notify,
}

impl End {
    fn of(config: Config, node: Node) -> Self {
        Self::with(CarrierOptions { database: PostgresOptions::of(config), direct: None }, node)
    }

    fn with(options: CarrierOptions, node: Node) -> Self {
        let end = Self { carrier: PostgresCarrier::open(options, node).unwrap(), came: Arc::default() };
        let came = end.came.clone();
        end.carrier.attach(move |frame| {
            *came.frames.lock().entry(frame.to_vec()).or_default() += 1;
            came.more.notify_waiters();
        });
        end
    }

    fn send(&self, to: u32, frame: &str) {
        self.carrier.send(NodeId(to), Bytes::copy_from_slice(frame.as_bytes()));
    }

    /// Waits until this came, and returns how often.
    async fn until(&self, frame: &str) -> usize {
        let waiting = async {
            loop {
                let more = self.came.more.notified();
                if let Some(count) = self.came.frames.lock().get(frame.as_bytes()) {
                    return *count;
                }
                more.await;
            }
        };
        timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("{frame} never came"))
    }

    fn has(&self, frame: &str) -> bool {
        self.came.frames.lock().contains_key(frame.as_bytes())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_comes_to_its_node_alone() {
    if !there_is_a_server() {
        return;
    }
    let database = Postgres::default();
    drop(database.store().await);
    let ends = [1, 2, 3].map(|id| End::of(database.config(), node(id, 7)));
    let live = [1, 2, 3].map(|id| node(id, 7));
    for end in &ends {
        end.carrier.nodes_are(&live);
    }
    for nth in 0..1_000 {
        ends[0].send(2 + nth % 2, &nth.to_string());
        ends[1].send(1, &format!("to one {nth}"));
    }
    for nth in 0..1_000 {
        assert_eq!(ends[1 + nth % 2].until(&nth.to_string()).await, 1);
        assert_eq!(ends[0].until(&format!("to one {nth}")).await, 1);
        assert!(!ends[2 - nth % 2].has(&nth.to_string()));
    }
    let figures = ends[0].carrier.figures();
    assert_eq!((figures.frames_sent, figures.frames_received, figures.frames_lost), (1_000, 1_000, 0));
    for end in &ends {
        assert_eq!(end.carrier.usual_delay(), Duration::from_millis(2), "it is woken");
        end.carrier.close().await;
    }
}
