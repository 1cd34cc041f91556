//! Roles.

use async_trait::async_trait;
use respoke_core::audit::AuditEntry;
use respoke_core::id::{AccountId, AppId, RoleId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::{CreationKey, Page, PageRequest};
use respoke_core::ports::{Change, ROLES_PER_APP_MAX, Removal, RoleRefusal, RoleStore, RoleUpdateRefusal, StoreError};
use respoke_core::role::{Permissions, Role};

use super::audit_rows;
use super::connect::{Connection, params};
use super::deeds::{Deed, OfApp};
use super::failure::Failure;
use super::rows::{Columns, Remembered, exists, lock_app, one, read_number, remember, remembered, uuid_of};
use super::store::PostgresStore;
use super::write::{Write, in_ending_transaction, in_transaction};
use crate::pages::{after_creation, limit};

macro_rules! role {
    ($condition:literal) => {
        concat!(
            "SELECT id, app_id, name, permissions, created_at, updated_at, tokens_from, sessions_from, issued_before, \
             sessions_issued_before, issued_before_tokens, issued_before_sessions FROM respoked.roles ",
            $condition
        )
    };
}

fn read(columns: &mut Columns<'_>) -> Result<Role, Failure> {
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

/// A role by its id. One of an app that is gone is none, though upkeep has not come to it yet.
const BY_ID: &str = role!("WHERE app_id = (SELECT id FROM respoked.apps WHERE id = $1) AND id = $2");

async fn find(connection: &Connection, app: AppId, id: RoleId) -> Result<Option<Role>, Failure> {
    one(connection, BY_ID, params![app.uuid(), id.uuid()], read).await
}

fn json(permissions: &Permissions) -> Result<String, Failure> {
    serde_json::to_string(permissions).map_err(|_| Failure::Row("permissions cannot be written"))
}

/// Adds a role to an app that is locked, and returns it as it is kept. It makes a change, so nothing else is locked behind it but
/// rows of its own.
pub(super) async fn insert(write: &Write, mut role: Role) -> Result<Result<Role, RoleRefusal>, Failure> {
    let app = role.app_id.uuid();
    let sql = "SELECT count(*) FROM respoked.roles WHERE app_id = $1";
    if one(write, sql, params![app], read_number).await?.unwrap_or(0) >= ROLES_PER_APP_MAX as u64 {
        return Ok(Err(RoleRefusal::TooMany));
    }
    let sql = "SELECT 1 FROM respoked.roles WHERE app_id = $1 AND (id = $2 OR name = $3)";
    if exists(write, sql, params![app, role.id.uuid(), role.name]).await? {
        return Ok(Err(RoleRefusal::Taken));
    }
    // A role made again under the id of a deleted one must not revive what stood on that: it begins with marks, and
    // so with a change.
    let number = write.change(Some(&Change::Role(role.app_id, role.id)), role.created_at).await?;
    (role.marks.tokens_from, role.marks.sessions_from) = (number.cast_unsigned(), number.cast_unsigned());
    let sql =
        "INSERT INTO respoked.roles (app_id, id, name, permissions, created_at, updated_at, tokens_from, sessions_from)
               VALUES ($1, $2, $3, $4, $5, $5, $6, $6)";
    let (permissions, at) = (json(&role.permissions)?, role.created_at.millis());
    write.execute(sql, params![app, role.id.uuid(), role.name, permissions, at, number]).await?;
    Ok(Ok(role))
}

#[async_trait]
impl RoleStore for PostgresStore {
    async fn create_role(
        &self,
        role: Role,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<Role, RoleRefusal>, StoreError> {
        in_transaction!(self, write => {
            // Locked first: of two with one key the later finds what the earlier made.
            let there = lock_app(write, role.app_id).await?;
            match remembered(write, once.as_ref()).await? {
                Remembered::Nothing => {}
                Remembered::Made(object) => {
                    let made = find(write, role.app_id, RoleId::from_uuid(uuid_of(&object)?)).await?;
                    return Ok(made.map_or(Creation::KeyReused, Creation::Repeated));
                }
                Remembered::Otherwise => return Ok(Creation::KeyReused),
            }
            if !there {
                return Ok(Creation::Refused(RoleRefusal::NoApp));
            }
            let role = match insert(write, role.clone()).await? {
                Ok(role) => role,
                Err(refusal) => return Ok(Creation::Refused(refusal)),
            };
            remember(write, once.as_ref(), role.id.uuid().as_bytes(), entry.at).await?;
            audit_rows::insert(write, &entry).await?;
            Ok(Creation::Created(role))
        })
    }

    async fn role(&self, app: AppId, id: RoleId) -> Result<Option<Role>, StoreError> {
        self.read_one(BY_ID, params![app.uuid(), id.uuid()], read).await
    }

    async fn apps_of_role(&self, account: AccountId, id: RoleId) -> Result<Vec<AppId>, StoreError> {
        let sql = "SELECT a.id FROM respoked.roles r JOIN respoked.apps a ON a.id = r.app_id
                   WHERE r.id = $1 AND a.account_id = $2 LIMIT 2";
        self.read_all(sql, params![id.uuid(), account.uuid()], |columns| columns.uuid_as(AppId::from_uuid)).await
    }

    async fn role_by_name(&self, app: AppId, name: &str) -> Result<Option<Role>, StoreError> {
        let sql = role!("WHERE app_id = (SELECT id FROM respoked.apps WHERE id = $1) AND name = $2");
        self.read_one(sql, params![app.uuid(), name], read).await
    }

    async fn roles(
        &self,
        app: AppId,
        request: PageRequest<CreationKey>,
    ) -> Result<Page<Role, CreationKey>, StoreError> {
        let (at, id) = after_creation(&request);
        let sql = role!(
            "WHERE app_id = (SELECT id FROM respoked.apps WHERE id = $1) AND (created_at, id) > ($2, $3)
                         ORDER BY created_at, id LIMIT $4"
        );
        let rows = self.read_all(sql, params![app.uuid(), at, id, limit(&request)], read).await?;
        Ok(Page::cut(rows, request.limit, |role| CreationKey { at: role.created_at, id: role.id.uuid() }))
    }

    async fn update_role(
        &self,
        app: AppId,
        id: RoleId,
        name: Option<String>,
        permissions: Option<Permissions>,
        entry: AuditEntry,
    ) -> Result<Result<Role, RoleUpdateRefusal>, StoreError> {
        in_transaction!(self, write => {
            if !lock_app(write, app).await? {
                return Ok(Err(RoleUpdateRefusal::Unknown));
            }
            let Some(mut role) = find(write, app, id).await? else { return Ok(Err(RoleUpdateRefusal::Unknown)) };
            role.name = name.clone().unwrap_or(role.name);
            role.permissions = permissions.clone().unwrap_or(role.permissions);
            role.updated_at = entry.at;
            let sql = "SELECT 1 FROM respoked.roles WHERE app_id = $1 AND name = $2 AND id <> $3";
            if exists(write, sql, params![app.uuid(), role.name, id.uuid()]).await? {
                return Ok(Err(RoleUpdateRefusal::NameTaken));
            }
            let sql = "UPDATE respoked.roles SET name = $3, permissions = $4, updated_at = $5 WHERE app_id = $1 AND id = $2";
            let permissions = json(&role.permissions)?;
            write.execute(sql, params![app.uuid(), id.uuid(), role.name, permissions, entry.at.millis()]).await?;
            write.takes_away(Deed::OfApp { app, deed: OfApp::RoleChanged(id, permissions), at: entry.at });
            audit_rows::insert(write, &entry).await?;
            write.change(Some(&Change::Role(app, id)), entry.at).await?;
            Ok(Ok(role))
        })
    }

    async fn delete_role(&self, app: AppId, id: RoleId, entry: AuditEntry) -> Result<Removal, StoreError> {
        in_ending_transaction!(self, write => {
            write.hold_mints(app).await?;
            if !lock_app(write, app).await? {
                return Ok(Removal::Unknown);
            }
            let sql = "DELETE FROM respoked.roles WHERE app_id = $1 AND id = $2";
            if write.execute(sql, params![app.uuid(), id.uuid()]).await? == 0 {
                return Ok(Removal::Unknown);
            }
            audit_rows::insert(write, &entry).await?;
            write.change(Some(&Change::Role(app, id)), entry.at).await?;
            write.takes_away(Deed::OfApp { app, deed: OfApp::RoleDeleted(id), at: entry.at });
            Ok(Removal::Removed)
        })
    }
}
