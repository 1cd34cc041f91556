//! `/v1/call-debugs`.

use serde_json::value::RawValue;

use super::own::endpoint_spoken_for;
use super::{Broker, Caller};
use crate::admin::AdminRole;
use crate::call_report::{CallReport, NewCallReport};
use crate::id::AppId;
use crate::page::{Page, PageRequest, RowNumber};
use crate::refusal::Refusal;

impl Broker {
    /// Keeps what a client tells of a call that ended.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] for nobody in particular; [`Refusal::Forbidden`] for an App-Token of another
    /// endpoint; [`Refusal::Invalid`]; [`Refusal::QuotaExceeded`].
    pub async fn report_call(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        endpoint: Option<&str>,
        report: Option<Box<RawValue>>,
    ) -> Result<(), Refusal> {
        caller.permit(AdminRole::Developer)?;
        let app = self.app_within(caller, app).await?;
        let endpoint_id = endpoint_spoken_for(caller, endpoint)?;
        let report = report.ok_or_else(|| Refusal::missing("debugData"))?;
        let report = NewCallReport { app_id: app.id, endpoint_id, at: self.now(), report };
        self.store.add_call_report(report, self.kept_bytes_max(&app)).await?.kept()
    }

    /// The call reports of an app, newest first.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`].
    pub async fn call_reports(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<CallReport, RowNumber>, Refusal> {
        let app = self.app_of(caller, app).await?;
        Ok(self.store.call_reports(app.id, page).await?)
    }
}
