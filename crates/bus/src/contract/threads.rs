//! Carriers that are threads of this process.
//!
//! Two threads bring each node what is for it, so one overtakes the other now and then. Only a little waits, so much is
//! lost. Some comes twice, at once or later. Other carriers here do what none may.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use respoke_core::ports::{Carrier, Node, NodeId};

use super::real_cases::{Bring, Carriers, Threads};

/// Frames that wait for a node.
const WAITING_MAX: usize = 256;
/// Each of so many comes again later.
const AGAIN_EACH: u64 = 7;
/// So many frames later.
const LATER: usize = 50;

/// What a carrier may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It brings everybody what is for one.
    Broadcasts,
    /// It cuts off what is longer than this.
    Cuts(usize),
    /// It brings within `send`.
    CallsTheBus,
    /// It goes on while it is said to be interrupted.
    IsNotInterrupted,
    /// One of the threads that bring panics, and the other goes on.
    LosesAThread,
}

#[derive(Default)]
pub(crate) struct OnThreads {
    pipes: Arc<Pipes>,
    bringing: Threads,
}

#[derive(Default)]
struct Pipes {
    to: RwLock<HashMap<NodeId, Pipe>>,
    interrupted: AtomicBool,
    wrong: Option<Wrong>,
}

struct Pipe {
    waiting: SyncSender<Bytes>,
    sent: Mutex<(u64, VecDeque<Bytes>)>,
    bring: Bring,
}

impl Pipe {
    /// Lets a frame wait, and now and then another again.
    fn put(&self, frame: Bytes) {
        let (count, past) = &mut *self.sent.lock();
        *count += 1;
        past.push_back(frame.clone());
        let again = if past.len() > LATER { past.pop_front() } else { None };
        let again = again.filter(|_| count.is_multiple_of(AGAIN_EACH));
        let at_once = count.is_multiple_of(2 * AGAIN_EACH + 1).then(|| frame.clone());
        for frame in [Some(frame), at_once, again].into_iter().flatten() {
            // One that is full has no room.
            let _ = self.waiting.try_send(frame);
        }
    }
}

impl Carrier for Pipes {
    fn send(&self, to: NodeId, mut frame: Bytes) {
        let pipes = self.to.read();
        if self.interrupted.load(Ordering::Acquire) && self.wrong != Some(Wrong::IsNotInterrupted) {
            return;
        }
        match self.wrong {
            Some(Wrong::Broadcasts) => return pipes.values().for_each(|pipe| pipe.put(frame.clone())),
            Some(Wrong::Cuts(len)) => frame.truncate(len),
            Some(Wrong::CallsTheBus) => pipes.get(&to).into_iter().for_each(|pipe| (pipe.bring)(&frame)),
            Some(Wrong::IsNotInterrupted | Wrong::LosesAThread) | None => {}
        }
        if let Some(pipe) = pipes.get(&to) {
            pipe.put(frame);
        }
    }

    fn usual_delay(&self) -> Duration {
        Duration::ZERO
    }
}

impl OnThreads {
    pub(crate) fn that(wrong: Wrong) -> Self {
        let pipes = Pipes { wrong: Some(wrong), ..Pipes::default() };
        Self { pipes: Arc::new(pipes), bringing: Threads::default() }
    }
}

impl Carriers for OnThreads {
    fn carrier(&self, _: Node) -> Arc<dyn Carrier> {
        self.pipes.clone()
    }

    fn bring_to(&mut self, node: Node, bring: Bring) {
        let (waiting, frames) = sync_channel(WAITING_MAX);
        let pipe = Pipe { waiting, sent: Mutex::default(), bring: bring.clone() };
        self.pipes.to.write().insert(node.id, pipe);
        let frames = Arc::new(Mutex::new(frames));
        for nth in 0..2 {
            let (bring, frames, pipes) = (bring.clone(), frames.clone(), self.pipes.clone());
            self.bringing.run(move || {
                let frame = frames.lock().recv_timeout(Duration::from_millis(1));
                match frame {
                    Ok(frame) => bring(&frame),
                    // A later life is brought what comes now.
                    Err(_) => std::thread::park_timeout(Duration::from_micros(100)),
                }
                assert!(nth == 0 || pipes.wrong != Some(Wrong::LosesAThread), "a thread that brings");
            });
        }
    }

    fn interrupt(&self, interrupted: bool) {
        self.pipes.interrupted.store(interrupted, Ordering::Release);
    }
}
