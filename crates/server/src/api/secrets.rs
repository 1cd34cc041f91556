//! `/v1/apps/{id}/secrets`: several App-Secrets an app, rolled and revoked without an outage.

use std::sync::Arc;

use respoke_core::app::{Revocation, SecretRecord};
use respoke_core::id::SecretId;
use respoke_core::ops::{Caller, Overlap};
use respoke_core::page::{CreationKey, Page, PageRequest};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;
use respoke_wire::body::Done;
use respoke_wire::body::lists::{ListRequest, PageParams};
use respoke_wire::body::secrets::{CreateSecret, RevokeSecret, RollSecret, SecretReachView, SecretView};

use super::answer::{JsonAnswer, ListAnswer};
use super::apps::app_of_path;
use super::asked::page;
use crate::call::{Call, KeyOwner};
use crate::openapi::{Conflicts, Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// Lists an app's secrets, revoked ones included, oldest first, without their texts.
#[utoipa::path(
    get, path = "/v1/apps/{id}/secrets", tag = "Secrets", operation_id = "listSecrets",
    params(("id" = String, Path, description = "The app's id"), PageParams),
    responses((status = 200, description = "A page of them", body = Vec<SecretView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<SecretView>, Problem> {
    let id = call.id();
    let request: ListRequest = call.read()?;
    let secrets = api.broker.list_secrets(&caller, app_of_path(&api, &call, &caller, &id).await?).await?;
    Ok(ListAnswer::of(cut(secrets, &page(&request)?), SecretView::from))
}

/// The part of a whole list that is asked for.
fn cut(secrets: Vec<SecretRecord>, page: &PageRequest<CreationKey>) -> Page<SecretRecord, CreationKey> {
    let key = |secret: &SecretRecord| CreationKey { at: secret.created_at, id: secret.id.uuid() };
    let rest = secrets.into_iter().filter(|secret| page.after.is_none_or(|after| key(secret) > after));
    Page::cut(rest.collect(), page.limit, key)
}

/// Makes a secret, or takes over one that backends already hold. The answer shows its text, this once.
#[utoipa::path(
    post, path = "/v1/apps/{id}/secrets", tag = "Secrets", operation_id = "postSecrets",
    params(
        ("id" = String, Path, description = "The app's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer"),
    ),
    request_body = CreateSecret,
    responses((status = 200, description = "The secret", body = SecretView), Refused, Missing, Conflicts),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<SecretView>, Problem> {
    let id = call.id();
    let body: CreateSecret = call.read()?;
    let once = call.once(&api, KeyOwner::Caller)?;
    let import = body.secret.as_ref().map(Secret::expose);
    let created = api
        .broker
        .create_secret(
            &caller,
            app_of_path(&api, &call, &caller, &id).await?,
            body.name,
            body.expires_at,
            import,
            once,
            &call.context(),
        )
        .await?;
    Ok(JsonAnswer(SecretView::from(created)))
}

/// Reads a secret, without its text, and how much would be over if it were revoked.
#[utoipa::path(
    get, path = "/v1/apps/{id}/secrets/{sid}", tag = "Secrets", operation_id = "getSecret",
    params(("id" = String, Path, description = "The app's id"), ("sid" = String, Path, description = "The secret's id")),
    responses((status = 200, description = "The secret", body = SecretReachView), Refused, Missing),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<SecretReachView>, Problem> {
    let (id, secret) = call.ids();
    let (app, secret) = (app_of_path(&api, &call, &caller, &id).await?, secret_of_path(&secret)?);
    Ok(JsonAnswer(api.broker.secret_reach(&caller, app, secret).await?.into()))
}

/// Revokes a secret, and with it the tokens and sessions it minted.
#[utoipa::path(
    delete, path = "/v1/apps/{id}/secrets/{sid}", tag = "Secrets", operation_id = "deleteSecret",
    params(
        ("id" = String, Path, description = "The app's id"),
        ("sid" = String, Path, description = "The secret's id"),
        ("keepSessions" = Option<bool>, Query, description = "Whether tokens and sessions minted with it live on; a body may say it too"),
    ),
    responses((status = 200, description = "It is revoked", body = Done), Refused, Missing),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn revoke(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let (id, secret) = call.ids();
    let body: RevokeSecret = call.read_strictly()?;
    let revocation = if body.keep_sessions == Some(true) { Revocation::SparesMinted } else { Revocation::EndsMinted };
    let (app, secret) = (app_of_path(&api, &call, &caller, &id).await?, secret_of_path(&secret)?);
    api.broker.revoke_secret(&caller, app, secret, revocation, &call.context()).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Makes a successor of a secret, which is still taken for a while. What it minted lives on.
#[utoipa::path(
    post, path = "/v1/apps/{id}/secrets/{sid}/roll", tag = "Secrets", operation_id = "rollSecret",
    params(
        ("id" = String, Path, description = "The app's id"),
        ("sid" = String, Path, description = "The secret's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "Repeating the request with the same key repeats the answer"),
    ),
    request_body = RollSecret,
    responses((status = 200, description = "The new secret", body = SecretView), Refused, Missing, Conflicts),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn roll(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<SecretView>, Problem> {
    let (id, secret) = call.ids();
    let body: RollSecret = call.read_strictly()?;
    let overlap = match body.overlap.as_deref() {
        None | Some("") => Overlap::Day,
        Some(text) => Overlap::parse(text).ok_or_else(|| Refusal::field("overlap", "must be now, 1h, 24h or 7d"))?,
    };
    let once = call.once(&api, KeyOwner::Caller)?;
    let (app, secret) = (app_of_path(&api, &call, &caller, &id).await?, secret_of_path(&secret)?);
    let rolled = api.broker.roll_secret(&caller, app, secret, overlap, once, &call.context()).await?;
    Ok(JsonAnswer(SecretView::from(rolled)))
}

fn secret_of_path(id: &str) -> Result<SecretId, Refusal> {
    SecretId::parse(id).ok_or(Refusal::NotFound("Secrets"))
}

#[cfg(test)]
mod tests {
    use respoke_core::clock::Timestamp;
    use respoke_core::secret::SecretHash;

    use super::*;

    #[test]
    fn a_list_is_cut_into_pages_that_cover_it() {
        let record = |_| SecretRecord {
            id: SecretId::random(),
            app_id: AppId::random(),
            name: String::new(),
            hint: String::new(),
            hash: SecretHash::of(b""),
            created_at: Timestamp::from_millis(0),
            last_used_at: None,
            expires_at: None,
            revoked_at: None,
            keep_sessions: false,
        };
        let mut all: Vec<_> = (0..5).map(record).collect();
        all.sort_by_key(|secret| secret.id.uuid());
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = cut(all.clone(), &PageRequest { limit: 2, after });
            seen.extend(page.items.iter().map(|secret| secret.id));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, all.iter().map(|secret| secret.id).collect::<Vec<_>>());
        // One that is gone meanwhile was still a place in the list.
        let after = Some(CreationKey { at: all[1].created_at, id: all[1].id.uuid() });
        all.remove(1);
        assert_eq!(cut(all.clone(), &PageRequest { limit: 2, after }).items[0].id, all[1].id);
    }

    use respoke_core::id::AppId;
}
