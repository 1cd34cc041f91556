//! The setup link of the first start: whoever reads it in the greeting signs in once without typing a password.

use super::{Broker, Caller, Context};
use crate::admin::{SESSION_SECS, SignedIn};
use crate::audit::Action;
use crate::chance::Chance;
use crate::ports::SetupSignIn;
use crate::refusal::Refusal;
use crate::seal::Entropy;
use crate::secret::Secret;

/// A new setup token.
pub(super) fn setup_token(chance: &dyn Chance) -> Secret {
    let mut buffer = uuid::Uuid::encode_buffer();
    Secret::new(chance.uuid().hyphenated().encode_upper(&mut buffer).to_owned())
}

impl Broker {
    /// Spends a setup token and signs its admin in.
    ///
    /// # Errors
    ///
    /// [`Refusal::BadLogin`] for a token that is unknown, spent or too old.
    pub async fn sign_in_with_setup_token(&self, token: &Secret, context: &Context) -> Result<SignedIn, Refusal> {
        // The store fills in who it is, which only the token's row knows.
        let audit = self.entry(context, &Caller::Anonymous, None, Action::AdminSignedIn, "")?;
        let expires_at = self.now().plus_secs(SESSION_SECS);
        let hash = Secret::new(token.expose().trim().to_ascii_uppercase()).hash();
        // What is no admin's token says nothing about any admin: it is not written down, or anybody could fill the log.
        match self.store.spend_setup_token(hash, Entropy::new(self.chance()), expires_at, audit).await? {
            SetupSignIn::SignedIn(signed_in) => Ok(signed_in),
            SetupSignIn::Unknown | SetupSignIn::Over => Err(Refusal::BadLogin),
        }
    }
}
