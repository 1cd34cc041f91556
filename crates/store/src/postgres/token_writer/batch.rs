//! A batch as one transaction: it is begun and what it stands on is read in one round trip, and what is decided is written in one
//! more, by one statement for each kind of row.
//!
//! Invariant: what takes something away (a token that is spent, a session that is superseded) is written by a statement that looks
//! once more whether it is there to be taken, and counts. Another handle that was quicker makes the batch run again.

use std::collections::{BTreeSet, HashMap, HashSet};

use respoke_core::grant::Ground;
use respoke_core::id::{AppId, EndpointId};
use respoke_core::ports::{BanRecord, EndRequest, EndScope};
use respoke_core::seal::Sealer;
use respoke_core::session::{SessionEndCause, SessionRecord};
use respoke_core::token::{Replaces, TokenRecord};
use uuid::Uuid;

use super::draft::{Draft, Found, FoundToken, Made, MintKey, decide, mint_key};
use super::known::{Grounds, KnownGrounds, Moment};
use super::operation::{Mint, Operation, Outcome, Redeem};
use super::statements::{INSERT_SESSIONS, INSERT_TOKENS, KEPT, NUMBERS, SHARE, SPEND};
use crate::codes;
use crate::mint_grounds::MintGround;
use crate::postgres::connect::{Connection, params};
use crate::postgres::deeds::{Deed, Redeemed};
use crate::postgres::failure::Failure;
use crate::postgres::rows::{all, mint_lock, number_of, only, stored};
use crate::postgres::tries::Undone;
use crate::postgres::writer::{Drafted, End, committed};
use crate::postgres::{audit_rows, endpoint_rows, feed_rows, session_rows, token_rows};

/// Runs a batch and returns what came of each operation; none of those in apps of which somebody keeps mints waiting.
pub(super) async fn run(
    connection: &Connection,
    sealer: &Sealer,
    known: &KnownGrounds,
    end: End<'_>,
    operations: &[&Operation],
) -> Result<Vec<Option<Outcome>>, Undone> {
    let drafting = Box::pin(async {
        let (free, looked) = if changes_anything(operations) {
            let free = begin(connection, operations).await?;
            let run: Vec<_> = operations.iter().filter(|operation| free.has(operation)).copied().collect();
            lock(connection, &run).await?;
            (free, look(connection, &run).await?)
        } else {
            // Sent one behind the other. What is read for those that will have to wait is left alone.
            let (free, looked) = tokio::join!(biased; begin(connection, operations), look(connection, operations));
            (free?, looked?)
        };
        connection.keep(KEPT).await?;
        let operations: Vec<_> = operations.iter().map(|operation| free.has(operation).then_some(*operation)).collect();
        let run: Vec<_> = operations.iter().flatten().copied().collect();
        let found = read(connection, known, looked, &run).await?;
        let (outcomes, draft) = decide(found, sealer, &run)?;
        Box::pin(write(connection, &draft)).await?;
        let mut outcomes = outcomes.into_iter();
        let outcomes = operations.iter().map(|operation| operation.and_then(|_| outcomes.next())).collect();
        Ok((outcomes, if draft.is_empty() { Drafted::Nothing } else { Drafted::Rows(run.len()) }))
    });
    committed(connection, end, drafting).await
}

fn mints<'a>(operations: &[&'a Operation]) -> impl Iterator<Item = &'a Mint> {
    operations.iter().filter_map(|operation| match operation {
        Operation::Mint(mint) => Some(mint),
        Operation::Redeem(_) | Operation::Touch(_) => None,
    })
}

fn redeems<'a>(operations: &[&'a Operation]) -> impl Iterator<Item = &'a Redeem> {
    operations.iter().filter_map(|operation| match operation {
        Operation::Redeem(redeem) => Some(redeem),
        Operation::Mint(_) | Operation::Touch(_) => None,
    })
}

/// Apps that are minted in, by their locks.
struct Free(HashSet<i64>);

impl Free {
    fn has(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Mint(mint) => self.0.contains(&mint_lock(mint.token.grant.app_id)),
            Operation::Redeem(_) | Operation::Touch(_) => true,
        }
    }
}

/// Begins the transaction and takes the locks of the apps that are minted in. Whoever has one of them alone, or waits for that,
/// is not waited for: the others of a batch would wait as well.
async fn begin(connection: &Connection, operations: &[&Operation]) -> Result<Free, Failure> {
    let apps = mints(operations).map(|mint| mint_lock(mint.token.grant.app_id)).collect();
    // Sent one behind the other.
    let (begun, free) = tokio::join!(biased; connection.begin(""), share(connection, apps));
    begun?;
    free
}

/// Shares the locks of apps, as far as nobody has them alone or waits for that.
async fn share(connection: &Connection, apps: BTreeSet<i64>) -> Result<Free, Failure> {
    if apps.is_empty() {
        return Ok(Free(HashSet::new()));
    }
    Ok(Free(all(connection, SHARE, params![Vec::from_iter(apps)], only::<i64>).await?.into_iter().collect()))
}

/// Whether it takes anything away besides the tokens that are redeemed.
fn changes_anything(operations: &[&Operation]) -> bool {
    mints(operations).any(|mint| mint.replaces != Replaces::Nothing)
        || redeems(operations).any(|redeem| redeem.session.supersedes.is_some())
}

/// Locks all rows that a batch with changes may change, and the feed, before anything is read.
async fn lock(connection: &Connection, operations: &[&Operation]) -> Result<(), Failure> {
    let replaced: Vec<_> =
        mints(operations).filter(|mint| mint.replaces != Replaces::Nothing).map(|mint| &mint.token.grant).collect();
    let superseded: Vec<_> = redeems(operations).filter_map(|redeem| redeem.session.supersedes).map(stored).collect();
    if replaced.is_empty() && superseded.is_empty() {
        return Ok(());
    }
    let apps: Vec<_> = replaced.iter().map(|grant| grant.app_id.uuid()).collect();
    let names: Vec<_> = replaced.iter().map(|grant| grant.endpoint_id.as_str()).collect();
    endpoint_rows::lock(connection, &apps, &names).await?;
    let spent: Vec<_> = redeems(operations).map(|redeem| stored(redeem.number)).collect();
    let sql = "SELECT 1 FROM respoked.log WHERE number = ANY($1) ORDER BY number FOR NO KEY UPDATE";
    connection.query(sql, params![spent]).await?;
    let sql = "SELECT 1 FROM respoked.sessions WHERE number = ANY($1) ORDER BY number FOR NO KEY UPDATE";
    connection.query(sql, params![superseded]).await?;
    connection.query("SELECT 1 FROM respoked.feed FOR NO KEY UPDATE", &[]).await.map(drop)
}

/// What is read of any batch.
struct Looked {
    /// None without mints.
    moment: Option<Moment>,
    numbers: Vec<u64>,
    tokens: HashMap<u64, FoundToken>,
    keys: HashMap<[u8; 32], ([u8; 32], Made)>,
}

async fn look(connection: &Connection, operations: &[&Operation]) -> Result<Looked, Failure> {
    let (numbers, tokens, keys) = tokio::join!(
        biased;
        numbers(connection, operations),
        tokens_found(connection, operations),
        keys(connection, operations),
    );
    let (moment, numbers) = numbers?;
    Ok(Looked { moment, numbers, tokens: tokens?, keys: keys? })
}

/// Reads the rest of what the operations stand on.
async fn read(
    connection: &Connection,
    known: &KnownGrounds,
    Looked { moment, numbers, tokens, keys }: Looked,
    operations: &[&Operation],
) -> Result<Found, Failure> {
    let kinds: HashSet<MintKey> = mints(operations).map(|mint| mint_key(&mint.token.grant)).collect();
    // A database that goes on elsewhere may come to the same moment again, if nobody notices.
    let moment = moment.filter(|_| connection.notices_promotions());
    let grounds = match moment.and_then(|moment| known.of(moment, &kinds)) {
        Some(grounds) => grounds,
        None if kinds.is_empty() => Grounds::new(),
        None => {
            let (moment, grounds) = grounds(connection, kinds).await?;
            known.keep(moment, &grounds);
            grounds
        }
    };
    let banned = grounds.values().any(|(_, ground)| ground.bans);
    let mut found = Found { grounds, numbers: numbers.into(), tokens, keys, ..Found::default() };
    if banned {
        found.bans = bans(connection, operations).await?;
    }
    let made_by = |once: &respoke_core::idempotency::IdempotencyKey| match found.keys.get(&once.key) {
        Some((_, Made::Before(object))) => number_of(object).ok(),
        Some((_, Made::Token(_) | Made::Session(_))) | None => None,
    };
    let minted: HashSet<u64> = mints(operations).filter_map(|mint| mint.once.as_ref()).filter_map(made_by).collect();
    let opened = redeems(operations).filter_map(|redeem| redeem.once.as_ref()).filter_map(made_by);
    let opened: HashSet<u64> =
        opened.chain(redeems(operations).filter_map(|redeem| redeem.session.supersedes)).collect();
    if !minted.is_empty() {
        found.repeated = repeated(connection, minted).await?;
    }
    if !opened.is_empty() {
        found.sessions = sessions_found(connection, opened).await?;
    }
    Ok(found)
}

/// What mints of these kinds stand on, and the moment of that.
async fn grounds(connection: &Connection, kinds: HashSet<MintKey>) -> Result<(Option<Moment>, Grounds), Failure> {
    const SQL: &str = "
        SELECT k.nth, f.epoch, f.head, a.development_mode, r.id IS NOT NULL, s.id IS NOT NULL AND s.revoked_at IS NULL,
               s.expires_at, EXISTS (SELECT 1 FROM respoked.endpoints e WHERE e.app_id = k.app AND e.banned_at IS NOT NULL)
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY k (app, role, secret, nth)
        CROSS JOIN respoked.feed f
        LEFT JOIN respoked.apps a ON a.id = k.app
        LEFT JOIN respoked.roles r ON r.app_id = k.app AND r.id = k.role
        LEFT JOIN respoked.secrets s ON s.id = k.secret AND s.app_id = k.app";
    let kinds: Vec<MintKey> = kinds.into_iter().collect();
    let apps: Vec<Uuid> = kinds.iter().map(|kind| kind.0.uuid()).collect();
    let roles: Vec<Option<Uuid>> = kinds.iter().map(|kind| kind.1.map(|id| id.uuid())).collect();
    let secrets: Vec<Option<Uuid>> = kinds.iter().map(|kind| kind.2.map(|id| id.uuid())).collect();
    let rows = all(connection, SQL, params![apps, roles, secrets], |columns| {
        let nth = usize::try_from(columns.number()?).unwrap_or(0);
        let kind = *kinds.get(nth.wrapping_sub(1)).ok_or(Failure::Row("a row was numbered that was not asked for"))?;
        let moment = Moment { epoch: columns.next()?, head: columns.number()? };
        let ground = MintGround {
            development_mode: columns.next()?,
            role: columns.next()?,
            secret: columns.next()?,
            secret_expires_at: columns.time_if_any()?,
            bans: columns.next()?,
        };
        Ok((moment, (kind, (moment.head, ground))))
    })
    .await?;
    let moment = rows.first().map(|(moment, _)| *moment);
    Ok((moment, rows.into_iter().map(|(_, ground)| ground).collect()))
}

/// As many numbers of the log as tokens may be minted, and the feed's moment.
async fn numbers(connection: &Connection, operations: &[&Operation]) -> Result<(Option<Moment>, Vec<u64>), Failure> {
    let count = mints(operations).count();
    if count == 0 {
        return Ok((None, Vec::new()));
    }
    let rows = all(connection, NUMBERS, params![i64::try_from(count).unwrap_or(i64::MAX)], |columns| {
        Ok((Moment { epoch: columns.next()?, head: columns.number()? }, columns.number()?))
    })
    .await?;
    let moment = rows.first().map(|(moment, _)| *moment);
    Ok((moment, rows.into_iter().map(|(_, number)| number).collect()))
}

async fn tokens_found(connection: &Connection, operations: &[&Operation]) -> Result<HashMap<u64, FoundToken>, Failure> {
    // A number carried by made-up token text can exceed what a row can have.
    let numbers: BTreeSet<i64> = redeems(operations).filter_map(|redeem| i64::try_from(redeem.number).ok()).collect();
    if numbers.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = all(connection, token_rows::THESE_TO_REDEEM, params![Vec::from_iter(numbers)], |columns| {
        let (head, session_number) = (columns.number()?, columns.number()?);
        let (token, ground) = token_rows::read(columns)?;
        Ok((token.number, FoundToken { head, session_number, token, ground }))
    })
    .await?;
    Ok(rows.into_iter().collect())
}

async fn keys(
    connection: &Connection,
    operations: &[&Operation],
) -> Result<HashMap<[u8; 32], ([u8; 32], Made)>, Failure> {
    let of_mints = mints(operations).filter_map(|mint| mint.once.as_ref());
    let of_redeems = redeems(operations).filter_map(|redeem| redeem.once.as_ref());
    let keys: Vec<&[u8]> = of_mints.chain(of_redeems).map(|once| &once.key[..]).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT key, request, object FROM respoked.idempotency WHERE key = ANY($1)";
    let rows = all(connection, sql, params![keys], |columns| {
        let key = columns.bytes()?;
        Ok((key, (columns.bytes()?, Made::Before(columns.next::<&[u8]>()?.to_vec()))))
    })
    .await?;
    Ok(rows.into_iter().collect())
}

async fn bans(
    connection: &Connection,
    operations: &[&Operation],
) -> Result<HashMap<(AppId, EndpointId), BanRecord>, Failure> {
    const SQL: &str = "
        SELECT e.app_id, e.endpoint, e.ban_reason, e.banned_at, e.banned_until
        FROM (SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[]) n (app, endpoint)) m
        JOIN respoked.endpoints e ON e.app_id = m.app AND e.endpoint = m.endpoint WHERE e.banned_at IS NOT NULL";
    let apps: Vec<_> = mints(operations).map(|mint| mint.token.grant.app_id.uuid()).collect();
    let names: Vec<_> = mints(operations).map(|mint| mint.token.grant.endpoint_id.as_str()).collect();
    let rows = all(connection, SQL, params![apps, names], |columns| {
        let app = columns.uuid_as(AppId::from_uuid)?;
        let ban = endpoint_rows::read(columns)?;
        Ok(((app, ban.endpoint_id.clone()), ban))
    })
    .await?;
    Ok(rows.into_iter().collect())
}

async fn repeated(connection: &Connection, numbers: HashSet<u64>) -> Result<HashMap<u64, TokenRecord>, Failure> {
    let numbers: Vec<i64> = numbers.into_iter().map(stored).collect();
    let rows = all(connection, token_rows::THESE, params![numbers], |columns| {
        let (token, _) = token_rows::read(columns)?;
        Ok((token.number, token))
    })
    .await?;
    Ok(rows.into_iter().collect())
}

async fn sessions_found(
    connection: &Connection,
    numbers: HashSet<u64>,
) -> Result<HashMap<u64, (SessionRecord, Ground)>, Failure> {
    let numbers: Vec<i64> = numbers.into_iter().map(stored).collect();
    let rows = all(connection, session_rows::THESE, params![numbers], |columns| {
        let found = session_rows::read(columns)?;
        Ok((found.0.number, found))
    })
    .await?;
    Ok(rows.into_iter().collect())
}

/// Writes what was decided. The statements are sent one behind the other without waiting for answers.
async fn write(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    let (tokens, spent, sessions, superseded, touched, marks, keys, audited, told) = tokio::join!(
        biased;
        write_tokens(connection, draft),
        spend(connection, draft),
        write_sessions(connection, draft),
        supersede(connection, draft),
        touch(connection, draft),
        mark(connection, draft),
        write_keys(connection, draft),
        audit_rows::insert_all(connection, &draft.audit),
        tell(connection, draft),
    );
    note(connection, draft);
    // The first that failed says why; those behind it, that it did.
    tokens.and(spent).and(sessions).and(superseded).and(touched).and(marks).and(keys).and(audited).and(told)
}

/// Notes what is taken away, and the numbers that others get to know.
fn note(connection: &Connection, draft: &Draft<'_>) {
    let newest = |number: Option<u64>| number.unwrap_or(0);
    let sessions = draft.sessions.iter().map(|session| session.number).max();
    connection.note_given(newest(draft.tokens.last().map(|row| row.number)), newest(sessions));
    connection.redeems(draft.spent.iter().map(|spent| Redeemed {
        number: stored(spent.number),
        session: stored(spent.session),
        at: spent.at.millis(),
    }));
    for (session, at) in &draft.superseded {
        let (number, at, cause) = (stored(*session), *at, SessionEndCause::Superseded);
        connection.takes_away(Deed::SessionEnded { number, at, cause });
    }
    let Some((_, at)) = draft.changes.last() else { return };
    // Of marks that end tokens alone there is nothing to keep: those that were not redeemed are spent after a promotion.
    for ((app, endpoint), _) in draft.marks.iter().filter(|(_, (_, sessions))| *sessions > 0) {
        let scope = EndScope::Endpoint(endpoint.clone());
        let request = EndRequest { app_id: *app, scope, issued_before: None, tokens_too: true };
        connection.takes_away(Deed::Ended { request, at: *at });
    }
}

async fn write_tokens(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    if draft.tokens.is_empty() {
        return Ok(());
    }
    let rows = || draft.tokens.iter();
    let grants = || rows().map(|row| &row.token.grant);
    let told = || rows().map(|row| row.told);
    let actor = |row: &super::draft::TokenRow<'_>| {
        let (kind, actor) = codes::actor(row.told?.actor);
        // None of a token's own secret.
        actor.filter(|_| kind != codes::SECRET || actor != row.token.grant.secret_id.map(|id| id.uuid()))
    };
    let object = |row: &super::draft::TokenRow<'_>| {
        let object = row.told.map(|entry| entry.object.clone());
        object.filter(|object| *object != row.token.grant.endpoint_id.as_str())
    };
    let written = connection
        .execute(
            INSERT_TOKENS,
            params![
                rows().map(|row| stored(row.number)).collect::<Vec<_>>(),
                told().map(|entry| entry.map(|entry| entry.action.code())).collect::<Vec<_>>(),
                rows().map(|row| row.token.expires_at.millis()).collect::<Vec<_>>(),
                rows().map(|row| row.token.created_at.millis()).collect::<Vec<_>>(),
                grants().map(|grant| grant.app_id.uuid()).collect::<Vec<_>>(),
                grants().map(|grant| grant.endpoint_id.as_str()).collect::<Vec<_>>(),
                grants().map(|grant| grant.secret_id.map(|id| id.uuid())).collect::<Vec<_>>(),
                rows().map(|row| &row.hash.as_bytes()[..]).collect::<Vec<_>>(),
                grants().map(|grant| grant.role_id.map(|id| id.uuid())).collect::<Vec<_>>(),
                rows().map(|row| row.token.activate_by.millis()).collect::<Vec<_>>(),
                rows().map(|row| stored(row.born)).collect::<Vec<_>>(),
                told().map(|entry| entry.map(|entry| codes::actor(entry.actor).0)).collect::<Vec<_>>(),
                rows().map(actor).collect::<Vec<_>>(),
                told().map(|entry| entry.and_then(|entry| entry.account_id).map(|id| id.uuid())).collect::<Vec<_>>(),
                rows().map(object).collect::<Vec<_>>(),
                told().map(|entry| entry.map(|entry| entry.address.as_str())).collect::<Vec<_>>(),
                told().map(|entry| entry.map(|entry| entry.request_id.uuid())).collect::<Vec<_>>(),
            ],
        )
        .await;
    written.map(drop)
}

async fn spend(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    if draft.spent.is_empty() {
        return Ok(());
    }
    let rows = || draft.spent.iter();
    let numbers: Vec<_> = rows().map(|spent| stored(spent.number)).collect();
    let times: Vec<_> = rows().map(|spent| spent.at.millis()).collect();
    let sessions: Vec<_> = rows().map(|spent| stored(spent.session)).collect();
    all_of(draft.spent.len(), connection.execute(SPEND, params![numbers, times, sessions]).await?)
}

/// Fails if something was not there any more to be taken.
fn all_of(decided: usize, taken: u64) -> Result<(), Failure> {
    if taken == decided as u64 { Ok(()) } else { Err(Failure::Again("another handle was quicker".into())) }
}

async fn write_sessions(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    if draft.sessions.is_empty() {
        return Ok(());
    }
    let rows = || draft.sessions.iter();
    let written = connection
        .execute(
            INSERT_SESSIONS,
            params![
                rows().map(|session| stored(session.number)).collect::<Vec<_>>(),
                rows().map(|session| stored(session.token_number)).collect::<Vec<_>>(),
                rows().map(|session| session.grant.app_id.uuid()).collect::<Vec<_>>(),
                rows().map(|session| session.grant.endpoint_id.as_str()).collect::<Vec<_>>(),
                rows().map(|session| session.grant.role_id.map(|id| id.uuid())).collect::<Vec<_>>(),
                rows().map(|session| session.grant.secret_id.map(|id| id.uuid())).collect::<Vec<_>>(),
                rows().map(|session| &session.hash.as_bytes()[..]).collect::<Vec<_>>(),
                rows().map(|session| stored(session.born)).collect::<Vec<_>>(),
                rows().map(|session| session.created_at.millis()).collect::<Vec<_>>(),
                rows().map(|session| session.expires_at.millis()).collect::<Vec<_>>(),
                rows().map(|session| session.last_seen_at.millis()).collect::<Vec<_>>(),
                rows().map(|session| session.address.as_str()).collect::<Vec<_>>(),
            ],
        )
        .await;
    written.map(drop)
}

async fn supersede(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SQL: &str = "
        UPDATE respoked.sessions s SET ended_at = n.at, ended_as = 3
        FROM unnest($1::bigint[], $2::bigint[]) n (number, at) WHERE s.number = n.number AND s.ended_at IS NULL";
    if draft.superseded.is_empty() {
        return Ok(());
    }
    let numbers: Vec<_> = draft.superseded.iter().map(|(number, _)| stored(*number)).collect();
    let times: Vec<_> = draft.superseded.iter().map(|(_, at)| at.millis()).collect();
    all_of(draft.superseded.len(), connection.execute(SQL, params![numbers, times]).await?)
}

/// Notes what was used, unless another has its row: whoever ends it waits for the feed then, which a batch with changes has.
async fn touch(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SESSIONS: &str = "
        UPDATE respoked.sessions s SET last_seen_at = n.at, address = CASE n.address WHEN '' THEN s.address ELSE n.address END
        FROM (SELECT n.* FROM unnest($1::bigint[], $2::bigint[], $3::text[]) n (number, at, address)
              JOIN respoked.sessions t ON t.number = n.number FOR NO KEY UPDATE OF t SKIP LOCKED) n
        WHERE s.number = n.number";
    const SECRETS: &str = "
        UPDATE respoked.secrets s SET last_used_at = n.at
        FROM (SELECT n.* FROM unnest($1::uuid[], $2::bigint[]) n (id, at)
              JOIN respoked.secrets t ON t.id = n.id FOR NO KEY UPDATE OF t SKIP LOCKED) n WHERE s.id = n.id";
    if !draft.touched_secrets.is_empty() {
        let ids: Vec<Uuid> = draft.touched_secrets.keys().copied().collect();
        let times: Vec<_> = draft.touched_secrets.values().map(|at| at.millis()).collect();
        connection.execute(SECRETS, params![ids, times]).await?;
    }
    if !draft.touched_sessions.is_empty() {
        let numbers: Vec<_> = draft.touched_sessions.keys().map(|number| stored(*number)).collect();
        let times: Vec<_> = draft.touched_sessions.values().map(|(at, _)| at.millis()).collect();
        let addresses: Vec<_> = draft.touched_sessions.values().map(|(_, address)| *address).collect();
        connection.execute(SESSIONS, params![numbers, times, addresses]).await?;
    }
    Ok(())
}

async fn mark(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SQL: &str = "
        UPDATE respoked.endpoints e SET tokens_from = greatest(e.tokens_from, n.tokens),
                                        sessions_from = greatest(e.sessions_from, n.sessions)
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) n (app, endpoint, tokens, sessions)
        WHERE e.app_id = n.app AND e.endpoint = n.endpoint";
    if draft.marks.is_empty() {
        return Ok(());
    }
    let apps: Vec<_> = draft.marks.keys().map(|(app, _)| app.uuid()).collect();
    let names: Vec<_> = draft.marks.keys().map(|(_, endpoint)| endpoint.as_str()).collect();
    let tokens: Vec<_> = draft.marks.values().map(|(tokens, _)| stored(*tokens)).collect();
    let sessions: Vec<_> = draft.marks.values().map(|(_, sessions)| stored(*sessions)).collect();
    connection.execute(SQL, params![apps, names, tokens, sessions]).await.map(drop)
}

async fn write_keys(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SQL: &str = "
        INSERT INTO respoked.idempotency (key, request, object, at)
        SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[]) n (key, request, object, at) ORDER BY key";
    if draft.keys.is_empty() {
        return Ok(());
    }
    let keys: Vec<&[u8]> = draft.keys.iter().map(|(once, ..)| &once.key[..]).collect();
    let requests: Vec<&[u8]> = draft.keys.iter().map(|(once, ..)| &once.request[..]).collect();
    let objects: Vec<[u8; 8]> = draft.keys.iter().map(|(_, number, _)| number.to_be_bytes()).collect();
    let objects: Vec<&[u8]> = objects.iter().map(|object| &object[..]).collect();
    let times: Vec<_> = draft.keys.iter().map(|(_, _, at)| at.millis()).collect();
    connection.execute(SQL, params![keys, requests, objects, times]).await.map(drop)
}

/// Writes the changes.
async fn tell(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    if draft.changes.is_empty() {
        return Ok(());
    }
    feed_rows::write_all(connection, &draft.changes).await.map(drop)
}
