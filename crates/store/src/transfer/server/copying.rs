//! What goes into a server, and what is read of it.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::ports::StoreError;
use tokio_postgres::CopyOutStream;
use tokio_postgres::types::{ToSql, Type};

use super::{SETTINGS, Server, all_tables, columns, get, quoted};
use crate::marks::{ARRIVED, Mark, UNFINISHED};
use crate::postgres::newest_schema;
use crate::sqlite::{UNDONE_MAX, UndoneChange, withdrawals};
use crate::transfer::contents::{Contents, Tally, failed, refused};
use crate::transfer::file::{Entry, Rows};
use crate::transfer::rows::{HEADER, Splitter, Sum, Summing, TRAILER};
use crate::transfer::tables::{SEQUENCES, TABLES, Table};
use crate::transfer::to_file::CopiedOf;

/// How many numbers of the log may be given to what is not committed yet: a few batches of all nodes.
const UNDER_WAY: i64 = 10_000;
/// Rows that one COPY takes.
const COPY_ROWS: u64 = 200_000;

/// What all apps keep, as it costs there.
const COUNT_KEPT: &str = "
    DELETE FROM respoked.kept_bytes;
    INSERT INTO respoked.kept_bytes (app_id, bytes)
    SELECT app_id, sum(bytes) FROM (
        SELECT coalesce(g.app_id, e.app_id), respoked.message_cost(m.sender, m.event) FROM respoked.messages m
        LEFT JOIN respoked.message_groups g ON g.number = m.group_number
        LEFT JOIN respoked.ended_groups e ON e.number = m.group_number
        UNION ALL SELECT app_id, respoked.group_cost(name) FROM respoked.message_groups
        UNION ALL SELECT app_id, respoked.conversation_cost(endpoint) FROM respoked.conversations
        UNION ALL SELECT app_id, respoked.push_token_cost(text, endpoint) FROM respoked.push_tokens
        UNION ALL SELECT app_id, respoked.call_report_cost(report, endpoint) FROM respoked.call_reports
    ) AS kept (app_id, bytes) WHERE app_id IS NOT NULL GROUP BY app_id";

impl Server {
    /// Gives the copy the key of the installation. Its tables are there by now.
    pub(in crate::transfer) async fn set_key(&self, mark: &Mark, key: &[u8]) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        match self.meta("schema").await?.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes) {
            Some(version) if version == newest_schema() as u64 => {
                self.set_meta("seal_key", key).await?;
                self.commit().await
            }
            _ => Err(refused(
                "another respoked began the unfinished copy: remove what is there of it (DROP SCHEMA respoked CASCADE) and begin anew",
            )),
        }
    }

    /// Fills a table that is empty, or holds something else.
    pub(in crate::transfer) async fn fill(
        &self,
        mark: &Mark,
        table: &Table,
        mut rows: Rows<'_>,
        tally: &Tally,
    ) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        // Nothing is counted row by row: it is counted at the end.
        self.work(&format!("TRUNCATE respoked.{0}; ALTER TABLE respoked.{0} DISABLE TRIGGER USER", table.name)).await?;
        let sql = format!("COPY respoked.{} ({}) FROM STDIN (FORMAT binary)", table.name, columns(table));
        let mut whole = false;
        while !whole {
            let mut sink = pin!(self.answered(self.waits.look, self.client.copy_in::<_, Bytes>(&sql)).await?);
            let (mut piece, mut copied) = (BytesMut::from(HEADER), 0);
            while copied < COPY_ROWS {
                let read = rows.put_piece(&mut piece, COPY_ROWS - copied)?;
                if read == 0 {
                    whole = true;
                    break;
                }
                copied += read;
                self.answered(self.waits.work, sink.send(piece.split().freeze())).await?;
                tally.add(read);
            }
            piece.extend_from_slice(TRAILER);
            self.answered(self.waits.work, sink.send(piece.freeze())).await?;
            self.answered(self.waits.work, sink.finish()).await?;
        }
        self.work(&format!("ALTER TABLE respoked.{} ENABLE TRIGGER USER", table.name)).await?;
        self.commit().await?;
        self.work(&format!("ANALYZE respoked.{}", table.name)).await
    }

    pub(in crate::transfer) async fn has_accounts(&self) -> Result<bool, StoreError> {
        Ok(self.number("SELECT count(*) FROM (SELECT FROM respoked.accounts LIMIT 1) AS first").await? > 0)
    }

    /// Whether a table has rows.
    pub(in crate::transfer) async fn has_rows(&self, table: &Table) -> Result<bool, StoreError> {
        Ok(self.number(&format!("SELECT count(*) FROM (SELECT FROM respoked.{} LIMIT 1) AS first", table.name)).await?
            > 0)
    }

    /// Counts what is kept, and has the sequences go on behind the numbers that were given.
    pub(in crate::transfer) async fn round_off(&self, mark: &Mark, numbers: &[i64]) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        self.work(COUNT_KEPT).await?;
        for (sequence, given) in SEQUENCES.iter().zip(numbers) {
            let sql = format!("SELECT setval('respoked.{}', greatest($1, 1), $1 > 0)", sequence.name);
            self.query(&sql, &[(given, Type::INT8)]).await?;
        }
        self.commit().await
    }

    /// Begins to compare the copy. Nobody writes to it, or claims it, until [`Self::finish`].
    pub(in crate::transfer) async fn begin_comparing(&self, mark: &Mark) -> Result<(), StoreError> {
        self.begin_on(mark).await?;
        self.work(&format!("LOCK TABLE {} IN SHARE MODE", all_tables())).await
    }

    /// Ends the copy, and what [`Self::begin_comparing`] began: from now on it is an installation.
    pub(in crate::transfer) async fn finish(&self, mark: &Mark) -> Result<(), StoreError> {
        self.query("DELETE FROM respoked.meta WHERE key = $1", &[(&ARRIVED, Type::TEXT)]).await?;
        let sql = "UPDATE respoked.meta SET key = $1 WHERE key = $2 AND value = $3 RETURNING 1::bigint";
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&ARRIVED, Type::TEXT), (&UNFINISHED, Type::TEXT), (&mark.bytes(), Type::BYTEA)];
        if self.query(sql, &params).await?.len() != 1 {
            return Err(self.taken_over().await);
        }
        self.commit().await
    }

    /// The greatest number that each sequence has given.
    pub(in crate::transfer) async fn numbers(&self) -> Result<Vec<i64>, StoreError> {
        let mut numbers = Vec::new();
        for sequence in SEQUENCES {
            let sql = format!(
                "SELECT greatest((SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM respoked.{}),
                                 (SELECT max(number) FROM respoked.{}))",
                sequence.name, sequence.table
            );
            numbers.push(self.number(&sql).await?);
        }
        Ok(numbers)
    }

    /// How many rows there are, by table.
    pub(in crate::transfer) async fn counts(&self) -> Result<Vec<(&'static str, u64)>, StoreError> {
        let mut counts = Vec::new();
        for table in TABLES {
            let sql = format!("SELECT count(*) FROM respoked.{}", table.name);
            counts.push((table.name, self.counted(&sql).await?.cast_unsigned()));
        }
        Ok(counts)
    }

    /// What was withdrawn in a schema, oldest first, of entries that `is_known` does not know.
    pub(in crate::transfer) async fn withdrawn(
        &self,
        schema: &str,
        after: i64,
        is_known: impl Fn(Entry) -> Result<bool, StoreError>,
    ) -> Result<Vec<UndoneChange>, StoreError> {
        let codes: Vec<i64> = withdrawals().collect();
        // What was under way at the backup may have a lower number than what was in it.
        let after = after.saturating_sub(UNDER_WAY);
        let sql = format!(
            "SELECT number, at, action, object FROM {}.audit WHERE number > $1 AND action = ANY($2) ORDER BY number LIMIT $3",
            quoted(schema)
        );
        let most = UNDER_WAY + i64::try_from(UNDONE_MAX).unwrap_or(i64::MAX);
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&after, Type::INT8), (&codes, Type::INT8_ARRAY), (&most, Type::INT8)];
        let rows = self.answered(self.waits.work, self.client.query_typed(&sql, &params)).await?;
        let mut undone = Vec::new();
        for row in rows {
            let (number, at, code): (i64, i64, i64) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
            if let Some(action) = Action::from_code(code)
                && undone.len() < UNDONE_MAX
                && !is_known(Entry { number, at, action: code })?
            {
                undone.push(UndoneChange { at: Timestamp::from_millis(at), action, object: get(&row, 3)? });
            }
        }
        Ok(undone)
    }

    /// What is there.
    pub(in crate::transfer) async fn contents(&self, tally: &Tally) -> Result<Contents, StoreError> {
        let mut sums = Vec::new();
        for table in TABLES {
            sums.push(self.sum(table, tally).await?);
        }
        Ok(Contents { sums })
    }

    pub(in crate::transfer) async fn sum(&self, table: &Table, tally: &Tally) -> Result<Sum, StoreError> {
        let (mut stream, mut summing) = (self.read(table).await?, Summing::default());
        while let Some(row) = stream.next().await? {
            summing.take(1, &row);
            tally.add(1);
        }
        Ok(summing.sum())
    }

    /// Begins to read a table, in its order.
    pub(in crate::transfer) async fn read(&self, table: &Table) -> Result<Reading<'_>, StoreError> {
        let order: Vec<_> = table.order.iter().map(|name| format!("\"{name}\"")).collect();
        let sql = format!(
            "COPY (SELECT {} FROM respoked.{} ORDER BY {}) TO STDOUT (FORMAT binary)",
            columns(table),
            table.name,
            order.join(", ")
        );
        // It is answered before it is sorted.
        let stream = self.answered(self.waits.work, self.client.copy_out(&sql)).await?;
        Ok(Reading { server: self, stream: Box::pin(stream), splitter: Splitter::default() })
    }

    /// Whether it is written to, or stands by for another.
    pub(in crate::transfer) async fn stands_by(&self) -> Result<CopiedOf, StoreError> {
        let sql =
            "SELECT (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000)::bigint WHERE pg_is_in_recovery()";
        Ok(match self.query(sql, &[]).await?.first() {
            None => CopiedOf::Primary,
            Some(row) => CopiedOf::Standby { as_of: get::<Option<i64>>(row, 0)?.map(Timestamp::from_millis) },
        })
    }

    /// Begins to read, all of it as it is at one moment.
    pub(in crate::transfer) async fn begin_reading(&self) -> Result<(), StoreError> {
        self.batch(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {SETTINGS}")).await
    }

    /// Ends what only read.
    pub(in crate::transfer) async fn end_reading(&self) -> Result<(), StoreError> {
        self.batch("COMMIT").await
    }
}

/// Rows of a table, as they come.
pub(in crate::transfer) struct Reading<'a> {
    server: &'a Server,
    stream: Pin<Box<CopyOutStream>>,
    splitter: Splitter,
}

impl Reading<'_> {
    pub(in crate::transfer) async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let patience: Duration = self.server.waits.work;
        loop {
            if let Some(row) = self.splitter.next().map_err(refused)? {
                return Ok(Some(row));
            }
            let Ok(piece) = tokio::time::timeout(patience, self.stream.next()).await else {
                return Err(self.server.give_up(patience));
            };
            match piece {
                Some(piece) => self.splitter.take(&piece.map_err(failed)?),
                None if self.splitter.is_over() => return Ok(None),
                None => return Err(refused("what the database sends ends in the middle")),
            }
        }
    }
}
