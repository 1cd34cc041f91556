//! Sessions.

use async_trait::async_trait;
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::grant::{Grant, Ground};
use respoke_core::id::{AppId, EndpointId};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{
    Change, EndRequest, EndScope, Ending, ExtensionRefusal, ScopeEnding, SessionFilter, SessionStore, StoreError,
};
use respoke_core::session::{SessionEnd, SessionEndCause, SessionRecord};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use super::lists::gather;
use super::rows::{Columns, all, app_exists, execute, ground_columns, ground_joins, one};
use super::writer::Write;
use super::{SqliteStore, audit, endpoints, feed};
use crate::codes;

macro_rules! session_columns {
    () => {
        "g.number, g.token_number, g.app_id, g.endpoint, g.role_id, g.secret_id, g.hash, g.born, g.created_at, \
         g.expires_at, g.last_seen_at, g.address, g.ended_at, g.ended_as, "
    };
}
const BY_NUMBER: &str = concat!(
    "SELECT ",
    session_columns!(),
    ground_columns!(),
    " FROM sessions g",
    ground_joins!(),
    "WHERE g.number = ?1"
);
const GROUND: &str = concat!(
    "SELECT ",
    ground_columns!(),
    " FROM (SELECT ?1 AS app_id, ?2 AS endpoint, ?3 AS role_id, ?4 AS secret_id) g",
    ground_joins!()
);
const LIVE: &str = concat!(
    "SELECT ",
    session_columns!(),
    ground_columns!(),
    " FROM sessions g",
    ground_joins!(),
    "WHERE g.number > ?1 AND g.number <= ?2 AND g.app_id = ?3 AND (?4 IS NULL OR g.endpoint = ?4)
       AND (?5 IS NULL OR g.role_id = ?5) AND g.ended_at IS NULL AND g.expires_at > ?6
       AND (?8 IS NULL OR g.address = ?8) AND (?9 IS NULL OR g.created_at >= ?9)
       AND (?10 IS NULL OR g.secret_id = ?10)
     ORDER BY g.number LIMIT ?7"
);
pub(super) const RANGE: &str = concat!(
    "SELECT ",
    session_columns!(),
    ground_columns!(),
    " FROM sessions g",
    ground_joins!(),
    "WHERE g.number > ?1 ORDER BY g.number LIMIT ?2"
);

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(SessionRecord, Ground)> {
    let mut columns = Columns::of(row);
    let number = columns.next()?;
    let token_number = columns.next()?;
    let grant = columns.grant()?;
    let (hash, born) = (columns.hash()?, columns.next()?);
    let (created_at, expires_at, last_seen_at) = (columns.time()?, columns.time()?, columns.time()?);
    let address = columns.next()?;
    let ended_at = columns.time_if_any()?;
    let cause: Option<i64> = columns.next()?;
    let end = match ended_at {
        Some(at) => {
            let cause = cause.and_then(codes::end_cause_of).ok_or_else(|| {
                rusqlite::Error::FromSqlConversionFailure(12, Type::Integer, "no such cause of an end".into())
            })?;
            Some(SessionEnd { at, cause })
        }
        None => None,
    };
    let session =
        SessionRecord { number, token_number, grant, hash, born, created_at, expires_at, last_seen_at, address, end };
    Ok((session, columns.ground()?))
}

pub(super) fn find(connection: &Connection, number: u64) -> rusqlite::Result<Option<(SessionRecord, Ground)>> {
    let Ok(number) = i64::try_from(number) else { return Ok(None) };
    one(connection, BY_NUMBER, [number], read)
}

pub(super) fn insert(write: &Write<'_>, session: &SessionRecord) -> rusqlite::Result<()> {
    let grant = &session.grant;
    execute(
        write.connection,
        "INSERT INTO sessions (number, token_number, app_id, endpoint, role_id, secret_id, hash, created_at, expires_at,
         last_seen_at, address, born) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            session.number,
            session.token_number,
            grant.app_id.uuid(),
            grant.endpoint_id.as_str(),
            grant.role_id.map(|id| id.uuid()),
            grant.secret_id.map(|id| id.uuid()),
            session.hash.as_bytes(),
            session.created_at.millis(),
            session.expires_at.millis(),
            session.last_seen_at.millis(),
            session.address,
            session.born,
        ],
    )?;
    Ok(())
}

/// Removes a session. The newest row stays, so that its number is never given again.
pub(super) fn remove(connection: &Connection, number: u64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM sessions WHERE number = ?1 AND number < (SELECT max(number) FROM sessions)";
    execute(connection, sql, [number])
}

/// Ends session `number` in favour of a new one, if it is of the same endpoint and not over.
pub(super) fn supersede(write: &Write<'_>, number: u64, grant: &Grant, at: Timestamp) -> rusqlite::Result<bool> {
    let superseded = codes::end_cause(SessionEndCause::Superseded);
    let ended = execute(
        write.connection,
        "UPDATE sessions SET ended_at = ?4, ended_as = ?5
         WHERE number = ?1 AND app_id = ?2 AND endpoint = ?3 AND ended_at IS NULL",
        params![number, grant.app_id.uuid(), grant.endpoint_id.as_str(), at.millis(), superseded],
    )? == 1;
    if ended {
        feed::write(write, Some(&Change::Session(number)), at)?;
    }
    Ok(ended)
}

/// Sets the marks of a scope.
fn mark(write: &Write<'_>, request: &EndRequest, now: Timestamp) -> rusqlite::Result<ScopeEnding> {
    if !app_exists(write.connection, request.app_id)? {
        return Ok(ScopeEnding::NoApp);
    }
    let sessions = write.next_change();
    let tokens = if request.tokens_too { sessions } else { 0 };
    // With an instant the marks bound what the instant may touch; without one they end all that was born before them.
    // A mark of 0 spares the tokens.
    let set = if request.issued_before.is_some() {
        "tokens_issued_before = max(tokens_issued_before, iif(?2 > 0, ?1, 0)), \
         issued_before_tokens = max(issued_before_tokens, ?2), \
         sessions_issued_before = max(sessions_issued_before, ?1), \
         issued_before_sessions = max(issued_before_sessions, ?3)"
    } else {
        "tokens_from = max(tokens_from, ?2), sessions_from = max(sessions_from, ?3)"
    };
    let at = request.issued_before.map_or(0, Timestamp::millis);
    let app = request.app_id.uuid();
    let touched = match &request.scope {
        EndScope::App => {
            let sql = format!("UPDATE apps SET {set} WHERE id = ?4");
            execute(write.connection, &sql, params![at, tokens, sessions, app])?
        }
        EndScope::Role(role) => {
            let sql = format!("UPDATE roles SET {set} WHERE app_id = ?4 AND id = ?5");
            execute(write.connection, &sql, params![at, tokens, sessions, app, role.uuid()])?
        }
        EndScope::Endpoint(endpoint) => {
            endpoints::end_born_before(write, request.app_id, endpoint, 0, 0)?;
            let sql = format!("UPDATE endpoints SET {set} WHERE app_id = ?4 AND endpoint = ?5");
            execute(write.connection, &sql, params![at, tokens, sessions, app, endpoint.as_str()])?
        }
    };
    if touched == 0 {
        return Ok(ScopeEnding::NoRole);
    }
    feed::write(write, Some(&request.change()), now)?;
    Ok(ScopeEnding::Ended)
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn session(&self, number: u64) -> Result<Option<(SessionRecord, Ground)>, StoreError> {
        self.readers.read(move |connection| find(connection, number)).await
    }

    async fn ground(&self, grant: &Grant) -> Result<Ground, StoreError> {
        let grant = grant.clone();
        let find = move |connection: &Connection| {
            let (role_id, secret_id) = (grant.role_id.map(|id| id.uuid()), grant.secret_id.map(|id| id.uuid()));
            let named = params![grant.app_id.uuid(), grant.endpoint_id.as_str(), role_id, secret_id];
            connection.prepare_cached(GROUND)?.query_row(named, |row| Columns::of(row).ground())
        };
        self.readers.read(find).await
    }

    async fn sessions(
        &self,
        app: AppId,
        filter: SessionFilter,
        now: Timestamp,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<SessionRecord, RowNumber>, StoreError> {
        let condition = self.condition.clone();
        self.readers
            .search(move |connection| {
                let address = filter.address.map(|address| address.to_string());
                gather(connection, "sessions", 0, &request, |from, to, wanted| {
                    all(
                        connection,
                        LIVE,
                        params![
                            from,
                            to,
                            app.uuid(),
                            filter.of.endpoint_id.as_ref().map(EndpointId::as_str),
                            filter.of.role_id.map(|id| id.uuid()),
                            now.millis(),
                            wanted,
                            address,
                            filter.since.map(Timestamp::millis),
                            filter.of.secret_id.map(|id| id.uuid()),
                        ],
                        |row| {
                            let Some((session, ground)) = condition.of_list(read(row))? else {
                                return Ok((row.get(0)?, None));
                            };
                            Ok((session.number, session.lapse(&ground, now).is_none().then_some(session)))
                        },
                    )
                })
            })
            .await
    }

    async fn extend_session(
        &self,
        number: u64,
        expires_at: Timestamp,
        entry: AuditEntry,
    ) -> Result<Result<SessionRecord, ExtensionRefusal>, StoreError> {
        self.writer
            .write(move |write| {
                let Some((mut session, ground)) = find(write.connection, number)? else {
                    return Ok(Err(ExtensionRefusal::Unknown));
                };
                if session.lapse(&ground, entry.at).is_some() {
                    return Ok(Err(ExtensionRefusal::Over));
                }
                let sql = "UPDATE sessions SET expires_at = ?2 WHERE number = ?1";
                execute(write.connection, sql, params![number, expires_at.millis()])?;
                feed::write(write, Some(&Change::Session(number)), entry.at)?;
                audit::insert(write, &entry)?;
                session.expires_at = expires_at;
                Ok(Ok(session))
            })
            .await
    }

    async fn end_session(
        &self,
        app: AppId,
        number: u64,
        cause: SessionEndCause,
        entry: AuditEntry,
    ) -> Result<Ending, StoreError> {
        self.writer
            .write(move |write| {
                let ended = execute(
                    write.connection,
                    "UPDATE sessions SET ended_at = ?3, ended_as = ?4
                     WHERE number = ?1 AND app_id = ?2 AND ended_at IS NULL",
                    params![number, app.uuid(), entry.at.millis(), codes::end_cause(cause)],
                )? == 1;
                if !ended {
                    let sql = "SELECT 1 FROM sessions WHERE number = ?1 AND app_id = ?2";
                    let kept = one(write.connection, sql, params![number, app.uuid()], |_| Ok(()))?.is_some();
                    return Ok(if kept { Ending::Over } else { Ending::Unknown });
                }
                feed::write(write, Some(&Change::Session(number)), entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Ending::Ended)
            })
            .await
    }

    async fn end_sessions(&self, request: EndRequest, entry: AuditEntry) -> Result<ScopeEnding, StoreError> {
        self.writer
            .write(move |write| {
                let done = mark(write, &request, entry.at)?;
                if done == ScopeEnding::Ended {
                    audit::insert(write, &entry)?;
                }
                Ok(done)
            })
            .await
    }

    fn touch_session(&self, number: u64, at: Timestamp, address: String) {
        self.writer.write_if_idle(move |write| {
            // An introspection touches a session without being its user; then the address stays.
            let sql = "UPDATE sessions SET last_seen_at = ?2,
                       address = CASE ?3 WHEN '' THEN address ELSE ?3 END WHERE number = ?1";
            execute(write.connection, sql, params![number, at.millis(), address])?;
            Ok(())
        });
    }
}
