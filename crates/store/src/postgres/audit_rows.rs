//! Rows of the audit log.

use respoke_core::audit::{Action, AuditEntry, AuditRecord};
use respoke_core::id::{AccountId, AppId, RequestId};
use tokio_postgres::types::Type;

use super::connect::{Connection, params};
use super::failure::Failure;
use super::own_session::Keepable;
use super::rows::Columns;
use crate::codes;

/// Adds a row. What takes away what others stand on adds its row after it has its locks: so the log tells it behind what was done on
/// that before.
pub(super) async fn insert(connection: &Connection, entry: &AuditEntry) -> Result<(), Failure> {
    insert_all(connection, std::slice::from_ref(entry)).await
}

/// Writes entries, given as columns.
pub(super) const INSERT: Keepable = Keepable {
    sql: "
        INSERT INTO respoked.log (at, account_id, app_id, actor_kind, actor_id, action, object, address, request_id, fingerprint)
        SELECT unnest($1::bigint[]), unnest($2::uuid[]), unnest($3::uuid[]), unnest($4::bigint[]), unnest($5::uuid[]),
               unnest($6::bigint[]), unnest($7::text[]), unnest($8::text[]), unnest($9::uuid[]), unnest($10::text[])",
    types: &[
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// Adds rows, in their order.
pub(super) async fn insert_all(connection: &Connection, entries: &[AuditEntry]) -> Result<(), Failure> {
    if entries.is_empty() {
        return Ok(());
    }
    let column = || entries.iter();
    connection
        .execute(
            INSERT.sql,
            params![
                column().map(|entry| entry.at.millis()).collect::<Vec<_>>(),
                column().map(|entry| entry.account_id.map(|id| id.uuid())).collect::<Vec<_>>(),
                column().map(|entry| entry.app_id.map(|id| id.uuid())).collect::<Vec<_>>(),
                column().map(|entry| codes::actor(entry.actor).0).collect::<Vec<_>>(),
                column().map(|entry| codes::actor(entry.actor).1).collect::<Vec<_>>(),
                column().map(|entry| entry.action.code()).collect::<Vec<_>>(),
                column().map(|entry| entry.object.as_str()).collect::<Vec<_>>(),
                column().map(|entry| entry.address.as_str()).collect::<Vec<_>>(),
                column().map(|entry| entry.request_id.uuid()).collect::<Vec<_>>(),
                column().map(|entry| entry.fingerprint.as_deref()).collect::<Vec<_>>(),
            ],
        )
        .await
        .map(drop)
}

/// Reads the columns of the view `audit`, in their order.
pub(super) fn read(columns: &mut Columns<'_>) -> Result<AuditRecord, Failure> {
    let number = columns.number()?;
    let at = columns.time()?;
    let (account_id, app_id) = (columns.uuid_if_any(AccountId::from_uuid)?, columns.uuid_if_any(AppId::from_uuid)?);
    let actor = codes::actor_of(columns.next()?, columns.next()?).ok_or(Failure::Row("no such actor"))?;
    let action = Action::from_code(columns.next()?).ok_or(Failure::Row("no such action"))?;
    let entry = AuditEntry {
        at,
        account_id,
        app_id,
        actor,
        action,
        object: columns.next()?,
        address: columns.next()?,
        request_id: columns.uuid_as(RequestId::from_uuid)?,
        fingerprint: columns.next()?,
    };
    Ok(AuditRecord { number, entry })
}
