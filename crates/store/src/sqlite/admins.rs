//! Accounts, admins and their sign-ins.

use async_trait::async_trait;
use respoke_core::admin::{Account, Admin, AdminSession};
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{AdminStore, StoreError};
use respoke_core::seal::{Entropy, SealKind};
use respoke_core::secret::Secret;
use rusqlite::{Row, params};

use super::rows::{Columns, Remembered, all, execute, number_of, one, remember, remembered};
use super::{SqliteStore, audit};

const ADMIN: &str = "SELECT id, account_id, username, password_hash, created_at FROM admins";

fn read_admin(row: &Row<'_>) -> rusqlite::Result<Admin> {
    let mut columns = Columns::of(row);
    Ok(Admin {
        id: columns.uuid_as(AdminId::from_uuid)?,
        account_id: columns.uuid_as(AccountId::from_uuid)?,
        username: columns.next()?,
        password_hash: columns.next()?,
        created_at: columns.time()?,
    })
}

#[async_trait]
impl AdminStore for SqliteStore {
    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.readers.read(|connection| {
            all(connection, "SELECT id, name, created_at FROM accounts ORDER BY created_at, id", [], |row| {
                let mut columns = Columns::of(row);
                Ok(Account {
                    id: columns.uuid_as(AccountId::from_uuid)?,
                    name: columns.next()?,
                    created_at: columns.time()?,
                })
            })
        })
    }

    async fn create_account(&self, account: Account) -> Result<(), StoreError> {
        self.writer
            .write(move |write| {
                execute(
                    write.connection,
                    "INSERT INTO accounts (id, name, created_at) VALUES (?1, ?2, ?3)",
                    params![account.id.uuid(), account.name, account.created_at.millis()],
                )?;
                Ok(())
            })
            .await
    }

    async fn delete_account(&self, id: AccountId, entry: AuditEntry) -> Result<bool, StoreError> {
        self.writer
            .write(move |write| {
                let uuid = id.uuid();
                if execute(write.connection, "DELETE FROM accounts WHERE id = ?1", [uuid])? == 0 {
                    return Ok(false);
                }
                for sql in [
                    "DELETE FROM admin_sessions WHERE admin_id IN (SELECT id FROM admins WHERE account_id = ?1)",
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
                Ok(true)
            })
            .await
    }

    async fn create_admin(&self, admin: Admin, entry: AuditEntry) -> Result<bool, StoreError> {
        self.writer
            .write(move |write| {
                let added = execute(
                    write.connection,
                    "INSERT INTO admins (id, account_id, username, password_hash, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                    params![
                        admin.id.uuid(),
                        admin.account_id.uuid(),
                        admin.username,
                        admin.password_hash,
                        admin.created_at.millis()
                    ],
                )?;
                if added == 1 {
                    audit::insert(write, &entry)?;
                }
                Ok(added == 1)
            })
            .await
    }

    async fn admin_by_username(&self, username: &str) -> Result<Option<Admin>, StoreError> {
        self.readers.read(|connection| one(connection, &format!("{ADMIN} WHERE username = ?1"), [username], read_admin))
    }

    async fn admins(&self) -> Result<Vec<Admin>, StoreError> {
        self.readers.read(|connection| all(connection, &format!("{ADMIN} ORDER BY username"), [], read_admin))
    }

    async fn set_admin_password(&self, id: AdminId, hash: String, entry: AuditEntry) -> Result<bool, StoreError> {
        self.writer
            .write(move |write| {
                let sql = "UPDATE admins SET password_hash = ?2 WHERE id = ?1";
                if execute(write.connection, sql, params![id.uuid(), hash])? == 0 {
                    return Ok(false);
                }
                execute(write.connection, "DELETE FROM admin_sessions WHERE admin_id = ?1", [id.uuid()])?;
                audit::insert(write, &entry)?;
                Ok(true)
            })
            .await
    }

    async fn delete_admin(&self, id: AdminId, entry: AuditEntry) -> Result<bool, StoreError> {
        self.writer
            .write(move |write| {
                if execute(write.connection, "DELETE FROM admins WHERE id = ?1", [id.uuid()])? == 0 {
                    return Ok(false);
                }
                execute(write.connection, "DELETE FROM admin_sessions WHERE admin_id = ?1", [id.uuid()])?;
                audit::insert(write, &entry)?;
                Ok(true)
            })
            .await
    }

    async fn open_admin_session(
        &self,
        admin: &Admin,
        entropy: Entropy,
        expires_at: Timestamp,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<Secret>, StoreError> {
        let admin_id = admin.id;
        self.writer
            .write(move |write| {
                match remembered(write, once.as_ref())? {
                    Remembered::Nothing => {}
                    Remembered::Made(object) => {
                        let text = write.sealer.seal(SealKind::AdminSession, number_of(&object), entropy);
                        return Ok(Creation::Repeated(text));
                    }
                    Remembered::Otherwise => return Ok(Creation::KeyReused),
                }
                let sql = "SELECT coalesce(max(number), 0) + 1 FROM admin_sessions";
                let number: u64 = write.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
                let text = write.sealer.seal(SealKind::AdminSession, number, entropy);
                execute(
                    write.connection,
                    "INSERT INTO admin_sessions (number, admin_id, hash, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![number, admin_id.uuid(), text.hash().as_bytes(), entry.at.millis(), expires_at.millis()],
                )?;
                remember(write, once.as_ref(), &number.to_be_bytes(), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Creation::Created(text))
            })
            .await
    }

    async fn admin_session(&self, number: u64) -> Result<Option<AdminSession>, StoreError> {
        self.readers.read(|connection| {
            one(
                connection,
                "SELECT s.number, s.admin_id, a.account_id, s.hash, s.expires_at
                 FROM admin_sessions s JOIN admins a ON a.id = s.admin_id WHERE s.number = ?1 AND s.ended_at IS NULL",
                [number],
                |row| {
                    let mut columns = Columns::of(row);
                    Ok(AdminSession {
                        number: columns.next()?,
                        admin_id: columns.uuid_as(AdminId::from_uuid)?,
                        account_id: columns.uuid_as(AccountId::from_uuid)?,
                        hash: columns.hash()?,
                        expires_at: columns.time()?,
                    })
                },
            )
        })
    }

    async fn end_admin_session(&self, number: u64, entry: AuditEntry) -> Result<bool, StoreError> {
        self.writer
            .write(move |write| {
                let sql = "UPDATE admin_sessions SET ended_at = ?2 WHERE number = ?1 AND ended_at IS NULL";
                let ended = execute(write.connection, sql, params![number, entry.at.millis()])? == 1;
                if ended {
                    audit::insert(write, &entry)?;
                }
                Ok(ended)
            })
            .await
    }
}
