//! Sessions.

use async_trait::async_trait;
use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::grant::{Grant, Ground};
use respoke_core::id::{AppId, EndpointId};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{
    Change, EndRequest, Ending, ExtensionRefusal, ScopeEnding, SessionFilter, SessionStore, StoreError,
};
use respoke_core::session::{SessionEndCause, SessionRecord};

use super::audit_rows;
use super::connect::{Connection, params};
use super::deeds::Deed;
use super::failure::Failure;
use super::marks::mark;
use super::rows::{Columns, exists, one, stored};
use super::session_rows::{BY_NUMBER, GROUND, LIVE, read};
use super::store::PostgresStore;
use super::token_writer::Touch;
use super::windows::Gathering;
use super::write::{in_ending_transaction, in_transaction};
use crate::codes;

async fn find(connection: &Connection, number: u64) -> Result<Option<(SessionRecord, Ground)>, Failure> {
    one(connection, BY_NUMBER, params![stored(number)], read).await
}

#[async_trait]
impl SessionStore for PostgresStore {
    async fn session(&self, number: u64) -> Result<Option<(SessionRecord, Ground)>, StoreError> {
        self.read_one(BY_NUMBER, params![stored(number)], read).await
    }

    async fn ground(&self, grant: &Grant) -> Result<Ground, StoreError> {
        let (role, secret) = (grant.role_id.map(|id| id.uuid()), grant.secret_id.map(|id| id.uuid()));
        let read = |columns: &mut Columns<'_>| columns.ground();
        let named = (grant.app_id.uuid(), grant.endpoint_id.as_str());
        let ground = self.read_one(GROUND, params![named.0, named.1, role, secret], read).await?;
        ground.ok_or(StoreError::Corrupt("a ground has no row"))
    }

    async fn sessions(
        &self,
        app: AppId,
        filter: SessionFilter,
        now: Timestamp,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<SessionRecord, RowNumber>, StoreError> {
        let address = filter.address.map(|address| address.to_string());
        let reader = self.search().await?;
        let mut gathering = Gathering::begin(&reader, "sessions", &request).await?;
        while let Some(window) = gathering.next() {
            let rows = reader
                .read(
                    LIVE,
                    params![
                        window.from,
                        window.to,
                        app.uuid(),
                        filter.of.endpoint_id.as_ref().map(EndpointId::as_str),
                        filter.of.role_id.map(|id| id.uuid()),
                        now.millis(),
                        window.wanted,
                        address,
                        filter.since.map(Timestamp::millis),
                        filter.of.secret_id.map(|id| id.uuid()),
                    ],
                )
                .await?;
            let rows = rows.iter().map(|row| {
                let number = Columns::of(row).number()?;
                // One that cannot be read is left out of the list, which goes on behind it.
                let found = read(&mut Columns::of(row)).ok();
                let live = found.filter(|(session, ground)| session.lapse(ground, now).is_none());
                Ok((number, live.map(|(session, _)| session)))
            });
            let rows = rows.collect::<Result<_, Failure>>().map_err(Failure::nothing_written)?;
            gathering.take(&window, rows);
        }
        Ok(gathering.page())
    }

    async fn extend_session(
        &self,
        number: u64,
        expires_at: Timestamp,
        entry: AuditEntry,
    ) -> Result<Result<SessionRecord, ExtensionRefusal>, StoreError> {
        in_transaction!(self, write => {
            let sql = "SELECT 1 FROM respoked.sessions WHERE number = $1 FOR NO KEY UPDATE";
            write.query(sql, params![stored(number)]).await?;
            let Some((mut session, ground)) = find(write, number).await? else {
                return Ok(Err(ExtensionRefusal::Unknown));
            };
            if session.lapse(&ground, entry.at).is_some() {
                return Ok(Err(ExtensionRefusal::Over));
            }
            let sql = "UPDATE respoked.sessions SET expires_at = $2 WHERE number = $1";
            write.execute(sql, params![stored(number), expires_at.millis()]).await?;
            audit_rows::insert(write, &entry).await?;
            write.change(Some(&Change::Session(number)), entry.at).await?;
            session.expires_at = expires_at;
            Ok(Ok(session))
        })
    }

    async fn end_session(
        &self,
        app: AppId,
        number: u64,
        cause: SessionEndCause,
        entry: AuditEntry,
    ) -> Result<Ending, StoreError> {
        in_ending_transaction!(self, write => {
            let sql = "UPDATE respoked.sessions SET ended_at = $3, ended_as = $4
                       WHERE number = $1 AND app_id = $2 AND ended_at IS NULL";
            let (row, at) = (stored(number), entry.at.millis());
            if write.execute(sql, params![row, app.uuid(), at, codes::end_cause(cause)]).await? == 0 {
                let sql = "SELECT 1 FROM respoked.sessions WHERE number = $1 AND app_id = $2";
                let kept = exists(write, sql, params![row, app.uuid()]).await?;
                return Ok(if kept { Ending::Over } else { Ending::Unknown });
            }
            audit_rows::insert(write, &entry).await?;
            write.change(Some(&Change::Session(number)), entry.at).await?;
            write.takes_away(Deed::SessionEnded { number: row, at: entry.at, cause });
            Ok(Ending::Ended)
        })
    }

    async fn end_sessions(&self, request: EndRequest, entry: AuditEntry) -> Result<ScopeEnding, StoreError> {
        in_ending_transaction!(self, write => {
            let done = mark(write, &request, entry.at).await?;
            if done == ScopeEnding::Ended {
                write.takes_away(Deed::Ended { request: request.clone(), at: entry.at });
                audit_rows::insert(write, &entry).await?;
            }
            Ok(done)
        })
    }

    fn touch_session(&self, number: u64, at: Timestamp, address: String) {
        self.writer.touch(Touch::Session { number, at, address });
    }
}
