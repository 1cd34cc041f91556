//! Figures over time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::figures::{Figures, KeptFigures, Span, start_of};
use respoke_core::id::AppId;
use respoke_core::ports::{FigureStore, NodeId, StoreError};
use uuid::Uuid;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::rows::{Columns, all};
use super::store::PostgresStore;
use super::write::in_transaction;

/// What those who add figures lock together: the name of the table, in bytes. Each node does once in a while, and in one
/// transaction.
const LOCK: i64 = i64::from_be_bytes(*b"figures.");

/// An app as the table has it; the whole server is the one that has no number.
fn key(app: Option<AppId>) -> Uuid {
    app.map_or(Uuid::nil(), |app| app.uuid())
}

async fn add(
    connection: &Connection,
    span: Span,
    (node, at): (Option<NodeId>, Timestamp),
    counted: &BTreeMap<Uuid, Figures>,
) -> Result<(), Failure> {
    let minute = at;
    let at = start_of(at, span.secs()).millis();
    let apps: Vec<_> = counted.keys().copied().collect();
    let sql = "SELECT app_id, counts FROM respoked.figures WHERE span_secs = $1 AND at = $2 AND app_id = ANY($3)";
    let kept = all(connection, sql, params![span.secs(), at, apps], |columns| {
        Ok((columns.next::<Uuid>()?, columns.json::<KeptFigures>()?))
    })
    .await?;
    let mut sums: BTreeMap<_, _> = kept.into_iter().collect();
    for (app, counted) in counted {
        sums.entry(*app).or_default().add(node, minute, counted);
    }
    let texts = sums.values().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let texts = texts.map_err(|_| Failure::Row("figures cannot be written"))?;
    let sql = "INSERT INTO respoked.figures (span_secs, at, app_id, counts)
               SELECT $1, $2, * FROM unnest($3::uuid[], $4::text[])
               ON CONFLICT (span_secs, at, app_id) DO UPDATE SET counts = excluded.counts";
    connection.execute(sql, params![span.secs(), at, apps, texts]).await.map(drop)
}

#[async_trait]
impl FigureStore for PostgresStore {
    async fn add_figures(
        &self,
        node: Option<NodeId>,
        at: Timestamp,
        counted: Vec<(Option<AppId>, Figures)>,
    ) -> Result<(), StoreError> {
        let mut sums = BTreeMap::<Uuid, Figures>::new();
        for (app, figures) in &counted {
            sums.entry(key(*app)).or_default().add(figures);
        }
        in_transaction!(self, write => {
            // One after the other, so that none adds to what another is about to replace.
            write.query("SELECT pg_advisory_xact_lock($1)", params![LOCK]).await?;
            for span in Span::kept(node) {
                add(write, *span, (node, at), &sums).await?;
                let before = start_of(at, span.secs()).plus_secs(-span.kept_secs());
                let sql = "DELETE FROM respoked.figures WHERE span_secs = $1 AND at < $2";
                write.execute(sql, params![span.secs(), before.millis()]).await?;
            }
            Ok(())
        })
    }

    async fn figures_since(
        &self,
        span: Span,
        app: Option<AppId>,
        from: Timestamp,
    ) -> Result<Vec<(Timestamp, Figures)>, StoreError> {
        let sql =
            "SELECT at, counts FROM respoked.figures WHERE span_secs = $1 AND at >= $2 AND app_id = $3 ORDER BY at";
        let read = |columns: &mut Columns<'_>| Ok((columns.time()?, columns.json()?));
        self.read_all(sql, params![span.secs(), from.millis(), key(app)], read).await
    }
}
