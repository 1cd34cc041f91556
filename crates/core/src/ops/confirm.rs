//! What the nodes of a cluster let each other know of the feed: that there is something new, and that it was followed.

use super::Broker;
use super::caller::Context;
use super::confirmations::{ConfirmFigures, Confirmed, Waiting};
use crate::ports::Node;

impl Broker {
    /// Another node is told so when this one has followed the feed to its end from now on.
    pub fn follow_for(&self, node: Node, number: u64) {
        self.follower.askers.add(node, number);
        self.hint();
    }

    /// Another node has followed the feed, which is in history `epoch` there, and all that it was told of up to `number`.
    ///
    /// In another history than this node's it is no confirmation: what was changed here may be missing there.
    pub fn followed_by(&self, node: Node, number: u64, epoch: u64) {
        if epoch == self.follower.epoch() {
            self.confirmations.confirmed(&*self.bus, node, number);
        }
    }

    /// A node is gone: nobody waits for it here, and nothing is told to it.
    pub fn lost(&self, node: Node) {
        self.confirmations.lost(node);
        self.follower.askers.remove(node);
    }

    /// How long changes waited to be confirmed.
    #[must_use]
    pub const fn confirm_figures(&self) -> &ConfirmFigures {
        &self.confirmations.figures
    }

    /// Waits until the others have confirmed what they were asked after something was written in history `epoch`, and tells
    /// whoever answers. After so many changes of the `nodes` it was written; none: that is not known.
    pub(super) async fn confirm(&self, context: &Context, epoch: u64, nodes: Option<u64>, waiting: Waiting) {
        let since = waiting.since;
        let mut confirmed = self.confirmations.wait(&*self.bus, waiting, &self.follower.nodes, nodes).await;
        if confirmed == Confirmed::ALONE {
            return;
        }
        if self.follower.epoch() != epoch {
            // It is not known in which of both it was written, and so not who knows of it.
            confirmed.by = 1;
        }
        self.confirmations.figures.note(since.elapsed(), confirmed);
        if let Some(answerer) = &context.answerer {
            answerer.confirmed(confirmed);
        }
    }
}
