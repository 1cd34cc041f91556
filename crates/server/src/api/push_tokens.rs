//! `/v1/connections/{id}/push-token`. Which connection it is said through is no matter: the device is its endpoint's.

use std::sync::Arc;

use respoke_core::ops::{Caller, RegisterPushToken};
use respoke_wire::body::Done;
use respoke_wire::body::push_tokens::{PushTokenView, WritePushToken};

use super::answer::JsonAnswer;
use super::asked::named_app;
use crate::call::Call;
use crate::openapi::Refused;
use crate::problem::Problem;
use crate::state::Api;

/// Registers a device, so that its endpoint is reached without a connection.
///
/// A device is one endpoint's: what it was registered as before is forgotten.
#[utoipa::path(
    post, path = "/v1/connections/{id}/push-token", tag = "Push tokens", operation_id = "postPushToken",
    params(("id" = String, Path, description = "The connection's id; not looked at")),
    request_body = WritePushToken,
    responses((status = 200, description = "It is registered", body = PushTokenView), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<PushTokenView>, Problem> {
    register(&api, &call, &caller, None).await
}

/// Registers a device anew, with another token or for another endpoint. An id that is not known is taken as it is.
#[utoipa::path(
    put, path = "/v1/connections/{id}/push-token/{push_token_id}", tag = "Push tokens", operation_id = "putPushToken",
    params(
        ("id" = String, Path, description = "The connection's id; not looked at"),
        ("push_token_id" = String, Path, description = "The push token's `id`"),
    ),
    request_body = WritePushToken,
    responses((status = 200, description = "It is registered; its `id` is told again", body = PushTokenView), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn replace(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<PushTokenView>, Problem> {
    let (_, id) = call.ids();
    register(&api, &call, &caller, Some(id)).await
}

async fn register(
    api: &Api,
    call: &Call,
    caller: &Caller,
    id: Option<String>,
) -> Result<JsonAnswer<PushTokenView>, Problem> {
    let body: WritePushToken = call.read()?;
    let request = RegisterPushToken {
        app_id: named_app(api, call, caller, body.app_id.as_deref()).await?,
        endpoint_id: body.endpoint_id,
        id,
        service: body.service,
        text: body.token,
    };
    Ok(JsonAnswer(PushTokenView::from(api.broker.register_push_token(caller, request).await?)))
}

/// Forgets a device of the endpoint. One that is not known is no error.
#[utoipa::path(
    delete, path = "/v1/connections/{id}/push-token/{push_token_id}", tag = "Push tokens", operation_id = "deletePushToken",
    params(
        ("id" = String, Path, description = "The connection's id; not looked at"),
        ("push_token_id" = String, Path, description = "The push token's `id`"),
        ("endpointId" = Option<String>, Query, description = "Only if it is this endpoint's; an App-Token's own always"),
    ),
    responses((status = 200, description = "It is forgotten", body = Done), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn remove(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let (_, id) = call.ids();
    let request: WritePushToken = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    api.broker.remove_push_token(&caller, app, request.endpoint_id.as_deref(), &id).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}
