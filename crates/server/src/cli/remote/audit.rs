//! `respoked audit`: lists rows of the audit log.

use clap::Args;
use respoke_wire::body::audit::{ActorView, AuditView};
use respoke_wire::body::lists::ListRequest;
use serde_json::Value;

use super::super::failure::Failure;
use super::super::fields::{field, shown};
use super::super::output::{Output, cell};
use super::client::{Client, query};

/// `respoked audit`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Audit {
    /// Only what concerned this app.
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Only this action, such as token.reuse.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only this object: an endpoint, or the id or name of something.
    #[arg(long, value_name = "OBJECT")]
    object: Option<String>,
    /// At most this many rows.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl Audit {
    pub(super) fn run(&self, client: &Client, out: &mut Output<'_>) -> Result<(), Failure> {
        let query = query([
            (field!(ListRequest, app_id), self.app.as_ref()),
            (field!(ListRequest, action), self.action.as_ref()),
            (field!(ListRequest, object), self.object.as_ref()),
        ]);
        let mut rows = client.list("/v1/audit", &query, Some(self.limit))?;
        if !out.wants_json() {
            for row in &mut rows {
                let said = &mut row[field!(AuditView, actor)];
                *said = Value::String(actor(said));
            }
        }
        out.list(
            &rows,
            shown!(AuditView {
                "AT": at,
                "ACTION": action,
                "OBJECT": object,
                "BY": actor,
                "FROM": address,
                "FINGERPRINT": fingerprint,
                "REQUEST": request_id,
            }),
        )
    }
}

/// Who acted, in one cell.
fn actor(actor: &Value) -> String {
    let kind = cell(&actor[field!(ActorView, kind)]);
    match &actor[field!(ActorView, id)] {
        Value::Null => kind,
        id => format!("{kind} {}", cell(id)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_actor_is_its_kind_and_id() {
        assert_eq!(actor(&json!({"kind": "system", "id": null})), "system");
        assert_eq!(actor(&json!({"kind": "admin", "id": "A"})), "admin A");
    }
}
