//! `/v1/nodes`: who serves from this database.

use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_core::ports::{Node, NodeId};
use respoke_core::refusal::Refusal;
use respoke_wire::body::Done;
use respoke_wire::body::ends::Nothing;
use respoke_wire::body::nodes::NodeView;

use super::answer::JsonAnswer;
use crate::call::Call;
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
    api.broker.may_drain_nodes(&caller)?;
    let node = id.parse().map(NodeId).map_err(|_| Refusal::NotFound("Nodes"))?;
    match &api.among {
        Some(among) => api.broker.drain_node(&caller, &**among.nodes(), node, &call.context()).await?,
        None if node == Node::ALONE.id => return Err(Refusal::Conflict(ALONE).into()),
        None => return Err(Refusal::NotFound("Nodes").into()),
    }
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Why a server that is alone does not drain.
const ALONE: &str = "this server is alone, and its clients have nowhere to go: stop it instead";
