//! Where what was taken away is taken away once more.

use respoke_core::chance::Chance;
use respoke_core::clock::Timestamp;
use respoke_core::ports::Change;

use super::since::Since;
use crate::postgres::connect::Connection;
use crate::postgres::failure::Failure;
use crate::postgres::feed_rows;
use crate::postgres::places::Settled;

/// Where it is written.
#[derive(Clone, Copy)]
pub(in crate::postgres) struct There<'a> {
    pub(in crate::postgres) connection: &'a Connection,
    pub(in crate::postgres) settled: Settled,
    /// From where on others may have done something since.
    pub(in crate::postgres) since: Since,
    pub(in crate::postgres) chance: &'a dyn Chance,
}

/// Tells of a change, if that changed any rows.
pub(super) async fn changed(
    connection: &Connection,
    rows: u64,
    change: Change,
    at: Timestamp,
) -> Result<bool, Failure> {
    if rows > 0 {
        feed_rows::write(connection, Some(&change), at).await?;
    }
    Ok(rows > 0)
}
