//! A bus of the unit tests. It carries nothing, and a test says what comes of a question.

use std::time::Duration;

use async_trait::async_trait;
use respoke_core::ports::{
    Answers, Bus, Confirmation, Delivery, Incarnation, Interest, Node, NodeId, Notice, Question, Whom,
};

/// A node, in its first life.
pub(crate) fn node(id: u32) -> Node {
    Node { id: NodeId(id), incarnation: Incarnation(1) }
}

/// The bus of node 1.
pub(crate) struct StubBus<F> {
    pub(crate) other_nodes: Vec<Node>,
    /// Whether another node is there for everything, or for nothing.
    pub(crate) wanted_elsewhere: bool,
    /// What comes of a question.
    pub(crate) ask: F,
}

#[async_trait]
impl<F, A> Bus for StubBus<F>
where
    F: Fn(Whom, Question, Duration) -> A + Send + Sync,
    A: Future<Output = Answers> + Send,
{
    fn node(&self) -> Node {
        node(1)
    }

    fn publish(&self, _: Delivery) {}

    fn hold(&self, _: &Interest) -> Confirmation {
        Confirmation::DONE
    }

    fn release(&self, _: &Interest) {}

    fn wanted_elsewhere(&self, _: &Interest) -> bool {
        self.wanted_elsewhere
    }

    fn other_nodes(&self) -> Vec<Node> {
        self.other_nodes.clone()
    }

    async fn ask(&self, whom: Whom, question: Question, deadline: Duration) -> Answers {
        (self.ask)(whom, question, deadline).await
    }

    fn tell(&self, _: Node, _: Notice) {}

    fn round_trip(&self) -> Duration {
        Duration::ZERO
    }
}
