//! What upkeep removes of the hub's tables: what is old, what is too much, and what deleted apps left.
//!
//! Invariant: `message_groups.messages` is the number of the group's messages; both change in one transaction.
//! Invariant: a row that cannot be read, such as one of an app that is no id, is passed over and stays.

use std::collections::BTreeMap;

use respoke_core::clock::Timestamp;
use respoke_core::ports::{StoreError, Upkeep};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::age::{self, Shown};
use super::rows::{all, execute, one};
use super::walk::{ConversationKey, HubAges, HubWalk, REMOVE_ROWS, STEP_ROWS, readable};
use super::{SqliteStore, said};
use crate::age::{Age, Aged, Ahead};

/// Operations of one kind in one step: together they remove 5,000 messages.
const ROUNDS: usize = 20;

/// Apps whose call reports are counted in one step: at ten thousand each, some ten milliseconds.
const APPS_COUNTED: usize = 20;

/// What came of some rounds.
struct Rounds {
    removed: u64,
    /// Nothing is left to remove.
    complete: bool,
}

impl SqliteStore {
    /// One step; says how many rows it removed and how far it came.
    pub(super) async fn remove_from_hub(&self, upkeep: Upkeep, walk: HubWalk) -> Result<(u64, HubWalk), StoreError> {
        let mut removed = self.in_rounds(remove_of_deleted_app).await?.removed;
        removed += self.in_rounds(remove_of_ended_group).await?.removed;
        removed += self.in_rounds(move |connection| remove_unseen_push_tokens(connection, &upkeep)).await?.removed;
        let HubAges { mut messages, mut reports, said } = walk.ages;
        removed += self.remove_old("messages", upkeep.messages_before, upkeep, &mut messages, remove_messages).await?;
        let before = upkeep.call_reports_before;
        removed += self.remove_old("call_reports", before, upkeep, &mut reports, remove_old_reports).await?;
        // At each step: a walk through a big database takes long.
        let (said, too_often) = self.readers.scan(move |connection| said::beyond(connection, said, said::MAX)).await?;
        for (app, last) in too_often {
            removed += self.in_rounds(move |connection| said::forget(connection, app, last)).await?.removed;
        }
        let ages = HubAges { messages, reports, said };
        let mut reached = HubWalk { group: None, conversation: None, reports: None, ages };
        if let Some(after) = walk.group {
            let max = upkeep.messages_per_group_max;
            let (long, end) = self.long_groups(after, max).await?;
            reached.group = end;
            for group in long {
                let rounds = self.in_rounds(move |connection| shorten(connection, group, max)).await?;
                removed += rounds.removed;
                if !rounds.complete {
                    // A walk through a big database takes long: what grows faster than once around would have no bound.
                    reached.group = Some(group - 1);
                    break;
                }
            }
        }
        if let Some(after) = walk.conversation {
            let (lost, end) = self.conversations_of_no_group(after).await?;
            removed += self.remove_each(lost, remove_conversation).await?;
            reached.conversation = end;
        }
        if let Some(after) = walk.reports {
            let (surplus, end) = self.surplus_reports(after, upkeep.call_reports_per_app_max).await?;
            reached.reports = end;
            for (app, last) in surplus {
                let rounds = self.in_rounds(move |connection| remove_reports(connection, app, last)).await?;
                removed += rounds.removed;
                if !rounds.complete {
                    // As above. The id before this one is where the next step finds it again.
                    reached.reports = Some(Uuid::from_u128(app.as_u128().saturating_sub(1)));
                    break;
                }
            }
        }
        Ok((removed, reached))
    }

    /// Removes, one operation after the other, until nothing is left or enough was done.
    async fn in_rounds(
        &self,
        remove: impl Fn(&Connection) -> rusqlite::Result<u64> + Copy + Send + 'static,
    ) -> Result<Rounds, StoreError> {
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let gone = self.writer.write(move |write| remove(write.connection)).await?;
            removed += gone;
            if gone == 0 {
                return Ok(Rounds { removed, complete: true });
            }
        }
        Ok(Rounds { removed, complete: false })
    }

    /// Removes what of `table` came before `before`, as much as in so many rounds.
    async fn remove_old(
        &self,
        table: &'static str,
        before: Timestamp,
        upkeep: Upkeep,
        ahead: &mut Ahead,
        remove: fn(&Connection, &[Aged]) -> rusqlite::Result<u64>,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let mut looked = *ahead;
            let look = move |connection: &Connection| {
                let age = Age { before, now: upkeep.now };
                let old = age::old(connection, Shown::table(table), 0, age, REMOVE_ROWS, &mut looked)?;
                Ok((old, looked))
            };
            let (old, looked) = self.readers.scan(look).await?;
            *ahead = looked;
            if old.is_empty() {
                break;
            }
            removed += self.writer.write(move |write| remove(write.connection, &old)).await?;
        }
        Ok(removed)
    }

    async fn long_groups(&self, after: i64, max: u64) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        self.readers
            .scan(move |connection| {
                let sql = "SELECT number, messages FROM message_groups WHERE number > ?1 ORDER BY number LIMIT ?2";
                let rows: Vec<(i64, Option<u64>)> =
                    all(connection, sql, params![after, STEP_ROWS], |row| Ok((row.get(0)?, readable(row.get(1))?)))?;
                let long = rows
                    .iter()
                    .filter(|(_, messages)| messages.is_some_and(|messages| messages > max))
                    .map(|(number, _)| *number)
                    .collect();
                Ok((long, unless_at_end(&rows).map(|(number, _)| *number)))
            })
            .await
    }

    async fn conversations_of_no_group(
        &self,
        after: ConversationKey,
    ) -> Result<(Vec<ConversationKey>, Option<ConversationKey>), StoreError> {
        self.readers
            .scan(move |connection| {
                let (app, endpoint, group) = &after;
                let sql = "SELECT app_id, endpoint, group_number,
                               NOT EXISTS (SELECT 1 FROM message_groups g WHERE g.number = c.group_number)
                           FROM conversations c WHERE (app_id, endpoint, group_number) > (?1, ?2, ?3)
                           ORDER BY app_id, endpoint, group_number LIMIT ?4";
                let rows: Vec<Option<(ConversationKey, bool)>> =
                    all(connection, sql, params![app, endpoint, group, STEP_ROWS], |row| {
                        let read = || Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?));
                        readable(read())
                    })?;
                let whole = unless_at_end(&rows).is_some();
                let reached = rows.iter().flatten().next_back().filter(|_| whole).map(|(key, _)| key.clone());
                Ok((rows.into_iter().flatten().filter_map(|(key, lost)| lost.then_some(key)).collect(), reached))
            })
            .await
    }

    /// Apps behind `after` that have more than `max` call reports, with the number of the newest that is too many.
    async fn surplus_reports(&self, after: Uuid, max: u64) -> Result<(Vec<(Uuid, i64)>, Option<Uuid>), StoreError> {
        self.readers
            .scan(move |connection| {
                let next = "SELECT app_id FROM call_reports WHERE app_id > ?1 AND length(app_id) = 16
                            ORDER BY app_id LIMIT 1";
                let newest = "SELECT number FROM call_reports WHERE app_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2";
                let (mut surplus, mut after) = (Vec::new(), after);
                for _ in 0..APPS_COUNTED {
                    let Some(app) = one(connection, next, [after], |row| row.get(0))? else {
                        return Ok((surplus, None));
                    };
                    let last = one(connection, newest, params![app, max], |row| row.get(0))?;
                    surplus.extend(last.map(|last| (app, last)));
                    after = app;
                }
                Ok((surplus, Some(after)))
            })
            .await
    }
}

/// Removes how far an endpoint has read a group.
fn remove_conversation(connection: &Connection, (app, endpoint, group): &ConversationKey) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM conversations WHERE app_id = ?1 AND endpoint = ?2 AND group_number = ?3";
    execute(connection, sql, params![app, endpoint, group])
}

/// The last row looked at, unless there are no more behind it.
fn unless_at_end<T>(rows: &[T]) -> Option<&T> {
    rows.last().filter(|_| i64::try_from(rows.len()).is_ok_and(|rows| rows >= STEP_ROWS))
}

/// Takes removed messages off their group's count; a group without messages is none.
fn count_down(connection: &Connection, group: i64, gone: u64) -> rusqlite::Result<()> {
    execute(connection, "UPDATE message_groups SET messages = messages - ?2 WHERE number = ?1", params![group, gone])?;
    execute(connection, "DELETE FROM message_groups WHERE number = ?1 AND messages <= 0", [group])?;
    Ok(())
}

fn remove_oldest(connection: &Connection, group: i64, rows: u64) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM messages WHERE number IN (
                   SELECT number FROM messages WHERE group_number = ?1 ORDER BY at, number LIMIT ?2)";
    let gone = execute(connection, sql, params![group, rows])? as u64;
    count_down(connection, group, gone)?;
    Ok(gone)
}

fn shorten(connection: &Connection, group: i64, max: u64) -> rusqlite::Result<u64> {
    let sql = "SELECT messages FROM message_groups WHERE number = ?1";
    let messages: u64 = one(connection, sql, [group], |row| row.get(0))?.unwrap_or(0);
    match messages.saturating_sub(max).min(REMOVE_ROWS as u64) {
        0 => Ok(0),
        rows => remove_oldest(connection, group, rows),
    }
}

fn remove_messages(connection: &Connection, which: &[Aged]) -> rusqlite::Result<u64> {
    let mut groups = BTreeMap::<i64, u64>::new();
    for row in which {
        let sql = "DELETE FROM messages WHERE number = ?1 AND at = ?2 RETURNING group_number";
        if let Some(group) = one(connection, sql, [row.number, row.at], |row| row.get(0))? {
            *groups.entry(group).or_default() += 1;
        }
    }
    let removed = groups.values().sum();
    for (group, gone) in groups {
        count_down(connection, group, gone)?;
    }
    Ok(removed)
}

fn remove_old_reports(connection: &Connection, which: &[Aged]) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM call_reports WHERE number = ?1 AND at = ?2";
    which.iter().try_fold(0, |sum, row| Ok(sum + execute(connection, sql, [row.number, row.at])? as u64))
}

fn remove_reports(connection: &Connection, app: Uuid, last: i64) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM call_reports WHERE number IN (
                   SELECT number FROM call_reports WHERE app_id = ?1 AND number <= ?2 ORDER BY number LIMIT ?3)";
    Ok(execute(connection, sql, params![app, last, REMOVE_ROWS])? as u64)
}

fn remove_unseen_push_tokens(connection: &Connection, upkeep: &Upkeep) -> rusqlite::Result<u64> {
    let removed = execute(
        connection,
        "DELETE FROM push_tokens WHERE (app_id, id) IN (
             SELECT app_id, id FROM push_tokens WHERE seen_at < ?1 LIMIT ?2)",
        params![upkeep.push_tokens_before.millis(), REMOVE_ROWS],
    )?;
    Ok(removed as u64)
}

/// Removes some of what one deleted app left, and in the end the note that it was deleted.
fn remove_of_deleted_app(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT app_id FROM deleted_apps WHERE length(app_id) = 16 LIMIT 1";
    let Some(app) = one(connection, sql, [], |row| row.get::<_, Uuid>(0))? else { return Ok(0) };
    let mut removed = 0;
    while removed < REMOVE_ROWS as u64 {
        let sql = "SELECT number FROM message_groups WHERE app_id = ?1 LIMIT 1";
        let Some(group) = one(connection, sql, [app], |row| row.get(0))? else { break };
        removed += remove_oldest(connection, group, REMOVE_ROWS as u64)?;
    }
    if removed > 0 {
        return Ok(removed);
    }
    for sql in [
        "DELETE FROM call_reports WHERE number IN (SELECT number FROM call_reports WHERE app_id = ?1 LIMIT ?2)",
        "DELETE FROM push_tokens WHERE app_id = ?1 AND id IN (
             SELECT id FROM push_tokens WHERE app_id = ?1 LIMIT ?2)",
    ] {
        let gone = execute(connection, sql, params![app, REMOVE_ROWS])?;
        if gone > 0 {
            return Ok(gone as u64);
        }
    }
    // Its conversations are found to be of no group, like those of groups that ran empty.
    Ok(execute(connection, "DELETE FROM deleted_apps WHERE app_id = ?1", [app])? as u64)
}

/// Removes some messages of one group that was ended, and in the end the note of that. Its marks are found to be of no
/// group.
fn remove_of_ended_group(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT number FROM ended_groups LIMIT 1";
    let Some(group) = one(connection, sql, [], |row| row.get::<_, i64>(0))? else { return Ok(0) };
    let sql = "DELETE FROM messages WHERE number IN (SELECT number FROM messages WHERE group_number = ?1 LIMIT ?2)";
    let gone = execute(connection, sql, params![group, REMOVE_ROWS])?;
    if gone > 0 {
        return Ok(gone as u64);
    }
    Ok(execute(connection, "DELETE FROM ended_groups WHERE number = ?1", [group])? as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use respoke_core::id::{AppId, EndpointId, GroupName};
    use respoke_core::ports::{MaintenanceStore, MessageStore, Removal};

    use super::*;
    use crate::sqlite::{Options, kept};

    /// More than one step removes, and of two apps and groups, so that the one is not passed over for the other.
    const ROWS: u64 = (ROUNDS * REMOVE_ROWS) as u64 + 100;

    fn fill(connection: &Connection) -> rusqlite::Result<()> {
        for of in 1..=2_i64 {
            let app = Uuid::from_u128(1 << of);
            execute(
                connection,
                "INSERT INTO apps (id, account_id, name, description, development_mode, ttl_secs_max,
                activation_secs, limits, created_at, updated_at) VALUES (?1, ?1, '', '', 0, 0, 0, '{}', 0, 0)",
                [app],
            )?;
            let sql = "INSERT INTO message_groups (number, app_id, name, messages) VALUES (?1, ?2, 'room', ?3)";
            execute(connection, sql, params![of, app, ROWS])?;
            for at in 0..ROWS {
                let sql = "INSERT INTO messages (group_number, at, sender, event) VALUES (?1, ?2, 'jo', '{}')";
                execute(connection, sql, params![of, at])?;
                execute(
                    connection,
                    "INSERT INTO call_reports (app_id, at, report) VALUES (?1, ?2, '')",
                    params![app, at],
                )?;
            }
        }
        Ok(())
    }

    fn upkeep() -> Upkeep {
        let never = Timestamp::from_millis(0);
        Upkeep {
            dead_before: never,
            audit_before: never,
            audit_rows_max: 1_000,
            keys_before: never,
            messages_before: never,
            messages_per_group_max: 1_000_000,
            call_reports_before: never,
            call_reports_per_app_max: 1_000_000,
            push_tokens_before: never,
            now: Timestamp::from_secs(1),
        }
    }

    /// Room is asked for by whoever ended something: it comes with the next steps, however much else there is.
    #[tokio::test]
    async fn what_was_ended_gives_its_room_back_with_the_next_steps() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("some.db"), Options::default()).unwrap();
        store.writer.write(|write| fill(write.connection)).await.unwrap();
        let [one, other] = [1, 2].map(|of| AppId::from_uuid(Uuid::from_u128(1 << of)));
        let full = (store.kept_bytes(one).await.unwrap(), store.kept_bytes(other).await.unwrap());
        assert_eq!(store.end_group(one, &GroupName::parse("room").unwrap()).await.unwrap(), Removal::Removed);
        // Who keeps the store in order is told at once, and not again for a group that is not there.
        store.something_ended().await;
        assert_eq!(store.end_group(one, &GroupName::parse("room").unwrap()).await.unwrap(), Removal::Unknown);
        assert!(tokio::time::timeout(Duration::ZERO, store.something_ended()).await.is_err());
        let deleted = move |connection: &Connection| {
            execute(connection, "DELETE FROM apps WHERE id = ?1", [other.uuid()])?;
            execute(connection, "INSERT INTO deleted_apps (app_id) VALUES (?1)", [other.uuid()])
        };
        store.writer.write(move |write| deleted(write.connection)).await.unwrap();
        let message = kept::message(2, &EndpointId::parse("jo").unwrap()) as u64;
        let report = kept::call_report(0, None) as u64;
        store.upkeep(upkeep()).await.unwrap();
        let left = (store.kept_bytes(one).await.unwrap(), store.kept_bytes(other).await.unwrap());
        let most = (ROUNDS * REMOVE_ROWS) as u64 * message;
        assert!(left.0 <= full.0 - most && left.1 <= full.1 - most, "{full:?} {left:?}");
        for _ in 0..2 {
            store.upkeep(upkeep()).await.unwrap();
        }
        assert_eq!(store.kept_bytes(one).await.unwrap(), ROWS * report, "the reports of what is not ended stay");
        assert_eq!((store.kept_bytes(other).await.unwrap(), store.recounted_bytes(other).await.unwrap()), (0, 0));
    }

    #[tokio::test]
    async fn what_was_said_too_often_goes_at_any_step_of_a_pass() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("some.db"), Options::default()).unwrap();
        // As if all between the two had been said too.
        let say = async |from: i64, to: i64| {
            let say = move |connection: &Connection| {
                for number in [from, to] {
                    let sql = "INSERT INTO said (number, key, request, message_id, at, app_id, nth)
                               VALUES (?1, randomblob(8), x'', x'', 0, ?2, ?1)";
                    execute(connection, sql, params![number, Uuid::from_u128(1)])?;
                }
                Ok(())
            };
            store.writer.write(move |write| say(write.connection)).await.unwrap();
        };
        let left = async || {
            let count =
                |connection: &Connection| connection.query_row("SELECT count(*) FROM said", [], |row| row.get(0));
            store.readers.read(count).await.unwrap()
        };
        // In the middle of a walk through many groups.
        let walk = HubWalk { group: Some(7), ..HubWalk::default() };
        say(1, said::MAX).await;
        let (_, walk) = store.remove_from_hub(upkeep(), walk).await.unwrap();
        assert_eq!((left().await, walk.ages.said), (2, said::MAX), "no more than may be");
        say(said::MAX + 1, said::MAX + 2).await;
        let walk = HubWalk { group: Some(8), ..walk };
        let (_, walk) = store.remove_from_hub(upkeep(), walk).await.unwrap();
        assert_eq!((left().await, walk.ages.said), (3, 0));
        let (_, walk) = store.remove_from_hub(upkeep(), HubWalk { group: Some(9), ..walk }).await.unwrap();
        assert!(walk.ages.said > said::MAX, "and the next looks are spared");
    }

    #[tokio::test]
    async fn a_pass_ends_only_when_nothing_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("some.db"), Options::default()).unwrap();
        store.writer.write(|write| fill(write.connection)).await.unwrap();
        let upkeep = Upkeep { messages_per_group_max: 7, call_reports_per_app_max: 9, ..upkeep() };
        let mut steps = 1;
        while !store.upkeep(upkeep).await.unwrap().pass_complete {
            steps += 1;
        }
        let count = |connection: &Connection| {
            let sql = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM call_reports)";
            connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        assert_eq!(store.readers.read(count).await.unwrap(), (2 * 7, 2 * 9));
        assert_eq!(steps, 3, "and does not do everything at once");
    }
}
