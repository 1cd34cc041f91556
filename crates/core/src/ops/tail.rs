//! `GET /v1/endpoints/{id}/tail`: the audit log notes who looks on at an endpoint's traffic.

use super::{Broker, Caller, Context};
use crate::app::App;
use crate::audit::Action;
use crate::id::EndpointId;
use crate::refusal::Refusal;

impl Broker {
    /// Writes down that the caller looks on at an endpoint's frames with their payloads.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] for a read-only admin.
    pub async fn note_tail(
        &self,
        caller: &Caller,
        app: &App,
        endpoint: &EndpointId,
        context: &Context,
    ) -> Result<(), Refusal> {
        let audit = self.entry(context, caller, Some(app.id), Action::EndpointTailed, endpoint.as_str())?;
        Ok(self.store.audit(audit).await?)
    }
}
