//! `/v1/messages`.

use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_hub::ops::Message;
use respoke_wire::body::groups::Sent;
use respoke_wire::body::messages::SendMessage;

use super::answer::JsonAnswer;
use super::asked::{Named, connection_id, endpoint_id, given};
use crate::call::{Call, KeyOwner};
use crate::openapi::{Missing, Refused, Reused};
use crate::problem::Problem;
use crate::state::Api;

/// Sends a message to all connections of an endpoint. One that has none gets nothing, which is no error.
#[utoipa::path(
    post, path = "/v1/messages", tag = "Messages", operation_id = "postMessages",
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer, and says nothing twice")),
    request_body = SendMessage,
    responses((status = 200, description = "It was handed to every connection", body = Sent), Refused, Missing, Reused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Sent>, Problem> {
    let body: SendMessage = call.read()?;
    let to = given(body.to.as_deref());
    Refusal::require(&[("to", to.is_some()), ("message", body.message.is_some())])?;
    let (Some(to), Some(text)) = (to, body.message) else { return Err(Refusal::missing("message").into()) };
    let to_connection = given(body.to_connection.as_deref()).or(given(body.connection_id.as_deref()));
    let message = Message {
        to: endpoint_id(to)?,
        to_connection: to_connection.map(connection_id).transpose()?,
        body: text,
        cc_self: body.cc_self == Some(true),
        once: call.once(&api, KeyOwner::Speaker(&caller))?,
    };
    let context = call.context();
    let named = Named { app: body.app_id.as_deref(), endpoint: body.endpoint_id.as_deref(), connection: None };
    let id = api.hub.send(&named.asker(&api, &call, &caller, &context).await?, message).await?;
    Ok(JsonAnswer(Sent::from(id)))
}
