//! The rows of tokens, with what each token stands on.

use respoke_core::grant::Ground;
use respoke_core::token::{TokenEnd, TokenRecord};
use rusqlite::{Connection, Row};

use super::rows::{Columns, ground_columns, ground_joins, one};

macro_rules! token_columns {
    () => {
        "g.number, g.app_id, g.endpoint, g.role_id, g.secret_id, g.hash, g.born, g.created_at, g.activate_by, \
         g.expires_at, g.ended_at, g.session_number, "
    };
}
const BY_NUMBER: &str =
    concat!("SELECT ", token_columns!(), ground_columns!(), " FROM tokens g", ground_joins!(), "WHERE g.number = ?1");
/// The outstanding tokens of a window of numbers.
pub(super) const OUTSTANDING: &str = concat!(
    "SELECT ",
    token_columns!(),
    ground_columns!(),
    " FROM tokens g",
    ground_joins!(),
    "WHERE g.number > ?1 AND g.number <= ?2 AND g.app_id = ?3 AND (?4 IS NULL OR g.endpoint = ?4)
       AND (?5 IS NULL OR g.role_id = ?5) AND g.ended_at IS NULL AND g.activate_by > ?6
       AND (?8 IS NULL OR g.secret_id = ?8)
     ORDER BY g.number LIMIT ?7"
);
/// All tokens behind a number.
pub(super) const RANGE: &str = concat!(
    "SELECT ",
    token_columns!(),
    ground_columns!(),
    " FROM tokens g",
    ground_joins!(),
    "WHERE g.number > ?1 ORDER BY g.number LIMIT ?2"
);

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(TokenRecord, Ground)> {
    let mut columns = Columns::of(row);
    let number = columns.next()?;
    let grant = columns.grant()?;
    let (hash, born) = (columns.hash()?, columns.next()?);
    let (created_at, activate_by, expires_at) = (columns.time()?, columns.time()?, columns.time()?);
    let ended_at = columns.time_if_any()?;
    let session: Option<u64> = columns.next()?;
    let end = ended_at.map(|at| match session {
        Some(session) => TokenEnd::Redeemed { at, session },
        None => TokenEnd::Revoked { at },
    });
    Ok((TokenRecord { number, grant, hash, born, created_at, activate_by, expires_at, end }, columns.ground()?))
}

/// The token of that number.
pub(super) fn find(connection: &Connection, number: u64) -> rusqlite::Result<Option<(TokenRecord, Ground)>> {
    // A number carried by made-up token text can exceed what a row can have.
    let Ok(number) = i64::try_from(number) else { return Ok(None) };
    one(connection, BY_NUMBER, [number], read)
}
