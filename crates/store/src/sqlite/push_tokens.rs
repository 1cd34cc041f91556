//! Push tokens.

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, PushTokenId};
use respoke_core::ports::{Keeping, PushTokenStore, Removal, StoreError};
use respoke_core::push_token::PushToken;
use respoke_core::secret::Secret;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::rows::{Columns, all, app_exists, execute};
use super::writer::Write;
use super::{SqliteStore, kept};
use crate::codes;

/// How old "last seen" has to be before it is written anew: tokens go after months, so a day is near enough.
const TOUCH_MILLIS: i64 = 86_400_000;

fn read(row: &Row<'_>) -> rusqlite::Result<PushToken> {
    let mut columns = Columns::of(row);
    Ok(PushToken {
        app_id: columns.uuid_as(AppId::from_uuid)?,
        id: columns.uuid_as(PushTokenId::from_uuid)?,
        endpoint_id: columns.endpoint()?,
        service: codes::push_service_of(columns.next()?).ok_or_else(|| {
            rusqlite::Error::FromSqlConversionFailure(3, Type::Integer, "no such push service".into())
        })?,
        text: Secret::new(columns.next()?),
        seen_at: columns.time()?,
    })
}

/// The rows that a push token takes the place of, and what they cost, each found by a key.
const REPLACED: &str = "SELECT id, cost_bytes FROM push_tokens WHERE app_id = ?1 AND id = ?2
                        UNION SELECT id, cost_bytes FROM push_tokens WHERE app_id = ?1 AND service = ?3 AND hash = ?4";

const REMOVE: &str = "DELETE FROM push_tokens WHERE app_id = ?1 AND id = ?2";

/// Keeps an endpoint's push tokens within their number; the one that is just registered stays.
const FORGET_UNSEEN: &str = "DELETE FROM push_tokens WHERE app_id = ?1 AND id IN (
                                 SELECT id FROM push_tokens WHERE app_id = ?1 AND endpoint = ?2 AND id <> ?3
                                 ORDER BY seen_at DESC LIMIT -1 OFFSET ?4)";

fn put(write: &Write<'_>, token: &PushToken, bytes_max: u64) -> rusqlite::Result<Keeping<()>> {
    if !app_exists(write.connection, token.app_id)? {
        return Ok(Keeping::NoApp);
    }
    let app = token.app_id.uuid();
    // It takes the place of what has its id or its text. Those that become longer need room as those that are new do.
    let replaced = all(
        write.connection,
        REPLACED,
        params![app, token.id.uuid(), codes::push_service(token.service), token.hash().as_bytes()],
        |row| Ok((row.get::<_, Uuid>(0)?, row.get::<_, usize>(1)?)),
    )?;
    let freed = replaced.iter().map(|(_, bytes)| bytes).sum();
    let more = kept::push_token(token.text.expose().len(), &token.endpoint_id).saturating_sub(freed);
    if more > 0 && !kept::fits(write.connection, token.app_id, more, bytes_max)? {
        return Ok(Keeping::Full);
    }
    // They are removed by name: what a conflict replaces is counted by no trigger.
    for (id, _) in replaced {
        execute(write.connection, REMOVE, params![app, id])?;
    }
    execute(
        write.connection,
        "INSERT INTO push_tokens (app_id, id, endpoint, service, hash, text, seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            app,
            token.id.uuid(),
            token.endpoint_id.as_str(),
            codes::push_service(token.service),
            token.hash().as_bytes(),
            token.text.expose(),
            token.seen_at.millis(),
        ],
    )?;
    execute(
        write.connection,
        FORGET_UNSEEN,
        params![app, token.endpoint_id.as_str(), token.id.uuid(), PushToken::PER_ENDPOINT_MAX - 1],
    )?;
    Ok(Keeping::Kept(()))
}

/// Removes all push tokens of an endpoint.
pub(super) fn delete_of(write: &Write<'_>, app: AppId, endpoint: &EndpointId) -> rusqlite::Result<()> {
    // By the index, which a deletion alone does not use.
    let sql = "DELETE FROM push_tokens WHERE app_id = ?1 AND id IN (
                   SELECT id FROM push_tokens WHERE app_id = ?1 AND endpoint = ?2)";
    execute(write.connection, sql, params![app.uuid(), endpoint.as_str()])?;
    Ok(())
}

#[async_trait]
impl PushTokenStore for SqliteStore {
    async fn put_push_token(&self, token: PushToken, bytes_max: u64) -> Result<Keeping<()>, StoreError> {
        self.writer.write(move |write| put(write, &token, bytes_max)).await
    }

    async fn delete_push_token(
        &self,
        app: AppId,
        id: PushTokenId,
        endpoint: Option<&EndpointId>,
    ) -> Result<Removal, StoreError> {
        let endpoint = endpoint.cloned();
        self.writer
            .write(move |write| {
                let sql = "DELETE FROM push_tokens WHERE app_id = ?1 AND id = ?2 AND (?3 IS NULL OR endpoint = ?3)";
                let endpoint = endpoint.as_ref().map(EndpointId::as_str);
                let removed = execute(write.connection, sql, params![app.uuid(), id.uuid(), endpoint])? == 1;
                Ok(if removed { Removal::Removed } else { Removal::Unknown })
            })
            .await
    }

    async fn push_tokens(&self, app: AppId, endpoint: &EndpointId) -> Result<Vec<PushToken>, StoreError> {
        let endpoint = endpoint.clone();
        let list = move |connection: &Connection| {
            let sql = "SELECT app_id, id, endpoint, service, text, seen_at FROM push_tokens
                       WHERE app_id = ?1 AND endpoint = ?2 ORDER BY seen_at DESC LIMIT ?3";
            all(connection, sql, params![app.uuid(), endpoint.as_str(), PushToken::PER_ENDPOINT_MAX], read)
        };
        self.readers.read(list).await
    }

    fn touch_push_token(&self, app: AppId, id: PushTokenId, endpoint: &EndpointId, at: Timestamp) {
        let endpoint = endpoint.clone();
        self.writer.write_if_idle(move |write| {
            let sql = "UPDATE push_tokens SET seen_at = ?4
                       WHERE app_id = ?1 AND id = ?2 AND endpoint = ?3 AND seen_at <= ?4 - ?5";
            let params = params![app.uuid(), id.uuid(), endpoint.as_str(), at.millis(), TOUCH_MILLIS];
            execute(write.connection, sql, params)?;
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_registration_looks_at_all_push_tokens_of_its_app() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection).unwrap();
        for sql in [REPLACED, REMOVE, FORGET_UNSEEN] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nothing = rusqlite::params_from_iter(std::iter::repeat_n(0, plan.parameter_count()));
            let steps = plan.query_map(nothing, |row| row.get::<_, String>("detail")).unwrap();
            let steps: Vec<_> = steps.map(Result::unwrap).collect();
            let walks = |step: &String| step.starts_with("SCAN push_tokens") || step.ends_with("(app_id=?)");
            assert!(!steps.iter().any(walks), "{sql}: {steps:?}");
        }
    }
}
