//! `/v1/endpoints/{id}`: all that there is of an endpoint, and looking on at its frames.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use respoke_core::admin::AdminRole;
use respoke_core::id::AppId;
use respoke_core::ops::{Caller, Credential};
use respoke_core::page::PageRequest;
use respoke_core::ports::{ListFilter, SessionFilter};
use respoke_core::refusal::Refusal;
use respoke_core::tail::{FrameKind, Payloads, TailedFrame};
use respoke_hub::ops::Asker;
use respoke_hub::tails::OpenTail;
use respoke_wire::body::bans::BanView;
use respoke_wire::body::endpoints::{AskEndpoint, AskTail, EndpointConnectionView, EndpointView, TailedFrameView};
use respoke_wire::body::lists::AppParams;
use tokio::time::Instant;

use super::answer::ViewAnswer;
use super::asked::{Named, given};
use super::nodes::NodeNames;
use super::{connections, sessions};
use crate::call::Call;
use crate::openapi::{Missing, Refused, Unconnected};
use crate::problem::Problem;
use crate::state::Api;

/// Pages of outstanding tokens that are counted.
const TOKEN_PAGES_MAX: usize = 10;
/// Rows of the audit log shown of an endpoint.
const AUDIT_ROWS: usize = 20;
/// How often is looked whether who looks on still may. It also keeps the connection from seeming dead.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Reads what there is of an endpoint: live connections with groups and presence, sessions, ban.
///
/// Its outstanding tokens and its rows of the audit log are searched for, and therefore only told when asked for.
#[utoipa::path(
    get, path = "/v1/endpoints/{id}", tag = "Endpoints", operation_id = "getEndpoint",
    params(
        ("id" = String, Path, description = "The endpoint's id"),
        AppParams,
        ("include" = Option<String>, Query, description = "`tokens`, `audit`, or `tokens,audit`: what is searched for besides"),
    ),
    responses((status = 200, description = "The endpoint", body = EndpointView,
        headers(("Silent-Nodes" = String, description = "The `id`s of nodes that did not say which of its sessions are connected there"))), Refused, Missing),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn read(api: Arc<Api>, call: Call, caller: Caller) -> Result<ViewAnswer<EndpointView>, Problem> {
    let id = call.id();
    let request: AskEndpoint = call.read()?;
    let include = Include::parse(given(request.include.as_deref()))?;
    let context = call.context();
    let named = Named { app: request.app_id.as_deref(), endpoint: Some(&id), connection: None };
    find(&api, &named.asker(&api, &call, &caller, &context).await?, include).await
}

/// What is searched for besides, which costs more than the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Include {
    tokens: bool,
    audit: bool,
}

impl Include {
    pub(crate) const ALL: Self = Self { tokens: true, audit: true };

    fn parse(words: Option<&str>) -> Result<Self, Refusal> {
        let mut include = Self::default();
        for word in words.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "tokens" => include.tokens = true,
                "audit" => include.audit = true,
                _ => return Err(Refusal::field("include", "must be tokens, audit or both, with a comma between them")),
            }
        }
        Ok(include)
    }
}

/// The endpoint that `asker` names, for the API and for the console alike.
pub(crate) async fn find(api: &Api, asker: &Asker<'_>, include: Include) -> Result<ViewAnswer<EndpointView>, Problem> {
    let (broker, caller) = (&api.broker, asker.caller);
    let app = broker.app_of(caller, asker.app_id).await?;
    let endpoint = asker.endpoint_id.clone().ok_or_else(|| Refusal::missing("endpointId"))?;
    let names = NodeNames::told(api, caller);
    let mut connections = Vec::new();
    for state in api.hub.endpoint_state(asker).await? {
        connections.push(EndpointConnectionView {
            connection: connections::show(api, names.as_ref(), &state.connection).await?,
            groups: state.groups,
            presence: state.presence.into(),
        });
    }
    let filter = ListFilter { endpoint_id: Some(endpoint.clone()), ..ListFilter::default() };
    let of = SessionFilter { of: filter.clone(), ..SessionFilter::default() };
    let found = broker.list_sessions(caller, Some(app.id), of, PageRequest::first()).await?;
    let sessions::Placed { items: sessions, silent } = sessions::placed(api, names.as_ref(), found.items).await;
    let tokens = if include.tokens { Some(count_tokens(api, caller, app.id, filter).await?) } else { None };
    let ban = match broker.get_ban(caller, Some(app.id), endpoint.as_str()).await {
        Ok(ban) => Some(BanView::from(ban)),
        Err(Refusal::NotFound(_)) => None,
        Err(refusal) => return Err(refusal.into()),
    };
    let audit = if include.audit {
        let page = PageRequest { limit: AUDIT_ROWS, after: None };
        let object = Some(endpoint.as_str().to_owned());
        let rows = broker.audit_log(caller, Some(app.id), None, object, None, page).await?;
        Some(rows.items.into_iter().map(Into::into).collect())
    } else {
        None
    };
    let view = EndpointView {
        id: endpoint,
        app_id: app.id,
        connections,
        sessions,
        outstanding_tokens: tokens.map(|(count, _)| count),
        more_tokens: tokens.map(|(_, more)| more),
        ban,
        audit,
    };
    Ok(ViewAnswer { view, silent })
}

async fn count_tokens(api: &Api, caller: &Caller, app: AppId, filter: ListFilter) -> Result<(u64, bool), Refusal> {
    let (mut count, mut page) = (0, PageRequest::first());
    for _ in 0..TOKEN_PAGES_MAX {
        let found = api.broker.list_tokens(caller, Some(app), filter.clone(), page.clone()).await?;
        count += found.items.len() as u64;
        page.after = found.next;
        if page.after.is_none() {
            return Ok((count, false));
        }
    }
    Ok((count, true))
}

/// Lets look on, as server-sent events, while frames go to and from the endpoint's connections.
///
/// Each event's data is a frame: what kind, which connection, sizes and ids. With `payloads`, which the audit log is
/// told of, also what is said, except where credentials may be. At most 64 tails are open on a node,
/// 16 of them of one app; and as many endpoints it shows to other nodes.
#[utoipa::path(
    get, path = "/v1/endpoints/{id}/tail", tag = "Endpoints", operation_id = "tailEndpoint",
    params(
        ("id" = String, Path, description = "The endpoint's id"),
        AppParams,
        ("payloads" = Option<bool>, Query, description = "Whether what is said is shown"),
    ),
    responses((status = 200, description = "Frames, as they go", body = TailedFrameView, content_type = "text/event-stream"), Refused, Missing, Unconnected),
    security(("App-Secret" = []), ("Admin-Token" = []))
)]
pub(crate) async fn tail(api: Arc<Api>, call: Call, caller: Caller) -> Result<Response, Problem> {
    let id = call.id();
    let request: AskTail = call.read()?;
    let context = call.context();
    let payloads = if request.payloads == Some(true) { Payloads::Shown } else { Payloads::Redacted };
    let named = Named { app: request.app_id.as_deref(), endpoint: Some(&id), connection: None };
    let asker = named.asker(&api, &call, &caller, &context).await?;
    if call.socket().is_some() {
        // An answer over a socket has an end. Who may not look on is told that first.
        caller.permit(needed(payloads))?;
        api.broker.app_of(&caller, asker.app_id).await?;
        return Err(Refusal::Conflict("a tail is read over HTTP").into());
    }
    look_on(&api, &asker, call.shown_credential(), payloads).await
}

/// The frames of the endpoint that `asker` names, for as long as `credential` permits it.
pub(crate) async fn look_on(
    api: &Arc<Api>,
    asker: &Asker<'_>,
    credential: Credential,
    payloads: Payloads,
) -> Result<Response, Problem> {
    let tail = api.hub.tail(asker, payloads).await?;
    let looking = Looking { api: api.clone(), credential, payloads, tail, held: None };
    let events = stream::unfold(looking, |mut looking| async move {
        let text = looking.next().await?;
        Some((Ok::<_, Infallible>(text), looking))
    });
    // The head goes out at once with the first of them.
    let greeting = stream::iter([Ok(Bytes::from_static(b": looking on\n\n"))]);
    let mut response = Response::new(Body::from_stream(greeting.chain(events)));
    response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
    Ok(response)
}

/// Somebody who looks on.
struct Looking {
    api: Arc<Api>,
    credential: Credential,
    payloads: Payloads,
    tail: OpenTail,
    /// What waits until the app's rate lets it go, and until when. What does not fit into the queue behind it is lost.
    held: Option<(Bytes, Instant)>,
}

impl Looking {
    /// The next piece of the stream. None: it ends here.
    async fn next(&mut self) -> Option<Bytes> {
        let look_again = Instant::now() + LOOK_AGAIN;
        if self.held.is_none() {
            match tokio::time::timeout_at(look_again, self.tail.next()).await {
                Ok(Some(frame)) => {
                    let caller = self.looker().await?;
                    let text = encode(frame);
                    let Some(wait) = self.api.accounts.streamed(&caller, text.len()) else { return Some(text) };
                    self.held = Some((text, Instant::now() + wait));
                }
                Ok(None) => return None,
                Err(_) => return self.still_looking().await,
            }
        }
        // However long that is, it ends with the server, and with the client and the permission as at any other time.
        let until = self.held.as_ref().map_or(look_again, |(_, until)| *until);
        tokio::select! {
            biased;
            () = self.tail.ended() => return None,
            () = tokio::time::sleep_until(until.min(look_again)) => {}
        }
        if until > look_again {
            return self.still_looking().await;
        }
        self.looker().await?;
        self.held.take().map(|(text, _)| text)
    }

    /// What is said while there is nothing to say: only who is written to is found to be gone.
    async fn still_looking(&self) -> Option<Bytes> {
        self.looker().await.map(|_| Bytes::from_static(b":\n\n"))
    }

    /// Who looks on. None: the credential does not permit any more what was begun with it.
    async fn looker(&self) -> Option<Caller> {
        let caller = self.api.broker.authenticate(&self.credential, None).await.ok()?;
        caller.permit(needed(self.payloads)).is_ok().then_some(caller)
    }
}

/// As what an admin may look on.
fn needed(payloads: Payloads) -> AdminRole {
    match payloads {
        Payloads::Shown => AdminRole::Developer,
        Payloads::Redacted => AdminRole::ReadOnly,
    }
}

fn encode(frame: TailedFrame) -> Bytes {
    let (direction, kind) = match frame.kind {
        FrameKind::Event => ("out", "event"),
        FrameKind::Request => ("in", "request"),
        FrameKind::Answer => ("out", "answer"),
    };
    let view = TailedFrameView {
        at: frame.at,
        connection_id: frame.connection_id,
        direction,
        kind,
        name: frame.name,
        request_id: frame.request_id,
        from: frame.from,
        status: frame.status,
        bytes: usize::try_from(frame.bytes).unwrap_or(usize::MAX),
        payload: frame.payload,
        lost: frame.lost,
    };
    // Text and numbers always serialize, and JSON has no line breaks of its own.
    let data = serde_json::to_string(&view).unwrap_or_default();
    Bytes::from(format!("event: frame\ndata: {data}\n\n"))
}
