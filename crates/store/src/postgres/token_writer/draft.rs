//! What a batch does, decided from what was found of the database: each operation sees what those before it do.
//!
//! Nothing here waits or asks. What is decided is written only if it is still true then (`batch.rs`).

use std::collections::{BTreeMap, HashMap, VecDeque};

use respoke_core::audit::{Action, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::grant::{Grant, Ground, Lapse};
use respoke_core::id::{AppId, EndpointId, RoleId, SecretId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{BanRecord, Change, MintRefusal, Redemption};
use respoke_core::seal::{SealKind, Sealer};
use respoke_core::secret::SecretHash;
use respoke_core::session::{SessionEnd, SessionEndCause, SessionRecord};
use respoke_core::token::{MintedToken, NewToken, Replaces, TokenEnd, TokenRecord};

use super::operation::{Mint, Operation, Outcome, Redeem, Touch};
use crate::mint_grounds::MintGround;
use crate::postgres::failure::Failure;
use crate::postgres::rows::number_of;

/// What mints of the same kind stand on alike.
pub(super) type MintKey = (AppId, Option<RoleId>, Option<SecretId>);

pub(super) fn mint_key(grant: &Grant) -> MintKey {
    (grant.app_id, grant.role_id, grant.secret_id)
}

/// A token that is to be redeemed, as it was found.
pub(super) struct FoundToken {
    /// The newest change of the same moment.
    pub(super) head: u64,
    /// The number that its session would have.
    pub(super) session_number: u64,
    pub(super) token: TokenRecord,
    pub(super) ground: Ground,
}

/// What an idempotency key made.
pub(super) enum Made {
    /// Before: this object.
    Before(Vec<u8>),
    /// In this batch.
    Token(MintedToken),
    Session(u64),
}

/// What was found of the database.
#[derive(Default)]
pub(super) struct Found {
    /// With the newest change of the same moment.
    pub(super) grounds: HashMap<MintKey, (u64, MintGround)>,
    pub(super) bans: HashMap<(AppId, EndpointId), BanRecord>,
    /// Of the log, for as many tokens as may be minted.
    pub(super) numbers: VecDeque<u64>,
    pub(super) tokens: HashMap<u64, FoundToken>,
    /// Tokens that keys made before.
    pub(super) repeated: HashMap<u64, TokenRecord>,
    /// Sessions that keys opened before, or that are to be superseded.
    pub(super) sessions: HashMap<u64, (SessionRecord, Ground)>,
    /// By the key: the request that it was used with, and what that made.
    pub(super) keys: HashMap<[u8; 32], ([u8; 32], Made)>,
}

/// A token to be written, with what the log tells of it.
pub(super) struct TokenRow<'a> {
    pub(super) number: u64,
    pub(super) token: &'a NewToken,
    pub(super) hash: SecretHash,
    pub(super) born: u64,
    /// None: the log tells of it in a row of its own.
    pub(super) told: Option<&'a AuditEntry>,
}

/// A token that is redeemed.
pub(super) struct Spent {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) session: u64,
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) tokens: Vec<TokenRow<'a>>,
    pub(super) spent: Vec<Spent>,
    pub(super) sessions: Vec<SessionRecord>,
    pub(super) superseded: Vec<(u64, Timestamp)>,
    /// Up to which change tokens and sessions of endpoints are over.
    pub(super) marks: BTreeMap<(AppId, EndpointId), (u64, u64)>,
    pub(super) keys: Vec<(&'a IdempotencyKey, u64, Timestamp)>,
    pub(super) changes: Vec<(Option<Change>, Timestamp)>,
    pub(super) audit: Vec<AuditEntry>,
    pub(super) touched_sessions: BTreeMap<u64, (Timestamp, &'a str)>,
    pub(super) touched_secrets: BTreeMap<uuid::Uuid, Timestamp>,
}

impl Draft<'_> {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            tokens,
            spent,
            sessions,
            superseded,
            marks,
            keys,
            changes,
            audit,
            touched_sessions,
            touched_secrets,
        } = self;
        tokens.is_empty()
            && spent.is_empty()
            && sessions.is_empty()
            && superseded.is_empty()
            && marks.is_empty()
            && keys.is_empty()
            && changes.is_empty()
            && audit.is_empty()
            && touched_sessions.is_empty()
            && touched_secrets.is_empty()
    }
}

/// Decides what comes of each operation, and what is to be written for that.
pub(super) fn decide<'a>(
    found: Found,
    sealer: &Sealer,
    operations: &[&'a Operation],
) -> Result<(Vec<Outcome>, Draft<'a>), Failure> {
    let mut deciding = Deciding { found, sealer, draft: Draft::default() };
    let outcomes = operations.iter().map(|operation| match operation {
        Operation::Mint(mint) => deciding.mint(mint).map(Outcome::Mint),
        Operation::Redeem(redeem) => deciding.redeem(redeem).map(Outcome::Redeem),
        Operation::Touch(touch) => {
            deciding.touch(touch);
            Ok(Outcome::Touched)
        }
    });
    let outcomes = outcomes.collect::<Result<_, _>>()?;
    Ok((outcomes, deciding.draft))
}

struct Deciding<'a, 's> {
    found: Found,
    sealer: &'s Sealer,
    draft: Draft<'a>,
}

impl<'a> Deciding<'a, '_> {
    /// The newest change as this operation sees it. A batch that makes changes has locked the feed before it looked, so that those
    /// made here come right behind what was found.
    fn head(&self, found: u64) -> u64 {
        found + self.draft.changes.len() as u64
    }

    fn mint(&mut self, mint: &'a Mint) -> Result<Creation<MintedToken, MintRefusal>, Failure> {
        let (token, grant) = (&mint.token, &mint.token.grant);
        if let Some(once) = &mint.once
            && let Some((request, made)) = self.found.keys.get(&once.key)
        {
            return match made {
                _ if *request != once.request => Ok(Creation::KeyReused),
                Made::Token(minted) => Ok(Creation::Repeated(minted.clone())),
                Made::Before(object) => Ok(self.mint_again(mint, number_of(object)?)),
                Made::Session(_) => Ok(Creation::KeyReused),
            };
        }
        let (head, ground) = *self.found.grounds.get(&mint_key(grant)).ok_or(Failure::Row("a ground was not found"))?;
        if let Some(lapse) = ground.lapse(grant, token.created_at) {
            return Ok(Creation::Refused(MintRefusal::Lapsed(lapse)));
        }
        let ban = self.found.bans.get(&(grant.app_id, grant.endpoint_id.clone()));
        if let Some(ban) = ban.filter(|ban| ban.until > token.created_at) {
            return Ok(Creation::Refused(MintRefusal::Banned(ban.clone())));
        }
        // It is born after the change that spends the endpoint's others, and so is none of them.
        match mint.replaces {
            Replaces::Nothing => {}
            Replaces::Tokens => self.spend_others(mint, false, head),
            Replaces::TokensAndSessions => self.spend_others(mint, true, head),
        }
        let number = self.found.numbers.pop_front().ok_or(Failure::Row("the log gave too few numbers"))?;
        let text = self.sealer.seal(SealKind::Token, number, token.entropy);
        let hash = text.hash();
        // What both say stands there once. An entry of another instant or app has a row of its own.
        let shared = mint.entry.at == token.created_at && mint.entry.app_id == Some(grant.app_id);
        if !shared {
            let fingerprint = Some(hash.fingerprint());
            self.draft.audit.push(AuditEntry { fingerprint, ..mint.entry.clone() });
        }
        let (born, told) = (self.head(head), shared.then_some(&mint.entry));
        self.draft.tokens.push(TokenRow { number, token, hash, born, told });
        let minted = MintedToken { number, text, token: token.clone() };
        self.remember(mint.once.as_ref(), number, mint.entry.at, || Made::Token(minted.clone()));
        Ok(Creation::Created(minted))
    }

    fn mint_again(&self, mint: &Mint, number: u64) -> Creation<MintedToken, MintRefusal> {
        let Some(made) = self.found.repeated.get(&number) else { return Creation::KeyReused };
        let text = self.sealer.seal(SealKind::Token, number, mint.token.entropy);
        let token = NewToken {
            grant: made.grant.clone(),
            entropy: mint.token.entropy,
            created_at: made.created_at,
            activate_by: made.activate_by,
            expires_at: made.expires_at,
        };
        Creation::Repeated(MintedToken { number, text, token })
    }

    /// Ends every outstanding token of an endpoint, and with `end_sessions` its sessions too.
    fn spend_others(&mut self, mint: &Mint, end_sessions: bool, head: u64) {
        let (app, endpoint) = (mint.token.grant.app_id, &mint.token.grant.endpoint_id);
        // Nobody remembers tokens, so that who always replaces has nothing else forgotten each time.
        let change = end_sessions.then(|| Change::Endpoint(app, endpoint.clone()));
        self.draft.changes.push((change, mint.entry.at));
        let number = self.head(head);
        let sessions = if end_sessions { number } else { 0 };
        let marks = self.draft.marks.entry((app, endpoint.clone())).or_default();
        *marks = (number, sessions.max(marks.1));
        let is_of = |grant: &Grant| grant.app_id == app && grant.endpoint_id == *endpoint;
        for found in self.found.tokens.values_mut().filter(|found| is_of(&found.token.grant)) {
            found.ground.endpoint.tokens_from = number;
        }
        for (session, ground) in self.found.sessions.values_mut().filter(|_| end_sessions) {
            if is_of(&session.grant) {
                ground.endpoint.sessions_from = number;
            }
        }
    }

    fn redeem(&mut self, redeem: &'a Redeem) -> Result<Redemption, Failure> {
        // Only who knows the token has its keys, and the session outlives the token: so the key comes first.
        if let Some(once) = &redeem.once
            && let Some((request, made)) = self.found.keys.get(&once.key)
        {
            return match made {
                _ if *request != once.request => Ok(Redemption::KeyReused),
                // It may have ended since, in this batch.
                Made::Session(number) => Ok(self.redeem_again(redeem, *number)),
                Made::Before(object) => Ok(self.redeem_again(redeem, number_of(object)?)),
                Made::Token(_) => Ok(Redemption::KeyReused),
            };
        }
        let Some(FoundToken { head, session_number, token, ground }) = self.found.tokens.get_mut(&redeem.number) else {
            return Ok(Redemption::Unknown);
        };
        if token.hash != redeem.hash {
            return Ok(Redemption::Unknown);
        }
        let entry = AuditEntry {
            app_id: Some(token.grant.app_id),
            object: token.grant.endpoint_id.to_string(),
            fingerprint: Some(redeem.hash.fingerprint()),
            ..redeem.entry.clone()
        };
        let at = entry.at;
        if let Some(lapse) = token.lapse(ground, at) {
            if lapse == Lapse::Redeemed {
                self.draft.audit.push(AuditEntry { action: Action::TokenReuse, ..entry });
            }
            return Ok(Redemption::Refused(lapse));
        }

        // Nothing speaks against it: the token is spent.
        let (head, session_number) = (*head, *session_number);
        token.end = Some(TokenEnd::Redeemed { at, session: session_number });
        let (token, ground) = (token.clone(), ground.clone());
        let text = self.sealer.seal(SealKind::Session, session_number, redeem.session.entropy);
        let session = SessionRecord {
            number: session_number,
            token_number: redeem.number,
            grant: token.grant,
            hash: text.hash(),
            born: self.head(head),
            created_at: at,
            expires_at: token.expires_at,
            last_seen_at: at,
            address: redeem.session.address.clone(),
            end: None,
        };
        self.draft.spent.push(Spent { number: redeem.number, at, session: session_number });
        self.draft.sessions.push(session.clone());
        let superseded = redeem.session.supersedes.filter(|old| self.supersede(*old, &session.grant, at));
        if redeem.once.is_some() {
            // What ends it in this batch marks its ground.
            self.found.sessions.insert(session_number, (session.clone(), ground));
        }
        self.remember(redeem.once.as_ref(), session_number, at, || Made::Session(session_number));
        self.draft.audit.push(entry);
        Ok(Redemption::Opened { text, session, superseded })
    }

    /// Answers a redemption again that opened session `number`, unless the session is over by now.
    fn redeem_again(&self, redeem: &Redeem, number: u64) -> Redemption {
        let now = redeem.entry.at;
        let Some((session, ground)) = self.found.sessions.get(&number) else {
            // It was over long enough to be removed.
            return Redemption::Refused(Lapse::Redeemed);
        };
        // The ban comes before the marks it set, as it does for a token.
        if ground.banned(now) {
            return Redemption::Refused(Lapse::Banned);
        }
        match session.lapse(ground, now) {
            Some(lapse) => Redemption::Refused(lapse),
            None => self.opened_again(redeem, session),
        }
    }

    fn opened_again(&self, redeem: &Redeem, session: &SessionRecord) -> Redemption {
        let text = self.sealer.seal(SealKind::Session, session.number, redeem.session.entropy);
        Redemption::Opened { text, session: session.clone(), superseded: None }
    }

    /// Ends session `number` in favour of a new one, if it is of the same endpoint and not over.
    fn supersede(&mut self, number: u64, grant: &Grant, at: Timestamp) -> bool {
        let Some((old, _)) = self.found.sessions.get_mut(&number) else { return false };
        let same = old.grant.app_id == grant.app_id && old.grant.endpoint_id == grant.endpoint_id;
        if !same || old.end.is_some() {
            return false;
        }
        old.end = Some(SessionEnd { at, cause: SessionEndCause::Superseded });
        self.draft.superseded.push((number, at));
        self.draft.changes.push((Some(Change::Session(number)), at));
        true
    }

    fn remember(&mut self, once: Option<&'a IdempotencyKey>, number: u64, at: Timestamp, made: impl FnOnce() -> Made) {
        if let Some(once) = once {
            self.draft.keys.push((once, number, at));
            self.found.keys.insert(once.key, (once.request, made()));
        }
    }

    fn touch(&mut self, touch: &'a Touch) {
        match touch {
            Touch::Session { number, at, address } => {
                let touched = self.draft.touched_sessions.entry(*number).or_insert((*at, address));
                touched.0 = *at;
                // An introspection touches a session without being its user; then the address stays.
                if !address.is_empty() {
                    touched.1 = address;
                }
            }
            Touch::Secret { id, at } => {
                self.draft.touched_secrets.insert(id.uuid(), *at);
            }
        }
    }
}
