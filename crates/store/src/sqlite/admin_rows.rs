//! The rows of admins, and of what is theirs: their second factors, sign-ins and the addresses they signed in from.

use std::net::IpAddr;

use respoke_core::address::network;
use respoke_core::admin::{Admin, AdminRole, KnownAddress, SecondFactor};
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId};
use respoke_core::ports::{AdminAddition, Factor};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::totp::SealedTotp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::rows::{Columns, execute, one};
use super::writer::Write;

pub(super) const ADMIN: &str =
    "SELECT a.id, a.account_id, a.username, a.role, a.password_hash, a.created_at, f.sealed, f.last_step
                     FROM admins a LEFT JOIN second_factors f ON f.admin_id = a.id";
/// Whether admin ?1 can go as an owner: is none, or is not the account's last.
pub(super) const NOT_THE_LAST_OWNER: &str = "SELECT a.role != 0 OR EXISTS (
    SELECT 1 FROM admins b WHERE b.account_id = a.account_id AND b.role = 0 AND b.id != a.id)
    FROM admins a WHERE a.id = ?1";

pub(super) fn read_admin(row: &Row<'_>) -> rusqlite::Result<Admin> {
    let mut columns = Columns::of(row);
    Ok(Admin {
        id: columns.uuid_as(AdminId::from_uuid)?,
        account_id: columns.uuid_as(AccountId::from_uuid)?,
        username: columns.next()?,
        role: read_role(&mut columns)?,
        password_hash: columns.next()?,
        created_at: columns.time()?,
        second_factor: match columns.next::<Option<[u8; SealedTotp::LEN]>>()? {
            Some(sealed) => Some(SecondFactor { sealed: SealedTotp::from_bytes(sealed), last_step: columns.next()? }),
            None => None,
        },
    })
}

pub(super) fn read_role(columns: &mut Columns<'_>) -> rusqlite::Result<AdminRole> {
    let code: i64 = columns.next()?;
    AdminRole::from_code(code)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, "no such role".into()))
}

/// Spends what proves a second factor. False: it is not good, or spent.
pub(super) fn spend(connection: &Connection, id: AdminId, proof: Factor) -> rusqlite::Result<bool> {
    let id = id.uuid();
    Ok(match proof {
        Factor::None => {
            one(connection, "SELECT 1 FROM second_factors WHERE admin_id = ?1", [id], |_| Ok(()))?.is_none()
        }
        Factor::Step(step) => {
            let sql = "UPDATE second_factors SET last_step = ?2 WHERE admin_id = ?1 AND last_step < ?2";
            execute(connection, sql, params![id, step])? == 1
        }
        Factor::Recovery(hash) => {
            let sql = "DELETE FROM recovery_codes WHERE admin_id = ?1 AND hash = ?2";
            execute(connection, sql, params![id, hash.as_bytes()])? == 1
        }
    })
}

/// Notes from where an admin signed in; of many addresses the oldest go.
pub(super) fn know(connection: &Connection, admin: Uuid, entry: &AuditEntry) -> rusqlite::Result<()> {
    let Ok(address) = entry.address.parse::<IpAddr>() else { return Ok(()) };
    let sql = "INSERT INTO known_addresses (admin_id, address, at) VALUES (?1, ?2, ?3)
               ON CONFLICT DO UPDATE SET at = excluded.at";
    execute(connection, sql, params![admin, network(address).to_string(), entry.at.millis()])?;
    // What a clock knew that stood ahead would stay known for as long as that was. From now on it is known as any other.
    let ahead = "UPDATE known_addresses SET at = ?2 WHERE admin_id = ?1 AND at > ?2";
    execute(connection, ahead, params![admin, entry.at.millis()])?;
    let sql = "DELETE FROM known_addresses WHERE admin_id = ?1 AND (at < ?2 OR address IN (
                   SELECT address FROM known_addresses WHERE admin_id = ?1
                   ORDER BY at DESC, address LIMIT -1 OFFSET ?3))";
    let since = entry.at.plus_secs(-KnownAddress::KNOWN_SECS).millis();
    execute(connection, sql, params![admin, since, KnownAddress::PER_ADMIN_MAX])?;
    Ok(())
}

pub(super) fn remove_second_factor(connection: &Connection, id: AdminId) -> rusqlite::Result<()> {
    execute(connection, "DELETE FROM second_factors WHERE admin_id = ?1", [id.uuid()])?;
    execute(connection, "DELETE FROM recovery_codes WHERE admin_id = ?1", [id.uuid()])?;
    Ok(())
}

/// Opens an admin session and returns its Admin-Token.
pub(super) fn open(
    write: &Write<'_>,
    id: Uuid,
    entropy: Entropy,
    at: Timestamp,
    expires_at: Timestamp,
) -> rusqlite::Result<(u64, Secret)> {
    let sql = "SELECT coalesce(max(number), 0) + 1 FROM admin_sessions";
    let number: u64 = write.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let text = write.sealer.seal(SealKind::AdminSession, number, entropy);
    execute(
        write.connection,
        "INSERT INTO admin_sessions (number, admin_id, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![number, id, text.hash().as_bytes(), at.millis(), expires_at.millis()],
    )?;
    Ok((number, text))
}

/// Adds an admin.
pub(super) fn insert(connection: &Connection, admin: &Admin) -> rusqlite::Result<AdminAddition> {
    let added = execute(
        connection,
        "INSERT INTO admins (id, account_id, username, role, password_hash, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        params![
            admin.id.uuid(),
            admin.account_id.uuid(),
            admin.username,
            admin.role.code(),
            admin.password_hash,
            admin.created_at.millis()
        ],
    )?;
    Ok(if added == 1 { AdminAddition::Added } else { AdminAddition::NameTaken })
}

/// Keeps a token that signs an admin in once, in the place of an earlier one.
pub(super) fn put_setup_token(
    connection: &Connection,
    id: AdminId,
    hash: SecretHash,
    expires_at: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO setup_tokens (admin_id, hash, expires_at) VALUES (?1, ?2, ?3)";
    execute(connection, sql, params![id.uuid(), hash.as_bytes(), expires_at.millis()]).map(drop)
}
