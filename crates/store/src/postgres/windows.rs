//! Lists from big tables, which have no index but their numbers.

use respoke_core::page::{Page, PageRequest, RowNumber};

use super::connect::Connection;
use super::failure::Failure;
use super::rows::{Columns, one, stored};

/// Rows of one window of a filtered list, and the most windows of one page: five million rows.
const WINDOW_ROWS: i64 = 100_000;
const WINDOWS: usize = 50;

/// A page that is gathered from a big table by windows of row numbers, so that no call looks at rows without end.
pub(super) struct Gathering<T> {
    at: i64,
    end: i64,
    limit: usize,
    windows_left: usize,
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
        connection: &Connection,
        table: &str,
        request: &PageRequest<RowNumber>,
    ) -> Result<Self, Failure> {
        let bounds = format!("SELECT coalesce(min(number), 1), coalesce(max(number), 0) FROM respoked.{table}");
        let read = |columns: &mut Columns<'_>| Ok((columns.next::<i64>()?, columns.next::<i64>()?));
        let (first, end) = one(connection, &bounds, &[], read).await?.unwrap_or((1, 0));
        let at = request.after.map_or(0, RowNumber::get).max(first - 1);
        Ok(Self { at, end, limit: request.limit, windows_left: WINDOWS, items: Vec::new() })
    }

    /// Where to look next; none: the page is as it will be.
    pub(super) fn next(&mut self) -> Option<Window> {
        if self.at >= self.end || self.items.len() >= self.limit || self.windows_left == 0 {
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
