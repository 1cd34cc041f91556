//! Accounts, admins and their sign-ins.

use async_trait::async_trait;
use respoke_core::admin::{Account, Admin, AdminRole, AdminSession, KnownAddress, SETUP_SECS, SignedIn};
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
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::admin_rows::{self, ADMIN, NOT_THE_LAST_OWNER, read_admin, read_role};
use super::idempotency::{Remembered, number_of, remember, remembered};
use super::rows::{Columns, all, execute, one};
use super::{SqliteStore, audit, feed, first_run};

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
                let account = admin.account_id.uuid();
                if one(write.connection, "SELECT 1 FROM accounts WHERE id = ?1", [account], |_| Ok(()))?.is_none() {
                    return Ok(AdminAddition::NoAccount);
                }
                let added = admin_rows::insert(write.connection, &admin)?;
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
                    None => admin_rows::remove_second_factor(connection, id)?,
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
                admin_rows::remove_second_factor(write.connection, id)?;
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
                if !admin_rows::spend(write.connection, id, proof)? {
                    return Ok(FactorRemoval::NotProven);
                }
                admin_rows::remove_second_factor(write.connection, id)?;
                feed::write(write, Some(&Change::Admin(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(FactorRemoval::Removed)
            })
            .await
    }

    async fn put_setup_token(&self, id: AdminId, hash: SecretHash, expires_at: Timestamp) -> Result<(), StoreError> {
        self.writer.write(move |write| admin_rows::put_setup_token(write.connection, id, hash, expires_at)).await
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
                let (_, token) = admin_rows::open(write, admin, entropy, entry.at, expires_at)?;
                entry.actor = Actor::Admin(AdminId::from_uuid(admin));
                entry.account_id = Some(AccountId::from_uuid(account));
                entry.object.clone_from(&username);
                admin_rows::know(connection, admin, &entry)?;
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
                if !admin_rows::spend(write.connection, id, proof)? {
                    return Ok(Creation::Refused(SignInRefusal::NotProven));
                }
                let (number, text) = admin_rows::open(write, id.uuid(), entropy, entry.at, expires_at)?;
                remember(write, once.as_ref(), &number.to_be_bytes(), entry.at)?;
                admin_rows::know(write.connection, id.uuid(), &entry)?;
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
