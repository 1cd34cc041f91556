//! The nodes that serve, for those who run them.

use super::Broker;
use super::admins_managed::own_ids;
use super::caller::{Caller, Context};
use super::permit::needed;
use crate::audit::Action;
use crate::ports::{Change, Draining, NodeId, NodeRecord, NodeStore};
use crate::refusal::Refusal;

/// Why a server that is alone does not drain.
pub const ALONE: &str = "this server is alone, and its clients have nowhere to go: stop it instead";

impl Broker {
    /// Fails unless an admin asks.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`], or [`Refusal::Forbidden`] for another caller.
    pub fn may_see_nodes(&self, caller: &Caller) -> Result<(), Refusal> {
        own_ids(caller).map(drop)
    }

    /// Fails unless an owner asks.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn may_drain_nodes(&self, caller: &Caller) -> Result<(), Refusal> {
        self.may_see_nodes(caller)?;
        caller.permit(needed(Action::NodeDrained))
    }

    /// The nodes that live, by their ids.
    ///
    /// # Errors
    ///
    /// As [`Broker::may_see_nodes`].
    pub async fn list_nodes(&self, caller: &Caller, nodes: &dyn NodeStore) -> Result<Vec<NodeRecord>, Refusal> {
        self.may_see_nodes(caller)?;
        Ok(nodes.nodes().await?)
    }

    /// Has a node send its clients to others, and end.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless an owner asks; [`Refusal::NotFound`] if it does not live; [`Refusal::Conflict`] if no other one
    /// serves.
    pub async fn drain_node(
        &self,
        caller: &Caller,
        nodes: &dyn NodeStore,
        node: NodeId,
        context: &Context,
    ) -> Result<(), Refusal> {
        self.may_drain_nodes(caller)?;
        let audit = self.entry(context, caller, None, Action::NodeDrained, &node.0.to_string())?;
        let told = nodes.have_drain(node).await;
        match self.changed(context, Change::Nodes, told).await? {
            Draining::Told => {}
            Draining::Gone => return Err(Refusal::NotFound("Nodes")),
            Draining::Alone => return Err(Refusal::Conflict(ALONE)),
        }
        Ok(self.store.audit(audit).await?)
    }
}
