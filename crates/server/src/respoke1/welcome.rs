//! What a client that was let in is told first: who it is here, and what came of what it was in before.

use std::borrow::Cow;

use bytes::Bytes;
use respoke_core::app::SessionExpiry;
use respoke_core::id::{AppId, ConnectionId, EndpointId};
use respoke_core::ops::Caller;
use respoke_core::secret::Secret;
use respoke_hub::Connection;
use respoke_wire::body::reveal;
use respoke_wire::respoke1::said::{self, Refused};
use respoke_wire::respoke1::{State, group};
use respoke_wire::tunnel::{Method, Request};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answering::refused;
use super::inside::KEEP;
use super::live::{Live, WINDOW};
use crate::tunnel::Tunnelled;

/// The `ok` of `connect`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Welcome<'a> {
    connection: ConnectionId,
    endpoint: &'a EndpointId,
    app: AppId,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_token: Option<Revealed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
    resumed: bool,
    /// With which the client comes back.
    resume: Revealed,
    keep: u64,
    ping: u64,
    window: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observe: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence: Option<Box<RawValue>>,
}

/// A token that is handed over.
#[derive(Serialize)]
struct Revealed(#[serde(serialize_with = "reveal")] Secret);

/// What came of a group, or of an endpoint to observe.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    g: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refused<'a>>,
}

impl<'a> Welcome<'a> {
    /// The welcome of a client that wants nothing back.
    pub(super) fn begin(live: &Live, redeemed: Option<Secret>, connection: &'a Connection, key: Secret) -> Self {
        let expires_in = match &live.socket.opening.caller {
            Caller::Endpoint { session, app } if app.settings.session_expiry == SessionExpiry::End => {
                let left = session.record.expires_at.millis().saturating_sub(live.inside.api.broker.now().millis());
                Some(left.max(0) / 1_000)
            }
            Caller::Endpoint { .. } | Caller::Anonymous | Caller::App { .. } | Caller::Admin { .. } => None,
        };
        Self {
            connection: connection.id,
            endpoint: &connection.endpoint,
            app: connection.app_id,
            app_token: redeemed.map(Revealed),
            expires_in,
            resumed: false,
            resume: Revealed(key),
            keep: KEEP.as_secs(),
            ping: live.inside.settings.heartbeat_interval.as_secs().max(1),
            window: WINDOW,
            groups: None,
            observe: None,
            presence: None,
        }
    }

    /// The same of a client that goes on.
    pub(super) fn resumed(self) -> Self {
        Self { resumed: true, ..self }
    }

    /// Makes what the client was in, one request after the other, each with its own charge and its own refusal.
    pub(super) async fn restore(mut self, live: &Live, state: State) -> Self {
        let (mut groups, mut observe) = (Vec::new(), Vec::new());
        for wanted in state.groups.unwrap_or_default() {
            let g = group(&wanted);
            let joined = ask(live, "/v1/groups", &format!(r#"{{"groups":[{}]}}"#, g.get())).await;
            let error = (joined.status != 200).then(|| refused(&joined));
            groups.push(raw(&Entry { g: Some(g), endpoint_id: None, error }));
        }
        for endpoint in state.observe.unwrap_or_default() {
            let observed =
                ask(live, "/v1/presenceobservers", &format!(r#"{{"endpointList":[{}]}}"#, endpoint.get())).await;
            let entry = if observed.status == 200 {
                // A list of one.
                serde_json::from_slice::<Vec<Box<RawValue>>>(&observed.body).ok().and_then(|mut list| list.pop())
            } else {
                let error = Some(refused(&observed));
                Some(raw(&Entry { g: None, endpoint_id: Some(&endpoint), error }))
            };
            observe.extend(entry);
        }
        (self.groups, self.observe) = (Some(groups), Some(observe));
        if let Some(presence) = state.presence {
            let said = ask(live, "/v1/presence", &format!(r#"{{"presence":{}}}"#, presence.get())).await;
            self.presence =
                (said.status != 200).then(|| raw(&Entry { g: None, endpoint_id: None, error: Some(refused(&said)) }));
        }
        self
    }

    /// The answer to `connect`.
    pub(super) fn object(&self, id: u64) -> Bytes {
        said::ok(id, raw(self).get().as_bytes(), None)
    }
}

async fn ask(live: &Live, path: &'static str, body: &str) -> Tunnelled {
    let request = Request { path: Cow::Borrowed(path), query: None, headers: Vec::new(), data: Some(body) };
    live.inside.tunnel.answer(&live.socket, Method::Post, &request).await
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("text, numbers and JSON always serialize")
}
