//! `/v1/call-debugs`.

use respoke_core::call_report::CallReport;
use respoke_core::clock::Timestamp;
use respoke_core::id::EndpointId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::iso;

/// What `POST /v1/call-debugs` takes.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WriteCallReport {
    /// The app; an App-Token's and App-Secret's own by default.
    #[schema(nullable, format = Uuid)]
    pub app_id: Option<String>,
    /// Who reports; an App-Token's own endpoint by default.
    #[schema(nullable, min_length = 1, max_length = 256)]
    pub endpoint_id: Option<String>,
    /// The report: any JSON.
    #[schema(value_type = serde_json::Value, required = true)]
    pub debug_data: Option<Box<RawValue>>,
}

impl std::fmt::Debug for WriteCallReport {
    /// Without the report, which holds keys of media.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteCallReport").field("endpoint_id", &self.endpoint_id).finish_non_exhaustive()
    }
}

/// A call report.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallReportView {
    /// Its place among all.
    pub number: u64,
    /// Who reported; `null`: the app's backend.
    #[schema(value_type = Option<String>, required = true)]
    pub endpoint_id: Option<EndpointId>,
    /// When it came.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The report.
    #[schema(value_type = serde_json::Value)]
    pub debug_data: Box<RawValue>,
}

impl From<CallReport> for CallReportView {
    fn from(report: CallReport) -> Self {
        Self {
            number: report.number,
            endpoint_id: report.report.endpoint_id,
            created_at: report.report.at,
            debug_data: report.report.report,
        }
    }
}
