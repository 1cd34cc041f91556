//! `/v1/presence` and `/v1/presenceobservers`, also served as `/v1/presence-observers`.

use std::sync::Arc;

use respoke_core::event::Presence;
use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_wire::body::Done;
use respoke_wire::body::presence::{ConnectionState, ObservePresence, PresenceSnapshot, SetPresence};

use super::answer::JsonAnswer;
use super::asked::{Named, endpoint_id};
use crate::call::Call;
use crate::openapi::{Missing, Refused, Unconnected};
use crate::problem::Problem;
use crate::state::Api;

/// Says the presence of the caller's connection; its observers are told.
#[utoipa::path(
    post, path = "/v1/presence", tag = "Presence", operation_id = "postPresence",
    request_body = SetPresence,
    responses((status = 200, description = "Observers were told", body = Done), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn set(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let body: SetPresence = call.read()?;
    let said = body.presence.ok_or_else(|| Refusal::missing("presence"))?;
    let kind = said.kind.ok_or_else(|| Refusal::missing("presence.type"))?;
    let presence = Presence { kind, show: said.show, status: said.status };
    let context = call.context();
    let named = Named { app: body.app_id.as_deref(), endpoint: body.endpoint_id.as_deref(), connection: None };
    api.hub.set_presence(&named.asker(&api, &call, &caller, &context).await?, presence).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Observes the presence of endpoints from now on, and answers what it is at present.
#[utoipa::path(
    post, path = "/v1/presenceobservers", tag = "Presence", operation_id = "postPresenceObservers",
    request_body = ObservePresence,
    responses((status = 200, description = "The presence of each", body = Vec<PresenceSnapshot>), Refused, Missing, Unconnected),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn observe(
    api: Arc<Api>,
    call: Call,
    caller: Caller,
) -> Result<JsonAnswer<Vec<PresenceSnapshot>>, Problem> {
    let body: ObservePresence = call.read()?;
    let names = body.endpoint_list.ok_or_else(|| Refusal::missing("endpointList"))?;
    let endpoints = names.iter().map(|name| endpoint_id(name)).collect::<Result<Vec<_>, _>>()?;
    let context = call.context();
    // The app is that of the connection, by which they are observed.
    let found = api.hub.observe(&Named::default().asker(&api, &call, &caller, &context).await?, endpoints).await?;
    let snapshots = found.into_iter().map(|(endpoint_id, presences)| PresenceSnapshot {
        endpoint_id,
        connection_states: presences.into_iter().map(|(id, said)| (id, ConnectionState::from(said))).collect(),
    });
    Ok(JsonAnswer(snapshots.collect()))
}
