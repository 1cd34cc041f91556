//! `GET /v1/audit`.

use super::typed::can_be_kept;
use super::{Broker, Caller};
use crate::audit::{Action, AuditRecord};
use crate::id::{AccountId, AppId, RequestId};
use crate::page::{Page, PageRequest, RowNumber};
use crate::ports::AuditQuery;
use crate::refusal::Refusal;

/// A part of what logs and figures tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Of this account.
    pub account_id: AccountId,
    /// Only this app.
    pub app_id: Option<AppId>,
}

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
        request_id: Option<RequestId>,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<AuditRecord, RowNumber>, Refusal> {
        let Scope { account_id, app_id } = self.scope(caller, app).await?;
        if object.as_deref().is_some_and(|object| !can_be_kept(object)) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        Ok(self.store.audit_log(AuditQuery { account_id, app_id, action, object, request_id }, page).await?)
    }

    /// What of logs and figures a caller sees: an admin who names no app all of the account, everybody else one app.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`].
    pub async fn scope(&self, caller: &Caller, app: Option<AppId>) -> Result<Scope, Refusal> {
        if let (Caller::Admin { account_id, .. }, None) = (caller, app) {
            return Ok(Scope { account_id: *account_id, app_id: None });
        }
        let app = self.app_of(caller, app).await?;
        Ok(Scope { account_id: app.account_id, app_id: Some(app.id) })
    }
}
