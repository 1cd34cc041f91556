//! `GET /v1/audit`.

use super::{Broker, Caller};
use crate::audit::{Action, AuditRecord};
use crate::id::AppId;
use crate::page::{Page, PageRequest};
use crate::ports::AuditQuery;
use crate::refusal::Refusal;

impl Broker {
    /// Rows of the audit log, newest first. An App-Secret sees its own app's.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`].
    pub async fn audit_log(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        action: Option<Action>,
        object: Option<String>,
        page: PageRequest,
    ) -> Result<Page<AuditRecord>, Refusal> {
        let (account_id, app_id) = if let (Caller::Admin { account_id, .. }, None) = (caller, app) {
            (*account_id, None)
        } else {
            let app = self.app_of(caller, app).await?;
            (app.account_id, Some(app.id))
        };
        Ok(self.store.audit_log(AuditQuery { account_id, app_id, action, object }, page).await?)
    }
}
