//! `/v1/connections/{id}/push-token`.

use super::own::{endpoint_needed, endpoint_spoken_for};
use super::{Broker, Caller};
use crate::admin::AdminRole;
use crate::id::{AppId, EndpointId, PushTokenId};
use crate::ports::Removal;
use crate::push_token::{PushService, PushToken};
use crate::refusal::Refusal;
use crate::secret::Secret;

/// A wish to be reached without a connection.
#[derive(Clone, Debug)]
pub struct RegisterPushToken {
    /// In which app.
    pub app_id: Option<AppId>,
    /// For which endpoint; an App-Token's own by default.
    pub endpoint_id: Option<String>,
    /// The id it was given before. One that is not known is taken all the same: the device has no other, and a refusal
    /// would leave it without pushes until it is installed anew.
    pub id: Option<String>,
    /// The word for the service.
    pub service: Option<String>,
    /// What the service knows the device by.
    pub text: Option<Secret>,
}

impl Broker {
    /// Registers a device of an endpoint, in place of whatever the id, or the same device, was registered as before.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] for an App-Token of another endpoint; [`Refusal::Invalid`]; [`Refusal::QuotaExceeded`].
    pub async fn register_push_token(&self, caller: &Caller, request: RegisterPushToken) -> Result<PushToken, Refusal> {
        caller.permit(AdminRole::Developer)?;
        let app = self.app_within(caller, request.app_id).await?;
        let endpoint_id = endpoint_needed(caller, request.endpoint_id.as_deref())?;
        let service = request.service.as_deref();
        Refusal::require(&[("token", request.text.is_some()), ("service", service.is_some())])?;
        let text = request.text.ok_or_else(|| Refusal::missing("token"))?;
        let sound = (1..=PushToken::TEXT_LEN_MAX).contains(&text.expose().len());
        if !sound || text.expose().chars().any(char::is_control) {
            return Err(Refusal::field("token", "must be 1 to 4096 bytes of text without control characters"));
        }
        let service =
            service.and_then(PushService::parse).ok_or_else(|| Refusal::field("service", "must be google or apple"))?;
        let id = request.id.as_deref().and_then(PushTokenId::parse).unwrap_or_else(|| PushTokenId::new(self.chance()));
        let token = PushToken { id, app_id: app.id, endpoint_id, service, text, seen_at: self.now() };
        self.store.put_push_token(token.clone(), self.kept_bytes_max(&app)).await?.kept()?;
        Ok(token)
    }

    /// Forgets a device of an endpoint. A backend may name no endpoint: then it is whoever's. One that is not known is no error.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] for an App-Token of another endpoint.
    pub async fn remove_push_token(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        endpoint: Option<&str>,
        id: &str,
    ) -> Result<(), Refusal> {
        caller.permit(AdminRole::Developer)?;
        let app = self.app_within(caller, app).await?;
        let endpoint = endpoint_spoken_for(caller, endpoint)?;
        if let Some(id) = PushTokenId::parse(id) {
            let (Removal::Removed | Removal::Unknown) =
                self.store.delete_push_token(app.id, id, endpoint.as_ref()).await?;
        }
        Ok(())
    }

    /// Notes that a device of an endpoint connected; one that is not known is no error.
    pub fn device_connected(&self, app: AppId, endpoint: &EndpointId, push_token_id: &str) {
        if let Some(id) = PushTokenId::parse(push_token_id) {
            self.store.touch_push_token(app, id, endpoint, self.now());
        }
    }
}
