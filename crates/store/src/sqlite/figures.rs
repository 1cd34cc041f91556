//! Figures over time.

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::figures::{Figures, KeptFigures, Span, start_of};
use respoke_core::id::AppId;
use respoke_core::ports::{FigureStore, NodeId, StoreError};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::SqliteStore;
use super::rows::{Columns, all, execute, one};

/// An app as the table has it; the whole server is the one that has no number.
fn key(app: Option<AppId>) -> Uuid {
    app.map_or(Uuid::nil(), |app| app.uuid())
}

fn add(
    connection: &Connection,
    span: Span,
    (node, at): (Option<NodeId>, Timestamp),
    app: Uuid,
    counted: &Figures,
) -> rusqlite::Result<()> {
    let minute = at;
    let at = start_of(at, span.secs()).millis();
    let sql = "SELECT counts FROM figures WHERE span_secs = ?1 AND at = ?2 AND app_id = ?3";
    let kept = one(connection, sql, params![span.secs(), at, app], |row| Columns::of(row).json::<KeptFigures>())?;
    let mut sum = kept.unwrap_or_default();
    sum.add(node, minute, counted);
    let text = serde_json::to_string(&sum).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let sql = "INSERT OR REPLACE INTO figures (span_secs, at, app_id, counts) VALUES (?1, ?2, ?3, ?4)";
    execute(connection, sql, params![span.secs(), at, app, text])?;
    Ok(())
}

#[async_trait]
impl FigureStore for SqliteStore {
    async fn add_figures(
        &self,
        node: Option<NodeId>,
        at: Timestamp,
        counted: Vec<(Option<AppId>, Figures)>,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |write| {
                for span in Span::kept(node) {
                    for (app, counted) in &counted {
                        add(write.connection, *span, (node, at), key(*app), counted)?;
                    }
                    let sql = "DELETE FROM figures WHERE span_secs = ?1 AND at < ?2";
                    let before = start_of(at, span.secs()).plus_secs(-span.kept_secs());
                    execute(write.connection, sql, params![span.secs(), before.millis()])?;
                }
                Ok(())
            })
            .await
    }

    async fn figures_since(
        &self,
        span: Span,
        app: Option<AppId>,
        from: Timestamp,
    ) -> Result<Vec<(Timestamp, Figures)>, StoreError> {
        self.readers
            .scan(move |connection| {
                let sql = "SELECT at, counts FROM figures
                           WHERE span_secs = ?1 AND at >= ?2 AND app_id = ?3 ORDER BY at";
                all(connection, sql, params![span.secs(), from.millis(), key(app)], |row| {
                    let mut columns = Columns::of(row);
                    Ok((columns.time()?, columns.json()?))
                })
            })
            .await
    }
}
