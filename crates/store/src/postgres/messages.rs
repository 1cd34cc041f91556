//! Group messages, and how far they were read. What is said is written in batches (`message_writer/batch.rs`).

use std::collections::BTreeMap;
use std::ops::Range;

use async_trait::async_trait;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AppId, EndpointId, GroupName};
use respoke_core::message::{
    Conversation, Conversations, HISTORY_BYTES_MAX, INSTANT_MESSAGES_MAX, KEPT_BETWEEN_MAX, Kept, MessageRef,
    NewMessage, ReadMark, Said, SaidOnce, StoredMessage,
};
use respoke_core::ports::{Keeping, MessageStore, Removal, StoreError};

use super::connect::{Connection, params};
use super::failure::Failure;
use super::kept;
use super::message_writer::{Say, forget_untouched};
use super::rows::{Columns, all, lock_app, one, read_number, stored};
use super::store::{PostgresStore, all_of};
use super::write::in_transaction;
use crate::pages::{history, within};

/// Finds where a message is without reading it.
fn find(columns: &mut Columns<'_>) -> Result<MessageRef, Failure> {
    let (group, number, at) = (columns.next()?, columns.next()?, columns.time()?);
    let len = usize::try_from(columns.next::<i32>()?).unwrap_or(usize::MAX);
    Ok(MessageRef { group, number, at, len })
}

/// Messages of a group before an instant, newest first.
const HISTORY: &str = "
    SELECT group_number, number, at, octet_length(event) FROM respoked.messages
    WHERE group_number = (SELECT number FROM respoked.message_groups WHERE app_id = $1 AND name = $2) AND at < $3
    ORDER BY at DESC, number DESC LIMIT $4";

/// Messages of a group between two offsets. They are found by their instants, of which there is an index: what has no gap goes as
/// far back as there are offsets.
const KEPT_BETWEEN: &str = "
    SELECT * FROM (
        SELECT \"offset\", at, event FROM respoked.messages
        WHERE group_number = (SELECT number FROM respoked.message_groups WHERE app_id = $1 AND name = $2 AND epoch = $3)
          AND at < $4 ORDER BY at DESC, number DESC LIMIT $5) m
    WHERE \"offset\" >= $6 AND \"offset\" < $7 ORDER BY \"offset\"";

/// The newest messages of each of these groups, with the group's place among them.
const LATEST: &str = "
    SELECT n.nth, m.group_number, m.number, m.at, m.len
    FROM unnest($2::bytea[]) WITH ORDINALITY n (name, nth)
    JOIN respoked.message_groups g ON g.app_id = $1 AND g.name = n.name
    CROSS JOIN LATERAL (
        SELECT group_number, number, at, octet_length(event) AS len FROM respoked.messages
        WHERE group_number = g.number ORDER BY at DESC, number DESC LIMIT $3) m
    ORDER BY n.nth, m.at DESC, m.number DESC";

/// Messages at these places. Another one of the group may have the number by now.
const THESE: &str = "
    SELECT n.nth, m.at, m.event
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY n (number, group_number, at, nth)
    JOIN respoked.messages m ON m.number = n.number AND m.group_number = n.group_number AND m.at = n.at";

/// An endpoint's conversations, and groups that it is in, as far as something is kept of them: with the mark and the newest
/// message of each. By the message's number: of two groups, too, what was said last is the newest, whatever the clock did.
const CONVERSATIONS: &str = "
    WITH candidates AS (
        SELECT g.number, g.name, c.read_at FROM respoked.conversations c
        JOIN respoked.message_groups g ON g.number = c.group_number
        WHERE c.app_id = $1 AND c.endpoint = $2
        UNION ALL
        SELECT g.number, g.name, 0 FROM (SELECT DISTINCT name FROM unnest($3::bytea[]) n (name)) n
        JOIN respoked.message_groups g ON g.app_id = $1 AND g.name = n.name
        WHERE NOT EXISTS (SELECT 1 FROM respoked.conversations c
                          WHERE c.app_id = $1 AND c.endpoint = $2 AND c.group_number = g.number)),
    newest AS (
        SELECT k.number, k.name, k.read_at, l.number AS latest FROM candidates k
        CROSS JOIN LATERAL (SELECT number FROM respoked.messages WHERE group_number = k.number
                            ORDER BY at DESC, number DESC LIMIT 1) l
        ORDER BY latest DESC LIMIT $4)
    SELECT n.number, n.read_at, n.name, m.sender, m.at, m.event
    FROM newest n JOIN respoked.messages m ON m.number = n.latest ORDER BY n.latest DESC";

/// How many messages of each of these groups follow the mark, as far as is looked, and how many of them are of others.
const UNREAD: &str = "
    SELECT u.looked_at, u.unread
    FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY n (group_number, read_at, nth)
    CROSS JOIN LATERAL (
        SELECT count(*) AS looked_at, count(*) FILTER (WHERE sender <> $3) AS unread
        FROM (SELECT sender FROM respoked.messages WHERE group_number = n.group_number AND at > n.read_at
              ORDER BY at DESC, number DESC LIMIT $4) m) u
    ORDER BY n.nth";

/// A conversation of which it is to be counted what is unread.
struct Candidate {
    group: i64,
    read_at: i64,
    conversation: Conversation,
}

fn candidate(columns: &mut Columns<'_>) -> Result<Candidate, Failure> {
    let (group, read_at, name) = (columns.next()?, columns.next()?, columns.group()?);
    let sender = columns.endpoint()?;
    let latest = StoredMessage { at: columns.time()?, event: columns.json_in_bytes()? };
    Ok(Candidate { group, read_at, conversation: Conversation { group: name, sender, latest, unread: 0 } })
}

fn rows(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

fn names(groups: &[GroupName]) -> Vec<&[u8]> {
    groups.iter().map(|group| group.as_str().as_bytes()).collect()
}

/// Groups among these that there are, with the mark as it may be moved, and whether the endpoint has one there.
const MARKED: &str = "
    SELECT g.number, least(n.at, g.last_at), c.read_at IS NOT NULL
    FROM unnest($3::bytea[], $4::bigint[]) n (name, at)
    JOIN respoked.message_groups g ON g.app_id = $1 AND g.name = n.name
    LEFT JOIN respoked.conversations c ON c.app_id = $1 AND c.endpoint = $2 AND c.group_number = g.number";

async fn mark(
    connection: &Connection,
    app: AppId,
    endpoint: &EndpointId,
    marks: &[ReadMark],
    now: Timestamp,
    bytes_max: u64,
) -> Result<Keeping<()>, Failure> {
    const MARK: &str = "
        INSERT INTO respoked.conversations AS c (app_id, endpoint, group_number, read_at, touched_at)
        SELECT $1, $2, *, $5 FROM unnest($3::bigint[], $4::bigint[])
        ON CONFLICT (app_id, endpoint, group_number)
        DO UPDATE SET read_at = greatest(c.read_at, excluded.read_at), touched_at = excluded.touched_at";
    let groups: Vec<_> = marks.iter().map(|mark| mark.group.as_str().as_bytes()).collect();
    let times: Vec<_> = marks.iter().map(|mark| mark.at.millis()).collect();
    let id = (app.uuid(), endpoint.as_str());
    let found = all(connection, MARKED, params![id.0, id.1, groups, times], |columns| {
        Ok((columns.next::<i64>()?, columns.next::<i64>()?, columns.next::<bool>()?))
    })
    .await?;
    // A group may be named twice.
    let (mut marks, mut new) = (BTreeMap::new(), 0);
    for (group, read_at, there) in found {
        let further = marks.entry(group).or_insert_with(|| {
            new += usize::from(!there);
            read_at
        });
        *further = read_at.max(*further);
    }
    // All of them or none.
    if new > 0 && !kept::fits(connection, app, new * kept::conversation(endpoint), bytes_max).await? {
        return Ok(Keeping::Full);
    }
    let (groups, times): (Vec<_>, Vec<_>) = marks.into_iter().unzip();
    connection.execute(MARK, params![id.0, id.1, groups, times, now.millis()]).await?;
    forget_untouched(connection, &vec![id.0], &vec![id.1]).await?;
    Ok(Keeping::Kept(()))
}

#[async_trait]
impl MessageStore for PostgresStore {
    async fn append_message(&self, message: NewMessage, bytes_max: u64) -> Result<Keeping<Kept>, StoreError> {
        let now = message.at;
        match self.messages.say(Say { once: None, kept: Some(message), now, bytes_max }).await? {
            Said::First(at, Some(place)) => Ok(Keeping::Kept(Kept { at, place })),
            Said::NoApp => Ok(Keeping::NoApp),
            Said::Full => Ok(Keeping::Full),
            Said::First(_, None) | Said::Before(_) | Said::KeyReused => {
                Err(StoreError::Corrupt("a message to be kept was answered as another"))
            }
        }
    }

    async fn say_once(
        &self,
        once: SaidOnce,
        kept: Option<NewMessage>,
        now: Timestamp,
        bytes_max: u64,
    ) -> Result<Said, StoreError> {
        self.messages.say(Say { once: Some(once), kept, now, bytes_max }).await
    }

    async fn kept_bytes(&self, app: AppId) -> Result<u64, StoreError> {
        Ok(self.read_one(kept::KEPT, params![app.uuid()], read_number).await?.unwrap_or(0))
    }

    async fn recounted_bytes(&self, app: AppId) -> Result<u64, StoreError> {
        Ok(self.read_one(kept::RECOUNTED, params![app.uuid()], read_number).await?.unwrap_or(0))
    }

    async fn kept_bytes_of_all(&self) -> Result<u64, StoreError> {
        Ok(self.read_one(kept::OF_ALL, &[], read_number).await?.unwrap_or(0))
    }

    /// Without its row nothing finds a group's messages and marks; upkeep removes those by its number, which is not given
    /// again.
    async fn end_group(&self, app: AppId, group: &GroupName) -> Result<Removal, StoreError> {
        in_transaction!(self, write => {
            // Nobody says anything in it meanwhile.
            lock_app(write, app).await?;
            let sql = "DELETE FROM respoked.message_groups WHERE app_id = $1 AND name = $2 RETURNING number";
            let (id, name) = (app.uuid(), group.as_str().as_bytes());
            let Some(number) = one(write, sql, params![id, name], read_number).await? else {
                return Ok(Removal::Unknown);
            };
            let sql = "INSERT INTO respoked.ended_groups (number, app_id) VALUES ($1, $2)";
            write.execute(sql, params![stored(number), id]).await?;
            Ok(Removal::Removed)
        })
        .inspect(|removal| self.note_ended(*removal == Removal::Removed))
    }

    async fn history(
        &self,
        app: AppId,
        group: &GroupName,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<MessageRef>, StoreError> {
        let before = before.map_or(i64::MAX, Timestamp::millis);
        let first = async |most: usize| {
            let (id, name) = (app.uuid(), group.as_str().as_bytes());
            self.read_all(HISTORY, params![id, name, before, rows(most)], find).await
        };
        let mut found = first(limit + 1).await?;
        let of_one_instant = found.first().zip(found.last()).is_some_and(|(first, last)| first.at == last.at);
        if found.len() > limit && of_one_instant {
            // They are no page yet.
            found = first(INSTANT_MESSAGES_MAX.max(limit) + 1).await?;
        }
        history(found.into_iter().map(Ok), limit)
    }

    async fn kept_between(
        &self,
        app: AppId,
        group: &GroupName,
        epoch: u64,
        offsets: Range<u64>,
        before: Timestamp,
    ) -> Result<Vec<(u64, StoredMessage)>, StoreError> {
        let most = stored(offsets.end.saturating_sub(offsets.start).min(KEPT_BETWEEN_MAX));
        let (id, name, before) = (app.uuid(), group.as_str().as_bytes(), before.millis());
        let (epoch, start, end) = (stored(epoch), stored(offsets.start), stored(offsets.end));
        let what = params![id, name, epoch, before, most, start, end];
        self.read_all(KEPT_BETWEEN, what, |columns| {
            Ok((columns.number()?, StoredMessage { at: columns.time()?, event: columns.json_in_bytes()? }))
        })
        .await
    }

    async fn latest(
        &self,
        app: AppId,
        groups: Vec<GroupName>,
        limit: usize,
    ) -> Result<Vec<(GroupName, Vec<MessageRef>)>, StoreError> {
        let read = |columns: &mut Columns<'_>| Ok((columns.number()?, find(columns)?));
        let reader = self.gather().await?;
        let newest = reader.read(LATEST, params![app.uuid(), names(&groups), rows(limit)]).await?;
        let newest = all_of(&newest, read)?;
        let mut newest = newest.into_iter().peekable();
        let share = HISTORY_BYTES_MAX / groups.len().max(1);
        let (mut found, mut all_bytes) = (Vec::with_capacity(groups.len()), 0);
        for (group, nth) in groups.into_iter().zip(1..) {
            let its_own = std::iter::from_fn(|| newest.next_if(|(of, _)| *of == nth));
            let its_own: Vec<_> = its_own.map(|(_, message)| Ok::<_, StoreError>(message)).collect();
            let (messages, bytes) = within(its_own.into_iter(), share)?;
            // Whatever is longest comes alone, so that asking again for those left out always gets on.
            if bytes > 0 && all_bytes > 0 && all_bytes + bytes > HISTORY_BYTES_MAX {
                continue;
            }
            all_bytes += bytes;
            found.push((group, messages));
        }
        Ok(found)
    }

    async fn messages(&self, which: Vec<MessageRef>) -> Result<Vec<Option<StoredMessage>>, StoreError> {
        let numbers: Vec<_> = which.iter().map(|place| place.number).collect();
        let groups: Vec<_> = which.iter().map(|place| place.group).collect();
        let times: Vec<_> = which.iter().map(|place| place.at.millis()).collect();
        let read = |columns: &mut Columns<'_>| {
            let nth = usize::try_from(columns.number()?).unwrap_or(0);
            Ok((nth, StoredMessage { at: columns.time()?, event: columns.json_in_bytes()? }))
        };
        let mut messages = vec![None; which.len()];
        for (nth, message) in self.read_all(THESE, params![numbers, groups, times], read).await? {
            if let Some(place) = messages.get_mut(nth.wrapping_sub(1)) {
                *place = Some(message);
            }
        }
        Ok(messages)
    }

    async fn conversations(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        joined: Vec<GroupName>,
    ) -> Result<Conversations, StoreError> {
        const FIRST: usize = Conversation::UNREAD_MAX;
        let id = (app.uuid(), endpoint.as_str());
        let most = rows(Conversation::LIST_MAX);
        let found = self.read_all(CONVERSATIONS, params![id.0, id.1, names(&joined), most], candidate).await?;
        let unread = async |of: &[Candidate], most: usize| {
            let groups: Vec<_> = of.iter().map(|candidate| candidate.group).collect();
            let marks: Vec<_> = of.iter().map(|candidate| candidate.read_at).collect();
            let read = |columns: &mut Columns<'_>| Ok((columns.number()?, columns.number()?));
            self.read_all(UNREAD, params![groups, marks, id.1, rows(most)], read).await
        };
        // So many of each are looked at in any case.
        let counted = if found.is_empty() { Vec::new() } else { unread(&found, FIRST).await? };
        let (mut list, mut looked_at) = (Vec::with_capacity(found.len()), 0);
        for (of, (mut looked, mut others)) in found.into_iter().zip(counted) {
            // Where some of them were his own, further ones may be others'.
            let left = Conversation::LIST_LOOKED_AT_MAX.saturating_sub(looked_at);
            let most = Conversation::LOOKED_AT_MAX.min(left);
            if looked == FIRST as u64 && others < looked && most > FIRST {
                let of = std::slice::from_ref(&of);
                (looked, others) = unread(of, most).await?.first().copied().unwrap_or((looked, others));
            }
            looked_at += usize::try_from(looked).unwrap_or(usize::MAX);
            let unread = usize::try_from(others).unwrap_or(usize::MAX).min(Conversation::UNREAD_MAX);
            list.push(Conversation { unread, ..of.conversation });
        }
        Ok(Conversations { list, looked_at })
    }

    async fn mark_read(
        &self,
        app: AppId,
        endpoint: &EndpointId,
        marks: Vec<ReadMark>,
        now: Timestamp,
        bytes_max: u64,
    ) -> Result<Keeping<()>, StoreError> {
        in_transaction!(self, write => {
            // Of an app that is deleted there is nothing to read.
            if !lock_app(write, app).await? {
                return Ok(Keeping::Kept(()));
            }
            mark(write, app, endpoint, &marks, now, bytes_max).await
        })
    }
}
