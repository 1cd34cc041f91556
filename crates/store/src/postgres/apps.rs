//! Apps.

use async_trait::async_trait;
use respoke_core::app::{App, AppPatch, AppSettings, Limits, SecretRecord, SessionExpiry};
use respoke_core::audit::AuditEntry;
use respoke_core::id::{AccountId, AppId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::{CreationKey, Page, PageRequest};
use respoke_core::ports::{APPS_PER_ACCOUNT_MAX, AppRefusal, AppStore, Change, Removal, StoreError};
use uuid::Uuid;

use super::connect::{Connection, params};
use super::deeds::{Deed, OfApp};
use super::failure::Failure;
use super::rows::{Columns, Remembered, exists, lock_app, one, read_number, remember, remembered, stored, uuid_of};
use super::store::PostgresStore;
use super::write::{in_ending_transaction, in_transaction};
use super::{audit_rows, secrets};
use crate::pages::{after_creation, limit};

macro_rules! app {
    ($condition:literal) => {
        concat!(
            "SELECT id, account_id, name, description, development_mode, permitted_domains, ttl_secs_max, activation_secs, \
             session_expiry, limits, created_at, updated_at, tokens_from, sessions_from, issued_before, \
             sessions_issued_before, issued_before_tokens, issued_before_sessions FROM respoked.apps ",
            $condition
        )
    };
}

fn read(columns: &mut Columns<'_>) -> Result<App, Failure> {
    let id = columns.uuid_as(AppId::from_uuid)?;
    let account_id = columns.uuid_as(AccountId::from_uuid)?;
    let settings = AppSettings {
        name: columns.next()?,
        description: columns.next()?,
        development_mode: columns.next()?,
        permitted_domains: columns.next::<Option<&str>>()?.map(|text| text.lines().map(str::to_owned).collect()),
        ttl_secs_max: columns.number()?,
        activation_secs: columns.number()?,
        session_expiry: if columns.next()? { SessionExpiry::Keep } else { SessionExpiry::End },
        limits: columns.json::<Limits>()?,
    };
    Ok(App {
        id,
        account_id,
        settings,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        marks: columns.marks()?,
    })
}

async fn find(connection: &Connection, id: AppId) -> Result<Option<App>, Failure> {
    one(connection, app!("WHERE id = $1"), params![id.uuid()], read).await
}

/// Host names hold no line ends, so one a line needs no quoting.
fn domains(settings: &AppSettings) -> Option<String> {
    settings.permitted_domains.as_ref().map(|domains| domains.join("\n"))
}

fn limits(settings: &AppSettings) -> Result<String, Failure> {
    serde_json::to_string(&settings.limits).map_err(|_| Failure::Row("limits cannot be written"))
}

/// Adds an app.
pub(super) async fn insert(connection: &Connection, app: &App) -> Result<(), Failure> {
    let settings = &app.settings;
    let sql = "INSERT INTO respoked.apps (id, account_id, name, description, development_mode, permitted_domains,
               ttl_secs_max, activation_secs, session_expiry, limits, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    connection
        .execute(
            sql,
            params![
                app.id.uuid(),
                app.account_id.uuid(),
                settings.name,
                settings.description,
                settings.development_mode,
                domains(settings),
                stored(settings.ttl_secs_max),
                stored(settings.activation_secs),
                settings.session_expiry == SessionExpiry::Keep,
                limits(settings)?,
                app.created_at.millis(),
                app.updated_at.millis(),
            ],
        )
        .await?;
    let sql = "INSERT INTO respoked.app_owners (app_id, account_id) VALUES ($1, $2)";
    connection.execute(sql, params![app.id.uuid(), app.account_id.uuid()]).await.map(drop)
}

/// Removes apps, of which nothing is found any more then, and notes that upkeep has to remove what is theirs: an app may have
/// millions of endpoints. The apps' rows are locked already.
pub(super) async fn remove(connection: &Connection, ids: &[Uuid]) -> Result<(), Failure> {
    let ids = ids.to_vec();
    connection.execute("DELETE FROM respoked.apps WHERE id = ANY($1)", params![ids]).await?;
    let sql = "INSERT INTO respoked.deleted_apps (app_id) SELECT unnest($1) ON CONFLICT (app_id) DO NOTHING";
    connection.execute(sql, params![ids]).await.map(drop)
}

#[async_trait]
impl AppStore for PostgresStore {
    async fn create_app(
        &self,
        app: App,
        secret: SecretRecord,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<App, AppRefusal>, StoreError> {
        in_transaction!(self, write => {
            // One after the other, so that no two count the same, and of two with one key the later finds what the earlier made.
            let account = app.account_id.uuid();
            let sql = "SELECT 1 FROM respoked.accounts WHERE id = $1 FOR NO KEY UPDATE";
            let there = exists(write, sql, params![account]).await?;
            match remembered(write, once.as_ref()).await? {
                Remembered::Nothing => {}
                Remembered::Made(object) => {
                    let made = find(write, AppId::from_uuid(uuid_of(&object)?)).await?;
                    return Ok(made.map_or(Creation::KeyReused, Creation::Repeated));
                }
                Remembered::Otherwise => return Ok(Creation::KeyReused),
            }
            if !there {
                return Ok(Creation::Refused(AppRefusal::NoAccount));
            }
            let sql = "SELECT count(*) FROM respoked.apps WHERE account_id = $1";
            let apps = one(write, sql, params![account], read_number).await?.unwrap_or(0);
            if apps >= APPS_PER_ACCOUNT_MAX as u64 {
                return Ok(Creation::Refused(AppRefusal::TooMany));
            }
            if !secrets::insert(write, &secret).await? {
                // Its text is derived from the key, which made it before and was forgotten since.
                return Ok(Creation::KeyReused);
            }
            insert(write, &app).await?;
            remember(write, once.as_ref(), app.id.uuid().as_bytes(), entry.at).await?;
            audit_rows::insert(write, &entry).await?;
            Ok(Creation::Created(app.clone()))
        })
    }

    async fn app(&self, id: AppId) -> Result<Option<App>, StoreError> {
        self.read_one(app!("WHERE id = $1"), params![id.uuid()], read).await
    }

    async fn apps(
        &self,
        account: AccountId,
        request: PageRequest<CreationKey>,
    ) -> Result<Page<App, CreationKey>, StoreError> {
        let (at, id) = after_creation(&request);
        let sql = app!("WHERE account_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4");
        let rows = self.read_all(sql, params![account.uuid(), at, id, limit(&request)], read).await?;
        Ok(Page::cut(rows, request.limit, |app| CreationKey { at: app.created_at, id: app.id.uuid() }))
    }

    async fn update_app(&self, id: AppId, patch: AppPatch, entry: AuditEntry) -> Result<Option<App>, StoreError> {
        in_ending_transaction!(self, write => {
            write.hold_mints(id).await?;
            if !lock_app(write, id).await? {
                return Ok(None);
            }
            let Some(mut app) = find(write, id).await? else { return Ok(None) };
            patch.clone().apply(&mut app.settings);
            app.updated_at = entry.at;
            let settings = &app.settings;
            let sql = "UPDATE respoked.apps SET name = $2, description = $3, development_mode = $4, permitted_domains = $5,
                       ttl_secs_max = $6, activation_secs = $7, session_expiry = $8, limits = $9, updated_at = $10
                       WHERE id = $1";
            write
                .execute(
                    sql,
                    params![
                        id.uuid(),
                        settings.name,
                        settings.description,
                        settings.development_mode,
                        domains(settings),
                        stored(settings.ttl_secs_max),
                        stored(settings.activation_secs),
                        settings.session_expiry == SessionExpiry::Keep,
                        limits(settings)?,
                        entry.at.millis(),
                    ],
                )
                .await?;
            audit_rows::insert(write, &entry).await?;
            write.change(Some(&Change::App(id)), entry.at).await?;
            if patch.development_mode == Some(false) {
                write.takes_away(Deed::OfApp { app: id, deed: OfApp::DevelopmentModeOff, at: entry.at });
            }
            Ok(Some(app))
        })
    }

    async fn delete_app(&self, id: AppId, entry: AuditEntry) -> Result<Removal, StoreError> {
        in_ending_transaction!(self, write => {
            write.hold_mints(id).await?;
            if !lock_app(write, id).await? {
                return Ok(Removal::Unknown);
            }
            remove(write, &[id.uuid()]).await?;
            audit_rows::insert(write, &entry).await?;
            write.change(Some(&Change::App(id)), entry.at).await?;
            write.takes_away(Deed::OfApp { app: id, deed: OfApp::Deleted, at: entry.at });
            Ok(Removal::Removed)
        })
        .inspect(|removal| self.note_ended(*removal == Removal::Removed))
    }
}
