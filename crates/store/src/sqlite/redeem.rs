//! Redeeming a token: it is spent, and its session opened, in one step.

use respoke_core::audit::{Action, AuditEntry};
use respoke_core::clock::Timestamp;
use respoke_core::grant::Lapse;
use respoke_core::idempotency::IdempotencyKey;
use respoke_core::ports::{NewSession, Redemption};
use respoke_core::seal::SealKind;
use respoke_core::secret::SecretHash;
use respoke_core::session::SessionRecord;
use rusqlite::{Connection, params};

use super::idempotency::{Remembered, number_of, remember, remembered};
use super::rows::{execute, one};
use super::token_rows::find;
use super::writer::Write;
use super::{audit, sessions};

/// Whether there is a token, spent ones included, or an answer to repeat. Everything that was answered is seen here.
pub(super) fn redeemable(
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

/// Spends a token and opens its session, or answers again what was opened before.
pub(super) fn redeem(
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::ports::TokenStore;

    use super::*;
    use crate::contract::fixture::{World, entry, key, new_session, opened};
    use crate::sqlite::{Options, SqliteStore};

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
