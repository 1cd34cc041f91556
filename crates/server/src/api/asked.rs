//! What requests ask for in fields that many have: pages of lists, and of whom.

use respoke_core::id::{AppId, ConnectionId, EndpointId, RequestId, RoleId, SecretId};
use respoke_core::ops::{Caller, Context};
use respoke_core::page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, PageKey, PageRequest, parse_cursor};
use respoke_core::ports::ListFilter;
use respoke_core::refusal::Refusal;
use respoke_hub::ops::Asker;
use respoke_wire::body::lists::ListRequest;

use crate::call::Call;
use crate::problem::Problem;
use crate::state::Api;

/// Items of a list that is asked for as lines; 10,000 rows of a log are two megabytes.
const LINES_MAX: usize = 10_000;

/// What is asked of a list that can be had as lines: not over a socket, whose answers are JSON. Who may not see it is told
/// that first.
pub(super) async fn list_request(api: &Api, call: &Call, caller: &Caller) -> Result<ListRequest, Problem> {
    let request: ListRequest = call.read()?;
    if call.socket().is_some() && lines_wanted(&request)? {
        api.broker.scope(caller, app_id(request.app_id.as_deref())?).await?;
        return Err(Refusal::Conflict("lines are read over HTTP").into());
    }
    Ok(request)
}

/// Whether a list is asked for as lines and not as an array.
pub(super) fn lines_wanted(request: &ListRequest) -> Result<bool, Refusal> {
    match given(request.format.as_deref()) {
        None | Some("json") => Ok(false),
        Some("jsonl") => Ok(true),
        Some(_) => Err(Refusal::field("format", "must be json or jsonl")),
    }
}

/// The page that is asked for.
pub(super) fn page<K: PageKey>(request: &ListRequest) -> Result<PageRequest<K>, Refusal> {
    list_page(request, false)
}

/// The page that is asked for, which may be longer as lines.
pub(super) fn list_page<K: PageKey>(request: &ListRequest, lines: bool) -> Result<PageRequest<K>, Refusal> {
    let (max, default, problem) = if lines {
        (LINES_MAX, LINES_MAX, "must be from 1 to 10000")
    } else {
        (PAGE_LIMIT_MAX, PAGE_LIMIT_DEFAULT, "must be from 1 to 200")
    };
    let limit = match request.limit {
        None => default,
        Some(limit) => usize::try_from(limit)
            .ok()
            .filter(|limit| (1..=max).contains(limit))
            .ok_or_else(|| Refusal::field("limit", problem))?,
    };
    Ok(PageRequest { limit, after: cursor(request.cursor.as_deref())? })
}

/// Reads `cursor`, as [`app_id`] does: text that this kind of list did not give is refused, and not taken for its
/// beginning.
pub(crate) fn cursor<K: PageKey>(text: Option<&str>) -> Result<Option<K>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => match parse_cursor(text) {
            Some(key) => Ok(Some(key)),
            None => Err(Refusal::field("cursor", "is not one that this list gave")),
        },
    }
}

/// The endpoint, role and App-Secret that are asked for.
pub(super) fn filter(request: &ListRequest) -> Result<ListFilter, Refusal> {
    let endpoint_id = match given(request.endpoint_id.as_deref()) {
        None => None,
        Some(text) => Some(endpoint_id(text)?),
    };
    let secret_id = match given(request.secret_id.as_deref()) {
        None => None,
        Some(text) => Some(SecretId::parse(text).ok_or_else(|| Refusal::field("secretId", "must be a UUID"))?),
    };
    Ok(ListFilter { endpoint_id, role_id: role_id(request.role_id.as_deref())?, secret_id })
}

pub(super) fn endpoint_id(text: &str) -> Result<EndpointId, Refusal> {
    EndpointId::parse(text).map_err(|problem| Refusal::field("endpointId", problem))
}

/// Reads `appId`. Empty text, as forms send it, names none.
pub(super) fn app_id(text: Option<&str>) -> Result<Option<AppId>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => AppId::parse(text).map(Some).ok_or_else(|| Refusal::field("appId", "must be a UUID")),
    }
}

/// Reads `roleId`, as [`app_id`] does.
pub(super) fn role_id(text: Option<&str>) -> Result<Option<RoleId>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => RoleId::parse(text).map(Some).ok_or_else(|| Refusal::field("roleId", "must be a UUID")),
    }
}

/// Reads `requestId`, as [`app_id`] does.
pub(super) fn request_id(text: Option<&str>) -> Result<Option<RequestId>, Refusal> {
    match given(text) {
        None => Ok(None),
        Some(text) => RequestId::parse(text).map(Some).ok_or_else(|| Refusal::field("requestId", "must be a UUID")),
    }
}

pub(super) fn connection_id(text: &str) -> Result<ConnectionId, Refusal> {
    ConnectionId::parse(text).ok_or_else(|| Refusal::field("connectionId", "must be a UUID"))
}

/// Whom and what a request to the hub names, as it came.
#[derive(Clone, Copy, Default)]
pub(super) struct Named<'a> {
    pub(super) app: Option<&'a str>,
    pub(super) endpoint: Option<&'a str>,
    pub(super) connection: Option<&'a str>,
}

impl Named<'_> {
    pub(super) async fn asker<'a>(
        self,
        api: &'a Api,
        call: &'a Call,
        caller: &'a Caller,
        context: &'a Context,
    ) -> Result<Asker<'a>, Refusal> {
        let app_id = app_id(self.app)?;
        let endpoint_id = given(self.endpoint).map(endpoint_id).transpose()?;
        let connection_id = given(self.connection).map(connection_id).transpose()?;
        note_app(api, call, caller, app_id, endpoint_id.as_ref()).await;
        let purse = &*api.accounts;
        Ok(Asker { caller, socket: call.socket(), context, app_id, endpoint_id, connection_id, purse })
    }
}

/// Reads the `appId` of a request, and notes that the request is about that app.
pub(super) async fn named_app(
    api: &Api,
    call: &Call,
    caller: &Caller,
    text: Option<&str>,
) -> Result<Option<AppId>, Refusal> {
    let app = app_id(text)?;
    note_app(api, call, caller, app, None).await;
    Ok(app)
}

/// Notes that an admin's request is about `app`, if that is one of the admin's; of other callers the credential says it.
pub(super) async fn note_app(
    api: &Api,
    call: &Call,
    caller: &Caller,
    app: Option<AppId>,
    endpoint: Option<&EndpointId>,
) {
    // A failure is no news here: the operation meets it as well.
    if let (Caller::Admin { .. }, Some(app)) = (caller, app)
        && api.broker.get_app(caller, app).await.is_ok()
    {
        call.concerns(app, endpoint);
    }
}

pub(super) fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use respoke_core::page::RowNumber;

    use super::*;

    #[test]
    fn a_page_is_bounded() {
        let asked =
            |limit| page::<RowNumber>(&ListRequest { limit, cursor: Some(String::new()), ..ListRequest::default() });
        assert_eq!(asked(None).unwrap().limit, 200);
        assert_eq!(asked(Some(1)).unwrap().limit, 1);
        assert!(asked(Some(200)).unwrap().after.is_none());
        for limit in [0, 201, u64::MAX] {
            assert_eq!(asked(Some(limit)).unwrap_err().code(), "invalid");
        }
    }

    #[test]
    fn an_id_is_a_uuid_or_absent() {
        assert!(app_id(None).unwrap().is_none());
        assert!(app_id(Some("")).unwrap().is_none());
        assert!(app_id(Some("7C5F10A4-3F1E-4B6E-9A30-5D3F6CF0A001")).unwrap().is_some());
        assert_eq!(role_id(Some("7")).unwrap_err().code(), "invalid");
    }
}
