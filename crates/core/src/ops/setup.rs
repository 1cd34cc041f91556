//! The setup link of the first start: whoever reads it in the greeting signs in once without typing a password.

use super::admins::ADMIN_SESSION_SECS;
use super::{Broker, Caller, Context};
use crate::audit::Action;
use crate::id::AdminId;
use crate::refusal::Refusal;
use crate::seal::Entropy;
use crate::secret::{Secret, random_uuid};

/// How long the link waits.
const SETUP_SECS: i64 = 24 * 3_600;

impl Broker {
    /// Makes the setup token of an admin.
    pub(super) async fn make_setup_token(&self, admin: AdminId) -> Result<Secret, Refusal> {
        let mut buffer = uuid::Uuid::encode_buffer();
        let text = Secret::new(random_uuid().hyphenated().encode_upper(&mut buffer).to_owned());
        self.store.put_setup_token(admin, text.hash(), self.now().plus_secs(SETUP_SECS)).await?;
        Ok(text)
    }

    /// Spends a setup token and signs its admin in.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`] for a token that is unknown, spent or too old.
    pub async fn sign_in_with_setup_token(&self, token: &Secret, context: &Context) -> Result<Secret, Refusal> {
        // The store fills in who it is, which only the token's row knows.
        let audit = self.entry(context, &Caller::Anonymous, None, Action::AdminSignedIn, "")?;
        let expires_at = self.now().plus_secs(ADMIN_SESSION_SECS);
        let hash = Secret::new(token.expose().trim().to_ascii_uppercase()).hash();
        // What is no admin's token says nothing about any admin: it is not written down, or anybody could fill the log.
        self.store.spend_setup_token(hash, Entropy::random(), expires_at, audit).await?.ok_or(Refusal::BadLogin)
    }
}
