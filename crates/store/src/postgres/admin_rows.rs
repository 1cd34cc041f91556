//! The rows of admins, and of what is theirs: their second factors, sign-ins and the addresses they signed in from.
//!
//! Who changes an admin, or what an admin has, locks the admin's row first; who changes how many owners an account has locks
//! the account's row before that. So what is looked at or counted stays as it is until the end.

use std::net::IpAddr;

use respoke_core::address::network;
use respoke_core::admin::{Admin, AdminRole, KnownAddress, SecondFactor};
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId};
use respoke_core::ports::{AdminAddition, Factor};
use respoke_core::seal::{Entropy, SealKind, Sealer};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::totp::SealedTotp;
use uuid::Uuid;

use super::connect::{Connection, params};
use super::deeds::{Deed, OfAdmin};
use super::failure::Failure;
use super::rows::{Columns, exists, one, only, read_number, stored};

macro_rules! admin {
    ($condition:literal) => {
        concat!(
            "SELECT a.id, a.account_id, a.username, a.role, a.password_hash, a.created_at, f.sealed, f.last_step \
             FROM respoked.admins a LEFT JOIN respoked.second_factors f ON f.admin_id = a.id ",
            $condition
        )
    };
}
pub(super) use admin;

pub(super) fn read(columns: &mut Columns<'_>) -> Result<Admin, Failure> {
    let id = columns.uuid_as(AdminId::from_uuid)?;
    let account_id = columns.uuid_as(AccountId::from_uuid)?;
    let (username, role) = (columns.next()?, read_role(columns)?);
    let (password_hash, created_at) = (columns.next()?, columns.time()?);
    let second_factor = match columns.next::<Option<&[u8]>>()? {
        Some(sealed) => {
            let sealed =
                sealed.try_into().map_err(|_| Failure::Row("a second factor is not as long as it should be"))?;
            Some(SecondFactor { sealed: SealedTotp::from_bytes(sealed), last_step: columns.number()? })
        }
        None => None,
    };
    Ok(Admin { id, account_id, username, role, second_factor, password_hash, created_at })
}

pub(super) fn read_role(columns: &mut Columns<'_>) -> Result<AdminRole, Failure> {
    AdminRole::from_code(columns.next()?).ok_or(Failure::Row("no such role of an admin"))
}

pub(super) fn read_uuid(columns: &mut Columns<'_>) -> Result<Uuid, Failure> {
    columns.next()
}

/// Whether an admin is there; if so it and what it has stay as they are until the transaction's end.
pub(super) async fn lock(connection: &Connection, id: Uuid) -> Result<bool, Failure> {
    exists(connection, "SELECT 1 FROM respoked.admins WHERE id = $1 FOR NO KEY UPDATE", params![id]).await
}

/// Whether an admin can go as an owner: is none, or is not the account's last. None: there is no such admin. The account has
/// as many owners as it has until the transaction's end.
pub(super) async fn is_not_the_last_owner(connection: &Connection, id: Uuid) -> Result<Option<bool>, Failure> {
    // One statement locks and the next one looks: it sees what whoever had the lock committed.
    let sql = "SELECT 1 FROM respoked.accounts WHERE id = (SELECT account_id FROM respoked.admins WHERE id = $1)
               FOR NO KEY UPDATE";
    connection.query(sql, params![id]).await?;
    if !lock(connection, id).await? {
        return Ok(None);
    }
    let sql = "SELECT a.role <> 0 OR EXISTS (
                   SELECT 1 FROM respoked.admins b WHERE b.account_id = a.account_id AND b.role = 0 AND b.id <> a.id)
               FROM respoked.admins a WHERE a.id = $1";
    one(connection, sql, params![id], only).await
}

/// Spends what proves a second factor. False: it is not good, or spent.
pub(super) async fn spend(connection: &Connection, id: Uuid, proof: Factor) -> Result<bool, Failure> {
    Ok(match proof {
        Factor::None => {
            !exists(connection, "SELECT 1 FROM respoked.second_factors WHERE admin_id = $1", params![id]).await?
        }
        Factor::Step(step) => {
            let sql = "UPDATE respoked.second_factors SET last_step = $2 WHERE admin_id = $1 AND last_step < $2";
            let used = connection.execute(sql, params![id, stored(step)]).await? == 1;
            takes_away(connection, id, OfAdmin::StepUsed(stored(step)));
            used
        }
        Factor::Recovery(hash) => {
            let sql = "DELETE FROM respoked.recovery_codes WHERE admin_id = $1 AND hash = $2";
            let used = connection.execute(sql, params![id, &hash.as_bytes()[..]]).await? == 1;
            takes_away(connection, id, OfAdmin::RecoveryCodeUsed(hash));
            used
        }
    })
}

/// Notes what is used up. When, does not matter: it is so for ever.
fn takes_away(connection: &Connection, id: Uuid, deed: OfAdmin) {
    let admin = AdminId::from_uuid(id);
    connection.takes_away(Deed::OfAdmin { admin, deed, at: Timestamp::from_millis(0) });
}

/// Notes from where an admin signed in; of many addresses the oldest go.
pub(super) async fn know(connection: &Connection, admin: Uuid, entry: &AuditEntry) -> Result<(), Failure> {
    let Ok(address) = entry.address.parse::<IpAddr>() else { return Ok(()) };
    let at = entry.at.millis();
    let sql = "INSERT INTO respoked.known_addresses (admin_id, address, at) VALUES ($1, $2, $3)
               ON CONFLICT (admin_id, address) DO UPDATE SET at = excluded.at";
    connection.execute(sql, params![admin, network(address).to_string(), at]).await?;
    // What a clock knew that stood ahead would stay known for as long as that was. From now on it is known as any other.
    let ahead = "UPDATE respoked.known_addresses SET at = $2 WHERE admin_id = $1 AND at > $2";
    connection.execute(ahead, params![admin, at]).await?;
    let sql = "DELETE FROM respoked.known_addresses WHERE admin_id = $1 AND (at < $2 OR address IN (
                   SELECT address FROM respoked.known_addresses WHERE admin_id = $1
                   ORDER BY at DESC, address OFFSET $3))";
    let since = entry.at.plus_secs(-KnownAddress::KNOWN_SECS).millis();
    let most = i64::try_from(KnownAddress::PER_ADMIN_MAX).unwrap_or(i64::MAX);
    connection.execute(sql, params![admin, since, most]).await.map(drop)
}

pub(super) async fn remove_second_factor(connection: &Connection, id: Uuid) -> Result<(), Failure> {
    connection.execute("DELETE FROM respoked.second_factors WHERE admin_id = $1", params![id]).await?;
    connection.execute("DELETE FROM respoked.recovery_codes WHERE admin_id = $1", params![id]).await.map(drop)
}

pub(super) async fn remove_setup_token(connection: &Connection, id: Uuid) -> Result<(), Failure> {
    connection.execute("DELETE FROM respoked.setup_tokens WHERE admin_id = $1", params![id]).await.map(drop)
}

/// Removes the sign-ins of an admin, but for one if that goes on.
pub(super) async fn remove_sessions(connection: &Connection, id: Uuid, but: Option<u64>) -> Result<(), Failure> {
    let sql = "DELETE FROM respoked.admin_sessions WHERE admin_id = $1 AND number IS DISTINCT FROM $2";
    connection.execute(sql, params![id, but.map(stored)]).await.map(drop)
}

/// Opens an admin session and returns its Admin-Token.
pub(super) async fn open(
    connection: &Connection,
    sealer: &Sealer,
    id: Uuid,
    entropy: Entropy,
    at: Timestamp,
    expires_at: Timestamp,
) -> Result<(u64, Secret), Failure> {
    let number = one(connection, "SELECT nextval('respoked.admin_session_number')", &[], read_number).await?;
    let number = number.ok_or(Failure::Row("there is no number for an admin session"))?;
    let text = sealer.seal(SealKind::AdminSession, number, entropy);
    let sql = "INSERT INTO respoked.admin_sessions (number, admin_id, hash, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5)";
    let (hash, times) = (text.hash(), (at.millis(), expires_at.millis()));
    connection.execute(sql, params![stored(number), id, &hash.as_bytes()[..], times.0, times.1]).await?;
    Ok((number, text))
}

/// Adds an admin to an account that stays.
pub(super) async fn insert(connection: &Connection, admin: &Admin) -> Result<AdminAddition, Failure> {
    // Of two who add one name at once the later waits for the earlier.
    let sql = "INSERT INTO respoked.admins (id, account_id, username, role, password_hash, created_at)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (id, account, role, created_at) =
        (admin.id.uuid(), admin.account_id.uuid(), admin.role.code(), admin.created_at);
    let (username, password_hash, created_at) = (&*admin.username, &*admin.password_hash, created_at.millis());
    let added = connection.execute(sql, params![id, account, username, role, password_hash, created_at]).await?;
    Ok(if added == 1 { AdminAddition::Added } else { AdminAddition::NameTaken })
}

/// Keeps a token that signs an admin in once, in the place of an earlier one. The admin stays.
pub(super) async fn put_setup_token(
    connection: &Connection,
    id: AdminId,
    hash: SecretHash,
    expires_at: Timestamp,
) -> Result<(), Failure> {
    let sql = "INSERT INTO respoked.setup_tokens (admin_id, hash, expires_at) VALUES ($1, $2, $3)
               ON CONFLICT (admin_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at";
    connection.execute(sql, params![id.uuid(), &hash.as_bytes()[..], expires_at.millis()]).await?;
    takes_away(connection, id.uuid(), OfAdmin::SetupTokenReplaced { expires_at });
    Ok(())
}
