//! Lists from big tables, which have no index but their numbers.
//!
//! A page is looked for in windows of row numbers, each with a statement of its own and a connection that is given back after: so
//! no statement looks at rows without end, and others come in between.

use std::time::Duration;

use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::StoreError;
use tokio::time::Instant;

use super::failure::Failure;
use super::rows::{Columns, stored};
use super::store::Reader;

/// Rows of one window of a filtered list, and the most windows of one page: five million rows.
pub(super) const WINDOW_ROWS: i64 = 100_000;
const WINDOWS: usize = 50;
/// How long a page is gathered. Then it is told as it is, with where to go on: whoever asks is still there, and others wait for
/// their turn.
pub(super) const GATHERED_FOR: Duration = Duration::from_secs(10);

/// A page that is gathered from a big table by windows of row numbers.
pub(super) struct Gathering<T> {
    at: i64,
    end: i64,
    limit: usize,
    windows_left: usize,
    since: Instant,
    items: Vec<T>,
}

/// Rows behind `from`, up to `to`, of which so many are still wanted.
pub(super) struct Window {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) wanted: i64,
}

impl<T> Gathering<T> {
    pub(super) async fn begin(
        reader: &Reader<'_>,
        table: &str,
        request: &PageRequest<RowNumber>,
    ) -> Result<Self, StoreError> {
        let (first, end) = bounds(reader, table).await?.unwrap_or((1, 0));
        let at = request.after.map_or(0, RowNumber::get).max(first - 1);
        Ok(Self { at, end, limit: request.limit, windows_left: WINDOWS, since: Instant::now(), items: Vec::new() })
    }

    /// Where to look next; none: the page is as it will be.
    pub(super) fn next(&mut self) -> Option<Window> {
        let whole = self.at >= self.end || self.items.len() >= self.limit;
        if whole || self.windows_left == 0 || self.since.elapsed() >= GATHERED_FOR {
            return None;
        }
        self.windows_left -= 1;
        let wanted = i64::try_from(self.limit - self.items.len()).unwrap_or(i64::MAX);
        Some(Window { from: self.at, to: (self.at + WINDOW_ROWS).min(self.end), wanted })
    }

    /// Takes the rows of a window that qualify, with their numbers; none beside a number is passed over.
    pub(super) fn take(&mut self, window: &Window, rows: Vec<(u64, Option<T>)>) {
        // Fewer rows than the limit mean that the window holds no more.
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= window.wanted;
        self.at = match rows.last() {
            Some((last, _)) if full => stored(*last),
            _ => window.to,
        };
        self.items.extend(rows.into_iter().filter_map(|(_, item)| item));
    }

    pub(super) fn page(self) -> Page<T, RowNumber> {
        let next = u64::try_from(self.at).ok().filter(|_| self.at < self.end).map(RowNumber::new);
        Page { items: self.items, next }
    }
}

/// The first number of a table and the last. None: it has no row.
pub(super) async fn bounds(reader: &Reader<'_>, table: &str) -> Result<Option<(i64, i64)>, StoreError> {
    let sql = format!("SELECT min(number), max(number) FROM respoked.{table}");
    let rows = reader.read(&sql, &[]).await?;
    let bounds = rows.first().map(|row| {
        let mut columns = Columns::of(row);
        Ok((columns.next::<Option<i64>>()?, columns.next::<Option<i64>>()?))
    });
    let (first, last) = bounds.transpose().map_err(Failure::nothing_written)?.unwrap_or((None, None));
    Ok(first.zip(last))
}
