//! What upkeep decides of rows that it has read: when something was over, and which marks and secrets nothing needs any
//! more.
//!
//! An endpoint's marks are needed for as long as a token or session is kept that they end. A revoked secret is needed
//! for as long as a token or session is kept that was minted with it. Tokens and sessions have no index by which those
//! could be found, but upkeep walks through all of them anyway. So a pass begins with some marks and secrets that may
//! go, strikes out each that a token or session it meets still needs, and removes the rest at its end.
//!
//! Invariant: nothing comes to need one of them unnoticed during a pass. New tokens and sessions are born after every
//! mark that is set. Nothing is minted with a secret that is revoked or expired. But a token that was minted with it
//! before may be redeemed, and its session then needs the secret, though the pass may have walked through the sessions
//! already. So a token strikes its secret out also if it was redeemed; it is kept for a while after that.

use std::collections::{HashMap, HashSet};

use respoke_core::clock::Timestamp;
use respoke_core::grant::{Grant, Marks};
use respoke_core::id::{AppId, EndpointId, SecretId};
use respoke_core::session::SessionRecord;
use respoke_core::token::{TokenEnd, TokenRecord};

/// When a token that is over was so at the latest; the beginning of time if what it stood on is gone.
pub(crate) fn token_over_at(token: &TokenRecord, now: Timestamp) -> Timestamp {
    match token.end {
        Some(TokenEnd::Redeemed { at, .. } | TokenEnd::Revoked { at }) => at,
        None => over_at(token.created_at, token.activate_by, now),
    }
}

/// The same of a session.
pub(crate) fn session_over_at(session: &SessionRecord, now: Timestamp) -> Timestamp {
    match session.end {
        Some(end) => end.at,
        None => over_at(session.created_at, session.expires_at, now),
    }
}

/// The same of what nobody has ended.
fn over_at(created_at: Timestamp, until: Timestamp, now: Timestamp) -> Timestamp {
    if until <= now {
        until
    } else if created_at > now {
        // Over because it was made too far ahead, if it is not the present clock that is wrong.
        created_at
    } else {
        Timestamp::from_millis(i64::MIN)
    }
}

/// Marks and secrets that may go at the end of a pass, as far as is known.
#[derive(Default)]
pub(crate) struct Leftovers {
    pub(crate) endpoints: HashMap<(AppId, EndpointId), Marks>,
    pub(crate) secrets: HashSet<SecretId>,
}

/// Where the next pass takes its rows from, in order of the primary keys; from the beginning, if nowhere.
#[derive(Clone, Default)]
pub(crate) struct LeftoversBegin {
    pub(crate) endpoint: Option<(AppId, EndpointId)>,
    pub(crate) secret: Option<SecretId>,
}

impl Leftovers {
    /// Strikes out what `token` needs. One that was ended by name is over, whatever becomes of what it stood on.
    pub(crate) fn look_at_token(&mut self, token: &TokenRecord) {
        if token.end.is_none() {
            self.keep(&token.grant, |marks| marks.end_token(token.born, token.created_at));
        } else if let (Some(TokenEnd::Redeemed { .. }), Some(secret)) = (token.end, &token.grant.secret_id) {
            self.secrets.remove(secret);
        }
    }

    /// The same for a session.
    pub(crate) fn look_at_session(&mut self, session: &SessionRecord) {
        if session.end.is_none() {
            self.keep(&session.grant, |marks| marks.end_session(session.born, session.created_at));
        }
    }

    fn keep(&mut self, grant: &Grant, ended_by: impl FnOnce(&Marks) -> bool) {
        if !self.endpoints.is_empty() {
            let endpoint = (grant.app_id, grant.endpoint_id.clone());
            if self.endpoints.get(&endpoint).is_some_and(ended_by) {
                self.endpoints.remove(&endpoint);
            }
        }
        if let Some(secret) = &grant.secret_id {
            self.secrets.remove(secret);
        }
    }
}

#[cfg(test)]
mod tests {
    use respoke_core::secret::SecretHash;

    use super::*;

    #[test]
    fn a_secret_stays_for_what_was_redeemed_while_the_walk_went_on() {
        let at = Timestamp::from_secs(1);
        let secret = SecretId::random();
        let leftovers = || Leftovers { secrets: HashSet::from([secret]), ..Leftovers::default() };
        let grant = Grant {
            app_id: AppId::random(),
            endpoint_id: EndpointId::parse("alice").unwrap(),
            role_id: None,
            secret_id: Some(secret),
        };
        let hash = SecretHash::from_bytes([0; 32]);
        let token = |end| TokenRecord {
            number: 1,
            grant: grant.clone(),
            hash,
            born: 1,
            created_at: at,
            activate_by: at,
            expires_at: at,
            end,
        };
        for (end, stays) in
            [(None, true), (Some(TokenEnd::Redeemed { at, session: 7 }), true), (Some(TokenEnd::Revoked { at }), false)]
        {
            let mut leftovers = leftovers();
            leftovers.look_at_token(&token(end));
            assert_eq!(leftovers.secrets.is_empty(), stays, "{end:?}");
        }
    }
}
