//! Accounts, admins and their sign-ins.

use std::net::IpAddr;

use async_trait::async_trait;
use respoke_core::address::network;
use respoke_core::admin::{Account, Admin, AdminRole, AdminSession, KnownAddress, SETUP_SECS, SecondFactor, SignedIn};
use respoke_core::audit::{Actor, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId, AppId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{
    AdminAddition, AdminChange, AdminStore, Beginning, Change, Ending, Factor, FactorAddition, FactorRemoval,
    FirstRows, NewPassword, NewSecondFactor, PasswordChange, Removal, SetupSignIn, SignInRefusal, StoreError,
};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::secret::{Secret, SecretHash};
use respoke_core::term::Term;
use respoke_core::totp::SealedTotp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::rows::{Columns, Remembered, all, execute, number_of, one, remember, remembered};
use super::writer::Write;
use super::{SqliteStore, audit, feed, first_run};

const ADMIN: &str =
    "SELECT a.id, a.account_id, a.username, a.role, a.password_hash, a.created_at, f.sealed, f.last_step
                     FROM admins a LEFT JOIN second_factors f ON f.admin_id = a.id";
/// Whether admin ?1 can go as an owner: is none, or is not the account's last.
const NOT_THE_LAST_OWNER: &str = "SELECT a.role != 0 OR EXISTS (
    SELECT 1 FROM admins b WHERE b.account_id = a.account_id AND b.role = 0 AND b.id != a.id)
    FROM admins a WHERE a.id = ?1";

fn read_admin(row: &Row<'_>) -> rusqlite::Result<Admin> {
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

fn read_role(columns: &mut Columns<'_>) -> rusqlite::Result<AdminRole> {
    let code: i64 = columns.next()?;
    AdminRole::from_code(code)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, "no such role".into()))
}

/// Spends what proves a second factor. False: it is not good, or spent.
fn spend(connection: &Connection, id: AdminId, proof: Factor) -> rusqlite::Result<bool> {
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
fn know(connection: &Connection, admin: Uuid, entry: &AuditEntry) -> rusqlite::Result<()> {
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

fn remove_second_factor(connection: &Connection, id: AdminId) -> rusqlite::Result<()> {
    execute(connection, "DELETE FROM second_factors WHERE admin_id = ?1", [id.uuid()])?;
    execute(connection, "DELETE FROM recovery_codes WHERE admin_id = ?1", [id.uuid()])?;
    Ok(())
}

/// Opens an admin session and returns its Admin-Token.
fn open(
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

#[async_trait]
impl AdminStore for SqliteStore {
    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let list = |connection: &Connection| {
            all(connection, "SELECT id, name, created_at FROM accounts ORDER BY created_at, id", [], |row| {
                let mut columns = Columns::of(row);
                Ok(Account {
                    id: columns.uuid_as(AccountId::from_uuid)?,
                    name: columns.next()?,
                    created_at: columns.time()?,
                })
            })
        };
        self.readers.read(list).await
    }

    async fn begin(&self, first: FirstRows) -> Result<Beginning, StoreError> {
        self.writer.write(move |write| first_run::insert(write, &first)).await
    }

    async fn create_account(&self, account: Account) -> Result<(), StoreError> {
        self.writer
            .write(move |write| {
                let sql = "INSERT INTO accounts (id, name, created_at) VALUES (?1, ?2, ?3)";
                let values = params![account.id.uuid(), account.name, account.created_at.millis()];
                execute(write.connection, sql, values).map(drop)
            })
            .await
    }

    async fn delete_account(&self, id: AccountId, entry: AuditEntry) -> Result<Removal, StoreError> {
        self.writer
            .write(move |write| {
                let uuid = id.uuid();
                if execute(write.connection, "DELETE FROM accounts WHERE id = ?1", [uuid])? == 0 {
                    return Ok(Removal::Unknown);
                }
                let apps =
                    all(write.connection, "SELECT id FROM apps WHERE account_id = ?1", [uuid], |row| row.get(0))?;
                let admins =
                    all(write.connection, "SELECT id FROM admins WHERE account_id = ?1", [uuid], |row| row.get(0))?;
                let apps = apps.into_iter().map(|id| Change::App(AppId::from_uuid(id)));
                let admins = admins.into_iter().map(|id| Change::Admin(AdminId::from_uuid(id)));
                for change in apps.chain(admins) {
                    feed::write(write, Some(&change), entry.at)?;
                }
                for sql in [
                    "DELETE FROM admin_sessions WHERE admin_id IN (SELECT id FROM admins WHERE account_id = ?1)",
                    "DELETE FROM second_factors WHERE admin_id IN (SELECT id FROM admins WHERE account_id = ?1)",
                    "DELETE FROM recovery_codes WHERE admin_id IN (SELECT id FROM admins WHERE account_id = ?1)",
                    "DELETE FROM setup_tokens WHERE admin_id IN (SELECT id FROM admins WHERE account_id = ?1)",
                    "DELETE FROM known_addresses WHERE admin_id IN (SELECT id FROM admins WHERE account_id = ?1)",
                    "DELETE FROM admins WHERE account_id = ?1",
                    "DELETE FROM secrets WHERE app_id IN (SELECT id FROM apps WHERE account_id = ?1)",
                    "DELETE FROM roles WHERE app_id IN (SELECT id FROM apps WHERE account_id = ?1)",
                    "DELETE FROM endpoints WHERE app_id IN (SELECT id FROM apps WHERE account_id = ?1)",
                    "INSERT INTO deleted_apps (app_id) SELECT id FROM apps WHERE account_id = ?1",
                    "DELETE FROM apps WHERE account_id = ?1",
                ] {
                    execute(write.connection, sql, [uuid])?;
                }
                audit::insert(write, &entry)?;
                Ok(Removal::Removed)
            })
            .await
    }

    async fn create_admin(&self, admin: Admin, entry: AuditEntry) -> Result<AdminAddition, StoreError> {
        self.writer
            .write(move |write| {
                let added = insert(write.connection, &admin)?;
                if added == AdminAddition::Added {
                    audit::insert(write, &entry)?;
                }
                Ok(added)
            })
            .await
    }

    async fn admin_by_username(&self, username: &str) -> Result<Option<Admin>, StoreError> {
        let username = username.to_owned();
        self.readers
            .read(move |connection| one(connection, &format!("{ADMIN} WHERE a.username = ?1"), [username], read_admin))
            .await
    }

    async fn admins(&self) -> Result<Vec<Admin>, StoreError> {
        self.readers.read(|connection| all(connection, &format!("{ADMIN} ORDER BY a.username"), [], read_admin)).await
    }

    async fn admin(&self, id: AdminId) -> Result<Option<Admin>, StoreError> {
        self.readers
            .read(move |connection| one(connection, &format!("{ADMIN} WHERE a.id = ?1"), [id.uuid()], read_admin))
            .await
    }

    async fn set_admin_password(
        &self,
        id: AdminId,
        password: NewPassword,
        entry: AuditEntry,
    ) -> Result<PasswordChange, StoreError> {
        self.writer
            .write(move |write| {
                let (connection, uuid) = (write.connection, id.uuid());
                if let Some(replaced) = &password.replaces {
                    let sealed = replaced.second_factor.as_ref().map(SealedTotp::to_bytes);
                    let sql = "SELECT 1 FROM admins a LEFT JOIN second_factors f ON f.admin_id = a.id
                               WHERE a.id = ?1 AND a.password_hash = ?2 AND f.sealed IS ?3";
                    if one(connection, sql, params![uuid, replaced.hash, sealed], |_| Ok(()))?.is_none() {
                        return Ok(PasswordChange::Changed);
                    }
                }
                let sql = "UPDATE admins SET password_hash = ?2 WHERE id = ?1";
                if execute(connection, sql, params![uuid, password.hash])? == 0 {
                    return Ok(PasswordChange::Unknown);
                }
                match &password.second_factor {
                    Some(sealed) => {
                        let sql = "UPDATE second_factors SET sealed = ?2 WHERE admin_id = ?1";
                        execute(connection, sql, params![uuid, sealed.to_bytes()])?;
                    }
                    None => remove_second_factor(connection, id)?,
                }
                let sql = "DELETE FROM admin_sessions WHERE admin_id = ?1 AND number IS NOT ?2";
                execute(connection, sql, params![uuid, password.keep_session])?;
                execute(connection, "DELETE FROM setup_tokens WHERE admin_id = ?1", [uuid])?;
                feed::write(write, Some(&Change::Admin(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(PasswordChange::Set)
            })
            .await
    }

    async fn set_admin_role(&self, id: AdminId, role: AdminRole, entry: AuditEntry) -> Result<AdminChange, StoreError> {
        self.writer
            .write(move |write| {
                let free = one(write.connection, NOT_THE_LAST_OWNER, [id.uuid()], |row| row.get::<_, bool>(0))?;
                match free {
                    None => return Ok(AdminChange::Unknown),
                    Some(false) if role != AdminRole::Owner => return Ok(AdminChange::LastOwner),
                    Some(_) => {}
                }
                let sql = "UPDATE admins SET role = ?2 WHERE id = ?1";
                execute(write.connection, sql, params![id.uuid(), role.code()])?;
                feed::write(write, Some(&Change::Admin(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(AdminChange::Done)
            })
            .await
    }

    async fn delete_admin(&self, id: AdminId, entry: AuditEntry) -> Result<AdminChange, StoreError> {
        self.writer
            .write(move |write| {
                let uuid = id.uuid();
                match one(write.connection, NOT_THE_LAST_OWNER, [uuid], |row| row.get::<_, bool>(0))? {
                    None => return Ok(AdminChange::Unknown),
                    Some(false) => return Ok(AdminChange::LastOwner),
                    Some(true) => {}
                }
                execute(write.connection, "DELETE FROM admins WHERE id = ?1", [uuid])?;
                execute(write.connection, "DELETE FROM admin_sessions WHERE admin_id = ?1", [uuid])?;
                execute(write.connection, "DELETE FROM setup_tokens WHERE admin_id = ?1", [uuid])?;
                execute(write.connection, "DELETE FROM known_addresses WHERE admin_id = ?1", [uuid])?;
                remove_second_factor(write.connection, id)?;
                feed::write(write, Some(&Change::Admin(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(AdminChange::Done)
            })
            .await
    }

    async fn add_second_factor(
        &self,
        id: AdminId,
        factor: NewSecondFactor,
        entry: AuditEntry,
    ) -> Result<FactorAddition, StoreError> {
        self.writer
            .write(move |write| {
                let (connection, uuid) = (write.connection, id.uuid());
                let added = execute(
                    connection,
                    "INSERT INTO second_factors (admin_id, sealed, last_step)
                     SELECT id, ?3, ?4 FROM admins WHERE id = ?1 AND password_hash = ?2 ON CONFLICT DO NOTHING",
                    params![uuid, factor.password_hash, factor.sealed.to_bytes(), factor.last_step],
                )?;
                if added == 0 {
                    let sql = "SELECT 1 FROM second_factors WHERE admin_id = ?1";
                    let has_one = one(connection, sql, [uuid], |_| Ok(()))?.is_some();
                    return Ok(if has_one { FactorAddition::HasOne } else { FactorAddition::Changed });
                }
                for hash in &factor.recovery {
                    let sql = "INSERT INTO recovery_codes (admin_id, hash) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                    execute(connection, sql, params![uuid, hash.as_bytes()])?;
                }
                let sql = "DELETE FROM admin_sessions WHERE admin_id = ?1 AND number IS NOT ?2";
                execute(connection, sql, params![uuid, factor.keep_session])?;
                execute(connection, "DELETE FROM setup_tokens WHERE admin_id = ?1", [uuid])?;
                feed::write(write, Some(&Change::Admin(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(FactorAddition::Added)
            })
            .await
    }

    async fn remove_second_factor(
        &self,
        id: AdminId,
        proof: Factor,
        entry: AuditEntry,
    ) -> Result<FactorRemoval, StoreError> {
        self.writer
            .write(move |write| {
                if !spend(write.connection, id, proof)? {
                    return Ok(FactorRemoval::NotProven);
                }
                remove_second_factor(write.connection, id)?;
                feed::write(write, Some(&Change::Admin(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(FactorRemoval::Removed)
            })
            .await
    }

    async fn put_setup_token(&self, id: AdminId, hash: SecretHash, expires_at: Timestamp) -> Result<(), StoreError> {
        self.writer.write(move |write| put_setup_token(write.connection, id, hash, expires_at)).await
    }

    async fn spend_setup_token(
        &self,
        hash: SecretHash,
        entropy: Entropy,
        expires_at: Timestamp,
        mut entry: AuditEntry,
    ) -> Result<SetupSignIn, StoreError> {
        self.writer
            .write(move |write| {
                let connection = write.connection;
                // There are as many as admins at most, so they need no index.
                let sql = "SELECT s.admin_id, a.account_id, a.username, s.expires_at
                           FROM setup_tokens s JOIN admins a ON a.id = s.admin_id WHERE s.hash = ?1";
                let found = one(connection, sql, params![hash.as_bytes()], |row| {
                    let mut columns = Columns::of(row);
                    let (admin, account): (Uuid, Uuid) = (columns.next()?, columns.next()?);
                    let (username, until): (String, _) = (columns.next()?, columns.time()?);
                    Ok((admin, account, username, Term { from: until.plus_secs(-SETUP_SECS), until }))
                })?;
                let Some((admin, account, username, term)) = found else { return Ok(SetupSignIn::Unknown) };
                if term.is_over(entry.at) {
                    return Ok(SetupSignIn::Over);
                }
                execute(connection, "DELETE FROM setup_tokens WHERE admin_id = ?1", [admin])?;
                let (_, token) = open(write, admin, entropy, entry.at, expires_at)?;
                entry.actor = Actor::Admin(AdminId::from_uuid(admin));
                entry.account_id = Some(AccountId::from_uuid(account));
                entry.object.clone_from(&username);
                know(connection, admin, &entry)?;
                audit::insert(write, &entry)?;
                Ok(SetupSignIn::SignedIn(SignedIn { token, username }))
            })
            .await
    }

    async fn open_admin_session(
        &self,
        admin: &Admin,
        proof: Factor,
        entropy: Entropy,
        expires_at: Timestamp,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<Secret, SignInRefusal>, StoreError> {
        let (id, password_hash) = (admin.id, admin.password_hash.clone());
        self.writer
            .write(move |write| {
                match remembered(write, once.as_ref())? {
                    Remembered::Nothing => {}
                    Remembered::Made(object) => {
                        let text = write.sealer.seal(SealKind::AdminSession, number_of(&object)?, entropy);
                        return Ok(Creation::Repeated(text));
                    }
                    Remembered::Otherwise => return Ok(Creation::KeyReused),
                }
                let sql = "SELECT 1 FROM admins WHERE id = ?1 AND password_hash = ?2";
                if one(write.connection, sql, params![id.uuid(), password_hash], |_| Ok(()))?.is_none() {
                    return Ok(Creation::Refused(SignInRefusal::Changed));
                }
                if !spend(write.connection, id, proof)? {
                    return Ok(Creation::Refused(SignInRefusal::NotProven));
                }
                let (number, text) = open(write, id.uuid(), entropy, entry.at, expires_at)?;
                remember(write, once.as_ref(), &number.to_be_bytes(), entry.at)?;
                know(write.connection, id.uuid(), &entry)?;
                audit::insert(write, &entry)?;
                Ok(Creation::Created(text))
            })
            .await
    }

    async fn known_addresses(&self, since: Timestamp) -> Result<Vec<KnownAddress>, StoreError> {
        self.readers
            .scan(move |connection| {
                let sql = "SELECT a.username, k.address, k.at FROM known_addresses k JOIN admins a ON a.id = k.admin_id
                           WHERE k.at > ?1 ORDER BY k.at";
                let rows = all(connection, sql, [since.millis()], |row| {
                    let mut columns = Columns::of(row);
                    Ok((columns.next::<String>()?, columns.next::<String>()?, columns.time()?))
                })?;
                let known = rows.into_iter().filter_map(|(username, address, at)| {
                    Some(KnownAddress { username, address: address.parse().ok()?, at })
                });
                Ok(known.collect())
            })
            .await
    }

    async fn admin_session(&self, number: u64) -> Result<Option<AdminSession>, StoreError> {
        let find = move |connection: &Connection| {
            one(
                connection,
                "SELECT s.number, s.admin_id, a.account_id, a.role, s.hash, s.expires_at
                 FROM admin_sessions s JOIN admins a ON a.id = s.admin_id WHERE s.number = ?1 AND s.ended_at IS NULL",
                [number],
                |row| {
                    let mut columns = Columns::of(row);
                    Ok(AdminSession {
                        number: columns.next()?,
                        admin_id: columns.uuid_as(AdminId::from_uuid)?,
                        account_id: columns.uuid_as(AccountId::from_uuid)?,
                        role: read_role(&mut columns)?,
                        hash: columns.hash()?,
                        expires_at: columns.time()?,
                    })
                },
            )
        };
        self.readers.read(find).await
    }

    async fn end_admin_session(&self, number: u64, entry: AuditEntry) -> Result<Ending, StoreError> {
        self.writer
            .write(move |write| {
                let sql = "SELECT admin_id FROM admin_sessions WHERE number = ?1";
                let admin = one(write.connection, sql, [number], |row| row.get(0).map(AdminId::from_uuid))?;
                let Some(admin) = admin else { return Ok(Ending::Unknown) };
                let sql = "UPDATE admin_sessions SET ended_at = ?2 WHERE number = ?1 AND ended_at IS NULL";
                if execute(write.connection, sql, params![number, entry.at.millis()])? == 0 {
                    return Ok(Ending::Over);
                }
                feed::write(write, Some(&Change::Admin(admin)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Ending::Ended)
            })
            .await
    }

    async fn end_admin_sessions(&self, id: AdminId, entry: AuditEntry) -> Result<(), StoreError> {
        self.writer
            .write(move |write| {
                let sql = "UPDATE admin_sessions SET ended_at = ?2 WHERE admin_id = ?1 AND ended_at IS NULL";
                execute(write.connection, sql, params![id.uuid(), entry.at.millis()])?;
                execute(write.connection, "DELETE FROM setup_tokens WHERE admin_id = ?1", [id.uuid()])?;
                feed::write(write, Some(&Change::Admin(id)), entry.at)?;
                audit::insert(write, &entry)
            })
            .await
    }
}
