//! Whether a request may go on: its credential is proved, its page looked at, and its caller's buckets drawn from, as the
//! [`Terms`] of its operation say.

use std::future::{Ready, ready};

use http::header::AUTHORIZATION;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ops::{Caller, Credential};
use respoke_core::refusal::Refusal;
use respoke_core::secret::Secret;
use respoke_wire::body::oauth::TokenQuestion;

use super::admission::{Client, Draws, Minting, Terms, Unasked, Wrong};
use super::shown::authorization;
use super::{Call, throttled};
use crate::limits::Demand;
use crate::problem::Problem;
use crate::state::Api;

impl Terms<Caller> {
    /// Finds out who asks and lets them in; who shows no credential is nobody in particular, and that is no error here.
    ///
    /// # Errors
    ///
    /// 401 for a credential that is not valid, 403 for a page that may not use the app, 429.
    pub(crate) async fn admit(&'static self, api: &Api, call: &Call) -> Result<Caller, Problem> {
        let asked = &self.admission;
        let caller = call.prove(api, call.credential(asked.takes), asked.wrong).await?;
        if let Caller::Endpoint { app, .. } = &caller
            && !app.settings.permits_origin(call.origin().as_deref())
        {
            return Err(Refusal::OriginRefused.into());
        }
        call.draw(api, asked.draws.demand(), &caller, None)?;
        if asked.draws == Draws::LongAnswer {
            api.accounts.check(&caller, call.facts.address)?;
        }
        Ok(caller)
    }
}

impl Terms<Minting> {
    pub(crate) fn admit(&'static self, _: &Api, _: &Call) -> Ready<Result<Minting, Problem>> {
        ready(Ok(Minting(&self.admission)))
    }
}

impl Minting {
    /// As [`Terms::admit`], for minting a token in `app` for `endpoint`, whose bucket is drawn from, too.
    ///
    /// # Errors
    ///
    /// The same.
    pub(crate) async fn admit(
        self,
        api: &Api,
        call: &Call,
        app: Option<AppId>,
        endpoint: Option<&str>,
    ) -> Result<Caller, Problem> {
        let caller = call.prove(api, call.credential(self.0.takes), self.0.wrong).await?;
        // What is no endpoint id draws from no endpoint's bucket, and is refused later on.
        let endpoint = endpoint.and_then(|text| EndpointId::parse(text).ok());
        call.draw(api, self.0.draws.demand(), &caller, endpoint.as_ref())?;
        if let (Caller::Anonymous, Some(id), Some(origin)) = (&caller, app, call.origin()) {
            // Without a credential it is the app's pages that mint; an app that is unknown is refused later on.
            let app = api.broker.store().app(id).await?;
            if app.is_some_and(|app| !app.settings.permits_origin(Some(&origin))) {
                return Err(Refusal::OriginRefused.into());
            }
        }
        Ok(caller)
    }
}

impl Terms<Client> {
    pub(crate) fn admit(&'static self, _: &Api, _: &Call) -> Ready<Result<Client, Problem>> {
        ready(Ok(Client(&self.admission)))
    }
}

impl Client {
    /// As [`Terms::admit`]: an App-Secret or Admin-Token in the request's header, or an App-Secret as OAuth clients carry it.
    ///
    /// # Errors
    ///
    /// The same; 401 also for a client id that is not the App-Secret's app.
    ///
    /// # Source
    ///
    /// RFC 6749 section 2.3.1, RFC 6750 section 2.1.
    pub(crate) async fn admit(self, api: &Api, call: &Call, question: &TokenQuestion) -> Result<Caller, Problem> {
        let mut client_id = question.client_id.clone();
        let mut credential = call.credential(self.0.takes);
        if let (Credential::None, Some(value)) = (&credential, call.headers.get(AUTHORIZATION)) {
            let (id, secret) = value.to_str().ok().and_then(authorization).ok_or(Refusal::Unauthenticated)?;
            client_id = id.or(client_id);
            credential = Credential::AppSecret(secret);
        }
        if let (Credential::None, Some(secret)) = (&credential, &question.client_secret) {
            credential = Credential::AppSecret(secret.clone());
        }
        let caller = call.prove(api, credential, self.0.wrong).await?;
        if let (Caller::App { app, .. }, Some(id)) = (&caller, client_id.filter(|id| !id.is_empty()))
            && AppId::parse(&id) != Some(app.id)
        {
            return Err(call.refused(api));
        }
        call.draw(api, self.0.draws.demand(), &caller, None)?;
        Ok(caller)
    }
}

impl Terms<Unasked> {
    #[expect(clippy::unused_self, reason = "all terms are asked alike")]
    pub(crate) fn admit(&'static self, _: &Api, _: &Call) -> Ready<Result<Unasked, Problem>> {
        ready(Ok(Unasked))
    }
}

impl Call {
    /// For the console: the Admin-Token of its cookie.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unauthenticated`] for one that is not valid.
    pub(crate) async fn authenticate_visit(&self, api: &Api, token: &Secret) -> Result<Caller, Refusal> {
        api.check_standing()?;
        let credential = Credential::AdminToken(token.clone());
        let caller = api.broker.authenticate(&credential, Some(self.facts.address)).await?;
        self.facts.asked_by(&caller);
        Ok(caller)
    }

    /// For the console's pages that need no credential at all.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn admit_anonymous(&self, api: &Api) -> Result<(), Problem> {
        self.draw(api, Demand::Request, &Caller::Anonymous, None)
    }

    async fn prove(&self, api: &Api, credential: Credential, wrong: Wrong) -> Result<Caller, Problem> {
        api.check_standing()?;
        match (self.proved(api, credential, wrong).await, wrong) {
            (Err(Refusal::Unauthenticated), Wrong::Refused) => Err(self.refused(api)),
            (Err(Refusal::Unauthenticated), Wrong::Ignored | Wrong::IgnoredUnlessKept) => Ok(Caller::Anonymous),
            (proved, _) => Ok(proved?),
        }
    }

    async fn proved(&self, api: &Api, credential: Credential, wrong: Wrong) -> Result<Caller, Refusal> {
        let looks_at_socket = wrong != Wrong::Ignored;
        let own = self.socket().filter(|socket| {
            looks_at_socket
                && match (&credential, &socket.opening.credential) {
                    (Credential::AppToken(shown), Credential::AppToken(own)) => shown.expose() == own.expose(),
                    _ => false,
                }
        });
        // A session that expired while its socket was allowed to stay open still speaks on it.
        let kept = own.and_then(|socket| match &socket.opening.caller {
            Caller::Endpoint { session, .. } => Some((socket, session)),
            Caller::Anonymous | Caller::App { .. } | Caller::Admin { .. } => None,
        });
        if let Some((_, session)) = kept.filter(|(socket, _)| socket.kept()) {
            return Box::pin(api.broker.kept_caller(session)).await;
        }
        let proved = api.broker.authenticate(&credential, Some(self.facts.address)).await;
        if let (Err(Refusal::Unauthenticated), Some((socket, session))) = (&proved, kept) {
            // It may have expired just now. In a box, like what is above: it is rare and long, and would make the future
            // of every handler so long that the allocator takes its slow way for each request.
            Box::pin(api.hub.judge_one(socket)).await;
            if socket.kept() {
                return Box::pin(api.broker.kept_caller(session)).await;
            }
        }
        proved
    }

    fn refused(&self, api: &Api) -> Problem {
        self.counted(api, Refusal::Unauthenticated)
    }

    /// The refusal of a credential or tokenId that is not valid; whoever presents many of them is told to wait.
    pub(crate) fn counted(&self, api: &Api, refusal: Refusal) -> Problem {
        match api.throttle.credential_failed(self.facts.address, api.monotonic()) {
            Some(wait) => throttled(wait),
            None => refusal.into(),
        }
    }

    /// Draws from the buckets that `caller` draws from, and `endpoint`'s if the request is made for one.
    fn draw(&self, api: &Api, demand: Demand, caller: &Caller, endpoint: Option<&EndpointId>) -> Result<(), Problem> {
        self.facts.asked_by(caller);
        self.check_unread(api)?;
        let (rate_status, result) = match api.limits.check(demand, caller, endpoint, self.facts.address) {
            Ok(rate_status) => (rate_status, Ok(())),
            Err(limited) => (limited.rate_status, Err(Problem::rate_limited(limited.retry_after))),
        };
        let _ = self.facts.rate_status.set(rate_status);
        if result.is_ok() {
            let _ = self.facts.payer.set(caller.clone());
        }
        result
    }

    /// Refuses who has to read first what was answered before.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) fn check_unread(&self, api: &Api) -> Result<(), Problem> {
        let unread = &api.places.unread;
        if unread.is_crowded(|| self.facts.unread_by(unread)) { Err(Problem::answers_unread()) } else { Ok(()) }
    }
}
