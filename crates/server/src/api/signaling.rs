//! `/v1/signaling` and what of `/v1/conferences` there is: nothing, without a media mixer.

use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_core::refusal::Refusal;
use respoke_hub::ops::SignalRequest;
use respoke_wire::body::Done;
use respoke_wire::body::signaling::SendSignal;

use super::answer::JsonAnswer;
use super::asked::{Named, connection_id, endpoint_id, given};
use crate::call::{Call, KeyOwner};
use crate::openapi::{Missing, Refused, Reused};
use crate::problem::Problem;
use crate::state::Api;

/// Relays a step of a call or direct connection to an endpoint.
///
/// An offer that nobody can take is refused with 404. Telephones, SIP addresses and conferences have no gateway here.
#[utoipa::path(
    post, path = "/v1/signaling", tag = "Signaling", operation_id = "postSignaling",
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer, and says nothing twice")),
    request_body = SendSignal,
    responses((status = 200, description = "It was handed on", body = Done), Refused, Missing, Reused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let body: SendSignal = call.read()?;
    let to = given(body.to.as_deref());
    Refusal::require(&[("to", to.is_some()), ("signal", body.signal.is_some())])?;
    let (Some(to), Some(signal)) = (to, body.signal) else { return Err(Refusal::missing("signal").into()) };
    let signal = SendSignal::object(signal).ok_or_else(|| Refusal::field("signal", "must be a JSON object"))?;
    let request = SignalRequest {
        to: endpoint_id(to)?,
        to_type: body.to_type,
        from_type: body.from_type,
        to_connection: given(body.to_connection.as_deref()).map(connection_id).transpose()?,
        cc_self: body.cc_self == Some(true),
        signal,
        once: call.once(&api, KeyOwner::Speaker(&caller))?,
    };
    let context = call.context();
    let named = Named { app: body.app_id.as_deref(), endpoint: body.from.as_deref(), connection: None };
    api.hub.signal(&named.asker(&api, &call, &caller, &context).await?, request).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Anything about conferences: there is no media mixer here.
#[utoipa::path(
    get, path = "/v1/conferences/{id}/participants", tag = "Signaling", operation_id = "getConferenceParticipants",
    responses((status = 404, description = "There is no gateway"))
)]
pub(crate) async fn conference(api: Arc<Api>, _: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    api.broker.rights(&caller).await?;
    Err(Refusal::NoGateway.into())
}
