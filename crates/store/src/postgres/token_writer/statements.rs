//! Statements of a batch that the server keeps for a connection.

use tokio_postgres::types::Type;

use crate::postgres::own_session::Keepable;
use crate::postgres::{audit_rows, token_rows};

/// What of a batch the server may keep.
pub(super) const KEPT: &[Keepable] = &[
    Keepable { sql: SHARE, types: &[Type::INT8_ARRAY] },
    Keepable { sql: NUMBERS, types: &[Type::INT8] },
    Keepable {
        sql: INSERT_TOKENS,
        types: &[
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::UUID_ARRAY,
            Type::BYTEA_ARRAY,
            Type::UUID_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::UUID_ARRAY,
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::TEXT_ARRAY,
            Type::UUID_ARRAY,
        ],
    },
    audit_rows::INSERT,
    Keepable { sql: token_rows::THESE_TO_REDEEM, types: &[Type::INT8_ARRAY] },
    Keepable { sql: SPEND, types: &[Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY] },
    Keepable {
        sql: INSERT_SESSIONS,
        types: &[
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::UUID_ARRAY,
            Type::TEXT_ARRAY,
            Type::UUID_ARRAY,
            Type::UUID_ARRAY,
            Type::BYTEA_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::INT8_ARRAY,
            Type::TEXT_ARRAY,
        ],
    },
];
pub(super) const SHARE: &str = "SELECT l FROM unnest($1::bigint[]) l WHERE pg_try_advisory_xact_lock_shared(l)";
/// The server takes a series to be long, and would plan it anew each time.
pub(super) const NUMBERS: &str = "SELECT f.epoch, f.head, nextval('respoked.log_number')
                       FROM respoked.feed f, unnest(array_fill(0, ARRAY[$1::int]))";
pub(super) const INSERT_TOKENS: &str = "
    INSERT INTO respoked.log (number, action, expires_at, at, app_id, endpoint, secret_id, hash, role_id, activate_by, born,
                              actor_kind, actor_id, account_id, object, address, request_id)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::bigint[]), unnest($5::uuid[]),
           unnest($6::text[]), unnest($7::uuid[]), unnest($8::bytea[]), unnest($9::uuid[]), unnest($10::bigint[]),
           unnest($11::bigint[]), unnest($12::bigint[]), unnest($13::uuid[]), unnest($14::uuid[]), unnest($15::text[]),
           unnest($16::text[]), unnest($17::uuid[])";
/// Joined to a list of what is spent, rows might be walked and each be looked for in that, by a plan that was made when there were few.
pub(super) const SPEND: &str = "
    UPDATE respoked.log SET ended_at = ($2::bigint[])[array_position($1::bigint[], number)],
                            session_number = ($3::bigint[])[array_position($1::bigint[], number)]
    WHERE number = ANY($1) AND expires_at IS NOT NULL AND ended_at IS NULL";
pub(super) const INSERT_SESSIONS: &str = "
    INSERT INTO respoked.sessions (number, token_number, app_id, endpoint, role_id, secret_id, hash, born, created_at,
                                   expires_at, last_seen_at, address)
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::uuid[]), unnest($4::text[]), unnest($5::uuid[]),
           unnest($6::uuid[]), unnest($7::bytea[]), unnest($8::bigint[]), unnest($9::bigint[]), unnest($10::bigint[]),
           unnest($11::bigint[]), unnest($12::text[])";
