//! Carriers that are threads of this process: two bring each node what is for it, so one overtakes the other now and then,
//! and only a little waits, so much is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use respoke_core::ports::{Bus, Node, NodeId};

use super::real_cases::{Carriers, Threads};
use crate::carried::{CarriedBus, Carrier};

/// Frames that wait for a node.
const WAITING_MAX: usize = 256;

#[derive(Default)]
pub(crate) struct OnThreads {
    pipes: Arc<Pipes>,
    bringing: Threads,
}

#[derive(Default)]
struct Pipes {
    to: RwLock<HashMap<NodeId, SyncSender<Bytes>>>,
    interrupted: AtomicBool,
}

impl Carrier for Pipes {
    fn send(&self, to: NodeId, frame: Bytes) {
        let pipes = self.to.read();
        if let Some(pipe) = pipes.get(&to).filter(|_| !self.interrupted.load(Ordering::Acquire)) {
            // One that is full has no room.
            let _ = pipe.try_send(frame);
        }
    }
}

impl Carriers for OnThreads {
    fn carrier(&self, _: Node) -> Arc<dyn Carrier> {
        self.pipes.clone()
    }

    fn bring_to(&mut self, bus: &Arc<CarriedBus>) {
        let (pipe, frames) = sync_channel(WAITING_MAX);
        self.pipes.to.write().insert(bus.node().id, pipe);
        let frames = Arc::new(Mutex::new(frames));
        for _ in 0..2 {
            let (bus, frames) = (bus.clone(), frames.clone());
            self.bringing.run(move || {
                let frame = frames.lock().recv_timeout(Duration::from_millis(1));
                if let Ok(frame) = frame {
                    bus.arrived(&frame).unwrap();
                }
            });
        }
    }

    fn interrupt(&self, interrupted: bool) {
        self.pipes.interrupted.store(interrupted, Ordering::Release);
    }
}
