//! App-Secrets.

use async_trait::async_trait;
use respoke_core::app::{Revocation, SecretRecord};
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, SecretId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{Change, SECRETS_PER_APP_MAX, SecretRefusal, SecretStore, StoreError};
use respoke_core::secret::SecretHash;

use super::audit_rows;
use super::connect::{Connection, Param, params};
use super::deeds::{Deed, OfApp};
use super::failure::Failure;
use super::rows::{Columns, Remembered, exists, lock_app, one, read_number, remember, remembered, uuid_of};
use super::store::PostgresStore;
use super::token_writer::Touch;
use super::write::in_ending_transaction;

macro_rules! secret {
    // Those of an app that is gone are none: upkeep removes them.
    (of_an_app, $condition:literal) => {
        secret!(concat!($condition, " AND EXISTS (SELECT 1 FROM respoked.apps a WHERE a.id = app_id)"))
    };
    ($condition:expr) => {
        concat!(
            "SELECT id, app_id, name, hint, hash, created_at, last_used_at, expires_at, revoked_at, keep_sessions \
             FROM respoked.secrets ",
            $condition
        )
    };
}
/// Revoked and expired secrets shown beside the usable ones; older ones are still kept, for what they minted.
const SHOWN_MAX: i64 = 200;

fn read(columns: &mut Columns<'_>) -> Result<SecretRecord, Failure> {
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

async fn find(connection: &Connection, app: AppId, id: SecretId) -> Result<Option<SecretRecord>, Failure> {
    one(connection, secret!("WHERE id = $1 AND app_id = $2"), params![id.uuid(), app.uuid()], read).await
}

/// Adds a secret. False: another one has its text. Of two apps that take one text over at once the later waits for the earlier.
pub(super) async fn insert(connection: &Connection, secret: &SecretRecord) -> Result<bool, Failure> {
    let sql = "INSERT INTO respoked.secrets (id, app_id, name, hint, hash, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (hash) DO NOTHING";
    let hash = &secret.hash.as_bytes()[..];
    let (created_at, expires_at) = (secret.created_at.millis(), secret.expires_at.map(Timestamp::millis));
    let ids = (secret.id.uuid(), secret.app_id.uuid());
    let values: &[Param<'_>] = params![ids.0, ids.1, secret.name, secret.hint, hash, created_at, expires_at];
    if connection.execute(sql, values).await? == 1 {
        return Ok(true);
    }
    // One of an app that is gone is none, though upkeep has not come to it yet.
    let gone = "DELETE FROM respoked.secrets s WHERE hash = $1
                AND NOT EXISTS (SELECT 1 FROM respoked.apps a WHERE a.id = s.app_id)";
    Ok(connection.execute(gone, params![hash]).await? == 1 && connection.execute(sql, values).await? == 1)
}

#[async_trait]
impl SecretStore for PostgresStore {
    async fn create_secret(
        &self,
        secret: SecretRecord,
        rolls: Option<(SecretId, Timestamp)>,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<SecretRecord, SecretRefusal>, StoreError> {
        let app = secret.app_id;
        in_ending_transaction!(self, write => {
            if rolls.is_some() {
                write.hold_mints(app).await?;
            }
            // Locked first: of two with one key the later finds what the earlier made.
            let there = lock_app(write, app).await?;
            match remembered(write, once.as_ref()).await? {
                Remembered::Nothing => {}
                Remembered::Made(object) => {
                    // One of an app that is gone is none, though upkeep has not come to it yet.
                    let made = find(write, app, SecretId::from_uuid(uuid_of(&object)?)).await?.filter(|_| there);
                    return Ok(made.map_or(Creation::KeyReused, Creation::Repeated));
                }
                Remembered::Otherwise => return Ok(Creation::KeyReused),
            }
            if !there {
                return Ok(Creation::Refused(SecretRefusal::NoApp));
            }
            let sql = secret!(of_an_app, "WHERE hash = $1");
            if exists(write, sql, params![&secret.hash.as_bytes()[..]]).await? {
                return Ok(Creation::Refused(SecretRefusal::Taken));
            }
            let now = entry.at.millis();
            let sql = "SELECT count(*) FROM respoked.secrets
                       WHERE app_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
            let usable = one(write, sql, params![app.uuid(), now], read_number).await?.unwrap_or(0);
            if usable >= SECRETS_PER_APP_MAX as u64 {
                return Ok(Creation::Refused(SecretRefusal::TooMany));
            }
            if let Some((old, _)) = rolls {
                let sql = "SELECT 1 FROM respoked.secrets WHERE id = $1 AND app_id = $2 AND revoked_at IS NULL
                           AND (expires_at IS NULL OR expires_at > $3) FOR NO KEY UPDATE";
                if !exists(write, sql, params![old.uuid(), app.uuid(), now]).await? {
                    return Ok(Creation::Refused(SecretRefusal::NothingToRoll));
                }
            }
            if !insert(write, &secret).await? {
                return Ok(Creation::Refused(SecretRefusal::Taken));
            }
            if let Some((old, until)) = rolls {
                let sql = "UPDATE respoked.secrets SET expires_at = least(expires_at, $2) WHERE id = $1";
                write.execute(sql, params![old.uuid(), until.millis()]).await?;
            }
            remember(write, once.as_ref(), secret.id.uuid().as_bytes(), entry.at).await?;
            audit_rows::insert(write, &entry).await?;
            if let Some((old, until)) = rolls {
                write.change(Some(&Change::Secret(app, old)), entry.at).await?;
                let deed = OfApp::SecretRolled { secret: old, until };
                write.takes_away(Deed::OfApp { app, deed, at: entry.at });
            }
            Ok(Creation::Created(secret.clone()))
        })
    }

    async fn secret_by_hash(&self, hash: &SecretHash) -> Result<Option<SecretRecord>, StoreError> {
        self.read_one(secret!(of_an_app, "WHERE hash = $1"), params![&hash.as_bytes()[..]], read).await
    }

    async fn secrets(&self, app: AppId) -> Result<Vec<SecretRecord>, StoreError> {
        // The newest come first into the limit and are then turned round.
        let sql = secret!(
            "WHERE app_id = (SELECT id FROM respoked.apps WHERE id = $1)
                           ORDER BY created_at DESC, id DESC LIMIT $2"
        );
        let mut secrets = self.read_all(sql, params![app.uuid(), SHOWN_MAX], read).await?;
        secrets.reverse();
        Ok(secrets)
    }

    async fn revoke_secret(
        &self,
        app: AppId,
        id: SecretId,
        revocation: Revocation,
        entry: AuditEntry,
    ) -> Result<Option<SecretRecord>, StoreError> {
        in_ending_transaction!(self, write => {
            write.hold_mints(app).await?;
            if !lock_app(write, app).await? {
                return Ok(None);
            }
            // Revoking again can end what was spared, never spare what was ended.
            let sql = "UPDATE respoked.secrets SET
                       keep_sessions = CASE WHEN revoked_at IS NULL THEN $3 ELSE keep_sessions AND $3 END,
                       revoked_at = coalesce(revoked_at, $4) WHERE id = $1 AND app_id = $2";
            let keep_sessions = revocation == Revocation::SparesMinted;
            let values = (id.uuid(), app.uuid(), entry.at.millis());
            if write.execute(sql, params![values.0, values.1, keep_sessions, values.2]).await? == 1 {
                audit_rows::insert(write, &entry).await?;
                write.change(Some(&Change::Secret(app, id)), entry.at).await?;
                let deed = OfApp::SecretRevoked { secret: id, keep_sessions };
                write.takes_away(Deed::OfApp { app, deed, at: entry.at });
            }
            find(write, app, id).await
        })
    }

    fn touch_secret(&self, id: SecretId, at: Timestamp) {
        self.writer.touch(Touch::Secret { id, at });
    }
}
