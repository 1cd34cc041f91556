//! `/v1/request-log`.

use std::borrow::Cow;

use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, RequestId};
use serde::Serialize;
use utoipa::ToSchema;

use super::iso;
use super::nodes::NodeRef;

/// A request that was answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// Its place in the log of its node.
    pub number: u64,
    /// When it was answered.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Its id, which answers carry in the header `Request-Id`.
    #[schema(value_type = String, format = Uuid)]
    pub request_id: RequestId,
    /// The app, as far as it is known.
    #[schema(value_type = Option<String>, format = Uuid, required = true)]
    pub app_id: Option<AppId>,
    /// The endpoint that asked or that something was minted for.
    #[schema(value_type = Option<String>, required = true)]
    pub endpoint_id: Option<EndpointId>,
    /// `anonymous`, `admin`, `secret` or `endpoint`.
    #[schema(value_type = String)]
    pub caller: Cow<'static, str>,
    /// The method.
    #[schema(value_type = String, example = "POST")]
    pub method: Cow<'static, str>,
    /// The template of the path.
    #[schema(example = "/v1/tokens")]
    pub route: String,
    /// The status.
    #[schema(example = 200)]
    pub status: u16,
    /// The `code` of a refusal.
    #[schema(value_type = Option<String>, required = true)]
    pub code: Option<Cow<'static, str>>,
    /// How long answering took.
    pub took_micros: u64,
    /// From where.
    pub address: String,
    /// Whether it came over a socket.
    pub over_socket: bool,
    /// The node that answered it. Admins are told, where there may be several nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeRef>,
}
