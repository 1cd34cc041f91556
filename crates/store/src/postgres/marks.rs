//! Marks: how far tokens and sessions of an app, a role or an endpoint have been ended.

use respoke_core::clock::Timestamp;
use respoke_core::ports::{EndRequest, EndScope, ScopeEnding};

use super::connect::{Connection, params};
use super::failure::Failure;
use super::rows::{exists, lock_app};
use super::{endpoint_rows, feed_rows};

/// Sets the marks of a scope.
pub(super) async fn mark(
    connection: &Connection,
    request: &EndRequest,
    now: Timestamp,
) -> Result<ScopeEnding, Failure> {
    mark_behind(connection, request, now, None).await
}

/// The same, but sparing what was born behind this change.
pub(super) async fn mark_up_to(
    connection: &Connection,
    request: &EndRequest,
    now: Timestamp,
    newest: i64,
) -> Result<ScopeEnding, Failure> {
    mark_behind(connection, request, now, Some(newest + 1)).await
}

/// The same of what was born before a change; none: before the one by which this is told.
async fn mark_behind(
    connection: &Connection,
    request: &EndRequest,
    now: Timestamp,
    before: Option<i64>,
) -> Result<ScopeEnding, Failure> {
    // With an instant the marks bound what the instant may touch; without one they end all that was born before them.
    // A mark of 0 spares the tokens.
    macro_rules! set {
        ($table:literal, $where:literal) => {
            if request.issued_before.is_some() {
                concat!(
                    "UPDATE respoked.",
                    $table,
                    " SET issued_before = greatest(issued_before, CASE WHEN $2 > 0 THEN $1 ELSE 0 END), \
                     issued_before_tokens = greatest(issued_before_tokens, $2), \
                     sessions_issued_before = greatest(sessions_issued_before, $1), \
                     issued_before_sessions = greatest(issued_before_sessions, $3) ",
                    $where
                )
            } else {
                concat!(
                    "UPDATE respoked.",
                    $table,
                    " SET tokens_from = greatest(tokens_from, $2), sessions_from = greatest(sessions_from, $3 + 0 * $1) ",
                    $where
                )
            }
        };
    }
    let app = request.app_id.uuid();
    if !lock_app(connection, request.app_id).await? {
        return Ok(ScopeEnding::NoApp);
    }
    match &request.scope {
        EndScope::App => {}
        EndScope::Role(role) => {
            let sql = "SELECT 1 FROM respoked.roles WHERE app_id = $1 AND id = $2 FOR NO KEY UPDATE";
            if !exists(connection, sql, params![app, role.uuid()]).await? {
                return Ok(ScopeEnding::NoRole);
            }
        }
        EndScope::Endpoint(endpoint) => {
            endpoint_rows::lock(connection, &[app], &[endpoint.as_str()]).await?;
        }
    }
    let told = feed_rows::write(connection, Some(&request.change()), now).await?;
    let sessions = before.unwrap_or(told);
    let tokens = if request.tokens_too { sessions } else { 0 };
    let at = request.issued_before.map_or(0, Timestamp::millis);
    match &request.scope {
        EndScope::App => connection.execute(set!("apps", "WHERE id = $4"), params![at, tokens, sessions, app]).await?,
        EndScope::Role(role) => {
            let sql = set!("roles", "WHERE app_id = $4 AND id = $5");
            connection.execute(sql, params![at, tokens, sessions, app, role.uuid()]).await?
        }
        EndScope::Endpoint(endpoint) => {
            let sql = set!("endpoints", "WHERE app_id = $4 AND endpoint = $5");
            connection.execute(sql, params![at, tokens, sessions, app, endpoint.as_str()]).await?
        }
    };
    Ok(ScopeEnding::Ended)
}
