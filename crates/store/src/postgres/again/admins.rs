//! What was taken away of admins, or from them.

use respoke_core::audit::{Action, Actor, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId, RequestId};
use respoke_core::ports::Change;
use respoke_core::secret::SecretHash;
use uuid::Uuid;

use super::there::{There, changed};
use crate::postgres::connect::{Connection, params};
use crate::postgres::deeds::OfAdmin;
use crate::postgres::failure::Failure;
use crate::postgres::rows::{Columns, one};
use crate::postgres::{admin_rows, audit_rows};

/// Writes one. False: what it is about is not there, or is otherwise since.
pub(super) async fn write(there: There<'_>, admin: AdminId, deed: &OfAdmin, at: Timestamp) -> Result<bool, Failure> {
    let (connection, uuid) = (there.connection, admin.uuid());
    let rows = match deed {
        // What was proved or spent is no change.
        OfAdmin::StepUsed(step) => {
            let sql = "UPDATE respoked.second_factors SET last_step = $2 WHERE admin_id = $1 AND last_step < $2";
            return Ok(connection.execute(sql, params![uuid, *step]).await? > 0);
        }
        OfAdmin::RecoveryCodeUsed(hash) => {
            let sql = "DELETE FROM respoked.recovery_codes WHERE admin_id = $1 AND hash = $2";
            return Ok(connection.execute(sql, params![uuid, &hash.as_bytes()[..]]).await? > 0);
        }
        OfAdmin::SetupTokenSpent(hash) => {
            let sql = "DELETE FROM respoked.setup_tokens WHERE admin_id = $1 AND hash = $2";
            return Ok(connection.execute(sql, params![uuid, &hash.as_bytes()[..]]).await? > 0);
        }
        OfAdmin::SetupTokenReplaced { expires_at } => {
            let sql = "DELETE FROM respoked.setup_tokens WHERE admin_id = $1 AND expires_at < $2";
            return Ok(connection.execute(sql, params![uuid, expires_at.millis()]).await? > 0);
        }
        // An owner who had come since may be missing here: then this one stays.
        OfAdmin::Deleted | OfAdmin::RoleSet(_) if is_the_last_owner(connection, uuid).await? => 0,
        _ if !stands(there, admin, deed, at).await? => 0,
        OfAdmin::Deleted => delete(connection, uuid).await?,
        OfAdmin::RoleSet(role) => {
            let sql = "UPDATE respoked.admins SET role = $2 WHERE id = $1";
            connection.execute(sql, params![uuid, *role]).await?
        }
        OfAdmin::PasswordSet { hash, sealed, keep_session } => {
            set_password(connection, uuid, hash, sealed.as_deref(), *keep_session).await?
        }
        OfAdmin::FactorAdded { sealed, last_step, recovery } => {
            add_factor(connection, uuid, sealed, *last_step, recovery).await?
        }
        OfAdmin::FactorRemoved => {
            admin_rows::remove_second_factor(connection, uuid).await?;
            1
        }
        OfAdmin::SessionEnded(number) => {
            let sql = "UPDATE respoked.admin_sessions SET ended_at = $3
                       WHERE number = $1 AND admin_id = $2 AND ended_at IS NULL";
            connection.execute(sql, params![*number, uuid, at.millis()]).await?
        }
        OfAdmin::SessionsEnded => {
            let sql = "UPDATE respoked.admin_sessions SET ended_at = $2
                       WHERE admin_id = $1 AND ended_at IS NULL AND created_at <= $2";
            admin_rows::remove_setup_token(connection, uuid).await?;
            connection.execute(sql, params![uuid, at.millis()]).await?
        }
    };
    if rows > 0
        && let Some((action, _)) = told_as(deed)
    {
        tell(there, admin, action, at).await?;
    }
    changed(connection, rows, Change::Admin(admin), at).await
}

/// How the audit log tells of a deed that others may do otherwise since, and of what they do then.
const fn told_as(deed: &OfAdmin) -> Option<(Action, &'static [Action])> {
    const PASSWORDS: &[Action] = &[Action::AdminPasswordChanged, Action::AdminPasswordReset];
    // One that was added before another password was set cannot be read with that.
    const FACTORS: &[Action] = &[
        Action::SecondFactorAdded,
        Action::SecondFactorRemoved,
        Action::AdminPasswordChanged,
        Action::AdminPasswordReset,
    ];
    match deed {
        OfAdmin::PasswordSet { .. } => Some((Action::AdminPasswordChanged, PASSWORDS)),
        OfAdmin::RoleSet(_) => Some((Action::AdminRoleChanged, &[Action::AdminRoleChanged])),
        OfAdmin::FactorAdded { .. } => Some((Action::SecondFactorAdded, FACTORS)),
        OfAdmin::FactorRemoved => Some((Action::SecondFactorRemoved, &[Action::SecondFactorAdded])),
        OfAdmin::Deleted
        | OfAdmin::SessionEnded(_)
        | OfAdmin::SessionsEnded
        | OfAdmin::StepUsed(_)
        | OfAdmin::RecoveryCodeUsed(_)
        | OfAdmin::SetupTokenSpent(_)
        | OfAdmin::SetupTokenReplaced { .. } => None,
    }
}

/// Who an admin is, as the audit log tells it. It stays until the transaction's end. None: there is no such admin.
async fn told_of(connection: &Connection, admin: AdminId) -> Result<Option<(AccountId, String)>, Failure> {
    let sql = "SELECT account_id, username FROM respoked.admins WHERE id = $1 FOR NO KEY UPDATE";
    let read = |columns: &mut Columns<'_>| Ok((columns.uuid_as(AccountId::from_uuid)?, columns.next()?));
    one(connection, sql, params![admin.uuid()], read).await
}

/// Whether nobody did otherwise since. What is never otherwise stands.
async fn stands(there: There<'_>, admin: AdminId, deed: &OfAdmin, at: Timestamp) -> Result<bool, Failure> {
    let Some((_, others)) = told_as(deed) else { return Ok(true) };
    let Some((_, username)) = told_of(there.connection, admin).await? else { return Ok(false) };
    Ok(!there.since.is_done(there.connection, &Change::Admin(admin), others, &username, at).await?)
}

/// Says in the audit log that it was done, and when, so that another process does not undo it which does again what it did before.
async fn tell(there: There<'_>, admin: AdminId, action: Action, at: Timestamp) -> Result<(), Failure> {
    let Some((account, object)) = told_of(there.connection, admin).await? else { return Ok(()) };
    let entry = AuditEntry {
        at,
        account_id: Some(account),
        app_id: None,
        actor: Actor::System,
        action,
        object,
        address: String::new(),
        request_id: RequestId::from_uuid(there.chance.uuid()),
        fingerprint: None,
    };
    audit_rows::insert(there.connection, &entry).await
}

async fn is_the_last_owner(connection: &Connection, admin: Uuid) -> Result<bool, Failure> {
    Ok(admin_rows::is_not_the_last_owner(connection, admin).await? == Some(false))
}

async fn set_password(
    connection: &Connection,
    admin: Uuid,
    hash: &str,
    sealed: Option<&[u8]>,
    keep_session: Option<u64>,
) -> Result<u64, Failure> {
    match sealed {
        Some(sealed) => {
            let sql = "UPDATE respoked.second_factors SET sealed = $2 WHERE admin_id = $1";
            connection.execute(sql, params![admin, sealed]).await?;
        }
        None => admin_rows::remove_second_factor(connection, admin).await?,
    }
    admin_rows::remove_sessions(connection, admin, keep_session).await?;
    admin_rows::remove_setup_token(connection, admin).await?;
    let sql = "UPDATE respoked.admins SET password_hash = $2 WHERE id = $1";
    connection.execute(sql, params![admin, hash]).await
}

async fn add_factor(
    connection: &Connection,
    admin: Uuid,
    sealed: &[u8],
    last_step: i64,
    recovery: &[SecretHash],
) -> Result<u64, Failure> {
    // One that is there had been removed before this one was added.
    let sql = "INSERT INTO respoked.second_factors AS f (admin_id, sealed, last_step)
               SELECT id, $2, $3 FROM respoked.admins WHERE id = $1
               ON CONFLICT (admin_id) DO UPDATE SET sealed = excluded.sealed, last_step = excluded.last_step
               WHERE f.sealed <> excluded.sealed";
    let added = connection.execute(sql, params![admin, sealed, last_step]).await?;
    if added > 0 {
        connection.execute("DELETE FROM respoked.recovery_codes WHERE admin_id = $1", params![admin]).await?;
        let hashes: Vec<&[u8]> = recovery.iter().map(|hash| &hash.as_bytes()[..]).collect();
        let sql = "INSERT INTO respoked.recovery_codes (admin_id, hash) SELECT $1, unnest($2::bytea[])
                   ON CONFLICT (admin_id, hash) DO NOTHING";
        connection.execute(sql, params![admin, hashes]).await?;
    }
    Ok(added)
}

pub(super) async fn delete(connection: &Connection, admin: Uuid) -> Result<u64, Failure> {
    let gone = connection.execute("DELETE FROM respoked.admins WHERE id = $1", params![admin]).await?;
    admin_rows::remove_sessions(connection, admin, None).await?;
    admin_rows::remove_setup_token(connection, admin).await?;
    connection.execute("DELETE FROM respoked.known_addresses WHERE admin_id = $1", params![admin]).await?;
    admin_rows::remove_second_factor(connection, admin).await?;
    Ok(gone)
}
