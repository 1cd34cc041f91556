//! `/healthz`, `/readyz` and `/metrics`, for those who run the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use respoke_core::ports::StoreError;
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::Api;
use super::answer::Answer;
use crate::call::Call;
use crate::openapi::Unready;
use crate::problem::Problem;

/// How long a commit may take before the server counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was found out is good.
const READY_FOR: Duration = Duration::from_secs(1);

/// The answer of a server that is well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Says that the server runs.
#[utoipa::path(
    get, path = "/healthz", tag = "Health", operation_id = "healthz",
    responses((status = 200, description = "It runs", body = Health)),
    security(())
)]
pub(super) async fn live(_: Call) -> Answer<Health> {
    Answer(Health { status: "ok" })
}

/// Says whether the database can be written.
#[utoipa::path(
    get, path = "/readyz", tag = "Health", operation_id = "readyz",
    responses((status = 200, description = "It can", body = Health), Unready),
    security(())
)]
pub(super) async fn ready(State(api): State<Arc<Api>>, _: Call) -> Result<Answer<Health>, Problem> {
    is_ready(&api).await?;
    Ok(Answer(Health { status: "ok" }))
}

/// Whether the database can be written.
pub(crate) async fn is_ready(api: &Api) -> Result<(), Problem> {
    let store = api.broker.store();
    // What came to light since it was last found out is told at once.
    store.sound()?;
    api.readiness.find_out(store.check()).await
}

/// What was found out lately about the database, so that many who ask cost it one commit a second.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Result<(), Problem>)>>);

impl Readiness {
    /// Whether the database could be written within the last second, or can be now, as `check` says.
    async fn find_out(&self, check: impl Future<Output = Result<(), StoreError>>) -> Result<(), Problem> {
        // Others wait here for what the first of them finds out.
        let mut found = self.0.lock().await;
        if let Some((at, result)) = &*found
            && at.elapsed() < READY_FOR
        {
            return result.clone();
        }
        let checked = tokio::time::timeout(READY_TIMEOUT, check).await;
        let result = checked.unwrap_or_else(|late| Err(StoreError::Unavailable(Box::new(late)))).map_err(Problem::from);
        *found = Some((Instant::now(), result.clone()));
        result
    }
}

/// Figures as Prometheus text.
#[utoipa::path(
    get, path = "/metrics", tag = "Health", operation_id = "metrics",
    responses((status = 200, description = "The figures", body = String, content_type = "application/openmetrics-text")),
    security(())
)]
pub(super) async fn metrics(State(api): State<Arc<Api>>, call: Call) -> Result<Response, Problem> {
    call.check_unread(&api)?;
    let text = api.metrics.text(api.hub.view());
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
