//! Carriers over a NATS server, which is killed or stands still for a while. Each life of a node has a runtime of its own, as
//! each process has.

use std::sync::Arc;

use parking_lot::Mutex;
use respoke_core::ports::{Carrier, Node};
use tokio::runtime::{Builder, Runtime};

use super::real_cases::{Bring, Carriers};
use crate::nats::NatsCarrier;
use crate::nats::tests::{NatsServer, options};

/// What an interruption is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// The server is killed, and started again at its end.
    Killed,
    /// The server stands still.
    Stopped,
}

pub(crate) struct OverNats {
    server: Mutex<NatsServer>,
    interruption: Interruption,
    interrupted: Mutex<bool>,
    lives: Mutex<Vec<Life>>,
}

struct Life {
    node: Node,
    carrier: Arc<NatsCarrier>,
    runtime: Option<Runtime>,
}

impl OverNats {
    /// None: there is no server.
    pub(crate) fn new(interruption: Interruption) -> Option<Self> {
        let server = Mutex::new(NatsServer::start("")?);
        Some(Self { server, interruption, interrupted: Mutex::default(), lives: Mutex::default() })
    }
}

impl Carriers for OverNats {
    fn carrier(&self, node: Node) -> Arc<dyn Carrier> {
        let options = options(&self.server.lock().address(), node);
        let start = || {
            // One thread may stand still with what is brought.
            let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let carrier = Arc::new(runtime.block_on(NatsCarrier::connect(&options)).unwrap());
            Life { node, carrier, runtime: Some(runtime) }
        };
        let life = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
        let carrier = life.carrier.clone();
        self.lives.lock().push(life);
        carrier
    }

    fn bring_to(&mut self, node: Node, bring: Bring) {
        let lives = self.lives.lock();
        let life = lives.iter().find(|life| life.node == node).unwrap();
        life.carrier.bring_to(move |frame| bring(frame));
    }

    fn interrupt(&self, interrupted: bool) {
        let mut is_interrupted = self.interrupted.lock();
        if std::mem::replace(&mut *is_interrupted, interrupted) == interrupted {
            return;
        }
        let mut server = self.server.lock();
        match (self.interruption, interrupted) {
            (Interruption::Killed, true) => server.kill(),
            (Interruption::Killed, false) => server.start_again(),
            (Interruption::Stopped, true) => server.stop(),
            (Interruption::Stopped, false) => server.go_on(),
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Whatever is on its way when a case is over may wait for ever.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
