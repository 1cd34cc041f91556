//! `/v1/nodes`: who serves from this database.

use std::collections::HashMap;
use std::sync::Arc;

use respoke_core::ops::{ALONE, Caller, Context};
use respoke_core::ports::{Node, NodeId};
use respoke_core::refusal::Refusal;
use respoke_hub::ops::At;
use respoke_hub::{Connection, Home};
use respoke_wire::body::Done;
use respoke_wire::body::ends::Nothing;
use respoke_wire::body::nodes::{NodeRef, NodeView};

use super::answer::JsonAnswer;
use super::asked::given;
use crate::call::Call;
use crate::minutes::present;
use crate::openapi::{Conflicts, Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// Lists the nodes that serve from one database. Any admin may.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "Nodes", operation_id = "listNodes",
    responses((status = 200, description = "All that live, by their ids", body = Vec<NodeView>), Refused),
    security(("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, _: Call, caller: Caller) -> Result<JsonAnswer<Vec<NodeView>>, Problem> {
    Ok(JsonAnswer(find(&api, &caller).await?))
}

/// The nodes, for the API and for the console alike.
pub(crate) async fn find(api: &Api, caller: &Caller) -> Result<Vec<NodeView>, Problem> {
    let Some(among) = &api.among else {
        api.broker.may_see_nodes(caller)?;
        return Ok(vec![NodeView::of(api.this_node(), Node::ALONE)]);
    };
    let nodes = api.broker.list_nodes(caller, &**among.nodes()).await?;
    Ok(nodes.into_iter().map(|record| NodeView::of(record, among.node())).collect())
}

/// How many requests each node answered since the present minute began, by their numbers, of those that say so in time.
pub(crate) async fn requests_of_this_minute(api: &Api) -> HashMap<u32, u64> {
    let here = api.among.as_ref().map_or(Node::ALONE, |among| among.node());
    let (theirs, _) = api.hub.figures_of_others(None).await;
    let own = present(&api.watch, &api.hub, None).1;
    theirs.into_iter().chain([(here, own)]).map(|(node, figures)| (node.id.0, figures.requests)).collect()
}

/// Has a node send its clients to the others, and end. Owners may.
///
/// It tells its clients to come back, spread over most of `drain_secs`, and then ends as if its process had been told to stop.
#[utoipa::path(
    post, path = "/v1/nodes/{id}/drain", tag = "Nodes", operation_id = "postNodeDrain",
    params(("id" = String, Path, description = "The node's `id`")),
    responses((status = 200, description = "It is told", body = Done), Refused, Missing, Conflicts),
    security(("Admin-Token" = []))
)]
pub(crate) async fn drain(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let Nothing {} = call.read_strictly()?;
    have_drain(&api, &caller, &id, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Has the node of that number drain, for the API and for the console alike.
pub(crate) async fn have_drain(api: &Api, caller: &Caller, id: &str, context: &Context) -> Result<(), Refusal> {
    api.broker.may_drain_nodes(caller)?;
    let node = id.parse().map(NodeId).map_err(|_| Refusal::NotFound("Nodes"))?;
    match &api.among {
        Some(among) => api.broker.drain_node(caller, &**among.nodes(), node, context).await,
        None if node == Node::ALONE.id => Err(Refusal::Conflict(ALONE)),
        None => Err(Refusal::NotFound("Nodes")),
    }
}

/// On which nodes a list is asked for. None: on one that does not live.
///
/// # Errors
///
/// [`Refusal::Invalid`] unless it is a number; as [`Broker::may_see_nodes`](respoke_core::ops::Broker::may_see_nodes).
pub(crate) fn at(api: &Api, caller: &Caller, text: Option<&str>) -> Result<Option<At>, Refusal> {
    let Some(text) = given(text) else { return Ok(Some(At::Anywhere)) };
    let id = text.parse().map(NodeId).map_err(|_| Refusal::field("node", "must be a node's number"))?;
    api.broker.may_see_nodes(caller)?;
    let Some(among) = &api.among else { return Ok((id == Node::ALONE.id).then_some(At::Here)) };
    if id == among.node().id {
        return Ok(Some(At::Here));
    }
    Ok(among.live().into_iter().find(|record| record.node.id == id).map(|record| At::There(record.node)))
}

/// What nodes are called.
pub(crate) struct NodeNames {
    here: Node,
    live: Vec<(Node, String)>,
}

impl NodeNames {
    /// Those of all who live. None: this server is alone, or the caller may not know.
    pub(crate) fn told(api: &Api, caller: &Caller) -> Option<Self> {
        let among = api.among.as_ref()?;
        api.broker.may_see_nodes(caller).ok()?;
        let live = among.live().into_iter().map(|record| (record.node, record.name)).collect();
        Some(Self { here: among.node(), live })
    }

    /// A node.
    pub(crate) fn of(&self, node: Node) -> NodeRef {
        let name = self.live.iter().find(|(live, _)| *live == node).map(|(_, name)| name.clone());
        NodeRef { id: node.id.0, name }
    }

    /// The node that has a connection's socket.
    pub(crate) fn home(&self, connection: &Connection) -> NodeRef {
        match &connection.home {
            Home::Here(_) => self.of(self.here),
            Home::There(node) => self.of(*node),
        }
    }

    /// All who live, by their ids.
    pub(crate) fn all(&self) -> impl Iterator<Item = NodeRef> {
        self.live.iter().map(|(node, name)| NodeRef { id: node.id.0, name: Some(name.clone()) })
    }
}
