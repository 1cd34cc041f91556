//! Minting a token: one row, with what the log tells of it.

use respoke_core::audit::AuditEntry;
use respoke_core::clock::Timestamp;
use respoke_core::grant::Grant;
use respoke_core::idempotency::{Creation, IdempotencyKey};
use respoke_core::ports::{Change, MintRefusal};
use respoke_core::seal::SealKind;
use respoke_core::secret::SecretHash;
use respoke_core::token::{MintedToken, NewToken, Replaces};
use rusqlite::{Connection, params};

use super::idempotency::{Remembered, number_of, remember, remembered};
use super::rows::{Columns, execute};
use super::token_rows::find;
use super::writer::Write;
use super::{audit, endpoints, feed};
use crate::codes;
use crate::mint_grounds::MintGround;
use crate::minted::Minted;

/// Mints a token, unless what it is to stand on is gone.
pub(super) fn issue(
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

/// Ends what a token that is about to be minted replaces of what its endpoint has.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::app::Revocation;
    use respoke_core::audit::Action;
    use respoke_core::grant::Lapse;
    use respoke_core::ports::{BanRecord, EndpointStore, RoleStore, SecretStore, TokenStore};

    use super::*;
    use crate::contract::fixture::{NOW, World, endpoint, entry};
    use crate::sqlite::writer::tests::in_one_batch;
    use crate::sqlite::{Options, SqliteStore, schema};

    #[test]
    fn no_mint_looks_at_all_endpoints_of_its_app() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
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
}
