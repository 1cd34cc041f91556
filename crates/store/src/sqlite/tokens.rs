//! Tokens: minting, redeeming, revoking.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use respoke_core::audit::{Action, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::grant::{Grant, Ground, Lapse};
use respoke_core::id::{AppId, EndpointId};
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::page::{Page, PageRequest, RowNumber};
use respoke_core::ports::{Change, Ending, ListFilter, MintRefusal, NewSession, Redemption, StoreError, TokenStore};
use respoke_core::seal::SealKind;
use respoke_core::secret::SecretHash;
use respoke_core::session::SessionRecord;
use respoke_core::token::{MintedToken, NewToken, Replaces, TokenEnd, TokenRecord};
use rusqlite::{Connection, Row, params};

use super::idempotency::{Remembered, number_of, remember, remembered};
use super::rows::{Columns, all, execute, ground_columns, ground_joins, one};
use super::windows::gather;
use super::writer::Write;
use super::{SqliteStore, audit, endpoints, feed, sessions};
use crate::codes;
use crate::mint_grounds::MintGround;
use crate::minted::Minted;

macro_rules! token_columns {
    () => {
        "g.number, g.app_id, g.endpoint, g.role_id, g.secret_id, g.hash, g.born, g.created_at, g.activate_by, \
         g.expires_at, g.ended_at, g.session_number, "
    };
}
const BY_NUMBER: &str =
    concat!("SELECT ", token_columns!(), ground_columns!(), " FROM tokens g", ground_joins!(), "WHERE g.number = ?1");
const OUTSTANDING: &str = concat!(
    "SELECT ",
    token_columns!(),
    ground_columns!(),
    " FROM tokens g",
    ground_joins!(),
    "WHERE g.number > ?1 AND g.number <= ?2 AND g.app_id = ?3 AND (?4 IS NULL OR g.endpoint = ?4)
       AND (?5 IS NULL OR g.role_id = ?5) AND g.ended_at IS NULL AND g.activate_by > ?6
       AND (?8 IS NULL OR g.secret_id = ?8)
     ORDER BY g.number LIMIT ?7"
);
pub(super) const RANGE: &str = concat!(
    "SELECT ",
    token_columns!(),
    ground_columns!(),
    " FROM tokens g",
    ground_joins!(),
    "WHERE g.number > ?1 ORDER BY g.number LIMIT ?2"
);

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(TokenRecord, Ground)> {
    let mut columns = Columns::of(row);
    let number = columns.next()?;
    let grant = columns.grant()?;
    let (hash, born) = (columns.hash()?, columns.next()?);
    let (created_at, activate_by, expires_at) = (columns.time()?, columns.time()?, columns.time()?);
    let ended_at = columns.time_if_any()?;
    let session: Option<u64> = columns.next()?;
    let end = ended_at.map(|at| match session {
        Some(session) => TokenEnd::Redeemed { at, session },
        None => TokenEnd::Revoked { at },
    });
    Ok((TokenRecord { number, grant, hash, born, created_at, activate_by, expires_at, end }, columns.ground()?))
}

fn find(connection: &Connection, number: u64) -> rusqlite::Result<Option<(TokenRecord, Ground)>> {
    // A number carried by made-up token text can exceed what a row can have.
    let Ok(number) = i64::try_from(number) else { return Ok(None) };
    one(connection, BY_NUMBER, [number], read)
}

fn issue(
    write: &Write<'_>,
    token: &NewToken,
    replaces: Replaces,
    once: Option<&IdempotencyKey>,
    entry: &AuditEntry,
    minted: &Minted,
) -> rusqlite::Result<Creation<MintedToken, MintRefusal>> {
    match remembered(write, once)? {
        Remembered::Nothing => {}
        Remembered::Made(object) => {
            let Some((made, _)) = find(write.connection, number_of(&object)?)? else {
                return Ok(Creation::KeyReused);
            };
            let text = write.sealer.seal(SealKind::Token, made.number, token.entropy);
            let token = NewToken {
                grant: made.grant,
                entropy: token.entropy,
                created_at: made.created_at,
                activate_by: made.activate_by,
                expires_at: made.expires_at,
            };
            return Ok(Creation::Repeated(MintedToken { number: made.number, text, token }));
        }
        Remembered::Otherwise => return Ok(Creation::KeyReused),
    }
    let grant = &token.grant;
    if let Some(refusal) = unmintable(write, grant, token.created_at)? {
        return Ok(Creation::Refused(refusal));
    }
    // It is born after the change that spends the endpoint's others, and so is none of them.
    end_replaced(write, grant, replaces, entry.at)?;
    let number = write.next_row();
    let text = write.sealer.seal(SealKind::Token, number, token.entropy);
    let hash = text.hash();
    insert(write, number, token, hash, entry)?;
    minted.note(number, hash);
    remember(write, once, &number.to_be_bytes(), entry.at)?;
    Ok(Creation::Created(MintedToken { number, text, token: token.clone() }))
}

/// Writes a token and what the log tells of its minting, in one row.
fn insert(
    write: &Write<'_>,
    number: u64,
    token: &NewToken,
    hash: SecretHash,
    entry: &AuditEntry,
) -> rusqlite::Result<()> {
    let grant = &token.grant;
    let (kind, actor) = codes::actor(entry.actor);
    let secret = grant.secret_id.map(|id| id.uuid());
    // What both say stands there once. An entry of another instant or app has a row of its own.
    let shared = entry.at == token.created_at && entry.app_id == Some(grant.app_id);
    let told = shared.then_some(entry);
    execute(
        write.connection,
        "INSERT INTO log (number, action, expires_at, at, app_id, endpoint, secret_id, hash, role_id, activate_by, born,
         actor_kind, actor_id, account_id, object, address, request_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        params![
            number,
            told.map(|entry| entry.action.code()),
            token.expires_at.millis(),
            token.created_at.millis(),
            grant.app_id.uuid(),
            grant.endpoint_id.as_str(),
            secret,
            hash.as_bytes(),
            grant.role_id.map(|id| id.uuid()),
            token.activate_by.millis(),
            write.head(),
            told.map(|_| kind),
            told.and(actor.filter(|_| kind != codes::SECRET || actor != secret)),
            told.and_then(|entry| entry.account_id).map(|id| id.uuid()),
            told.map(|entry| entry.object.as_str()).filter(|object| *object != grant.endpoint_id.as_str()),
            told.map(|entry| entry.address.as_str()),
            told.map(|entry| entry.request_id.uuid()),
        ],
    )?;
    if !shared {
        audit::insert(write, &AuditEntry { fingerprint: Some(hash.fingerprint()), ..entry.clone() })?;
    }
    Ok(())
}

/// Ends what of its endpoint's a token takes the place of that is about to be minted.
fn end_replaced(write: &Write<'_>, grant: &Grant, replaces: Replaces, at: Timestamp) -> rusqlite::Result<()> {
    let (app, endpoint) = (grant.app_id, &grant.endpoint_id);
    match replaces {
        Replaces::Nothing => Ok(()),
        Replaces::Tokens => {
            // Nobody remembers tokens, so that who always replaces has nothing else forgotten each time.
            let number = feed::write(write, None, at)?;
            endpoints::end_born_before(write, app, endpoint, number, 0)
        }
        Replaces::TokensAndSessions => {
            let change = Change::Endpoint(app, endpoint.clone());
            let number = feed::write(write, Some(&change), at)?;
            endpoints::end_born_before(write, app, endpoint, number, number)
        }
    }
}

/// Of all endpoints of an app only few are banned, and SQLite would rather look at all.
const MINT_GROUND: &str = "
    SELECT a.development_mode, r.id IS NOT NULL, s.id IS NOT NULL AND s.revoked_at IS NULL, s.expires_at,
           EXISTS (SELECT 1 FROM endpoints INDEXED BY endpoints_banned WHERE app_id = ?1 AND banned_at IS NOT NULL)
    FROM (SELECT 1)
    LEFT JOIN apps a ON a.id = ?1
    LEFT JOIN roles r ON r.app_id = ?1 AND r.id = ?2
    LEFT JOIN secrets s ON s.id = ?3 AND s.app_id = ?1";

fn mint_ground(connection: &Connection, grant: &Grant) -> rusqlite::Result<MintGround> {
    let values = params![grant.app_id.uuid(), grant.role_id.map(|id| id.uuid()), grant.secret_id.map(|id| id.uuid())];
    connection.prepare_cached(MINT_GROUND)?.query_row(values, |row| {
        let mut columns = Columns::of(row);
        Ok(MintGround {
            development_mode: columns.next()?,
            role: columns.next()?,
            secret: columns.next()?,
            secret_expires_at: columns.time_if_any()?,
            bans: columns.next()?,
        })
    })
}

/// Why nothing can be minted for `grant` at `now`, if nothing can.
fn unmintable(write: &Write<'_>, grant: &Grant, now: Timestamp) -> rusqlite::Result<Option<MintRefusal>> {
    let ground = write.grounds.of(grant, |grant| mint_ground(write.connection, grant))?;
    if let Some(lapse) = ground.lapse(grant, now) {
        return Ok(Some(MintRefusal::Lapsed(lapse)));
    }
    let ban = if ground.bans { endpoints::find_ban(write.connection, grant.app_id, &grant.endpoint_id)? } else { None };
    Ok(ban.filter(|ban| ban.until > now).map(MintRefusal::Banned))
}

/// Whether there is a token, spent ones included, or an answer to repeat. Everything that was answered is seen here.
fn redeemable(
    connection: &Connection,
    number: u64,
    hash: SecretHash,
    once: Option<&IdempotencyKey>,
) -> rusqlite::Result<bool> {
    let Ok(number) = i64::try_from(number) else { return Ok(false) };
    let sql = "SELECT 1 FROM tokens WHERE number = ?1 AND hash = ?2";
    if one(connection, sql, params![number, hash.as_bytes()], |_| Ok(()))?.is_some() {
        return Ok(true);
    }
    let Some(once) = once else { return Ok(false) };
    let sql = "SELECT 1 FROM idempotency WHERE key = ?1";
    Ok(one(connection, sql, [&once.key[..]], |_| Ok(()))?.is_some())
}

fn redeem(
    write: &Write<'_>,
    number: u64,
    hash: SecretHash,
    new: &NewSession,
    once: Option<&IdempotencyKey>,
    entry: &AuditEntry,
) -> rusqlite::Result<Redemption> {
    // Only who knows the token has its keys, and the session outlives the token: so the key comes first.
    match remembered(write, once)? {
        Remembered::Nothing => {}
        Remembered::Made(object) => return repeat(write, number_of(&object)?, new, entry.at),
        Remembered::Otherwise => return Ok(Redemption::KeyReused),
    }
    let Some((token, ground)) = find(write.connection, number)? else { return Ok(Redemption::Unknown) };
    if token.hash != hash {
        return Ok(Redemption::Unknown);
    }
    let entry = AuditEntry {
        app_id: Some(token.grant.app_id),
        object: token.grant.endpoint_id.to_string(),
        fingerprint: Some(hash.fingerprint()),
        ..entry.clone()
    };
    if let Some(lapse) = token.lapse(&ground, entry.at) {
        if lapse == Lapse::Redeemed {
            audit::insert(write, &AuditEntry { action: Action::TokenReuse, ..entry })?;
        }
        return Ok(Redemption::Refused(lapse));
    }

    // Nothing speaks against it: the token is spent.
    let session_number = write.next_session();
    let text = write.sealer.seal(SealKind::Session, session_number, new.entropy);
    execute(
        write.connection,
        "UPDATE log SET ended_at = ?2, session_number = ?3 WHERE number = ?1",
        params![number, entry.at.millis(), session_number],
    )?;
    let session = SessionRecord {
        number: session_number,
        token_number: number,
        grant: token.grant.clone(),
        hash: text.hash(),
        born: write.head(),
        created_at: entry.at,
        expires_at: token.expires_at,
        last_seen_at: entry.at,
        address: new.address.clone(),
        end: None,
    };
    sessions::insert(write, &session)?;
    let superseded = match new.supersedes {
        Some(old) if sessions::supersede(write, old, &token.grant, entry.at)? => Some(old),
        Some(_) | None => None,
    };
    remember(write, once, &session_number.to_be_bytes(), entry.at)?;
    audit::insert(write, &entry)?;
    Ok(Redemption::Opened { text, session, superseded })
}

/// Answers a redemption again that opened session `number`, unless the session is over by now.
fn repeat(write: &Write<'_>, number: u64, new: &NewSession, now: Timestamp) -> rusqlite::Result<Redemption> {
    let Some((session, ground)) = sessions::find(write.connection, number)? else {
        // It was over long enough to be removed.
        return Ok(Redemption::Refused(Lapse::Redeemed));
    };
    // The ban comes before the marks it set, as it does for a token.
    if ground.banned(now) {
        return Ok(Redemption::Refused(Lapse::Banned));
    }
    if let Some(lapse) = session.lapse(&ground, now) {
        return Ok(Redemption::Refused(lapse));
    }
    let text = write.sealer.seal(SealKind::Session, session.number, new.entropy);
    Ok(Redemption::Opened { text, session, superseded: None })
}

impl SqliteStore {
    /// Whether there is such a token, spent ones included, or an answer to repeat.
    async fn is_redeemable(
        &self,
        number: u64,
        hash: SecretHash,
        once: Option<&IdempotencyKey>,
    ) -> Result<bool, StoreError> {
        if let Some(reader) = self.readers.reader_here() {
            return self.readers.read_here(reader, |connection| redeemable(connection, number, hash, once));
        }
        let once = once.cloned();
        self.readers.scan(move |connection| redeemable(connection, number, hash, once.as_ref())).await
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn issue_token(
        &self,
        token: NewToken,
        replaces: Replaces,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Creation<MintedToken, MintRefusal>, StoreError> {
        let minted = self.minted.clone();
        let mint = move |write: &Write<'_>| issue(write, &token, replaces, once.as_ref(), &entry, &minted);
        self.writer.write_sparing_grounds(mint).await
    }

    async fn redeem(
        &self,
        number: u64,
        hash: SecretHash,
        session: NewSession,
        once: Option<IdempotencyKey>,
        entry: AuditEntry,
    ) -> Result<Redemption, StoreError> {
        // What is no token is not the writer's business; what is one, it decides.
        if !self.minted.knows(number, hash) && !self.is_redeemable(number, hash, once.as_ref()).await? {
            return Ok(Redemption::Unknown);
        }
        let redeem = move |write: &Write<'_>| redeem(write, number, hash, &session, once.as_ref(), &entry);
        self.writer.write_sparing_grounds(redeem).await
    }

    async fn token(&self, number: u64) -> Result<Option<(TokenRecord, Ground)>, StoreError> {
        self.readers.read(move |connection| find(connection, number)).await
    }

    async fn tokens(
        &self,
        app: AppId,
        filter: ListFilter,
        now: Timestamp,
        request: PageRequest<RowNumber>,
    ) -> Result<Page<TokenRecord, RowNumber>, StoreError> {
        let begin = self.tokens_begin.load(Ordering::Relaxed);
        let condition = self.condition.clone();
        self.readers
            .search(move |connection| {
                gather(connection, "tokens", begin, &request, |from, to, wanted| {
                    all(
                        connection,
                        OUTSTANDING,
                        params![
                            from,
                            to,
                            app.uuid(),
                            filter.endpoint_id.as_ref().map(EndpointId::as_str),
                            filter.role_id.map(|id| id.uuid()),
                            now.millis(),
                            wanted,
                            filter.secret_id.map(|id| id.uuid()),
                        ],
                        |row| {
                            let Some((token, ground)) = condition.of_list(read(row))? else {
                                return Ok((row.get(0)?, None));
                            };
                            Ok((token.number, token.lapse(&ground, now).is_none().then_some(token)))
                        },
                    )
                })
            })
            .await
    }

    async fn revoke_token(&self, app: AppId, number: u64, entry: AuditEntry) -> Result<Ending, StoreError> {
        self.writer
            .write(move |write| {
                let sql = "UPDATE log SET ended_at = ?3
                           WHERE number = ?1 AND app_id = ?2 AND expires_at IS NOT NULL AND ended_at IS NULL";
                if execute(write.connection, sql, params![number, app.uuid(), entry.at.millis()])? == 0 {
                    let sql = "SELECT 1 FROM tokens WHERE number = ?1 AND app_id = ?2";
                    let kept = one(write.connection, sql, params![number, app.uuid()], |_| Ok(()))?.is_some();
                    return Ok(if kept { Ending::Over } else { Ending::Unknown });
                }
                feed::write(write, None, entry.at)?;
                audit::insert(write, &entry)?;
                Ok(Ending::Ended)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::app::Revocation;
    use respoke_core::ports::{BanRecord, EndpointStore, RoleStore, SecretStore};

    use super::*;
    use crate::contract::fixture::{NOW, World, endpoint, entry, key, new_session, opened};
    use crate::sqlite::Options;
    use crate::sqlite::writer::tests::in_one_batch;

    #[test]
    fn no_mint_looks_at_all_endpoints_of_its_app() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::schema::migrate(&mut connection).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {MINT_GROUND}")).unwrap();
        let steps = plan.query_map(params![[0_u8; 16], [0_u8; 16], [0_u8; 16]], |row| row.get::<_, String>("detail"));
        let steps: Vec<_> = steps.unwrap().map(Result::unwrap).collect();
        let of_endpoints: Vec<_> = steps.iter().filter(|step| step.contains("endpoints")).collect();
        assert_eq!(of_endpoints, ["SEARCH endpoints USING INDEX endpoints_banned (app_id=?)"], "{steps:?}");
    }

    /// Runs `change` between two mints of one batch, and returns what came of these.
    async fn mint_around<C: Future>(
        change: impl FnOnce(Arc<SqliteStore>, World) -> C,
    ) -> [Creation<MintedToken, MintRefusal>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap());
        let world = World::new(store.clone()).await;
        let mint =
            || store.issue_token(world.token_for("alice", NOW), Replaces::Nothing, None, entry(Action::TokenIssued));
        let change = change(store.clone(), world.clone());
        let (first, _, second) = in_one_batch(&store, async { tokio::join!(mint(), change, mint()) }).await;
        [first.unwrap(), second.unwrap()]
    }

    #[tokio::test]
    async fn what_a_mint_of_a_batch_found_is_looked_up_again_after_a_change() {
        let mints = mint_around(|_, _| async {}).await;
        assert!(matches!(mints, [Creation::Created(_), Creation::Created(_)]), "{mints:?}");
        let mints = mint_around(|store, world| async move {
            store.delete_role(world.app, world.role, entry(Action::RoleDeleted)).await.unwrap()
        });
        let mints = mints.await;
        assert!(
            matches!(mints, [Creation::Created(_), Creation::Refused(MintRefusal::Lapsed(Lapse::RoleDeleted))]),
            "{mints:?}"
        );
        let mints = mint_around(|store, world| async move {
            store
                .revoke_secret(world.app, world.secret, Revocation::SparesMinted, entry(Action::SecretRevoked))
                .await
                .unwrap()
        });
        let mints = mints.await;
        assert!(
            matches!(mints, [Creation::Created(_), Creation::Refused(MintRefusal::Lapsed(Lapse::SecretRevoked))]),
            "{mints:?}"
        );
        let mints = mint_around(|store, world| async move {
            let (until, reason) = (BanRecord::FOREVER, String::new());
            let ban = BanRecord { endpoint_id: endpoint("alice"), reason, banned_at: NOW, until };
            store.ban(world.app, ban, entry(Action::EndpointBanned)).await.unwrap()
        });
        let mints = mints.await;
        assert!(matches!(mints, [Creation::Created(_), Creation::Refused(MintRefusal::Banned(_))]), "{mints:?}");
    }

    #[tokio::test]
    async fn what_is_no_token_costs_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("respoked.db"), Options::default()).unwrap());
        let world = World::new(store.clone()).await;
        let (token, other) = (world.mint("alice").await, world.mint("alice").await);
        let before = store.figures().operations;
        for (number, hash, once) in [
            (token.number, other.text.hash(), None),
            (other.number + 1, other.text.hash(), Some(key("new", ""))),
            (u64::MAX, token.text.hash(), None),
        ] {
            let answer = store.redeem(number, hash, new_session(), once, entry(Action::TokenRedeemed)).await.unwrap();
            assert!(matches!(answer, Redemption::Unknown));
        }
        assert_eq!(store.figures().operations, before);
        opened(world.redeem(&token).await);
    }
}
