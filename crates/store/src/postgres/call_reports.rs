//! Call reports.

use async_trait::async_trait;
use respoke_core::call_report::{CallReport, NewCallReport};
use respoke_core::id::{AppId, EndpointId};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{CallReportStore, Keeping, StoreError};

use super::connect::params;
use super::failure::Failure;
use super::kept;
use super::rows::{Columns, lock_app};
use super::store::PostgresStore;
use super::write::in_transaction;
use crate::pages::limit;

fn read(columns: &mut Columns<'_>) -> Result<CallReport, Failure> {
    let number = columns.number()?;
    let report = NewCallReport {
        app_id: columns.uuid_as(AppId::from_uuid)?,
        at: columns.time()?,
        endpoint_id: columns.endpoint_if_any()?,
        report: columns.json_in_bytes()?,
    };
    Ok(CallReport { number, report })
}

const PAGE: &str = "SELECT number, app_id, at, endpoint, report FROM respoked.call_reports
                               WHERE app_id = $1 AND number < $2 ORDER BY number DESC LIMIT $3";

#[async_trait]
impl CallReportStore for PostgresStore {
    async fn add_call_report(&self, report: NewCallReport, bytes_max: u64) -> Result<Keeping<()>, StoreError> {
        in_transaction!(self, write => {
            // One after the other, so that no two count the same, and the one behind has the higher number.
            if !lock_app(write, report.app_id).await? {
                return Ok(Keeping::NoApp);
            }
            let (endpoint, text) = (report.endpoint_id.as_ref(), report.report.get());
            if !kept::fits(write, report.app_id, kept::call_report(text.len(), endpoint), bytes_max).await? {
                return Ok(Keeping::Full);
            }
            let sql = "INSERT INTO respoked.call_reports (app_id, at, endpoint, report) VALUES ($1, $2, $3, $4)";
            let endpoint = endpoint.map(EndpointId::as_str);
            write.execute(sql, params![report.app_id.uuid(), report.at.millis(), endpoint, text.as_bytes()]).await?;
            Ok(Keeping::Kept(()))
        })
    }

    async fn call_reports(
        &self,
        app: AppId,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<CallReport, RowNumber>, StoreError> {
        let before = request.after.map_or(i64::MAX, RowNumber::get);
        let rows = self.read_all(PAGE, params![app.uuid(), before, limit(&request)], read).await?;
        Ok(Page::cut(rows, request.limit, |report| RowNumber::new(report.number)))
    }
}
