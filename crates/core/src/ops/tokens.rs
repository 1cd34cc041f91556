//! `GET /v1/tokens`, `GET` and `DELETE /v1/tokens/{id}`.

use std::sync::Arc;

use super::caller::token_hash;
use super::{Broker, Caller, Context};
use crate::app::App;
use crate::audit::Action;
use crate::grant::Lapse;
use crate::id::{AppId, TokenId};
use crate::page::{Page, PageRequest, RowNumber};
use crate::ports::{Ending, ListFilter};
use crate::refusal::Refusal;
use crate::seal::SealKind;
use crate::secret::Secret;
use crate::token::TokenRecord;

/// A token and why it is refused, if it is.
#[derive(Clone, Debug)]
pub struct InspectedToken {
    /// The token as kept.
    pub record: TokenRecord,
    /// Why it could not be redeemed now.
    pub lapse: Option<Lapse>,
}

const UNKNOWN: Refusal = Refusal::NotFound("Tokens");

impl Broker {
    /// The outstanding tokens of an app.
    ///
    /// # Errors
    ///
    /// As [`Broker::end_sessions`].
    pub async fn list_tokens(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        filter: ListFilter,
        page: PageRequest<RowNumber>,
    ) -> Result<Page<TokenRecord, RowNumber>, Refusal> {
        let app = self.app_of(caller, app).await?;
        Ok(self.store.tokens(app.id, filter, self.now(), page).await?)
    }

    /// A token by its public id or by its text.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] also for a token of another app.
    pub async fn inspect_token(&self, caller: &Caller, id: &Secret) -> Result<InspectedToken, Refusal> {
        let (record, _, lapse) = self.find_token(caller, id).await?;
        Ok(InspectedToken { record, lapse })
    }

    /// Revokes a token.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotFound`] also for a token of another app. A token that is over already is no error.
    pub async fn revoke_token(&self, caller: &Caller, id: &Secret, context: &Context) -> Result<(), Refusal> {
        let (record, app, _) = self.find_token(caller, id).await?;
        let object = self.token_id(record.number).to_string();
        let mut audit = self.entry(context, caller, Some(app.id), Action::TokenRevoked, &object)?;
        audit.fingerprint = Some(record.hash.fingerprint());
        match self.store.revoke_token(app.id, record.number, audit).await? {
            Ending::Ended | Ending::Over | Ending::Unknown => Ok(()),
        }
    }

    async fn find_token(
        &self,
        caller: &Caller,
        id: &Secret,
    ) -> Result<(TokenRecord, Arc<App>, Option<Lapse>), Refusal> {
        if let Caller::Anonymous | Caller::Endpoint { .. } = caller {
            self.app_of(caller, None).await?;
        }
        let named =
            TokenId::parse(id.expose()).and_then(|id| self.sealer.number_of_name(SealKind::TokenName, id.uuid()));
        let number = match named {
            Some(number) => number,
            None => self.sealer.number_of(SealKind::Token, id.expose()).ok_or(UNKNOWN)?,
        };
        let (record, ground) = self.store.token(number).await?.ok_or(UNKNOWN)?;
        if named.is_none() && record.hash != token_hash(id) {
            return Err(UNKNOWN);
        }
        let app = self.app_seen_by(caller, record.grant.app_id).await?.ok_or(UNKNOWN)?;
        let lapse = record.lapse(&ground, self.now());
        Ok((record, app, lapse))
    }

    /// The app of that id, if the caller has authority over it.
    pub(super) async fn app_seen_by(&self, caller: &Caller, id: AppId) -> Result<Option<Arc<App>>, Refusal> {
        match caller {
            Caller::App { app, .. } => Ok((app.id == id).then(|| app.clone())),
            Caller::Admin { account_id, .. } => Ok(self.app(id).await?.filter(|app| app.account_id == *account_id)),
            Caller::Anonymous | Caller::Endpoint { .. } => Ok(None),
        }
    }
}
