//! What an endpoint has, and looking on at its frames.

use respoke_core::refusal::Refusal;
use respoke_core::tail::Payloads;

use super::Asker;
use crate::Hub;
use crate::registry::ConnectionState;
use crate::tails::OpenTail;

impl Hub {
    /// The live connections of the endpoint that the asker names.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] unless a backend asks; [`Refusal::Invalid`] if it names none; [`Refusal::NodeSilent`].
    pub async fn endpoint_state(&self, asker: &Asker<'_>) -> Result<Vec<ConnectionState>, Refusal> {
        let app = self.broker.app_of(asker.caller, asker.app_id).await?;
        let endpoint = asker.endpoint_id.as_ref().ok_or_else(|| Refusal::missing("endpointId"))?;
        self.roster().states_of(app.id, endpoint).await
    }

    /// Lets the asker look on at the frames of the endpoint that it names. With payloads the audit log is told.
    ///
    /// # Errors
    ///
    /// As [`Hub::endpoint_state`]; [`Refusal::Forbidden`] for a read-only admin who asks for payloads;
    /// [`Refusal::LimitReached`].
    pub async fn tail(&self, asker: &Asker<'_>, payloads: Payloads) -> Result<OpenTail, Refusal> {
        let app = self.broker.app_of(asker.caller, asker.app_id).await?;
        let endpoint = asker.endpoint_id.clone().ok_or_else(|| Refusal::missing("endpointId"))?;
        if payloads == Payloads::Shown {
            self.broker.note_tail(asker.caller, &app, &endpoint, asker.context).await?;
        }
        self.open_tail(app.id, endpoint, payloads, asker.context.request_id).await
    }
}
