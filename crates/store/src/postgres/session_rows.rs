//! Rows of sessions.

use respoke_core::grant::Ground;
use respoke_core::session::{SessionEnd, SessionRecord};

use super::failure::Failure;
use super::rows::{Columns, ground_columns, ground_joins};
use crate::codes;

macro_rules! sessions {
    ($condition:literal) => {
        concat!(
            "SELECT g.number, g.token_number, g.app_id, g.endpoint, g.role_id, g.secret_id, g.hash, g.born, g.created_at, \
             g.expires_at, g.last_seen_at, g.address, g.ended_at, g.ended_as, ",
            ground_columns!(),
            " FROM respoked.sessions g",
            ground_joins!(),
            $condition
        )
    };
}
/// Of sessions with these numbers.
pub(super) const THESE: &str = sessions!("WHERE g.number = ANY($1)");
pub(super) const BY_NUMBER: &str = sessions!("WHERE g.number = $1");
pub(super) const RANGE: &str = sessions!("WHERE g.number > $1 ORDER BY g.number LIMIT $2");
pub(super) const LIVE: &str = sessions!(
    "WHERE g.number > $1 AND g.number <= $2 AND g.app_id = $3 AND ($4::text IS NULL OR g.endpoint = $4)
       AND ($5::uuid IS NULL OR g.role_id = $5) AND g.ended_at IS NULL AND g.expires_at > $6
       AND ($8::text IS NULL OR g.address = $8) AND ($9::bigint IS NULL OR g.created_at >= $9)
       AND ($10::uuid IS NULL OR g.secret_id = $10)
     ORDER BY g.number LIMIT $7"
);
pub(super) const GROUND: &str = concat!(
    "SELECT ",
    ground_columns!(),
    " FROM (SELECT $1::uuid AS app_id, $2::text COLLATE \"C\" AS endpoint, $3::uuid AS role_id, $4::uuid AS secret_id) g",
    ground_joins!()
);

pub(super) fn read(columns: &mut Columns<'_>) -> Result<(SessionRecord, Ground), Failure> {
    let (number, token_number) = (columns.number()?, columns.number()?);
    let grant = columns.grant()?;
    let (hash, born) = (columns.hash()?, columns.number()?);
    let (created_at, expires_at, last_seen_at) = (columns.time()?, columns.time()?, columns.time()?);
    let address = columns.next()?;
    let (ended_at, cause) = (columns.time_if_any()?, columns.next::<Option<i64>>()?);
    let end = match ended_at {
        Some(at) => {
            let cause = cause.and_then(codes::end_cause_of).ok_or(Failure::Row("no such cause of an end"))?;
            Some(SessionEnd { at, cause })
        }
        None => None,
    };
    let session =
        SessionRecord { number, token_number, grant, hash, born, created_at, expires_at, last_seen_at, address, end };
    Ok((session, columns.ground()?))
}
