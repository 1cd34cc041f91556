//! Rows of endpoints.

use respoke_core::ports::BanRecord;
use uuid::Uuid;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::rows::Columns;

pub(super) fn read(columns: &mut Columns<'_>) -> Result<BanRecord, Failure> {
    Ok(BanRecord {
        endpoint_id: columns.endpoint()?,
        reason: columns.next()?,
        banned_at: columns.time()?,
        until: columns.time()?,
    })
}

/// Makes the rows of endpoints, where there are none, and locks them.
pub(super) async fn lock(connection: &Connection, apps: &[Uuid], endpoints: &[&str]) -> Result<(), Failure> {
    let sql = "INSERT INTO respoked.endpoints AS e (app_id, endpoint)
               SELECT DISTINCT app, endpoint FROM unnest($1::uuid[], $2::text[]) n (app, endpoint) ORDER BY app, endpoint
               ON CONFLICT (app_id, endpoint) DO UPDATE SET tokens_from = e.tokens_from";
    connection.execute(sql, params![apps.to_vec(), endpoints.to_vec()]).await.map(drop)
}
