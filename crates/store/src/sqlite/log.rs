//! The log: what was done, and the tokens. A mint's row is both, and each part goes in its own time.
//!
//! Invariant: a row's number is never given again, for it is a token's: the newest row stays, if need be with nothing in it.

use respoke_core::audit::Action;
use rusqlite::Connection;

use super::rows::execute;

/// The number of the newest row.
pub(super) fn last_row(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(number), 0) FROM log")?.query_row([], |row| row.get(0))
}

/// Removes a token. What the log tells of its minting stays, and with it what that shares with the token.
pub(super) fn remove_token(connection: &Connection, number: u64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM log WHERE number = ?1 AND action IS NULL AND number < (SELECT max(number) FROM log)";
    if execute(connection, sql, [number])? > 0 {
        return Ok(1);
    }
    let sql =
        "UPDATE log SET expires_at = NULL, hash = substr(hash, 1, 6), role_id = NULL, activate_by = NULL, born = NULL,
               ended_at = NULL, session_number = NULL WHERE number = ?1 AND expires_at IS NOT NULL";
    execute(connection, sql, [number])
}

/// Takes what was done out of rows.
macro_rules! forget_entry {
    ($which:literal) => {
        concat!(
            "UPDATE log SET action = NULL, actor_kind = NULL, actor_id = NULL, account_id = NULL, object = NULL, \
             address = NULL, request_id = NULL, fingerprint = NULL WHERE ",
            $which
        )
    };
}

/// Removes an entry of the audit log. A token in the same row stays.
pub(super) fn remove_entry(connection: &Connection, number: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM log WHERE number = ?1 AND expires_at IS NULL AND number < (SELECT max(number) FROM log)";
    match execute(connection, sql, [number])? {
        0 => execute(connection, forget_entry!("number = ?1 AND action IS NOT NULL"), [number]),
        gone => Ok(gone),
    }
}

/// Removes the entries of everyday actions numbered behind `after`, up to `last`.
pub(super) fn remove_everyday(connection: &Connection, after: i64, last: i64) -> rusqlite::Result<usize> {
    let everyday = Action::ALL.iter().filter(|action| action.everyday()).map(|action| action.code().to_string());
    let everyday = everyday.collect::<Vec<_>>().join(", ");
    let remove = format!(
        "DELETE FROM log WHERE number > ?1 AND number <= ?2 AND expires_at IS NULL AND action IN ({everyday})
         AND number < (SELECT max(number) FROM log)"
    );
    let forget = format!(forget_entry!("number > ?1 AND number <= ?2 AND action IN ({everyday})"), everyday = everyday);
    Ok(execute(connection, &remove, [after, last])? + execute(connection, &forget, [after, last])?)
}

/// Removes the oldest row if both parts of it went while it was the newest.
pub(super) fn remove_empty(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "DELETE FROM log WHERE number = (SELECT min(number) FROM log) AND action IS NULL AND expires_at IS NULL
               AND number < (SELECT max(number) FROM log)";
    execute(connection, sql, []).map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::audit::{Actor, AuditEntry};
    use respoke_core::grant::Lapse;
    use respoke_core::id::AdminId;
    use respoke_core::idempotency::Creation;
    use respoke_core::page::PageRequest;
    use respoke_core::ports::{
        AuditQuery, AuditStore as _, ChangeStore as _, ListFilter, MaintenanceStore as _, SessionFilter,
        SessionStore as _, Store, TokenStore as _, Upkeep,
    };
    use respoke_core::token::{MintedToken, Replaces};

    use super::*;
    use crate::contract::fixture::{NOW, World, endpoint, entry, key, opened, refused};
    use crate::contract::upkeep_cases::{upkeep_at, whole_pass};
    use crate::sqlite::{Options, SqliteStore};

    struct Fixture {
        _folder: tempfile::TempDir,
        store: Arc<SqliteStore>,
        world: World,
    }

    async fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("some.db"), Options::default()).unwrap());
        let world = World::new(store.clone() as Arc<dyn Store>).await;
        Fixture { _folder: folder, store, world }
    }

    impl Fixture {
        /// Mints as a backend does.
        async fn mint(&self, entry: AuditEntry) -> MintedToken {
            let token = self.world.token_for("alice", NOW);
            match self.store.issue_token(token, Replaces::Nothing, None, entry).await.unwrap() {
                Creation::Created(minted) => minted,
                other => panic!("{other:?}"),
            }
        }

        fn usual(&self) -> AuditEntry {
            AuditEntry {
                app_id: Some(self.world.app),
                actor: Actor::Secret(self.world.secret),
                object: "alice".to_owned(),
                ..entry(Action::TokenIssued)
            }
        }

        async fn told(&self) -> Vec<String> {
            let query = AuditQuery {
                account_id: self.world.account,
                app_id: None,
                action: Some(Action::TokenIssued),
                object: None,
                request_id: None,
            };
            let page = self.store.audit_log(query, PageRequest::first()).await.unwrap();
            page.items.iter().map(|record| format!("{record:?}")).collect()
        }

        async fn rows(&self) -> usize {
            let count =
                |connection: &Connection| connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0));
            self.store.readers.read(count).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_mint_is_one_row_and_is_told_of_as_it_was_said() {
        let fixture = fixture().await;
        let usual = fixture.usual();
        let (account, admin) = (fixture.world.account, AdminId::random());
        for (said, rows) in [
            (usual.clone(), 1),
            (AuditEntry { actor: Actor::Anonymous, ..usual.clone() }, 1),
            (AuditEntry { actor: Actor::Admin(admin), account_id: Some(account), ..usual.clone() }, 1),
            (AuditEntry { actor: Actor::Secret(respoke_core::id::SecretId::random()), ..usual.clone() }, 1),
            (AuditEntry { object: "another".to_owned(), address: String::new(), ..usual.clone() }, 1),
            // What says something else than the token does.
            (AuditEntry { app_id: None, ..usual.clone() }, 2),
            (AuditEntry { at: NOW.plus_secs(1), ..usual.clone() }, 2),
        ] {
            let before = fixture.rows().await;
            let minted = fixture.mint(said.clone()).await;
            assert_eq!(fixture.rows().await - before, rows, "{said:?}");
            let said = AuditEntry { fingerprint: Some(minted.text.hash().fingerprint()), ..said };
            let said = respoke_core::audit::AuditRecord { number: minted.number + rows as u64 - 1, entry: said };
            assert_eq!(fixture.told().await[0], format!("{said:?}"));
            let (token, ground) = fixture.store.token(minted.number).await.unwrap().unwrap();
            let head = fixture.store.changes(0).await.unwrap().head;
            assert_eq!((token.hash, token.born), (minted.text.hash(), head));
            assert_eq!((token.activate_by, token.expires_at), (minted.token.activate_by, minted.token.expires_at));
            assert_eq!(token.lapse(&ground, NOW), None);
        }
    }

    #[tokio::test]
    async fn a_token_goes_and_what_is_told_of_it_stays_and_the_other_way_round() {
        let fixture = fixture().await;
        let world = &fixture.world;
        let spent = fixture.mint(fixture.usual()).await;
        opened(world.redeem(&spent).await);
        let waiting = fixture.mint(AuditEntry { object: "another".to_owned(), ..fixture.usual() }).await;
        let told = fixture.told().await;
        assert_eq!(told.len(), 2);
        let rows = fixture.rows().await;

        let late = upkeep_at(NOW.plus_secs(120));
        assert_eq!(whole_pass(world, late).await.0, 1);
        assert!(fixture.store.token(spent.number).await.unwrap().is_none());
        assert!(matches!(world.redeem(&spent).await, respoke_core::ports::Redemption::Unknown));
        assert_eq!((fixture.told().await, fixture.rows().await), (told, rows), "the log tells what it told before");

        // Whatever the log tells goes, and the token that waits stays.
        let forgetful = Upkeep { audit_before: NOW.plus_secs(1_000), ..upkeep_at(NOW) };
        whole_pass(world, forgetful).await;
        assert!(fixture.told().await.is_empty());
        assert_eq!(fixture.rows().await, 1);
        assert!(fixture.store.token(waiting.number).await.unwrap().is_some());

        // It is redeemed all the same, and in the end nothing is left of it.
        opened(world.redeem(&waiting).await);
        assert_eq!(refused(&world.redeem(&waiting).await), Lapse::Redeemed);
        let last = fixture.mint(fixture.usual()).await;
        assert_eq!(whole_pass(world, late).await.0, 1);
        whole_pass(world, Upkeep { audit_rows_max: 0, ..upkeep_at(NOW) }).await;
        assert_eq!((fixture.told().await.len(), fixture.rows().await), (0, 1), "the newest row stays, with its token");
        assert!(fixture.store.token(last.number).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_log_that_was_emptied_gives_no_number_again() {
        let fixture = fixture().await;
        let world = &fixture.world;
        world.store.audit(entry(Action::AppUpdated)).await.unwrap();
        let all = Upkeep { audit_before: NOW.plus_secs(1_000), ..upkeep_at(NOW) };
        whole_pass(world, all).await;
        assert_eq!(fixture.rows().await, 1, "with nothing in it");
        let before = fixture.store.readers.read(last_row).await.unwrap();
        let minted = fixture.mint(fixture.usual()).await;
        assert!(i64::try_from(minted.number).unwrap() > before);
        whole_pass(world, upkeep_at(NOW)).await;
        assert_eq!(fixture.rows().await, 1, "the token's");
        let found = fixture.store.tokens(world.app, ListFilter::default(), NOW, PageRequest::first()).await.unwrap();
        assert_eq!(found.items.iter().map(|token| token.number).collect::<Vec<_>>(), [minted.number]);
        assert_eq!(found.items[0].grant.endpoint_id, endpoint("alice"));
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_keeps_nothing_else_from_being_served_or_removed() {
        let fixture = fixture().await;
        let world = &fixture.world;
        let broken = fixture.mint(fixture.usual()).await;
        let spent = fixture.mint(fixture.usual()).await;
        opened(world.redeem(&spent).await);
        let waiting = fixture.mint(fixture.usual()).await;
        let damage = move |write: &crate::sqlite::writer::Write<'_>| {
            execute(write.connection, "UPDATE log SET endpoint = '' WHERE number = ?1", [broken.number]).map(drop)
        };
        fixture.store.writer.write(damage).await.unwrap();
        let asked = fixture.store.token(broken.number).await;
        assert!(matches!(asked, Err(respoke_core::ports::StoreError::Corrupt(_))), "{asked:?}");
        fixture.store.sound().unwrap();
        fixture.store.check().await.unwrap();
        assert_eq!(whole_pass(world, upkeep_at(NOW.plus_secs(120))).await, (1, 1));
        assert!(fixture.store.token(spent.number).await.unwrap().is_none());
        opened(world.redeem(&waiting).await);
    }

    /// Breaks a row in each table that upkeep walks through. What else is there: two tokens that were redeemed, and one that
    /// waits.
    async fn broken(fixture: &Fixture) -> (u64, [MintedToken; 2], MintedToken) {
        let world = &fixture.world;
        let broken = fixture.mint(fixture.usual()).await;
        let spent = [fixture.mint(fixture.usual()).await, fixture.mint(fixture.usual()).await];
        for token in &spent {
            opened(world.redeem(token).await);
        }
        let waiting = fixture.mint(fixture.usual()).await;
        let (broken, told, now) = (broken.number, waiting.number, NOW.millis());
        let damage = format!(
            "UPDATE log SET endpoint = '' WHERE number = {broken};
             UPDATE log SET action = 9999 WHERE number = {told};
             UPDATE sessions SET endpoint = '' WHERE number = (SELECT min(number) FROM sessions);
             INSERT INTO endpoints (app_id, endpoint) VALUES (x'01', 'jo'), (randomblob(16), ''), (randomblob(16), x'ff');
             INSERT INTO secrets (id, app_id, name, hint, hash, created_at) VALUES (x'01', x'01', '', '', x'01', 0);
             INSERT INTO message_groups (app_id, name, messages) VALUES (x'01', 'room', -1);
             INSERT INTO conversations (app_id, endpoint, group_number, read_at, touched_at) VALUES (x'01', 'jo', 7, 0, 0);
             INSERT INTO call_reports (app_id, at, report) VALUES (x'01', {now}, '');
             INSERT INTO said (key, request, message_id, at, app_id, nth) VALUES (x'01', x'01', x'01', {now}, x'01', 1);
             INSERT INTO deleted_apps (app_id) VALUES (x'01')"
        )
        .replace("x'ff'", "CAST(x'ff' AS TEXT)");
        fixture.store.writer.write(move |write| write.connection.execute_batch(&damage)).await.unwrap();
        (broken, spent, waiting)
    }

    #[tokio::test]
    async fn a_broken_row_is_passed_over_by_lists() {
        let fixture = fixture().await;
        let (_, _, waiting) = broken(&fixture).await;
        let world = &fixture.world;
        let tokens = fixture.store.tokens(world.app, ListFilter::default(), NOW, PageRequest::first()).await.unwrap();
        assert_eq!(tokens.items.iter().map(|token| token.number).collect::<Vec<_>>(), [waiting.number]);
        let sessions = fixture.store.sessions(world.app, SessionFilter::default(), NOW, PageRequest::first()).await;
        assert_eq!(sessions.unwrap().items.len(), 1);
        let account_id = world.account;
        let query = AuditQuery { account_id, app_id: None, action: None, object: None, request_id: None };
        let log = fixture.store.audit_log(query, PageRequest { limit: 2, after: None }).await.unwrap();
        assert_eq!((log.items.len(), log.items[0].number, log.next.is_some()), (1, waiting.number - 1, true));
    }

    #[tokio::test]
    async fn a_broken_row_in_any_table_does_not_stop_upkeep() {
        let fixture = fixture().await;
        let (broken, spent, waiting) = broken(&fixture).await;
        let world = &fixture.world;
        assert_eq!(whole_pass(world, upkeep_at(NOW.plus_secs(120))).await, (2, 1));
        let begin = fixture.store.tokens_begin.load(std::sync::atomic::Ordering::Relaxed);
        assert!(begin >= i64::try_from(broken).unwrap(), "and the next walk begins behind it");
        for token in &spent {
            assert!(fixture.store.token(token.number).await.unwrap().is_none());
        }
        opened(world.redeem(&waiting).await);
    }

    #[tokio::test]
    async fn no_page_lies_behind_the_end_of_the_log() {
        let fixture = fixture().await;
        fixture.mint(fixture.usual()).await;
        let move_on = |write: &crate::sqlite::writer::Write<'_>| {
            write.connection.execute_batch("UPDATE log SET number = number + 9000000")
        };
        fixture.store.writer.write(move_on).await.unwrap();
        let (account_id, object) = (fixture.world.account, Some("nobody".to_owned()));
        let query = AuditQuery { account_id, app_id: None, action: None, object, request_id: None };
        let page = fixture.store.audit_log(query, PageRequest::first()).await.unwrap();
        assert!(page.items.is_empty() && page.next.is_none(), "{:?}", page.next);
    }

    #[tokio::test]
    async fn a_clock_far_behind_forgets_no_keys_and_one_that_stood_ahead_does() {
        let fixture = fixture().await;
        let issue = async |text: &str| {
            let once = Some(key(text, "body"));
            let token = fixture.world.token_for("alice", NOW);
            match fixture.store.issue_token(token, Replaces::Nothing, once, fixture.usual()).await.unwrap() {
                Creation::Created(_) => "made",
                Creation::Repeated(_) => "repeated",
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(issue("once").await, "made");
        for years in [1, 55] {
            whole_pass(&fixture.world, upkeep_at(NOW.plus_secs(-years * 365 * 86_400))).await;
            // As if something was done at that time.
            let then = NOW.plus_secs(-years * 365 * 86_400);
            fixture.store.audit(AuditEntry { at: then, ..entry(Action::AppUpdated) }).await.unwrap();
            whole_pass(&fixture.world, upkeep_at(then)).await;
        }
        assert_eq!(issue("once").await, "repeated");
        whole_pass(&fixture.world, upkeep_at(NOW.plus_secs(2 * 86_400))).await;
        assert_eq!(issue("once").await, "made");
    }
}
