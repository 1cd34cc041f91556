//! `/healthz`, `/readyz` and `/metrics`, for those who run the server.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use respoke_core::refusal::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::JsonAnswer;
use crate::call::{Call, Unasked};
use crate::openapi::Unready;
use crate::problem::Problem;
use crate::state::Api;

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
pub(crate) async fn live(_: Arc<Api>, _: Call, _: Unasked) -> JsonAnswer<Health> {
    JsonAnswer(Health { status: "ok" })
}

/// Says whether the database can be written.
#[utoipa::path(
    get, path = "/readyz", tag = "Health", operation_id = "readyz",
    responses((status = 200, description = "It can", body = Health), Unready),
    security(())
)]
pub(crate) async fn ready(api: Arc<Api>, _: Call, _: Unasked) -> Result<JsonAnswer<Health>, Problem> {
    is_ready(&api).await?;
    Ok(JsonAnswer(Health { status: "ok" }))
}

/// Whether the database can be written, and this node serves and is not about to end.
pub(crate) async fn is_ready(api: &Api) -> Result<(), Problem> {
    api.check_standing()?;
    if let Some(among) = &api.among
        && !among.is_serving()
    {
        return Err(Refusal::Isolated.into());
    }
    let store = api.broker.store();
    // What came to light since it was last found out is told at once.
    store.sound()?;
    api.readiness.find_out(store.check()).await
}

/// Figures as Prometheus text.
#[utoipa::path(
    get, path = "/metrics", tag = "Health", operation_id = "metrics",
    responses((status = 200, description = "The figures", body = String, content_type = "application/openmetrics-text")),
    security(())
)]
pub(crate) async fn metrics(api: Arc<Api>, call: Call, _: Unasked) -> Result<Response, Problem> {
    call.check_unread(&api)?;
    let text = api.metrics.text();
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}
