//! `/v1/call-debugs`.

use std::sync::Arc;

use respoke_core::ops::Caller;
use respoke_wire::body::Done;
use respoke_wire::body::call_debugs::{CallReportView, WriteCallReport};
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams};

use super::answer::{JsonAnswer, ListAnswer};
use super::asked::{named_app, page};
use crate::call::Call;
use crate::openapi::{Missing, Refused};
use crate::problem::Problem;
use crate::state::Api;

/// Keeps a report of a call that ended. The JavaScript client sends one after each call.
#[utoipa::path(
    post, path = "/v1/call-debugs", tag = "Calls", operation_id = "postCallDebug",
    request_body = WriteCallReport,
    responses((status = 200, description = "It is kept", body = Done), Refused),
    security(("App-Token" = []), ("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn create(api: Arc<Api>, call: Call, caller: Caller) -> Result<JsonAnswer<Done>, Problem> {
    let body: WriteCallReport = call.read()?;
    let app = named_app(&api, &call, &caller, body.app_id.as_deref()).await?;
    api.broker.report_call(&caller, app, body.endpoint_id.as_deref(), body.debug_data).await?;
    Ok(JsonAnswer(Done::SUCCESS))
}

/// Lists an app's call reports, newest first.
#[utoipa::path(
    get, path = "/v1/call-debugs", tag = "Calls", operation_id = "listCallDebugs",
    params(PageParams, AppParams),
    responses((status = 200, description = "A page of them", body = Vec<CallReportView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<ListAnswer<CallReportView>, Problem> {
    let request: ListRequest = call.read()?;
    let app = named_app(&api, &call, &caller, request.app_id.as_deref()).await?;
    let _turn = api.long_answer(&caller).await?;
    let found = api.broker.call_reports(&caller, app, page(&request)?).await?;
    Ok(ListAnswer::of(found, CallReportView::from))
}
