//! `/healthz`, `/readyz` and `/metrics`, for those who run the server.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use respoke_core::ports::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::answer::Answer;
use crate::call::Call;
use crate::openapi::Unready;
use crate::problem::Problem;

/// How long a commit may take before the server counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

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
    match tokio::time::timeout(READY_TIMEOUT, api.broker.store().check()).await {
        Ok(checked) => checked?,
        Err(late) => return Err(StoreError::Unavailable(Box::new(late)).into()),
    }
    Ok(Answer(Health { status: "ok" }))
}

/// Figures as Prometheus text.
#[utoipa::path(
    get, path = "/metrics", tag = "Health", operation_id = "metrics",
    responses((status = 200, description = "The figures", body = String, content_type = "application/openmetrics-text")),
    security(())
)]
pub(super) async fn metrics(State(api): State<Arc<Api>>, _: Call) -> Response {
    let text = api.metrics.text(api.broker.store().figures(), api.hub.view());
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
