//! Pages of lists that several tables have.

use respoke_core::page::{CreationKey, Page, PageRequest, RowNumber};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::rows::all;
use crate::pages::{after_creation, limit};

/// A page of what `owner` has, in order of creation. `select` ends where the owner of a row is compared with the first
/// parameter.
pub(super) fn by_creation<T>(
    connection: &Connection,
    select: &str,
    owner: Uuid,
    request: &PageRequest<CreationKey>,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
    key: fn(&T) -> CreationKey,
) -> rusqlite::Result<Page<T, CreationKey>> {
    let (at, id) = after_creation(request);
    let sql = format!("{select} AND (created_at, id) > (?2, ?3) ORDER BY created_at, id LIMIT ?4");
    let rows = all(connection, &sql, params![owner, at, id, limit(request)], read)?;
    Ok(Page::cut(rows, request.limit, key))
}

/// Rows of one window of a filtered list, and the most windows of one page: five million rows.
pub(super) const WINDOW_ROWS: i64 = 100_000;
pub(super) const WINDOWS: usize = 50;

/// Gathers a page from a big table, filtered by what there is no index for, by windows of row numbers, so that no call looks at rows without end. None is numbered
/// `begin` or lower.
///
/// `select` gets the window's bounds and how many rows are still wanted, and returns those that qualify with their
/// numbers and whether it reached its limit (so that the window may hold more).
pub(super) fn gather<T>(
    connection: &Connection,
    table: &str,
    begin: i64,
    request: &PageRequest<RowNumber>,
    mut select: impl FnMut(i64, i64, i64) -> rusqlite::Result<Vec<(u64, Option<T>)>>,
) -> rusqlite::Result<Page<T, RowNumber>> {
    let end: i64 =
        connection.query_row(&format!("SELECT coalesce(max(number), 0) FROM {table}"), [], |row| row.get(0))?;
    let first = format!("SELECT coalesce(min(number), 1) FROM {table} WHERE number > ?1");
    let first: i64 = connection.query_row(&first, [begin], |row| row.get(0))?;
    let mut at = request.after.map_or(0, RowNumber::get).max(first - 1);
    let mut items = Vec::new();
    for _ in 0..WINDOWS {
        if at >= end {
            return Ok(Page { items, next: None });
        }
        let window_end = (at + WINDOW_ROWS).min(end);
        let wanted = i64::try_from(request.limit - items.len()).unwrap_or(i64::MAX);
        let rows = select(at, window_end, wanted)?;
        // Fewer rows than the limit mean that the window holds no more.
        let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= wanted;
        at = match rows.last() {
            Some((last, _)) if full => i64::try_from(*last).unwrap_or(end),
            _ => window_end,
        };
        items.extend(rows.into_iter().filter_map(|(_, item)| item));
        if items.len() >= request.limit {
            break;
        }
    }
    let next = u64::try_from(at).ok().filter(|_| at < end).map(RowNumber::new);
    Ok(Page { items, next })
}
