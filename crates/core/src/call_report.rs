//! Call reports: what a client tells of a call after its end, for whoever has to find out why it failed.

use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId};

/// A call report to be kept.
#[derive(Clone, Debug)]
pub struct NewCallReport {
    /// In which app.
    pub app_id: AppId,
    /// Who reports; none when the app's backend does.
    pub endpoint_id: Option<EndpointId>,
    /// When it came.
    pub at: Timestamp,
    /// Any JSON. It holds descriptions of sessions with their keys, so it is not logged.
    pub report: Box<RawValue>,
}

/// A call report as it is kept.
#[derive(Clone, Debug)]
pub struct CallReport {
    /// Its place among all.
    pub number: u64,
    /// The report.
    pub report: NewCallReport,
}
