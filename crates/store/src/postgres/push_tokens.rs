//! Push tokens.

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, PushTokenId};
use respoke_core::ports::{Keeping, PushTokenStore, Removal, StoreError};
use respoke_core::push_token::PushToken;
use respoke_core::secret::Secret;
use uuid::Uuid;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::kept;
use super::message_writer::Seen;
use super::rows::{Columns, all, lock_app};
use super::store::PostgresStore;
use super::write::in_transaction;
use crate::codes;

fn read(columns: &mut Columns<'_>) -> Result<PushToken, Failure> {
    Ok(PushToken {
        app_id: columns.uuid_as(AppId::from_uuid)?,
        id: columns.uuid_as(PushTokenId::from_uuid)?,
        endpoint_id: columns.endpoint()?,
        service: codes::push_service_of(columns.next()?).ok_or(Failure::Row("no such push service"))?,
        text: Secret::new(columns.next()?),
        seen_at: columns.time()?,
    })
}

fn read_id(columns: &mut Columns<'_>) -> Result<Uuid, Failure> {
    columns.next()
}

/// The rows that a push token takes the place of, and what they cost, each found by a key.
const REPLACED: &str = "
    SELECT id, respoked.push_token_cost(text, endpoint) FROM respoked.push_tokens WHERE app_id = $1 AND id = $2
    UNION SELECT id, respoked.push_token_cost(text, endpoint) FROM respoked.push_tokens
    WHERE app_id = $1 AND service = $3 AND hash = $4";

/// Those of an endpoint that make room for a new one. What the new one takes the place of goes anyway.
const FORGOTTEN: &str = "
    SELECT id FROM respoked.push_tokens WHERE app_id = $1 AND endpoint = $2 AND id <> ALL($3)
    ORDER BY seen_at DESC, id DESC OFFSET $4";

async fn put(connection: &Connection, token: &PushToken, bytes_max: u64) -> Result<Keeping<()>, Failure> {
    let app = token.app_id.uuid();
    // It takes the place of what has its id or its text. Those that become longer need room as those that are new do.
    let hash = token.hash();
    let (id, service, hash) = (token.id.uuid(), codes::push_service(token.service), &hash.as_bytes()[..]);
    let replaced = all(connection, REPLACED, params![app, id, service, hash], |columns| {
        Ok((columns.next::<Uuid>()?, columns.number()?))
    })
    .await?;
    let freed: u64 = replaced.iter().map(|(_, bytes)| bytes).sum();
    let cost = kept::push_token(token.text.expose().len(), &token.endpoint_id);
    let more = cost.saturating_sub(usize::try_from(freed).unwrap_or(usize::MAX));
    if more > 0 && !kept::fits(connection, token.app_id, more, bytes_max).await? {
        return Ok(Keeping::Full);
    }
    let mut gone: Vec<_> = replaced.into_iter().map(|(id, _)| id).collect();
    let (endpoint, text) = (token.endpoint_id.as_str(), token.text.expose());
    let others = i64::try_from(PushToken::PER_ENDPOINT_MAX - 1).unwrap_or(i64::MAX);
    let forgotten = all(connection, FORGOTTEN, params![app, endpoint, gone, others], read_id).await?;
    gone.extend(forgotten);
    if !gone.is_empty() {
        // All at once: what counts them is locked behind the last one.
        let sql = "DELETE FROM respoked.push_tokens WHERE app_id = $1 AND id = ANY($2)";
        connection.execute(sql, params![app, gone]).await?;
    }
    let sql = "INSERT INTO respoked.push_tokens (app_id, id, endpoint, service, hash, text, seen_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let seen_at = token.seen_at.millis();
    connection.execute(sql, params![app, id, endpoint, service, hash, text, seen_at]).await?;
    Ok(Keeping::Kept(()))
}

#[async_trait]
impl PushTokenStore for PostgresStore {
    async fn put_push_token(&self, token: PushToken, bytes_max: u64) -> Result<Keeping<()>, StoreError> {
        in_transaction!(self, write => {
            if !lock_app(write, token.app_id).await? {
                return Ok(Keeping::NoApp);
            }
            put(write, &token, bytes_max).await
        })
    }

    async fn delete_push_token(
        &self,
        app: AppId,
        id: PushTokenId,
        endpoint: Option<&EndpointId>,
    ) -> Result<Removal, StoreError> {
        in_transaction!(self, write => {
            let sql = "DELETE FROM respoked.push_tokens
                       WHERE app_id = $1 AND id = $2 AND ($3::text IS NULL OR endpoint = $3)";
            let removed = write.execute(sql, params![app.uuid(), id.uuid(), endpoint.map(EndpointId::as_str)]).await?;
            Ok(if removed == 1 { Removal::Removed } else { Removal::Unknown })
        })
    }

    async fn push_tokens(&self, app: AppId, endpoint: &EndpointId) -> Result<Vec<PushToken>, StoreError> {
        let sql = "SELECT app_id, id, endpoint, service, text, seen_at FROM respoked.push_tokens
                   WHERE app_id = $1 AND endpoint = $2 ORDER BY seen_at DESC LIMIT $3";
        let most = i64::try_from(PushToken::PER_ENDPOINT_MAX).unwrap_or(i64::MAX);
        self.read_all(sql, params![app.uuid(), endpoint.as_str(), most], read).await
    }

    fn touch_push_token(&self, app: AppId, id: PushTokenId, endpoint: &EndpointId, at: Timestamp) {
        self.messages.note_seen(Seen { app, id, endpoint: endpoint.clone(), at });
    }
}
