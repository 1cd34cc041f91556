//! Answers to questions. Those that take long are looked for beside what is handed on, one after the other. So nothing that other nodes
//! send waits for an answer that is looked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use respoke_core::ports::Question;
use respoke_wire::bus::Item;

use super::peer::Peer;
use super::sent::Kind;
use super::{CarriedBus, encoded};

impl CarriedBus {
    /// Has a question answered, and sends that.
    pub(super) fn answer(&self, peer: &Peer, ask: u64, question: Question) {
        let known = peer.outgoing.lock().last();
        let answer = self.receiver().map(|receiver| receiver.answer(peer.node, question));
        // One that is too long is none.
        let answer = answer.and_then(|answer| Item::Answer { ask, known, answer }.encode().ok());
        let answer = answer.unwrap_or_else(|| encoded(&Item::NoAnswer { ask }));
        self.send(peer, &answer, &Kind::Other);
    }

    /// Has a question wait for its answer. Of one beyond those that may wait the asker hears at once that there is none.
    pub(super) fn put_aside(&self, peer: &Arc<Peer>, ask: u64, question: Question) {
        if !self.aside.put(peer, ask, question) {
            self.send(peer, &encoded(&Item::NoAnswer { ask }), &Kind::Other);
        }
    }

    /// Answers questions that take long, for as long as it is polled. Whoever calls [`CarriedBus::tick`] polls this as well.
    pub async fn answer_aside(&self) {
        loop {
            while self.answer_next_aside() {
                // Other tasks have their turn between two answers.
                tokio::task::yield_now().await;
            }
            self.aside.came().await;
        }
    }

    /// Answers the next question that takes long. False: there is none.
    pub(crate) fn answer_next_aside(&self) -> bool {
        let Some((peer, ask, question)) = self.aside.next() else { return false };
        // Nobody waits where a life is over.
        if !peer.over.load(Ordering::SeqCst) {
            self.answer(&peer, ask, question);
        }
        true
    }
}
