//! Group messages, and how far they were read.

use std::collections::HashSet;
use std::ops::Range;

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, GroupName, MessageId};
use respoke_core::message::{
    Conversation, Conversations, HISTORY_BYTES_MAX, Kept, MessageRef, NewMessage, Place, ReadMark, Said, SaidOnce,
    StoredMessage,
};
use respoke_core::ports::{Keeping, MessageStore, Removal, StoreError};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::places::{kept_between, messages};
use super::rows::{Columns, all, app_exists, execute, one};
use super::writer::Write;
use super::{SqliteStore, kept};
use crate::pages::{history, within};

/// An event that is kept as of another instant than its own may have longer a number in it.
const EVENT_GROWS_BY: usize = 20;

const GROUP_OF: &str = "SELECT number FROM message_groups WHERE app_id = ?1 AND name = ?2";

/// Finds where a message is without reading it.
fn find(row: &Row<'_>) -> rusqlite::Result<MessageRef> {
    let mut columns = Columns::of(row);
    let (group, number, at, len) = (columns.next()?, columns.next()?, columns.time()?, columns.next::<i64>()?);
    Ok(MessageRef { group, number, at, len: usize::try_from(len).unwrap_or(usize::MAX) })
}

fn group_of(connection: &Connection, app: AppId, group: &GroupName) -> rusqlite::Result<Option<i64>> {
    one(connection, GROUP_OF, params![app.uuid(), group.as_str()], |row| row.get(0))
}

fn append(write: &Write<'_>, message: &NewMessage, bytes_max: u64) -> rusqlite::Result<Keeping<Kept>> {
    let connection = write.connection;
    let app = message.app_id.uuid();
    if !app_exists(connection, message.app_id)? {
        return Ok(Keeping::NoApp);
    }
    // The message itself, and a group and a conversation that may begin with it.
    let cost = kept::message(message.event.get().len() + EVENT_GROWS_BY, &message.sender)
        + kept::group(&message.group)
        + kept::conversation(&message.sender);
    if !kept::fits(connection, message.app_id, cost, bytes_max)? {
        return Ok(Keeping::Full);
    }
    let count = "UPDATE message_groups SET messages = messages + 1, head = head + 1, last_at = max(last_at + 1, ?3)
                 WHERE app_id = ?1 AND name = ?2 RETURNING number, last_at, head, epoch";
    let named = params![app, message.group.as_str(), message.at.millis()];
    let counted = one(connection, count, named, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let (group, at, offset, epoch): (i64, i64, u64, u64) = match counted {
        Some(found) => found,
        None => {
            let sql = "INSERT INTO message_groups (app_id, name, messages, last_at, epoch, head)
                       VALUES (?1, ?2, 1, ?3, random() & 0x7fffffffffffffff, 1) RETURNING number, epoch";
            let begun = one(connection, sql, named, |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (group, epoch) = begun.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            (group, message.at.millis(), 1, epoch)
        }
    };
    let at = Timestamp::from_millis(at);
    execute(
        connection,
        "INSERT INTO messages (group_number, at, sender, event, offset) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![group, at.millis(), message.sender.as_str(), message.event_as_of(at), offset],
    )?;
    let sql = "INSERT INTO conversations (app_id, endpoint, group_number, read_at, touched_at)
               VALUES (?1, ?2, ?3, 0, ?4) ON CONFLICT DO NOTHING";
    if execute(connection, sql, params![app, message.sender.as_str(), group, message.at.millis()])? == 1 {
        forget_untouched(connection, message.app_id, &message.sender)?;
    }
    Ok(Keeping::Kept(Kept { at, place: Place { epoch, offset } }))
}

fn say_once(
    write: &Write<'_>,
    once: &SaidOnce,
    kept: Option<&NewMessage>,
    now: Timestamp,
    bytes_max: u64,
) -> rusqlite::Result<Said> {
    let connection = write.connection;
    let sql = "SELECT request, message_id FROM said WHERE key = ?1";
    let found: Option<([u8; 32], Uuid)> =
        one(connection, sql, [&once.key.key[..]], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match found {
        Some((request, id)) if request == once.key.request => return Ok(Said::Before(MessageId::from_uuid(id))),
        Some(_) => return Ok(Said::KeyReused),
        None => {}
    }
    let (at, place) = match kept {
        None => (now, None),
        Some(message) => match append(write, message, bytes_max)? {
            Keeping::Kept(Kept { at, place }) => (at, Some(place)),
            Keeping::NoApp => return Ok(Said::NoApp),
            Keeping::Full => return Ok(Said::Full),
        },
    };
    let app = once.app_id.uuid();
    let last = one(connection, "SELECT max(nth) FROM said WHERE app_id = ?1", [app], |row| row.get(0))?;
    let nth = last.flatten().unwrap_or(0_i64) + 1;
    execute(
        connection,
        "INSERT INTO said (key, request, message_id, at, app_id, nth) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![&once.key.key[..], &once.key.request[..], once.id.uuid(), now.millis(), app, nth],
    )?;
    let oldest = nth - i64::from(SaidOnce::PER_APP_MAX);
    execute(connection, "DELETE FROM said WHERE app_id = ?1 AND nth <= ?2", params![app, oldest])?;
    Ok(Said::First(at, place))
}

/// Without its row nothing finds a group's messages and marks; upkeep removes those by its number, which is not given
/// again.
fn end(write: &Write<'_>, app: AppId, group: &GroupName) -> rusqlite::Result<Removal> {
    let sql = "DELETE FROM message_groups WHERE app_id = ?1 AND name = ?2 RETURNING number";
    let named = params![app.uuid(), group.as_str()];
    let Some(number) = one(write.connection, sql, named, |row| row.get::<_, i64>(0))? else {
        return Ok(Removal::Unknown);
    };
    let sql = "INSERT INTO ended_groups (number, app_id) VALUES (?1, ?2)";
    execute(write.connection, sql, params![number, app.uuid()])?;
    Ok(Removal::Removed)
}

/// Keeps an endpoint's rows within their number. A tenth goes at once, so that one who writes to ever more groups costs
/// a look at their number each time and a sorting of them each hundredth.
fn forget_untouched(connection: &Connection, app: AppId, endpoint: &EndpointId) -> rusqlite::Result<()> {
    const MAX: usize = Conversation::PER_ENDPOINT_MAX;
    let too_many = "SELECT 1 FROM conversations WHERE app_id = ?1 AND endpoint = ?2 LIMIT 1 OFFSET ?3";
    if one(connection, too_many, params![app.uuid(), endpoint.as_str(), MAX], |_| Ok(()))?.is_none() {
        return Ok(());
    }
    let sql = "DELETE FROM conversations WHERE app_id = ?1 AND endpoint = ?2 AND group_number IN (
                   SELECT group_number FROM conversations WHERE app_id = ?1 AND endpoint = ?2
                   ORDER BY touched_at DESC, group_number DESC LIMIT -1 OFFSET ?3)";
    execute(connection, sql, params![app.uuid(), endpoint.as_str(), MAX - MAX / 10])?;
    Ok(())
}

fn mark(
    write: &Write<'_>,
    app: AppId,
    endpoint: &EndpointId,
    marks: &[ReadMark],
    now: Timestamp,
    bytes_max: u64,
) -> rusqlite::Result<Keeping<()>> {
    let (mut found, mut new) = (Vec::with_capacity(marks.len()), HashSet::new());
    for mark in marks {
        let newest = "SELECT number, last_at FROM message_groups WHERE app_id = ?1 AND name = ?2";
        let named = params![app.uuid(), mark.group.as_str()];
        let group: Option<(i64, i64)> = one(write.connection, newest, named, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some((group, last_at)) = group else { continue };
        let key = params![app.uuid(), endpoint.as_str(), group];
        let there = "SELECT 1 FROM conversations WHERE app_id = ?1 AND endpoint = ?2 AND group_number = ?3";
        if one(write.connection, there, key, |_| Ok(()))?.is_none() {
            new.insert(group);
        }
        found.push((group, mark.at.millis().min(last_at)));
    }
    // All of them or none.
    let more = new.len() * kept::conversation(endpoint);
    if more > 0 && !kept::fits(write.connection, app, more, bytes_max)? {
        return Ok(Keeping::Full);
    }
    for (group, read_at) in found {
        let sql = "INSERT INTO conversations (app_id, endpoint, group_number, read_at, touched_at)
                   VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE
                   SET read_at = max(read_at, excluded.read_at), touched_at = excluded.touched_at";
        execute(write.connection, sql, params![app.uuid(), endpoint.as_str(), group, read_at, now.millis()])?;
    }
    forget_untouched(write.connection, app, endpoint)?;
    Ok(Keeping::Kept(()))
}

fn latest(
    connection: &Connection,
    app: AppId,
    groups: Vec<GroupName>,
    limit: usize,
) -> rusqlite::Result<Vec<(GroupName, Vec<MessageRef>)>> {
    let sql = "SELECT group_number, number, at, octet_length(event) FROM messages
               WHERE group_number = ?1 ORDER BY at DESC, number DESC LIMIT ?2";
    let share = HISTORY_BYTES_MAX / groups.len().max(1);
    let (mut found, mut all_bytes) = (Vec::with_capacity(groups.len()), 0);
    for group in groups {
        let Some(number) = group_of(connection, app, &group)? else {
            found.push((group, Vec::new()));
            continue;
        };
        let (messages, bytes) =
            within(connection.prepare_cached(sql)?.query_map(params![number, limit], find)?, share)?;
        // Whatever is longest comes alone, so that asking again for those left out always gets on.
        if all_bytes > 0 && all_bytes + bytes > HISTORY_BYTES_MAX {
            continue;
        }
        all_bytes += bytes;
        found.push((group, messages));
    }
    Ok(found)
}

/// A group that may be a conversation.
struct Candidate {
    group: GroupName,
    number: i64,
    read_at: i64,
}

fn candidates(
    connection: &Connection,
    app: AppId,
    endpoint: &EndpointId,
    joined: Vec<GroupName>,
) -> rusqlite::Result<Vec<Candidate>> {
    let sql = "SELECT g.name, g.number, c.read_at
               FROM conversations c JOIN message_groups g ON g.number = c.group_number
               WHERE c.app_id = ?1 AND c.endpoint = ?2";
    let mut found = all(connection, sql, params![app.uuid(), endpoint.as_str()], |row| {
        let mut columns = Columns::of(row);
        Ok(Candidate { group: columns.group()?, number: columns.next()?, read_at: columns.next()? })
    })?;
    let known: HashSet<i64> = found.iter().map(|candidate| candidate.number).collect();
    let mut joined = joined;
    joined.sort_unstable();
    joined.dedup();
    for group in joined {
        if let Some(number) = group_of(connection, app, &group)?
            && !known.contains(&number)
        {
            found.push(Candidate { group, number, read_at: 0 });
        }
    }
    Ok(found)
}

fn conversations(
    connection: &Connection,
    app: AppId,
    endpoint: &EndpointId,
    joined: Vec<GroupName>,
) -> rusqlite::Result<Conversations> {
    let newest = "SELECT number FROM messages WHERE group_number = ?1 ORDER BY at DESC, number DESC LIMIT 1";
    let mut found = Vec::new();
    for candidate in candidates(connection, app, endpoint, joined)? {
        let latest: Option<i64> = one(connection, newest, [candidate.number], |row| row.get(0))?;
        found.extend(latest.map(|latest| (latest, candidate)));
    }
    // By number: of two groups, too, what was said last is the newest, whatever the clock did.
    found.sort_unstable_by_key(|(latest, _)| std::cmp::Reverse(*latest));
    found.truncate(Conversation::LIST_MAX);
    let mut list = Vec::with_capacity(found.len());
    let mut looked_at = 0;
    for (number, candidate) in found {
        let sql = "SELECT sender, at, event FROM messages WHERE number = ?1";
        let latest = one(connection, sql, [number], |row| {
            let mut columns = Columns::of(row);
            let sender = columns.endpoint()?;
            Ok((sender, StoredMessage { at: columns.time()?, event: columns.json()? }))
        })?;
        let unread = unread(connection, &candidate, endpoint, &mut looked_at)?;
        // Upkeep may have removed the message since it was found.
        list.extend(latest.map(|(sender, latest)| Conversation { group: candidate.group, sender, latest, unread }));
    }
    Ok(Conversations { list, looked_at })
}

/// How many messages of others follow the mark, as far as may be looked at after so many.
fn unread(
    connection: &Connection,
    of: &Candidate,
    endpoint: &EndpointId,
    looked_at: &mut usize,
) -> rusqlite::Result<usize> {
    let sql = "SELECT sender FROM messages WHERE group_number = ?1 AND at > ?2 ORDER BY at DESC LIMIT ?3";
    let left = Conversation::LIST_LOOKED_AT_MAX.saturating_sub(*looked_at);
    let most = Conversation::LOOKED_AT_MAX.min(left).max(Conversation::UNREAD_MAX);
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![of.number, of.read_at, most])?;
    let mut unread = 0;
    while unread < Conversation::UNREAD_MAX
        && let Some(row) = rows.next()?
    {
        *looked_at += 1;
        unread += usize::from(row.get_ref(0)?.as_str()? != endpoint.as_str());
    }
    Ok(unread)
}

#[async_trait]
impl MessageStore for SqliteStore {
    async fn append_message(&self, message: NewMessage, bytes_max: u64) -> Result<Keeping<Kept>, StoreError> {
        self.writer.write(move |write| append(write, &message, bytes_max)).await
    }

    async fn say_once(
        &self,
        once: SaidOnce,
        kept: Option<NewMessage>,
        now: Timestamp,
        bytes_max: u64,
    ) -> Result<Said, StoreError> {
        self.writer.write(move |write| say_once(write, &once, kept.as_ref(), now, bytes_max)).await
    }

    async fn end_group(&self, app: AppId, group: &GroupName) -> Result<Removal, StoreError> {
        let group = group.clone();
        let ended = self.writer.write(move |write| end(write, app, &group)).await;
        ended.inspect(|removal| self.note_ended(*removal == Removal::Removed))
    }

    async fn kept_bytes(&self, app: AppId) -> Result<u64, StoreError> {
        self.readers.read(move |connection| kept::bytes(connection, app)).await
    }

    async fn recounted_bytes(&self, app: AppId) -> Result<u64, StoreError> {
        self.readers.scan(move |connection| kept::recounted(connection, app)).await
    }

    async fn kept_bytes_of_all(&self) -> Result<u64, StoreError> {
        self.readers.scan(kept::of_all).await
    }

    async fn history(
        &self,
        app: AppId,
        group: &GroupName,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<MessageRef>, StoreError> {
        let group = group.clone();
        self.readers
            .scan(move |connection| {
                let Some(group) = group_of(connection, app, &group)? else { return Ok(Vec::new()) };
                let sql = "SELECT group_number, number, at, octet_length(event) FROM messages
                           WHERE group_number = ?1 AND at < ?2
                           ORDER BY at DESC, number DESC";
                let before = before.map_or(i64::MAX, Timestamp::millis);
                history(connection.prepare_cached(sql)?.query_map(params![group, before], find)?, limit)
            })
            .await
    }

    async fn kept_between(
        &self,
        app: AppId,
        group: &GroupName,
        epoch: u64,
        offsets: Range<u64>,
        before: Timestamp,
    ) -> Result<Vec<(u64, StoredMessage)>, StoreError> {
        let group = group.clone();
        self.readers.scan(move |connection| kept_between(connection, app, &group, epoch, &offsets, before)).await
    }

    async fn latest(
        &self,
        app: AppId,
        groups: Vec<GroupName>,
        limit: usize,
    ) -> Result<Vec<(GroupName, Vec<MessageRef>)>, StoreError> {
        self.readers.gather(move |connection| latest(connection, app, groups, limit)).await
    }

    async fn messages(&self, which: Vec<MessageRef>) -> Result<Vec<Option<StoredMessage>>, StoreError> {
        self.readers.scan(move |connection| messages(connection, &which)).await
    }

    async fn conversations(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        joined: Vec<GroupName>,
    ) -> Result<Conversations, StoreError> {
        let endpoint = endpoint.clone();
        self.readers.scan(move |connection| conversations(connection, app, &endpoint, joined)).await
    }

    async fn mark_read(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        marks: Vec<ReadMark>,
        now: Timestamp,
        bytes_max: u64,
    ) -> Result<Keeping<()>, StoreError> {
        let endpoint = endpoint.clone();
        self.writer.write(move |write| mark(write, app, &endpoint, &marks, now, bytes_max)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use respoke_core::id::RequestId;
    use respoke_core::ports::MaintenanceStore as _;

    use super::*;
    use crate::contract::fixture::{NOW, World, key};
    use crate::sqlite::Options;

    #[tokio::test]
    async fn an_app_makes_its_own_keys_forgotten_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("some.db"), Options::default()).unwrap());
        let world = World::new(store.clone()).await;
        let other = World::with_app(store.clone(), world.account).await;
        let say = async |of: &World, text: &str| {
            let once = SaidOnce { app_id: of.app, key: key(text, "body"), id: MessageId::random() };
            store.say_once(once, None, NOW, u64::MAX).await.unwrap()
        };
        for text in ["first", "second", "third"] {
            assert!(matches!(say(&world, text).await, Said::First(..)));
        }
        assert!(matches!(say(&other, "of another").await, Said::First(..)));
        // As if it had said as many between the second and the third.
        let app = world.app.uuid();
        let sql = "UPDATE said SET nth = ?2 WHERE app_id = ?1 AND nth = 3";
        store
            .writer
            .write(move |write| execute(write.connection, sql, params![app, SaidOnce::PER_APP_MAX]))
            .await
            .unwrap();
        assert!(matches!(say(&world, "last").await, Said::First(..)));
        for text in ["second", "third", "last", "of another"] {
            assert!(matches!(say(&world, text).await, Said::Before(_)), "{text}");
        }
        assert!(matches!(say(&world, "first").await, Said::First(..)), "forgotten");
        assert!(matches!(say(&world, "second").await, Said::First(..)), "and with that the next");
    }

    #[tokio::test]
    async fn a_groups_messages_are_numbered_without_a_gap_and_another_of_its_name_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let store = Arc::new(SqliteStore::open(&path, Options::default()).unwrap());
        let world = World::new(store.clone()).await;
        let say = async |group: &str, secs: i64| {
            let event = serde_json::value::RawValue::from_string(format!("{secs}")).unwrap();
            let (group, sender) = (GroupName::parse(group).unwrap(), EndpointId::parse("alice").unwrap());
            let message = NewMessage { app_id: world.app, group, sender, at: NOW.plus_secs(secs), event };
            store.append_message(message, u64::MAX).await.unwrap().kept().unwrap()
        };
        // Whoever says what at once, whatever the clock does.
        let mut saying = Vec::new();
        for secs in [9, 3, 7, 5, 1] {
            saying.push(async move {
                say("room", secs).await;
                say("hall", secs).await;
            });
        }
        let mut saying = saying.into_iter();
        tokio::join!(saying.next().unwrap(), saying.next().unwrap(), saying.next().unwrap());
        for rest in saying {
            rest.await;
        }
        let numbered = async |group: &'static str| {
            let of = "SELECT g.epoch, g.head, (SELECT group_concat(offset) FROM (
                          SELECT offset FROM messages WHERE group_number = g.number ORDER BY at))
                      FROM message_groups g WHERE g.name = ?1";
            let find = move |connection: &Connection| {
                connection.query_row(of, [group], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
                })
            };
            store.readers.read(find).await.unwrap()
        };
        let (room, hall) = (numbered("room").await, numbered("hall").await);
        assert_eq!((room.1, room.2.as_str()), (5, "1,2,3,4,5"));
        assert_eq!((hall.1, hall.2.as_str()), (5, "1,2,3,4,5"));
        assert_eq!(store.end_group(world.app, &GroupName::parse("room").unwrap()).await.unwrap(), Removal::Removed);
        say("room", 10).await;
        let again = numbered("room").await;
        assert_eq!((again.1, again.2.as_str()), (1, "1"));
        assert!(again.0 != room.0 && again.0 > 0);
        store.close().await;
        // A restored database may give offsets again that were given before.
        let before = hall.0;
        crate::end_everything_issued(&path, "backup", NOW, RequestId::random()).unwrap();
        let sql = "SELECT epoch FROM message_groups WHERE name = 'hall'";
        let after: i64 = Connection::open(&path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
        assert_ne!(after, before);
    }
}
