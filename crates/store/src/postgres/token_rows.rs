//! Rows of tokens.

use respoke_core::grant::Ground;
use respoke_core::token::{TokenEnd, TokenRecord};

use super::failure::Failure;
use super::rows::{Columns, ground_columns, ground_joins};

macro_rules! tokens {
    ($condition:literal) => {
        tokens!("", $condition)
    };
    ($more:literal, $condition:literal) => {
        concat!(
            "SELECT ",
            $more,
            "g.number, g.app_id, g.endpoint, g.role_id, g.secret_id, g.hash, g.born, g.created_at, g.activate_by, \
             g.expires_at, g.ended_at, g.session_number, ",
            ground_columns!(),
            " FROM respoked.tokens g",
            ground_joins!(),
            $condition
        )
    };
}
/// Of tokens with these numbers; before each the feed's head of the same moment, and the number for a session.
pub(super) const THESE_TO_REDEEM: &str =
    tokens!("(SELECT head FROM respoked.feed), nextval('respoked.session_number'), ", "WHERE g.number = ANY($1)");
/// Of tokens with these numbers.
pub(super) const THESE: &str = tokens!("WHERE g.number = ANY($1)");
pub(super) const BY_NUMBER: &str = tokens!("WHERE g.number = $1");
pub(super) const RANGE: &str = tokens!("WHERE g.number > $1 AND g.number <= $2 ORDER BY g.number LIMIT $3");
pub(super) const OUTSTANDING: &str = tokens!(
    "WHERE g.number > $1 AND g.number <= $2 AND g.app_id = $3 AND ($4::text IS NULL OR g.endpoint = $4)
       AND ($5::uuid IS NULL OR g.role_id = $5) AND g.ended_at IS NULL AND g.activate_by > $6
       AND ($8::uuid IS NULL OR g.secret_id = $8)
     ORDER BY g.number LIMIT $7"
);

pub(super) fn read(columns: &mut Columns<'_>) -> Result<(TokenRecord, Ground), Failure> {
    let number = columns.number()?;
    let grant = columns.grant()?;
    let (hash, born) = (columns.hash()?, columns.number()?);
    let (created_at, activate_by, expires_at) = (columns.time()?, columns.time()?, columns.time()?);
    let (ended_at, session) = (columns.time_if_any()?, columns.number_if_any()?);
    let end = ended_at.map(|at| match session {
        Some(session) => TokenEnd::Redeemed { at, session },
        None => TokenEnd::Revoked { at },
    });
    Ok((TokenRecord { number, grant, hash, born, created_at, activate_by, expires_at, end }, columns.ground()?))
}
