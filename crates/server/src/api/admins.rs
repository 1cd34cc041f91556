//! `/v1/admins`: who administers the account, and what each does with the own sign-in.

use std::sync::Arc;

use respoke_core::admin::AdminRole;
use respoke_core::id::AdminId;
use respoke_core::ops::{AdminPatch, Caller, NewAdmin};
use respoke_core::refusal::Refusal;
use respoke_wire::body::Done;
use respoke_wire::body::admins::{AdminView, ChangePassword, RecoveryCodes, Totp, TotpEnrolled, WriteAdmin};
use respoke_wire::body::ends::Nothing;

use super::answer::JsonAnswer;
use super::asked::given;
use crate::call::{Call, throttled};
use crate::openapi::{Conflicts, Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;
use crate::throttle::Shown;

/// Lists the account's admins.
#[utoipa::path(
    get, path = "/v1/admins", tag = "Admins", operation_id = "listAdmins",
    responses((status = 200, description = "All of them, by user name", body = Vec<AdminView>), Refused),
    security(("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, _: Call, caller: Caller) -> Result<JsonAnswer<Vec<AdminView>>, Problem> {
    let admins = api.broker.list_admins(&caller).await?;
    Ok(JsonAnswer(admins.into_iter().map(AdminView::from).collect()))
}

/// Makes an admin. Owners do, with their own password typed once more.
#[utoipa::path(
    post, path = "/v1/admins", tag = "Admins", operation_id = "postAdmins",
    request_body = WriteAdmin,
    responses((status = 200, description = "The admin", body = AdminView), Refused, Conflicts),
    security(("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<AdminView>, Problem> {
    let body: WriteAdmin = call.read()?;
    let role = role(body.role.as_deref())?;
    let current_password = body.current_password;
    let request = NewAdmin { username: body.username, password: body.password, role, current_password };
    let context = call.context();
    let adding = api.broker.add_admin(&caller, request, &context);
    Ok(JsonAnswer(guessing(&api, &call, &caller, Shown::Password, adding).await?.into()))
}

/// Gives another admin a role, or a password in place of a lost one. Owners do, with their own password typed once more.
///
/// A new password takes the second factor away and ends every sign-in of that admin.
#[utoipa::path(
    put, path = "/v1/admins/{id}", tag = "Admins", operation_id = "putAdmin",
    params(("id" = String, Path, description = "The admin's `id`")),
    request_body = WriteAdmin,
    responses((status = 200, description = "The admin", body = AdminView), Refused, Missing, Conflicts),
    security(("Admin-Token" = []))
)]
pub(crate) async fn update(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<AdminView>, Problem> {
    let id = call.id();
    let body: WriteAdmin = call.read()?;
    let role = role(body.role.as_deref())?;
    let patch = AdminPatch { role, password: body.password, current_password: body.current_password };
    let context = call.context();
    let updating = api.broker.update_admin(&caller, admin_of_path(&id)?, patch, &context);
    Ok(JsonAnswer(guessing(&api, &call, &caller, Shown::Password, updating).await?.into()))
}

/// Removes an admin and ends its sign-ins. Owners do; the last owner stays.
#[utoipa::path(
    delete, path = "/v1/admins/{id}", tag = "Admins", operation_id = "deleteAdmin",
    params(("id" = String, Path, description = "The admin's `id`")),
    responses((status = 200, description = "It is gone", body = Done), Refused, Missing, Conflicts),
    security(("Admin-Token" = []))
)]
pub(crate) async fn remove(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let id = call.id();
    let Nothing {} = call.read_strictly()?;
    api.broker.remove_admin(&caller, admin_of_path(&id)?, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Reads the admin who asks.
#[utoipa::path(
    get, path = "/v1/admins/me", tag = "Admins", operation_id = "getOwnAdmin",
    responses((status = 200, description = "The admin", body = AdminView), Refused),
    security(("Admin-Token" = []))
)]
pub(crate) async fn read_own(api: Arc<Api>, _: Call, caller: Caller) -> Result<JsonAnswer<AdminView>, Problem> {
    Ok(JsonAnswer(api.broker.own_admin(&caller).await?.into()))
}

/// Changes the own password and ends every other sign-in.
#[utoipa::path(
    put, path = "/v1/admins/me/password", tag = "Admins", operation_id = "putOwnPassword",
    request_body = ChangePassword,
    responses((status = 200, description = "It is changed", body = Done), Refused),
    security(("Admin-Token" = []))
)]
pub(crate) async fn change_password(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let body: ChangePassword = call.read()?;
    Refusal::require(&[("password", body.password.is_some()), ("newPassword", body.new_password.is_some())])?;
    let present = body.password.ok_or_else(|| Refusal::missing("password"))?;
    let new = body.new_password.ok_or_else(|| Refusal::missing("newPassword"))?;
    let context = call.context();
    guessing(&api, &call, &caller, Shown::Password, api.broker.change_own_password(&caller, present, new, &context))
        .await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Begins to take up a second factor. It is asked for from when `PUT` has seen a code of it.
#[utoipa::path(
    post, path = "/v1/admins/me/totp", tag = "Admins", operation_id = "postOwnTotp",
    request_body = Totp,
    responses((status = 200, description = "What the device needs; shown this once", body = TotpEnrolled), Refused, Conflicts),
    security(("Admin-Token" = []))
)]
pub(crate) async fn enrol(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<TotpEnrolled>, Problem> {
    let body: Totp = call.read()?;
    let password = body.password.ok_or_else(|| Refusal::missing("password"))?;
    let context = call.context();
    let enrolled =
        guessing(&api, &call, &caller, Shown::Password, api.broker.enrol_totp(&caller, password, &context)).await?;
    Ok(JsonAnswer(TotpEnrolled { secret: enrolled.secret, uri: enrolled.uri }))
}

/// Takes the second factor up, with a code of the device.
#[utoipa::path(
    put, path = "/v1/admins/me/totp", tag = "Admins", operation_id = "putOwnTotp",
    request_body = Totp,
    responses((status = 200, description = "Codes that stand in for the device; shown this once", body = RecoveryCodes), Refused, Conflicts),
    security(("Admin-Token" = []))
)]
pub(crate) async fn confirm(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<RecoveryCodes>, Problem> {
    let body: Totp = call.read()?;
    let code = body.code.ok_or_else(|| Refusal::missing("code"))?;
    let context = call.context();
    let recovery_codes =
        guessing(&api, &call, &caller, Shown::Password, api.broker.confirm_totp(&caller, &code, &context)).await?;
    Ok(JsonAnswer(RecoveryCodes { recovery_codes }))
}

/// Gives the second factor up.
#[utoipa::path(
    delete, path = "/v1/admins/me/totp", tag = "Admins", operation_id = "deleteOwnTotp",
    request_body = Totp,
    responses((status = 200, description = "It is not asked for any more", body = Done), Refused, Missing),
    security(("Admin-Token" = []))
)]
pub(crate) async fn give_up(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let body: Totp = call.read_strictly()?;
    Refusal::require(&[("password", body.password.is_some()), ("code", body.code.is_some())])?;
    let password = body.password.ok_or_else(|| Refusal::missing("password"))?;
    let code = body.code.ok_or_else(|| Refusal::missing("code"))?;
    let context = call.context();
    let removing = api.broker.remove_totp(&caller, password, &code, &context);
    guessing(&api, &call, &caller, Shown::PasswordAndCode, removing).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Does what a password or code has to be typed for once more. A wrong one is held against the admin like a wrong
/// sign-in, so that who found a screen unlocked guesses no faster than others.
pub(crate) async fn guessing<T>(
    api: &Api,
    call: &Call,
    caller: &Caller,
    shown: Shown,
    attempt: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Problem> {
    let username = api.broker.own_admin(caller).await?.username;
    let claimed = api.throttle.try_password(call.address(), &username, shown, api.monotonic()).map_err(throttled)?;
    let done = attempt.await;
    match &done {
        Ok(_) => claimed.succeeded(api.monotonic()),
        Err(Refusal::BadLogin) => claimed.password_was_wrong(),
        Err(Refusal::WrongCode) => drop(claimed),
        Err(_) => claimed.not_decided(),
    }
    Ok(done?)
}

/// The id of a path. What is no id names no admin.
fn admin_of_path(id: &str) -> Result<AdminId, Refusal> {
    AdminId::parse(id).ok_or(Refusal::NotFound("Admins"))
}

fn role(word: Option<&str>) -> Result<Option<AdminRole>, Refusal> {
    match given(word) {
        None => Ok(None),
        Some(word) => AdminRole::parse(word)
            .map(Some)
            .ok_or_else(|| Refusal::field("role", "must be owner, developer or read-only")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_one_of_three_words() {
        assert_eq!(role(Some("read-only")).unwrap(), Some(AdminRole::ReadOnly));
        assert_eq!(role(Some("")).unwrap(), None);
        assert_eq!(role(Some("Owner")).unwrap_err().code(), "invalid");
    }
}
