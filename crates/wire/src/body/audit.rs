//! `/v1/audit`.

use respoke_core::audit::{Actor, AuditRecord};
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, RequestId};
use serde::Serialize;
use utoipa::ToSchema;

use super::iso;

/// A row of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// Its place in the log.
    pub number: u64,
    /// When.
    #[serde(serialize_with = "iso")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub actor: ActorView,
    /// What was done.
    #[schema(example = "token.issued")]
    pub action: &'static str,
    /// To what: an endpoint id, the id or name of an object.
    pub object: String,
    /// The app concerned, if any.
    #[schema(value_type = Option<String>, format = Uuid, required = true)]
    pub app_id: Option<AppId>,
    /// From which address; empty for the server's own doing.
    pub address: String,
    /// In which request.
    #[schema(value_type = String, format = Uuid)]
    pub request_id: RequestId,
    /// Which token, by the first bytes of its hash.
    #[schema(required = true)]
    pub fingerprint: Option<String>,
}

/// Who acted.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActorView {
    /// `anonymous`, `system`, `admin`, `secret` or `endpoint`.
    pub kind: &'static str,
    /// The id of the admin or of the App-Secret's record.
    #[schema(required = true)]
    pub id: Option<String>,
}

impl From<Actor> for ActorView {
    fn from(actor: Actor) -> Self {
        let (kind, id) = match actor {
            Actor::Anonymous => ("anonymous", None),
            Actor::System => ("system", None),
            Actor::Admin(id) => ("admin", Some(id.to_string())),
            Actor::Secret(id) => ("secret", Some(id.to_string())),
            Actor::Endpoint => ("endpoint", None),
        };
        Self { kind, id }
    }
}

impl From<AuditRecord> for AuditView {
    fn from(record: AuditRecord) -> Self {
        let entry = record.entry;
        Self {
            number: record.number,
            at: entry.at,
            actor: entry.actor.into(),
            action: entry.action.word(),
            object: entry.object,
            app_id: entry.app_id,
            address: entry.address,
            request_id: entry.request_id,
            fingerprint: entry.fingerprint,
        }
    }
}
