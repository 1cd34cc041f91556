//! What upkeep removes of the hub's tables: what is old, what is too much, and what deleted apps left.
//!
//! Invariant: `message_groups.messages` is the number of the group's messages; both change in one transaction, which locks the
//! group's row first. What is kept of an app is counted by triggers, which lock the row of that last.

use std::collections::BTreeSet;

use respoke_core::clock::Timestamp;
use respoke_core::message::SaidOnce;
use respoke_core::ports::{StoreError, Upkeep};
use uuid::Uuid;

use super::age::{self, Shown};
use super::connect::params;
use super::failure::Failure;
use super::removal::{impatient, unless_held};
use super::rows::{Columns, all, bound_len, one, only, read_number, stored};
use super::store::PostgresStore;
use super::walk::{ConversationKey, HubAges, HubWalk, REMOVE_ROWS, STEP_ROWS};
use super::write::{Write, in_transaction};
use crate::age::{Age, Ahead};

/// Transactions of one kind in one step: together they remove 5,000 messages.
const ROUNDS: usize = 5;
/// Groups of one deleted app that are emptied in one transaction.
const GROUPS: i64 = 100;
/// What is remembered of what was said with keys.
const SAID_MAX: i64 = SaidOnce::REMEMBERED_MAX as i64;
/// Apps whose call reports are counted in one step: at ten thousand each, some ten milliseconds.
const APPS_COUNTED: usize = 20;

/// What came of some rounds.
struct Rounds {
    removed: u64,
    /// Nothing is left to remove.
    complete: bool,
}

/// Removes, one transaction after the other, until nothing is left or enough was done.
macro_rules! in_rounds {
    ($store:expr, $write:ident => $remove:expr) => {{
        let mut rounds = Rounds { removed: 0, complete: false };
        for _ in 0..ROUNDS {
            let gone = in_transaction!($store, $write => {
                let ran = async {
                    impatient($write).await?;
                    $remove.await
                };
                unless_held($write, ran.await).await
            })?;
            match gone {
                Some(gone) if gone > 0 => rounds.removed += gone,
                // Nothing is left, or another holds it and the next pass will find it.
                Some(_) | None => {
                    rounds.complete = true;
                    break;
                }
            }
        }
        rounds
    }};
}

impl PostgresStore {
    /// One step; says how many rows it removed.
    pub(super) async fn remove_from_hub(
        &self,
        walk: &mut HubWalk,
        ages: &mut HubAges,
        upkeep: Upkeep,
    ) -> Result<u64, StoreError> {
        let mut removed = in_rounds!(self, write => remove_of_deleted_app(write)).removed;
        removed += in_rounds!(self, write => remove_of_ended_group(write)).removed;
        removed += in_rounds!(self, write => remove_unseen_push_tokens(write, upkeep)).removed;
        removed += self.remove_old_messages(&mut ages.messages, upkeep).await?;
        removed += self.remove_old_reports(&mut ages.reports, upkeep).await?;
        // At each step: a walk through a big database takes long.
        for (app, last) in self.said_beyond(&mut ages.said, SAID_MAX).await? {
            removed += in_rounds!(self, write => forget_said(write, app, last)).removed;
        }
        if let Some(after) = walk.group {
            let most = stored(upkeep.messages_per_group_max);
            let (long, end) = self.long_groups(after, most).await?;
            walk.group = end;
            for group in long {
                let rounds = in_rounds!(self, write => shorten(write, group, most));
                removed += rounds.removed;
                if !rounds.complete {
                    // A walk through a big database takes long: what grows faster than once around would have no bound.
                    walk.group = Some(group - 1);
                    break;
                }
            }
        }
        if let Some(after) = walk.conversation.take() {
            let looked = self.conversations_of_no_group(&after).await;
            let (lost, end) = looked.inspect_err(|_| walk.conversation = Some(after))?;
            walk.conversation = end;
            removed += self.remove_conversations(&lost).await?;
        }
        if let Some(after) = walk.reports {
            let (surplus, end) = self.surplus_reports(after, upkeep.call_reports_per_app_max).await?;
            walk.reports = end;
            for (app, last) in surplus {
                let rounds = in_rounds!(self, write => remove_reports(write, app, last));
                removed += rounds.removed;
                if !rounds.complete {
                    // As above. The id before this one is where the next step finds it again.
                    walk.reports = Some(Uuid::from_u128(app.as_u128().saturating_sub(1)));
                    break;
                }
            }
        }
        Ok(removed)
    }

    async fn remove_old_messages(&self, ahead: &mut Ahead, upkeep: Upkeep) -> Result<u64, StoreError> {
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let old = self.old_rows(age::MESSAGES, upkeep.messages_before, upkeep, ahead).await?;
            if old.is_empty() {
                break;
            }
            let gone = in_transaction!(self, write => {
                let ran = async {
                    impatient(write).await?;
                    remove_messages(write, &old).await
                };
                unless_held(write, ran.await).await
            })?;
            removed += gone.unwrap_or(0);
        }
        Ok(removed)
    }

    async fn remove_old_reports(&self, ahead: &mut Ahead, upkeep: Upkeep) -> Result<u64, StoreError> {
        const REMOVE: &str = "DELETE FROM respoked.call_reports WHERE number = ANY($1)";
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let old = self.old_rows(age::CALL_REPORTS, upkeep.call_reports_before, upkeep, ahead).await?;
            if old.is_empty() {
                break;
            }
            removed += self.remove(&[REMOVE], params![old]).await?.unwrap_or(0);
        }
        Ok(removed)
    }

    /// The numbers of the next rows that came before `before`: they are never another row's.
    async fn old_rows(
        &self,
        shown: Shown,
        before: Timestamp,
        upkeep: Upkeep,
        ahead: &mut Ahead,
    ) -> Result<Vec<i64>, StoreError> {
        let age = Age { before, now: upkeep.now };
        let old = self.old(shown, 0, None, age, bound_len(REMOVE_ROWS), ahead).await?;
        Ok(old.into_iter().map(|row| row.number).collect())
    }

    /// Groups behind `after` that hold more than `most` messages, and where the next look begins.
    async fn long_groups(&self, after: i64, most: i64) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        let sql = "SELECT number, messages FROM respoked.message_groups WHERE number > $1 ORDER BY number LIMIT $2";
        let read = |columns: &mut Columns<'_>| Ok((columns.next::<i64>()?, columns.next::<i64>()?));
        let rows = self.read_all(sql, params![after, STEP_ROWS], read).await?;
        let long = rows.iter().filter(|(_, messages)| *messages > most).map(|(number, _)| *number).collect();
        Ok((long, unless_at_end(&rows).map(|(number, _)| *number)))
    }

    async fn conversations_of_no_group(
        &self,
        after: &ConversationKey,
    ) -> Result<(Vec<ConversationKey>, Option<ConversationKey>), StoreError> {
        let sql = "SELECT app_id, endpoint, group_number,
                       NOT EXISTS (SELECT 1 FROM respoked.message_groups g WHERE g.number = c.group_number)
                   FROM respoked.conversations c WHERE (app_id, endpoint, group_number) > ($1, $2, $3)
                   ORDER BY app_id, endpoint, group_number LIMIT $4";
        let read = |columns: &mut Columns<'_>| {
            let key = (columns.next::<Uuid>()?, columns.next::<String>()?, columns.next::<i64>()?);
            Ok((key, columns.next::<bool>()?))
        };
        let rows = self.read_all(sql, params![after.0, after.1, after.2, STEP_ROWS], read).await?;
        let reached = unless_at_end(&rows).map(|(key, _)| key.clone());
        Ok((rows.into_iter().filter_map(|(key, lost)| lost.then_some(key)).collect(), reached))
    }

    async fn remove_conversations(&self, lost: &[ConversationKey]) -> Result<u64, StoreError> {
        // A number is never another group's, so one that was of no group is so for ever.
        const REMOVE: &str = "
            DELETE FROM respoked.conversations c
            USING unnest($1::uuid[], $2::text[], $3::bigint[]) n (app_id, endpoint, group_number)
            WHERE c.app_id = n.app_id AND c.endpoint = n.endpoint AND c.group_number = n.group_number";
        let mut removed = 0;
        for keys in lost.chunks(REMOVE_ROWS) {
            let apps: Vec<_> = keys.iter().map(|(app, ..)| *app).collect();
            let endpoints: Vec<_> = keys.iter().map(|(_, endpoint, _)| endpoint.as_str()).collect();
            let groups: Vec<_> = keys.iter().map(|(.., group)| *group).collect();
            removed += self.remove(&[REMOVE], params![apps, endpoints, groups]).await?.unwrap_or(0);
        }
        Ok(removed)
    }

    /// Apps behind `after` that have more than `most` call reports, with the number of the newest that is too many.
    async fn surplus_reports(&self, after: Uuid, most: u64) -> Result<(Vec<(Uuid, i64)>, Option<Uuid>), StoreError> {
        const NEXT: &str = "SELECT app_id FROM respoked.call_reports WHERE app_id > $1 ORDER BY app_id LIMIT 1";
        const NEWEST: &str = "SELECT number FROM respoked.call_reports WHERE app_id = $1
                              ORDER BY number DESC OFFSET $2 LIMIT 1";
        let (mut surplus, mut after) = (Vec::new(), after);
        for _ in 0..APPS_COUNTED {
            let Some(app) = self.read_one(NEXT, params![after], only::<Uuid>).await? else {
                return Ok((surplus, None));
            };
            let last = self.read_one(NEWEST, params![app, stored(most)], only::<i64>).await?;
            surplus.extend(last.map(|last| (app, last)));
            after = app;
        }
        Ok((surplus, Some(after)))
    }

    /// What [`Self::said_too_often`] finds, if anything can have come to be too much: if there is a number beyond `until`. So a
    /// step costs one look at the newest row, and not one at each app.
    async fn said_beyond(&self, until: &mut i64, most: i64) -> Result<Vec<(Uuid, i64)>, StoreError> {
        let sql = "SELECT coalesce(max(number), 0) FROM respoked.said";
        let newest = self.read_one(sql, &[], only::<i64>).await?.unwrap_or(0);
        if newest <= *until {
            return Ok(Vec::new());
        }
        let (room, too_often) = self.said_too_often(most).await?;
        // Where something has to go, the next step looks whether it went.
        *until = if too_often.is_empty() { newest + room } else { 0 };
        Ok(too_often)
    }

    /// How much more may be remembered of what was said with keys, if no more than `most` is. If more is: the apps that have more
    /// than their share of that, with how manieth of each the newest is that is too many. Who says little loses nothing to who
    /// says much.
    async fn said_too_often(&self, most: i64) -> Result<(i64, Vec<(Uuid, i64)>), StoreError> {
        // One look for each app, by the index, and not one at each row.
        const APPS: &str = "
            WITH RECURSIVE apps AS (
                (SELECT app_id FROM respoked.said ORDER BY app_id LIMIT 1)
                UNION ALL
                SELECT (SELECT s.app_id FROM respoked.said s WHERE s.app_id > apps.app_id ORDER BY s.app_id LIMIT 1)
                FROM apps WHERE apps.app_id IS NOT NULL)
            SELECT app_id, (SELECT min(nth) FROM respoked.said s WHERE s.app_id = apps.app_id),
                   (SELECT max(nth) FROM respoked.said s WHERE s.app_id = apps.app_id)
            FROM apps WHERE app_id IS NOT NULL";
        let read = |columns: &mut Columns<'_>| {
            Ok((columns.next::<Uuid>()?, columns.next::<Option<i64>>()?, columns.next::<Option<i64>>()?))
        };
        let apps = self.read_all(APPS, &[], read).await?;
        let apps = apps.into_iter().filter_map(|(app, first, last)| Some((app, first?, last?)));
        let apps: Vec<_> = apps.collect();
        let said: i64 = apps.iter().map(|(_, first, last)| last - first + 1).sum();
        if said <= most {
            return Ok((most - said, Vec::new()));
        }
        let share = most / i64::try_from(apps.len()).unwrap_or(i64::MAX).max(1);
        let beyond = apps.into_iter().filter(|(_, first, last)| last - first + 1 > share);
        Ok((0, beyond.map(|(app, _, last)| (app, last - share)).collect()))
    }
}

/// The last row looked at, unless there are no more behind it.
fn unless_at_end<T>(rows: &[T]) -> Option<&T> {
    rows.last().filter(|_| i64::try_from(rows.len()).is_ok_and(|rows| rows >= STEP_ROWS))
}

/// Locks groups, in the order of their numbers.
async fn lock_groups(write: &Write, groups: &BTreeSet<i64>) -> Result<(), Failure> {
    let sql = "SELECT 1 FROM respoked.message_groups WHERE number = ANY($1) ORDER BY number FOR UPDATE";
    write.query(sql, params![groups.iter().copied().collect::<Vec<_>>()]).await.map(drop)
}

/// Removes messages and takes them off their groups' counts; a group without messages is none. The groups are locked.
async fn remove_messages_of(write: &Write, groups: &BTreeSet<i64>, numbers: &[i64]) -> Result<u64, Failure> {
    const MESSAGES: &str = "
        WITH gone AS (DELETE FROM respoked.messages WHERE number = ANY($1) RETURNING group_number),
             counted AS (UPDATE respoked.message_groups g SET messages = g.messages - c.gone
                         FROM (SELECT group_number, count(*) AS gone FROM gone GROUP BY group_number) c
                         WHERE g.number = c.group_number AND g.number = ANY($2))
        SELECT count(*) FROM gone";
    const GROUPS: &str = "
        DELETE FROM respoked.message_groups g WHERE number = ANY($1)
        AND (messages <= 0 OR NOT EXISTS (SELECT 1 FROM respoked.messages m WHERE m.group_number = g.number))";
    let groups = groups.iter().copied().collect::<Vec<_>>();
    let removed = one(write, MESSAGES, params![numbers.to_vec(), groups], read_number).await?.unwrap_or(0);
    write.execute(GROUPS, params![groups]).await?;
    Ok(removed)
}

async fn remove_messages(write: &Write, numbers: &[i64]) -> Result<u64, Failure> {
    let sql = "SELECT group_number FROM respoked.messages WHERE number = ANY($1)";
    let groups = all(write, sql, params![numbers.to_vec()], only::<i64>).await?;
    let groups = groups.into_iter().collect();
    lock_groups(write, &groups).await?;
    remove_messages_of(write, &groups, numbers).await
}

/// Removes the oldest messages of a group that has more than `most`.
async fn shorten(write: &Write, group: i64, most: i64) -> Result<u64, Failure> {
    let sql = "SELECT messages FROM respoked.message_groups WHERE number = $1 FOR UPDATE";
    let messages = one(write, sql, params![group], only::<i64>).await?.unwrap_or(0);
    let surplus = messages.saturating_sub(most).min(bound_len(REMOVE_ROWS));
    if surplus <= 0 {
        return Ok(0);
    }
    let sql = "SELECT number FROM respoked.messages WHERE group_number = $1 ORDER BY at, number LIMIT $2";
    let oldest = all(write, sql, params![group, surplus], only::<i64>).await?;
    remove_messages_of(write, &BTreeSet::from([group]), &oldest).await
}

async fn forget_said(write: &Write, app: Uuid, last: i64) -> Result<u64, Failure> {
    let sql = "DELETE FROM respoked.said WHERE number = ANY(ARRAY(
                   SELECT number FROM respoked.said WHERE app_id = $1 AND nth <= $2 ORDER BY nth LIMIT $3))";
    write.execute(sql, params![app, last, bound_len(REMOVE_ROWS)]).await
}

async fn remove_reports(write: &Write, app: Uuid, last: i64) -> Result<u64, Failure> {
    let sql = "DELETE FROM respoked.call_reports WHERE number = ANY(ARRAY(
                   SELECT number FROM respoked.call_reports WHERE app_id = $1 AND number <= $2 ORDER BY number LIMIT $3))";
    write.execute(sql, params![app, last, bound_len(REMOVE_ROWS)]).await
}

async fn remove_unseen_push_tokens(write: &Write, upkeep: Upkeep) -> Result<u64, Failure> {
    let sql = "DELETE FROM respoked.push_tokens WHERE ctid = ANY(ARRAY(
                   SELECT ctid FROM respoked.push_tokens WHERE seen_at < $1 ORDER BY seen_at LIMIT $2
                   FOR UPDATE SKIP LOCKED))";
    write.execute(sql, params![upkeep.push_tokens_before.millis(), bound_len(REMOVE_ROWS)]).await
}

/// Removes some of what one deleted app left, and in the end the note that it was deleted.
async fn remove_of_deleted_app(write: &Write) -> Result<u64, Failure> {
    const OF_GROUPS: &str = "SELECT number FROM respoked.messages WHERE group_number = ANY($1) LIMIT $2";
    let sql = "SELECT app_id FROM respoked.deleted_apps ORDER BY app_id LIMIT 1";
    let Some(app) = one(write, sql, &[], only::<Uuid>).await? else { return Ok(0) };
    let sql = "SELECT number FROM respoked.message_groups WHERE app_id = $1 ORDER BY name LIMIT $2";
    let groups = all(write, sql, params![app, GROUPS], only::<i64>).await?;
    let groups: BTreeSet<_> = groups.into_iter().collect();
    if !groups.is_empty() {
        lock_groups(write, &groups).await?;
        let these = groups.iter().copied().collect::<Vec<_>>();
        let read = |columns: &mut Columns<'_>| columns.next::<i64>();
        let numbers = all(write, OF_GROUPS, params![these, bound_len(REMOVE_ROWS)], read).await?;
        // Empty groups count as well: they are something that was left.
        return Ok(remove_messages_of(write, &groups, &numbers).await?.max(1));
    }
    let mut removed = 0;
    for sql in [
        "DELETE FROM respoked.secrets WHERE id = ANY(ARRAY(
             SELECT id FROM respoked.secrets WHERE app_id = $1 ORDER BY created_at, id LIMIT $2))",
        "DELETE FROM respoked.roles WHERE app_id = $1 AND id = ANY(ARRAY(
             SELECT id FROM respoked.roles WHERE app_id = $1 ORDER BY id LIMIT $2))",
        "DELETE FROM respoked.endpoints WHERE app_id = $1 AND endpoint = ANY(ARRAY(
             SELECT endpoint FROM respoked.endpoints WHERE app_id = $1 ORDER BY endpoint LIMIT $2))",
        "DELETE FROM respoked.push_tokens WHERE app_id = $1 AND id = ANY(ARRAY(
             SELECT id FROM respoked.push_tokens WHERE app_id = $1 ORDER BY id LIMIT $2))",
        "DELETE FROM respoked.call_reports WHERE number = ANY(ARRAY(
             SELECT number FROM respoked.call_reports WHERE app_id = $1 ORDER BY number LIMIT $2))",
    ] {
        removed += write.execute(sql, params![app, bound_len(REMOVE_ROWS) - stored(removed)]).await?;
        if stored(removed) >= bound_len(REMOVE_ROWS) {
            return Ok(removed);
        }
    }
    // Its conversations are found to be of no group, like those of groups that ran empty.
    Ok(removed + write.execute("DELETE FROM respoked.deleted_apps WHERE app_id = $1", params![app]).await?)
}

/// Removes some messages of one group that was ended, and in the end the note of that. Its marks are found to be of no
/// group.
async fn remove_of_ended_group(write: &Write) -> Result<u64, Failure> {
    let sql = "SELECT number FROM respoked.ended_groups ORDER BY number LIMIT 1";
    let Some(group) = one(write, sql, &[], only::<i64>).await? else { return Ok(0) };
    let sql = "DELETE FROM respoked.messages WHERE number = ANY(ARRAY(
                   SELECT number FROM respoked.messages WHERE group_number = $1 ORDER BY at, number LIMIT $2))";
    let gone = write.execute(sql, params![group, bound_len(REMOVE_ROWS)]).await?;
    if gone > 0 {
        return Ok(gone);
    }
    write.execute("DELETE FROM respoked.ended_groups WHERE number = $1", params![group]).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::ports::MaintenanceStore as _;

    use super::*;
    use crate::contract::fixture::NOW;
    use crate::contract::postgres::{Postgres, there_is_a_server};
    use crate::contract::upkeep_cases::upkeep_at;

    /// More than one step removes, and of two apps and groups, so that the one is not passed over for the other.
    const ROWS: u64 = (ROUNDS * REMOVE_ROWS) as u64 + 100;

    async fn run(store: &Arc<PostgresStore>, sql: &str) {
        let write = store.begin().await.unwrap();
        write.batch(sql).await.unwrap();
        store.commit(&write).await.unwrap();
    }

    /// Two apps, each with a full group, reports, endpoints that are banned for long, and what else an app is made of.
    async fn fill(store: &Arc<PostgresStore>) {
        for of in 1..=2 {
            let (app, now) = (Uuid::from_u128(of), NOW.millis());
            let fill = format!(
                "INSERT INTO respoked.message_groups (number, messages, last_at, epoch, head, app_id, name)
                     VALUES ({of}, {ROWS}, 0, 0, {ROWS}, '{app}', 'room');
                 INSERT INTO respoked.messages (group_number, at, \"offset\", sender, event)
                     SELECT {of}, {now} + n, n, 'jo', '{{}}' FROM generate_series(1, {ROWS}) n;
                 INSERT INTO respoked.call_reports (app_id, at, report)
                     SELECT '{app}', {now} + n, '' FROM generate_series(1, {ROWS}) n;
                 INSERT INTO respoked.endpoints (app_id, endpoint, banned_at, banned_until, ban_reason)
                     SELECT '{app}', n::text, 0, {now} + 999999999, '' FROM generate_series(1, {ROWS}) n;
                 INSERT INTO respoked.roles (app_id, id, name, permissions, created_at, updated_at)
                     SELECT '{app}', gen_random_uuid(), n::text, '{{}}', 0, 0 FROM generate_series(1, 9) n;
                 INSERT INTO respoked.secrets (app_id, id, name, hint, hash, created_at)
                     SELECT '{app}', gen_random_uuid(), '', '', uuid_send(gen_random_uuid()), 0 FROM generate_series(1, 9) n"
            );
            run(store, &fill).await;
        }
    }

    async fn count(store: &Arc<PostgresStore>, sql: &str) -> u64 {
        store.read_one(sql, &[], read_number).await.unwrap().unwrap()
    }

    const KEPT: &str = "SELECT coalesce(sum(bytes), 0)::bigint FROM respoked.kept_bytes WHERE app_id = ";
    const MESSAGES: &str = "SELECT count(*) FROM respoked.messages";
    const REPORTS: &str = "SELECT count(*) FROM respoked.call_reports";

    /// Room is asked for by whoever ended something: it comes with the next steps, however much else there is.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_ended_gives_its_room_back_with_the_next_steps() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let store = fixture.store().await;
        fill(&store).await;
        let [one, other] = [1, 2].map(Uuid::from_u128);
        run(
            &store,
            &format!(
                "DELETE FROM respoked.message_groups WHERE number = 1;
                 INSERT INTO respoked.ended_groups (number, app_id) VALUES (1, '{one}');
                 INSERT INTO respoked.deleted_apps (app_id) VALUES ('{other}')"
            ),
        )
        .await;
        store.upkeep(upkeep_at(NOW)).await.unwrap();
        assert_eq!(count(&store, MESSAGES).await, 200, "of each as much as one step removes");
        while count(&store, "SELECT count(*) FROM respoked.deleted_apps").await > 0 {
            store.upkeep(upkeep_at(NOW)).await.unwrap();
        }
        assert_eq!(count(&store, MESSAGES).await, 0);
        assert_eq!(count(&store, REPORTS).await, ROWS, "the reports of what is not ended stay");
        assert_eq!(count(&store, &format!("{KEPT} '{other}'")).await, 0);
        assert!(count(&store, &format!("{KEPT} '{one}'")).await > 0);
        for (table, of_one) in [("endpoints", ROWS), ("roles", 9), ("secrets", 9)] {
            assert_eq!(count(&store, &format!("SELECT count(*) FROM respoked.{table}")).await, of_one, "{table}");
        }
        for table in ["deleted_apps", "ended_groups", "message_groups"] {
            assert_eq!(count(&store, &format!("SELECT count(*) FROM respoked.{table}")).await, 0, "{table}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pass_ends_only_when_nothing_is_too_much() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let store = fixture.store().await;
        fill(&store).await;
        let upkeep = Upkeep { messages_per_group_max: 7, call_reports_per_app_max: 9, ..upkeep_at(NOW) };
        let mut steps = 1;
        while !store.upkeep(upkeep).await.unwrap().pass_complete {
            steps += 1;
        }
        assert_eq!((count(&store, MESSAGES).await, count(&store, REPORTS).await), (2 * 7, 2 * 9));
        assert_eq!(count(&store, "SELECT sum(messages)::bigint FROM respoked.message_groups").await, 2 * 7);
        assert_eq!(steps, 3, "and does not do everything at once");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn beyond_what_is_remembered_of_all_each_app_has_its_share() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let store = fixture.store().await;
        let app = Uuid::from_u128;
        for (of, said) in [(1, 3), (2, 40), (3, 60)] {
            let say = format!(
                "INSERT INTO respoked.said (key, request, message_id, at, app_id, nth)
                 SELECT uuid_send(gen_random_uuid()), '', gen_random_uuid(), 0, '{}', 7 + n
                 FROM generate_series(1, {said}) n",
                app(of)
            );
            run(&store, &say).await;
        }
        assert_eq!(store.said_too_often(103).await.unwrap(), (0, vec![]));
        let mut until = 0;
        assert_eq!(store.said_beyond(&mut until, 110).await.unwrap(), vec![]);
        assert_eq!(until, 103 + 7, "and the next looks are spared");
        let (_, too_often) = store.said_too_often(102).await.unwrap();
        assert_eq!(too_often, [(app(2), 7 + 40 - 34), (app(3), 7 + 60 - 34)]);
        for (of, last) in too_often {
            let forgot: Result<_, StoreError> =
                async { Ok(in_rounds!(store, write => forget_said(write, of, last))) }.await;
            assert!(forgot.unwrap().complete);
        }
        for (of, left) in [(1, 3), (2, 34), (3, 34)] {
            let sql = format!("SELECT count(*) FROM respoked.said WHERE app_id = '{}'", app(of));
            assert_eq!(count(&store, &sql).await, left);
        }
    }
}
