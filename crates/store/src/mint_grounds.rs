//! What a mint looks at before a token is made: the app, the role and the secret that it is to stand on.

use std::cell::RefCell;
use std::collections::HashMap;

use respoke_core::clock::Timestamp;
use respoke_core::grant::{Grant, Lapse};
use respoke_core::id::{AppId, RoleId, SecretId};

/// What the mints of a batch find, which is the same for many of them.
#[derive(Default)]
pub(crate) struct MintGrounds(RefCell<HashMap<MintKey, MintGround>>);

type MintKey = (AppId, Option<RoleId>, Option<SecretId>);

/// What is found for one of them.
#[derive(Clone, Copy)]
pub(crate) struct MintGround {
    /// None: the app is gone.
    pub(crate) development_mode: Option<bool>,
    /// Whether the role is there.
    pub(crate) role: bool,
    /// Whether the secret is there and not revoked.
    pub(crate) secret: bool,
    pub(crate) secret_expires_at: Option<Timestamp>,
    /// Whether the app bans any endpoint.
    pub(crate) bans: bool,
}

impl MintGrounds {
    /// Forgets them, for they may have changed.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    /// What is known for `grant`, or else what `find` finds.
    pub(crate) fn of<E>(
        &self,
        grant: &Grant,
        find: impl FnOnce(&Grant) -> Result<MintGround, E>,
    ) -> Result<MintGround, E> {
        let key = (grant.app_id, grant.role_id, grant.secret_id);
        if let Some(ground) = self.0.borrow().get(&key) {
            return Ok(*ground);
        }
        let ground = find(grant)?;
        self.0.borrow_mut().insert(key, ground);
        Ok(ground)
    }
}

impl MintGround {
    /// Why nothing can be minted on it for `grant` at `now`, bans aside.
    pub(crate) fn lapse(&self, grant: &Grant, now: Timestamp) -> Option<Lapse> {
        let secret = self.secret && self.secret_expires_at.is_none_or(|at| at > now);
        match self.development_mode {
            None => Some(Lapse::AppDeleted),
            Some(_) if grant.secret_id.is_some() && !secret => Some(Lapse::SecretRevoked),
            Some(_) if grant.role_id.is_some() && !self.role => Some(Lapse::RoleDeleted),
            Some(false) if grant.role_id.is_none() => Some(Lapse::DevelopmentModeOff),
            Some(_) => None,
        }
    }
}
