//! `/v1/turn`.

use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_wire::body::lists::AppParams;
use respoke_wire::body::turn::{AskRelay, RelayView};

use super::answer::JsonAnswer;
use super::asked::named_app;
use crate::call::Call;
use crate::deed::Deed;
use crate::openapi::Refused;
use crate::problem::Problem;
use crate::state::Api;

/// Says which servers help media along: TURN servers with credentials for those whose role has `mediaRelay`, STUN
/// servers without for everybody else, or where there is no TURN server.
///
/// `POST` does the same.
#[utoipa::path(
    get, path = "/v1/turn", tag = "Calls", operation_id = "getTurn",
    params(
        AppParams,
        ("endpointId" = Option<String>, Query, description = "For whom; an App-Token's own endpoint by default"),
    ),
    responses((status = 200, description = "The servers", body = RelayView), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<RelayView>, Problem> {
    let request: AskRelay = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let endpoint = request.endpoint_id.as_deref();
    let access = api.broker.relay_access(&caller, app, endpoint, &api.relays, call.host()).await?;
    if access.credentials.is_some() {
        api.watch.happened(call.subject().app_id, Deed::TurnCredentials);
    }
    Ok(JsonAnswer(RelayView::from(access)))
}
