//! App-Secrets.

use async_trait::async_trait;
use respoke_core::app::{Revocation, SecretRecord};
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, SecretId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{Change, SECRETS_PER_APP_MAX, SecretRefusal, SecretStore, StoreError};
use respoke_core::secret::SecretHash;
use rusqlite::{Connection, Row, params};

use super::idempotency::{remember, repeated};
use super::rows::{Columns, all, app_exists, execute, one};
use super::writer::Write;
use super::{SqliteStore, audit, feed};

const SECRET: &str =
    "SELECT id, app_id, name, hint, hash, created_at, last_used_at, expires_at, revoked_at, keep_sessions
     FROM secrets";
/// Revoked and expired secrets shown beside the usable ones; older ones are still kept, for what they minted.
const SHOWN_MAX: i64 = 200;

fn read(row: &Row<'_>) -> rusqlite::Result<SecretRecord> {
    let mut columns = Columns::of(row);
    Ok(SecretRecord {
        id: columns.uuid_as(SecretId::from_uuid)?,
        app_id: columns.uuid_as(AppId::from_uuid)?,
        name: columns.next()?,
        hint: columns.next()?,
        hash: columns.hash()?,
        created_at: columns.time()?,
        last_used_at: columns.time_if_any()?,
        expires_at: columns.time_if_any()?,
        revoked_at: columns.time_if_any()?,
        keep_sessions: columns.next()?,
    })
}

fn find(connection: &Connection, app: AppId, id: SecretId) -> rusqlite::Result<Option<SecretRecord>> {
    let sql = format!("{SECRET} WHERE id = ?1 AND app_id = ?2");
    one(connection, &sql, [id.uuid(), app.uuid()], read)
}

pub(super) fn insert(write: &Write<'_>, secret: &SecretRecord) -> rusqlite::Result<()> {
    execute(
        write.connection,
        "INSERT INTO secrets (id, app_id, name, hint, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            secret.id.uuid(),
            secret.app_id.uuid(),
            secret.name,
            secret.hint,
            secret.hash.as_bytes(),
            secret.created_at.millis(),
            secret.expires_at.map(Timestamp::millis),
        ],
    )?;
    Ok(())
}

fn usable_count(write: &Write<'_>, app: AppId, now: Timestamp) -> rusqlite::Result<usize> {
    let sql = "SELECT count(*) FROM secrets
               WHERE app_id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)";
    write.connection.prepare_cached(sql)?.query_row(params![app.uuid(), now.millis()], |row| row.get(0))
}

#[async_trait]
impl SecretStore for SqliteStore {
    async fn create_secret(
        &self,
        secret: SecretRecord,
        rolls: Option<(SecretId, Timestamp)>,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<SecretRecord, SecretRefusal>, StoreError> {
        self.writer
            .write(move |write| {
                if let Some(made) = repeated(write, once.as_ref(), |id| find(write.connection, secret.app_id, SecretId::from_uuid(id)))? {
                    return Ok(made);
                }
                let app_exists = app_exists(write.connection, secret.app_id)?;
                let taken = one(
                    write.connection,
                    "SELECT 1 FROM secrets WHERE hash = ?1",
                    [secret.hash.as_bytes()],
                    |_| Ok(()),
                )?;
                if !app_exists {
                    return Ok(Creation::Refused(SecretRefusal::NoApp));
                }
                if taken.is_some() {
                    return Ok(Creation::Refused(SecretRefusal::Taken));
                }
                if usable_count(write, secret.app_id, entry.at)? >= SECRETS_PER_APP_MAX {
                    return Ok(Creation::Refused(SecretRefusal::TooMany));
                }
                if let Some((old, until)) = rolls {
                    let rolled = execute(
                        write.connection,
                        "UPDATE secrets SET expires_at = min(coalesce(expires_at, ?3), ?3)
                         WHERE id = ?1 AND app_id = ?2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?4)",
                        params![old.uuid(), secret.app_id.uuid(), until.millis(), entry.at.millis()],
                    )?;
                    if rolled == 0 {
                        return Ok(Creation::Refused(SecretRefusal::NothingToRoll));
                    }
                    feed::write(write, Some(&Change::Secret(secret.app_id, old)), entry.at)?;
                }
                insert(write, &secret)?;
                remember(write, once.as_ref(), secret.id.uuid().as_bytes(), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Creation::Created(secret.clone()))
            })
            .await
    }

    async fn secret_by_hash(&self, hash: &SecretHash) -> Result<Option<SecretRecord>, StoreError> {
        let hash = *hash;
        self.readers
            .read(move |connection| one(connection, &format!("{SECRET} WHERE hash = ?1"), [hash.as_bytes()], read))
            .await
    }

    async fn secrets(&self, app: AppId) -> Result<Vec<SecretRecord>, StoreError> {
        let list = move |connection: &Connection| {
            // The newest come first into the limit and are then turned round.
            let sql = format!("{SECRET} WHERE app_id = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2");
            let mut secrets = all(connection, &sql, params![app.uuid(), SHOWN_MAX], read)?;
            secrets.reverse();
            Ok(secrets)
        };
        self.readers.read(list).await
    }

    async fn revoke_secret(
        &self,
        app: AppId,
        id: SecretId,
        revocation: Revocation,
        entry: AuditEntry,
    ) -> Result<Option<SecretRecord>, StoreError> {
        self.writer
            .write(move |write| {
                // Revoking again can end what was spared, never spare what was ended.
                let touched = execute(
                    write.connection,
                    "UPDATE secrets SET keep_sessions = CASE WHEN revoked_at IS NULL THEN ?3 ELSE min(keep_sessions, ?3) END,
                     revoked_at = coalesce(revoked_at, ?4) WHERE id = ?1 AND app_id = ?2",
                    params![id.uuid(), app.uuid(), revocation.spares_minted(), entry.at.millis()],
                )?;
                if touched == 1 {
                    feed::write(write, Some(&Change::Secret(app, id)), entry.at)?;
                    audit::insert(write, &entry)?;
                }
                find(write.connection, app, id)
            })
            .await
    }

    fn touch_secret(&self, id: SecretId, at: Timestamp) {
        self.writer.write_if_idle(move |write| {
            let sql = "UPDATE secrets SET last_used_at = ?2 WHERE id = ?1";
            execute(write.connection, sql, params![id.uuid(), at.millis()])?;
            Ok(())
        });
    }
}
