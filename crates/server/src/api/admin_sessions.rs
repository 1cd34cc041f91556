//! `/v1/admin-sessions`: signing in and out; also served as `/v1/adminsessions`.

use std::sync::Arc;

use respoke_core::admin::SignedIn;
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ops::{Caller, SignIn};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;
use respoke_wire::body::Done;
use respoke_wire::body::admin_sessions::{CreateAdminSession, EndAdminSessions};
use respoke_wire::body::session_tokens::Authorized;

use super::answer::JsonAnswer;
use crate::call::{Call, KeyOwner, throttled};
use crate::openapi::{Conflicts, Refused};
use crate::problem::Problem;
use crate::state::Api;
use crate::throttle::Shown;

/// Signs an admin in.
///
/// Failed attempts are throttled by address and by user name, with growing delay. An admin with a second factor sends
/// its `code` as well; without one the answer is 401 `second_factor_required`.
#[utoipa::path(
    post, path = "/v1/admin-sessions", tag = "Admin sessions", operation_id = "postAdminSessions",
    params(("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer")),
    request_body = CreateAdminSession,
    responses((status = 200, description = "The Admin-Token", body = Authorized), Refused, Conflicts),
    security(())
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, _: Caller) -> Result<JsonAnswer<Authorized>, Problem> {
    let body: CreateAdminSession = call.read()?;
    if let Some(token) = &body.setup_token {
        return match sign_in_by_link(&api, &call, token).await {
            Ok(token) => Ok(JsonAnswer(Authorized::with(token))),
            // It cannot be guessed: this is about noise.
            Err(Refusal::BadLogin) => Err(call.counted(&api, Refusal::BadLogin)),
            Err(refusal) => Err(refusal.into()),
        };
    }
    let username = body.username.as_deref().unwrap_or_default();
    let password = body.password.as_ref().map_or("", |password| password.expose());
    let once = call.once(&api, KeyOwner::Knower(&[username, password]))?;
    let (username, password) = (body.username, body.password);
    let request = SignIn { username, password, code: body.code, ..SignIn::default() };
    Ok(JsonAnswer(Authorized::with(sign_in(&api, &call, request, once).await?)))
}

/// Spends a setup token, for the API and for the console alike: from then on its admin is known where it was spent.
pub(crate) async fn sign_in_by_link(api: &Api, call: &Call, token: &Secret) -> Result<Secret, Refusal> {
    // What follows cannot fail: the token is spent.
    let SignedIn { token, username } = api.broker.sign_in_with_setup_token(token, &call.context()).await?;
    api.throttle.comes_in(call.address(), &username, api.monotonic());
    Ok(token)
}

/// Opens an admin session, for the API and for the console alike, by the throttle of both.
pub(crate) async fn sign_in(
    api: &Api,
    call: &Call,
    request: SignIn,
    once: Option<IdempotencyKey>,
) -> Result<Secret, Problem> {
    let username = request.username.clone().unwrap_or_default();
    let shown = if request.code.is_some() { Shown::PasswordAndCode } else { Shown::Password };
    let attempt = api.throttle.try_password(call.address(), &username, shown, api.monotonic()).map_err(throttled)?;
    let request = SignIn { known_address: attempt.is_known(), ..request };
    let signed_in = api.broker.sign_in(request, once, &call.context()).await;
    match &signed_in {
        Ok(_) => attempt.succeeded(api.monotonic()),
        Err(Refusal::BadLogin) => attempt.password_was_wrong(),
        Err(Refusal::WrongCode) => drop(attempt),
        Err(_) => attempt.not_decided(),
    }
    Ok(signed_in?)
}

/// Signs the admin out; with `everywhere`, of all sign-ins.
#[utoipa::path(
    delete, path = "/v1/admin-sessions", tag = "Admin sessions", operation_id = "deleteAdminSessions",
    params(("everywhere" = Option<bool>, Query, description = "Whether every sign-in of the admin ends")),
    responses((status = 200, description = "It is over", body = Done), Refused),
    security(("Admin-Token" = []))
)]
pub(crate) async fn end(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let body: EndAdminSessions = call.read_strictly()?;
    if body.everywhere == Some(true) {
        api.broker.sign_out_everywhere(&caller, &call.context()).await?;
    } else {
        api.broker.sign_out(&caller, &call.context()).await?;
    }
    Ok(JsonAnswer(Done::SUCCESS))
}
