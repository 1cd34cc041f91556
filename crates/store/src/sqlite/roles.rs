//! Roles.

use async_trait::async_trait;
use respoke_core::audit::AuditEntry;
use respoke_core::id::{AccountId, AppId, RoleId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::{CreationKey, Page, PageRequest};
use respoke_core::ports::{Change, ROLES_PER_APP_MAX, Removal, RoleRefusal, RoleStore, RoleUpdateRefusal, StoreError};
use respoke_core::role::{Permissions, Role};
use rusqlite::{Connection, Row, params};

use super::idempotency::{remember, repeated};
use super::lists::by_creation;
use super::rows::{Columns, all, app_exists, execute, one};
use super::writer::Write;
use super::{SqliteStore, audit, feed};

const ROLE: &str = "SELECT id, app_id, name, permissions, created_at, updated_at,
     tokens_from, sessions_from, tokens_issued_before, sessions_issued_before, issued_before_tokens,
     issued_before_sessions
     FROM roles";

fn read(row: &Row<'_>) -> rusqlite::Result<Role> {
    let mut columns = Columns::of(row);
    Ok(Role {
        id: columns.uuid_as(RoleId::from_uuid)?,
        app_id: columns.uuid_as(AppId::from_uuid)?,
        name: columns.next()?,
        permissions: columns.json()?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        marks: columns.marks()?,
    })
}

fn find(connection: &Connection, app: AppId, id: RoleId) -> rusqlite::Result<Option<Role>> {
    one(connection, &format!("{ROLE} WHERE app_id = ?1 AND id = ?2"), [app.uuid(), id.uuid()], read)
}

fn json(permissions: &Permissions) -> rusqlite::Result<String> {
    serde_json::to_string(permissions).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Adds a role and returns it as it is kept.
pub(super) fn insert(write: &Write<'_>, mut role: Role) -> rusqlite::Result<Result<Role, RoleRefusal>> {
    if !app_exists(write.connection, role.app_id)? {
        return Ok(Err(RoleRefusal::NoApp));
    }
    let sql = "SELECT count(*) FROM roles WHERE app_id = ?1";
    let roles: usize = write.connection.prepare_cached(sql)?.query_row([role.app_id.uuid()], |row| row.get(0))?;
    if roles >= ROLES_PER_APP_MAX {
        return Ok(Err(RoleRefusal::TooMany));
    }
    // A role made again under the id of a deleted one must not revive what stood on that: it begins with marks, and
    // so with a change.
    let number = write.next_change();
    (role.marks.tokens_from, role.marks.sessions_from) = (number, number);
    let added = execute(
        write.connection,
        "INSERT INTO roles (app_id, id, name, permissions, created_at, updated_at, tokens_from, sessions_from)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        params![
            role.app_id.uuid(),
            role.id.uuid(),
            role.name,
            json(&role.permissions)?,
            role.created_at.millis(),
            role.marks.tokens_from,
            role.marks.sessions_from,
        ],
    )?;
    if added == 0 {
        return Ok(Err(RoleRefusal::Taken));
    }
    feed::write(write, Some(&Change::Role(role.app_id, role.id)), role.created_at)?;
    Ok(Ok(role))
}

#[async_trait]
impl RoleStore for SqliteStore {
    async fn create_role(
        &self,
        role: Role,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<Role, RoleRefusal>, StoreError> {
        self.writer
            .write(move |write| {
                if let Some(made) =
                    repeated(write, once.as_ref(), |id| find(write.connection, role.app_id, RoleId::from_uuid(id)))?
                {
                    return Ok(made);
                }
                let role = match insert(write, role.clone())? {
                    Ok(role) => role,
                    Err(refusal) => return Ok(Creation::Refused(refusal)),
                };
                remember(write, once.as_ref(), role.id.uuid().as_bytes(), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Creation::Created(role))
            })
            .await
    }

    async fn role(&self, app: AppId, id: RoleId) -> Result<Option<Role>, StoreError> {
        self.readers.read(move |connection| find(connection, app, id)).await
    }

    async fn apps_of_role(&self, account: AccountId, id: RoleId) -> Result<Vec<AppId>, StoreError> {
        let find = move |connection: &Connection| {
            all(
                connection,
                "SELECT a.id FROM roles r JOIN apps a ON a.id = r.app_id WHERE r.id = ?1 AND a.account_id = ?2 LIMIT 2",
                [id.uuid(), account.uuid()],
                |row| Columns::of(row).uuid_as(AppId::from_uuid),
            )
        };
        self.readers.read(find).await
    }

    async fn role_by_name(&self, app: AppId, name: &str) -> Result<Option<Role>, StoreError> {
        let name = name.to_owned();
        let find = move |connection: &Connection| {
            one(connection, &format!("{ROLE} WHERE app_id = ?1 AND name = ?2"), params![app.uuid(), name], read)
        };
        self.readers.read(find).await
    }

    async fn roles(
        &self,
        app: AppId,
        request: PageRequest<CreationKey>,
    ) -> Result<Page<Role, CreationKey>, StoreError> {
        self.readers
            .scan(move |connection| {
                let select = format!("{ROLE} WHERE app_id = ?1");
                by_creation(connection, &select, app.uuid(), &request, read, |role| CreationKey {
                    at: role.created_at,
                    id: role.id.uuid(),
                })
            })
            .await
    }

    async fn update_role(
        &self,
        app: AppId,
        id: RoleId,
        name: Option<String>,
        permissions: Option<Permissions>,
        entry: AuditEntry,
    ) -> Result<Result<Role, RoleUpdateRefusal>, StoreError> {
        self.writer
            .write(move |write| {
                let Some(mut role) = find(write.connection, app, id)? else { return Ok(Err(RoleUpdateRefusal::Unknown)) };
                role.name = name.clone().unwrap_or(role.name);
                role.permissions = permissions.clone().unwrap_or(role.permissions);
                role.updated_at = entry.at;
                let updated = execute(
                    write.connection,
                    "UPDATE OR IGNORE roles SET name = ?3, permissions = ?4, updated_at = ?5 WHERE app_id = ?1 AND id = ?2",
                    params![app.uuid(), id.uuid(), role.name, json(&role.permissions)?, entry.at.millis()],
                )?;
                if updated == 0 {
                    return Ok(Err(RoleUpdateRefusal::NameTaken));
                }
                feed::write(write, Some(&Change::Role(app, id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Ok(role))
            })
            .await
    }

    async fn delete_role(&self, app: AppId, id: RoleId, entry: AuditEntry) -> Result<Removal, StoreError> {
        self.writer
            .write(move |write| {
                let sql = "DELETE FROM roles WHERE app_id = ?1 AND id = ?2";
                if execute(write.connection, sql, [app.uuid(), id.uuid()])? == 0 {
                    return Ok(Removal::Unknown);
                }
                feed::write(write, Some(&Change::Role(app, id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Removal::Removed)
            })
            .await
    }
}
