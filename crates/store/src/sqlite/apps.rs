//! Apps.

use async_trait::async_trait;
use respoke_core::app::{App, AppPatch, AppSettings, Limits, SecretRecord, SessionExpiry};
use respoke_core::audit::AuditEntry;
use respoke_core::id::{AccountId, AppId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::{CreationKey, Page, PageRequest};
use respoke_core::ports::{APPS_PER_ACCOUNT_MAX, AppRefusal, AppStore, Change, Removal, StoreError};
use rusqlite::{Connection, Row, params};

use super::idempotency::{remember, repeated};
use super::lists::by_creation;
use super::rows::{Columns, execute, one};
use super::writer::Write;
use super::{SqliteStore, audit, feed, secrets};

const APP: &str = "SELECT id, account_id, name, description, development_mode, permitted_domains, ttl_secs_max,
     activation_secs, session_expiry, limits, created_at, updated_at,
     tokens_from, sessions_from, tokens_issued_before, sessions_issued_before, issued_before_tokens,
     issued_before_sessions
     FROM apps";

fn read(row: &Row<'_>) -> rusqlite::Result<App> {
    let mut columns = Columns::of(row);
    let id = columns.uuid_as(AppId::from_uuid)?;
    let account_id = columns.uuid_as(AccountId::from_uuid)?;
    let settings = AppSettings {
        name: columns.next()?,
        description: columns.next()?,
        development_mode: columns.next()?,
        permitted_domains: columns.next::<Option<String>>()?.map(|text| text.lines().map(str::to_owned).collect()),
        ttl_secs_max: columns.next()?,
        activation_secs: columns.next()?,
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

fn find(connection: &Connection, id: AppId) -> rusqlite::Result<Option<App>> {
    one(connection, &format!("{APP} WHERE id = ?1"), [id.uuid()], read)
}

/// Host names hold no line ends, so one a line needs no quoting.
fn domains(settings: &AppSettings) -> Option<String> {
    settings.permitted_domains.as_ref().map(|domains| domains.join("\n"))
}

fn limits(settings: &AppSettings) -> rusqlite::Result<String> {
    serde_json::to_string(&settings.limits).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Adds an app.
pub(super) fn insert(write: &Write<'_>, app: &App) -> rusqlite::Result<()> {
    let settings = &app.settings;
    execute(
        write.connection,
        "INSERT INTO apps (id, account_id, name, description, development_mode, permitted_domains,
         ttl_secs_max, activation_secs, session_expiry, limits, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            app.id.uuid(),
            app.account_id.uuid(),
            settings.name,
            settings.description,
            settings.development_mode,
            domains(settings),
            settings.ttl_secs_max,
            settings.activation_secs,
            settings.session_expiry == SessionExpiry::Keep,
            limits(settings)?,
            app.created_at.millis(),
            app.updated_at.millis(),
        ],
    )?;
    execute(
        write.connection,
        "INSERT INTO app_owners (app_id, account_id) VALUES (?1, ?2)",
        [app.id.uuid(), app.account_id.uuid()],
    )?;
    Ok(())
}

#[async_trait]
impl AppStore for SqliteStore {
    async fn create_app(
        &self,
        app: App,
        secret: SecretRecord,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<App, AppRefusal>, StoreError> {
        self.writer
            .write(move |write| {
                if let Some(made) = repeated(write, once.as_ref(), |id| find(write.connection, AppId::from_uuid(id)))? {
                    return Ok(made);
                }
                let account = app.account_id.uuid();
                if one(write.connection, "SELECT 1 FROM accounts WHERE id = ?1", [account], |_| Ok(()))?.is_none() {
                    return Ok(Creation::Refused(AppRefusal::NoAccount));
                }
                let sql = "SELECT count(*) FROM apps WHERE account_id = ?1";
                let apps: usize =
                    write.connection.prepare_cached(sql)?.query_row([app.account_id.uuid()], |row| row.get(0))?;
                if apps >= APPS_PER_ACCOUNT_MAX {
                    return Ok(Creation::Refused(AppRefusal::TooMany));
                }
                let hash = secret.hash.as_bytes();
                if one(write.connection, "SELECT 1 FROM secrets WHERE hash = ?1", [hash], |_| Ok(()))?.is_some() {
                    // Its text is derived from the key, which made it before and was forgotten since.
                    return Ok(Creation::KeyReused);
                }
                insert(write, &app)?;
                secrets::insert(write, &secret)?;
                remember(write, once.as_ref(), app.id.uuid().as_bytes(), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Creation::Created(app.clone()))
            })
            .await
    }

    async fn app(&self, id: AppId) -> Result<Option<App>, StoreError> {
        self.readers.read(move |connection| find(connection, id)).await
    }

    async fn apps(
        &self,
        account: AccountId,
        request: PageRequest<CreationKey>,
    ) -> Result<Page<App, CreationKey>, StoreError> {
        self.readers
            .scan(move |connection| {
                let select = format!("{APP} WHERE account_id = ?1");
                by_creation(connection, &select, account.uuid(), &request, read, |app| CreationKey {
                    at: app.created_at,
                    id: app.id.uuid(),
                })
            })
            .await
    }

    async fn update_app(&self, id: AppId, patch: AppPatch, entry: AuditEntry) -> Result<Option<App>, StoreError> {
        self.writer
            .write(move |write| {
                let Some(mut app) = find(write.connection, id)? else { return Ok(None) };
                patch.clone().apply(&mut app.settings);
                app.updated_at = entry.at;
                let settings = &app.settings;
                execute(
                    write.connection,
                    "UPDATE apps SET name = ?2, description = ?3, development_mode = ?4, permitted_domains = ?5,
                     ttl_secs_max = ?6, activation_secs = ?7, session_expiry = ?8, limits = ?9, updated_at = ?10
                     WHERE id = ?1",
                    params![
                        id.uuid(),
                        settings.name,
                        settings.description,
                        settings.development_mode,
                        domains(settings),
                        settings.ttl_secs_max,
                        settings.activation_secs,
                        settings.session_expiry == SessionExpiry::Keep,
                        limits(settings)?,
                        entry.at.millis(),
                    ],
                )?;
                feed::write(write, Some(&Change::App(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Some(app))
            })
            .await
    }

    async fn delete_app(&self, id: AppId, entry: AuditEntry) -> Result<Removal, StoreError> {
        self.writer
            .write(move |write| {
                if execute(write.connection, "DELETE FROM apps WHERE id = ?1", [id.uuid()])? == 0 {
                    return Ok(Removal::Unknown);
                }
                for table in ["secrets", "roles", "endpoints"] {
                    let sql = format!("DELETE FROM {table} WHERE app_id = ?1");
                    execute(write.connection, &sql, [id.uuid()])?;
                }
                execute(write.connection, "INSERT INTO deleted_apps (app_id) VALUES (?1)", [id.uuid()])?;
                feed::write(write, Some(&Change::App(id)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Removal::Removed)
            })
            .await
            .inspect(|removal| self.note_ended(*removal == Removal::Removed))
    }
}
