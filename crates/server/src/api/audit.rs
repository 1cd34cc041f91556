//! `/v1/audit`.

use std::sync::Arc;

use respoke_core::audit::Action;
use respoke_core::ops::Caller;
use respoke_core::page::{PAGE_LIMIT_MAX, Page};
use respoke_core::refusal::Refusal;
use respoke_wire::body::audit::AuditView;
use respoke_wire::body::lists::{AppParams, ListRequest, PageParams};

use super::answer::Listed;
use super::asked::{app_id, given, lines_wanted, list_page, list_request, request_id};
use crate::call::Call;
use crate::openapi::{Missing, Refused, Unconnected};
use crate::problem::Problem;
use crate::state::Api;

/// Reads the audit log, newest first. An App-Secret sees its own app's rows.
#[utoipa::path(
    get, path = "/v1/audit", tag = "Audit", operation_id = "listAudit",
    params(
        PageParams,
        AppParams,
        ("action" = Option<String>, Query, description = "Only this action, such as `token.issued`"),
        ("requestId" = Option<String>, Query, format = Uuid, description = "Only what this request did"),
        ("format" = Option<String>, Query, description = "`jsonl`: one object a line, and up to 10,000 of them; not over a socket"),
        ("object" = Option<String>, Query, description = "Only what was done to this object"),
    ),
    responses((status = 200, description = "A page of it", body = Vec<AuditView>,
        headers(("Next-Cursor" = String, description = "The `cursor` of the next page; absent at the end"))), Refused, Missing, Unconnected),
    security(("Admin-Token" = []), ("App-Secret" = []))
)]
pub(crate) async fn list(api: Arc<Api>, call: Call, caller: Caller) -> Result<Listed<AuditView>, Problem> {
    let request = list_request(&api, &call, &caller).await?;
    let _turn = api.long_answer(&caller).await?;
    find(&api, &caller, request).await
}

/// The rows that `request` asks for, for the API and for the console alike.
pub(crate) async fn find(api: &Api, caller: &Caller, request: ListRequest) -> Result<Listed<AuditView>, Problem> {
    let app = app_id(request.app_id.as_deref())?;
    let action = action(given(request.action.as_deref()))?;
    let lines = lines_wanted(&request)?;
    let mut page = list_page(&request, lines)?;
    let request_id = request_id(request.request_id.as_deref())?;
    let object = request.object.filter(|object| !object.is_empty());
    let (mut items, limit) = (Vec::new(), page.limit);
    loop {
        page.limit = (limit - items.len()).min(PAGE_LIMIT_MAX);
        let found = api.broker.audit_log(caller, app, action, object.clone(), request_id, page.clone()).await?;
        items.extend(found.items.into_iter().map(AuditView::from));
        page.after = found.next;
        // An array is one page; lines are as many as are asked for.
        if !lines || items.len() >= limit || page.after.is_none() {
            return Ok(Listed::of(Page { items, next: page.after }, lines));
        }
    }
}

fn action(word: Option<&str>) -> Result<Option<Action>, Refusal> {
    let Some(word) = word else { return Ok(None) };
    match Action::ALL.iter().find(|action| action.word() == word) {
        Some(action) => Ok(Some(*action)),
        None => Err(Refusal::field("action", "is not one that the audit log knows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_asked_for_by_its_word() {
        assert_eq!(action(Some("token.issued")).unwrap(), Some(Action::TokenIssued));
        assert_eq!(action(None).unwrap(), None);
        assert_eq!(action(Some("token")).unwrap_err().code(), "invalid");
    }
}
