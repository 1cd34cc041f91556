//! A batch of messages as one transaction: locks are taken and what is needed is read in one round trip, and what is decided is
//! written in one more, by one statement for each kind of row.
//!
//! The apps' rows are locked first, in the order of their ids, as by everybody who adds rows that an app's bound counts. So
//! nothing is decided here that another one could make untrue, and whoever says something in a group says it behind what
//! he does not wait for any more. The groups' rows come next, by number: upkeep removes messages without the app's lock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use respoke_core::chance::Chance;
use respoke_core::id::{AppId, EndpointId, MessageId};
use respoke_core::message::{Conversation, NewMessage, SaidOnce};

use super::draft::{Draft, Found, Group, GroupKey, decide};
use super::operation::{Operation, Outcome, Say, Seen};
use crate::postgres::connect::{Connection, params};
use crate::postgres::failure::Failure;
use crate::postgres::rows::{Columns, all, read_number, stored};
use crate::postgres::tries::Undone;
use crate::postgres::writer::{Drafted, End, committed};

/// Runs a batch and returns what came of each operation.
pub(super) async fn run(
    connection: &Connection,
    chance: &dyn Chance,
    end: End<'_>,
    operations: &[&Operation],
) -> Result<Vec<Outcome>, Undone> {
    let drafting = Box::pin(async {
        let found = Box::pin(read(connection, operations)).await?;
        let (outcomes, draft) = decide(found, chance, operations)?;
        Box::pin(write(connection, &draft)).await?;
        Ok((outcomes, if draft.is_empty() { Drafted::Nothing } else { Drafted::Rows(operations.len()) }))
    });
    committed(connection, end, drafting).await
}

fn says<'a>(operations: &[&'a Operation]) -> impl Iterator<Item = &'a Say> {
    operations.iter().filter_map(|operation| match operation {
        Operation::Say(say) => Some(say),
        Operation::Seen(_) => None,
    })
}

/// What is to be kept.
fn messages<'a>(operations: &[&'a Operation]) -> impl Iterator<Item = &'a NewMessage> {
    says(operations).filter_map(|say| say.kept.as_ref())
}

fn once<'a>(operations: &[&'a Operation]) -> impl Iterator<Item = &'a SaidOnce> {
    says(operations).filter_map(|say| say.once.as_ref())
}

/// Begins the transaction, takes its locks, and then reads what the operations stand on.
async fn read<'a>(connection: &Connection, operations: &[&'a Operation]) -> Result<Found<'a>, Failure> {
    let (begun, apps, kept, groups, conversations, said) = tokio::join!(
        biased;
        connection.begin(""),
        lock_apps(connection, operations),
        kept(connection, operations),
        lock_groups(connection, operations),
        conversations(connection, operations),
        said(connection, operations),
    );
    begun?;
    let (apps, kept, groups) = (apps?, kept?, groups?);
    let apps: HashMap<_, _> = apps.into_iter().map(|app| (app, kept.get(&app).copied().unwrap_or(0))).collect();
    let wanted: BTreeSet<GroupKey<'_>> = messages(operations)
        .map(|message| (message.app_id, &message.group))
        .filter(|key| apps.contains_key(&key.0) && !groups.contains_key(key))
        .collect();
    let numbers = if wanted.is_empty() {
        Vec::new()
    } else {
        let sql = "SELECT nextval('respoked.group_number') FROM generate_series(1, $1)";
        let count = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        all(connection, sql, params![count], read_number).await?
    };
    Ok(Found {
        apps,
        groups,
        numbers: numbers.into_iter().map(stored).collect(),
        conversations: conversations?,
        said: said?,
    })
}

/// Those that are there stay so until the end.
async fn lock_apps(connection: &Connection, operations: &[&Operation]) -> Result<Vec<AppId>, Failure> {
    let sql = "SELECT id FROM respoked.apps WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
    let apps = messages(operations).map(|message| message.app_id).chain(once(operations).map(|once| once.app_id));
    let apps: HashSet<_> = apps.map(|app| app.uuid()).collect();
    if apps.is_empty() {
        return Ok(Vec::new());
    }
    all(connection, sql, params![Vec::from_iter(apps)], |columns| columns.uuid_as(AppId::from_uuid)).await
}

async fn kept(connection: &Connection, operations: &[&Operation]) -> Result<HashMap<AppId, u64>, Failure> {
    let sql = "SELECT app_id, bytes FROM respoked.kept_bytes WHERE app_id = ANY($1)";
    let apps: HashSet<_> = messages(operations).map(|message| message.app_id.uuid()).collect();
    if apps.is_empty() {
        return Ok(HashMap::new());
    }
    let read = |columns: &mut Columns<'_>| Ok((columns.uuid_as(AppId::from_uuid)?, columns.number()?));
    Ok(all(connection, sql, params![Vec::from_iter(apps)], read).await?.into_iter().collect())
}

/// Of these groups those that are there; they stay so until the end.
const LOCK_GROUPS: &str = "
    SELECT n.nth, g.number, g.last_at, g.head, g.epoch
    FROM unnest($1::uuid[], $2::bytea[]) WITH ORDINALITY n (app, name, nth)
    JOIN respoked.message_groups g ON g.app_id = n.app AND g.name = n.name
    ORDER BY g.number FOR NO KEY UPDATE OF g";

async fn lock_groups<'a>(
    connection: &Connection,
    operations: &[&'a Operation],
) -> Result<BTreeMap<GroupKey<'a>, Group>, Failure> {
    let keys: BTreeSet<GroupKey<'_>> = messages(operations).map(|message| (message.app_id, &message.group)).collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keys = Vec::from_iter(keys);
    let apps: Vec<_> = keys.iter().map(|(app, _)| app.uuid()).collect();
    let names: Vec<_> = keys.iter().map(|(_, name)| name.as_str().as_bytes()).collect();
    let rows = all(connection, LOCK_GROUPS, params![apps, names], |columns| {
        let key = *asked(&keys, columns)?;
        let (number, last_at, head, epoch) = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
        Ok((key, Group { number, last_at, head, epoch, is_new: false, more: 0 }))
    })
    .await?;
    Ok(rows.into_iter().collect())
}

/// Of these senders those that have a conversation of the group. Each is looked for by its whole key: one sender may have
/// a thousand.
const CONVERSATIONS: &str = "
    SELECT n.nth FROM unnest($1::uuid[], $2::bytea[], $3::text[]) WITH ORDINALITY n (app, name, endpoint, nth)
    JOIN respoked.message_groups g ON g.app_id = n.app AND g.name = n.name
    CROSS JOIN LATERAL (
        SELECT 1 FROM respoked.conversations c
        WHERE c.app_id = n.app AND c.endpoint = n.endpoint AND c.group_number = g.number LIMIT 1) c";

async fn conversations<'a>(
    connection: &Connection,
    operations: &[&'a Operation],
) -> Result<HashSet<(GroupKey<'a>, &'a EndpointId)>, Failure> {
    let keys: HashSet<(GroupKey<'_>, &EndpointId)> =
        messages(operations).map(|message| ((message.app_id, &message.group), &message.sender)).collect();
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let keys = Vec::from_iter(keys);
    let apps: Vec<_> = keys.iter().map(|((app, _), _)| app.uuid()).collect();
    let names: Vec<_> = keys.iter().map(|((_, name), _)| name.as_str().as_bytes()).collect();
    let endpoints: Vec<_> = keys.iter().map(|(_, endpoint)| endpoint.as_str()).collect();
    let read = |columns: &mut Columns<'_>| asked(&keys, columns).copied();
    Ok(all(connection, CONVERSATIONS, params![apps, names, endpoints], read).await?.into_iter().collect())
}

/// What of `keys` a row is of that begins with its place among them.
fn asked<'k, K>(keys: &'k [K], columns: &mut Columns<'_>) -> Result<&'k K, Failure> {
    let nth = usize::try_from(columns.number()?).unwrap_or(0);
    keys.get(nth.wrapping_sub(1)).ok_or(Failure::Row("a row was numbered that was not asked for"))
}

async fn said(
    connection: &Connection,
    operations: &[&Operation],
) -> Result<HashMap<[u8; 32], ([u8; 32], MessageId)>, Failure> {
    let keys: Vec<&[u8]> = once(operations).map(|once| &once.key.key[..]).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = "SELECT key, request, message_id FROM respoked.said WHERE key = ANY($1)";
    let read =
        |columns: &mut Columns<'_>| Ok((columns.bytes()?, (columns.bytes()?, columns.uuid_as(MessageId::from_uuid)?)));
    Ok(all(connection, sql, params![keys], read).await?.into_iter().collect())
}

/// Writes what was decided. The statements are sent one behind the other without waiting for answers.
async fn write(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    let (seen, begun, counted, messages, conversations, said) = tokio::join!(
        biased;
        note_seen(connection, &draft.seen),
        begin_groups(connection, draft),
        count_up(connection, draft),
        write_messages(connection, draft),
        write_conversations(connection, draft),
        remember(connection, draft),
    );
    // The first that failed says why; those behind it, that it did.
    seen.and(begun).and(counted).and(messages).and(conversations).and(said)
}

/// How old "last seen" has to be before it is written anew: tokens go after months, so a day is near enough.
const TOUCH_MILLIS: i64 = 86_400_000;

/// Notes when devices were seen. Whoever changes one of them at the moment is not waited for: he knows as well that it is there.
const SEEN: &str = "
    UPDATE respoked.push_tokens p SET seen_at = s.at
    FROM (SELECT p.app_id, p.id, n.at
          FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) n (app, id, endpoint, at)
          JOIN respoked.push_tokens p ON p.app_id = n.app AND p.id = n.id
          WHERE p.endpoint = n.endpoint AND p.seen_at <= n.at - $5
          FOR NO KEY UPDATE OF p SKIP LOCKED) s
    WHERE p.app_id = s.app_id AND p.id = s.id";

/// Notes that devices were seen, each but once.
async fn note_seen(connection: &Connection, seen: &[&Seen]) -> Result<(), Failure> {
    if seen.is_empty() {
        return Ok(());
    }
    let apps: Vec<_> = seen.iter().map(|seen| seen.app.uuid()).collect();
    let ids: Vec<_> = seen.iter().map(|seen| seen.id.uuid()).collect();
    let endpoints: Vec<_> = seen.iter().map(|seen| seen.endpoint.as_str()).collect();
    let times: Vec<_> = seen.iter().map(|seen| seen.at.millis()).collect();
    connection.execute(SEEN, params![apps, ids, endpoints, times, TOUCH_MILLIS]).await.map(drop)
}

async fn begin_groups(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SQL: &str = "
        INSERT INTO respoked.message_groups (number, app_id, name, messages, last_at, epoch, head)
        SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])";
    let begun: Vec<_> = draft.groups.iter().filter(|(_, group)| group.is_new).collect();
    if begun.is_empty() {
        return Ok(());
    }
    let rows = || begun.iter();
    let written = connection
        .execute(
            SQL,
            params![
                rows().map(|(_, group)| group.number).collect::<Vec<_>>(),
                rows().map(|((app, _), _)| app.uuid()).collect::<Vec<_>>(),
                rows().map(|((_, name), _)| name.as_str().as_bytes()).collect::<Vec<_>>(),
                rows().map(|(_, group)| group.more).collect::<Vec<_>>(),
                rows().map(|(_, group)| group.last_at).collect::<Vec<_>>(),
                rows().map(|(_, group)| group.epoch).collect::<Vec<_>>(),
                rows().map(|(_, group)| group.head).collect::<Vec<_>>(),
            ],
        )
        .await;
    written.map(drop)
}

/// Counts messages of groups that were there.
async fn count_up(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SQL: &str = "
        UPDATE respoked.message_groups g SET messages = g.messages + n.more, last_at = n.last_at, head = n.head
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) n (number, more, last_at, head)
        WHERE g.number = n.number";
    let grown: Vec<_> = draft.groups.values().filter(|group| !group.is_new && group.more > 0).collect();
    if grown.is_empty() {
        return Ok(());
    }
    let written = connection
        .execute(
            SQL,
            params![
                grown.iter().map(|group| group.number).collect::<Vec<_>>(),
                grown.iter().map(|group| group.more).collect::<Vec<_>>(),
                grown.iter().map(|group| group.last_at).collect::<Vec<_>>(),
                grown.iter().map(|group| group.head).collect::<Vec<_>>(),
            ],
        )
        .await;
    written.map(drop)
}

async fn write_messages(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    // Numbered in the order of the arrays.
    const SQL: &str = "
        INSERT INTO respoked.messages (group_number, at, \"offset\", sender, event)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bytea[])";
    if draft.messages.is_empty() {
        return Ok(());
    }
    let rows = || draft.messages.iter();
    let written = connection
        .execute(
            SQL,
            params![
                rows().map(|row| row.group).collect::<Vec<_>>(),
                rows().map(|row| row.at.millis()).collect::<Vec<_>>(),
                rows().map(|row| row.offset).collect::<Vec<_>>(),
                rows().map(|row| row.sender.as_str()).collect::<Vec<_>>(),
                rows().map(|row| row.event.as_bytes()).collect::<Vec<_>>(),
            ],
        )
        .await;
    written.map(drop)
}

async fn write_conversations(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SQL: &str = "
        INSERT INTO respoked.conversations (app_id, endpoint, group_number, read_at, touched_at)
        SELECT app, endpoint, group_number, 0, at
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) n (app, endpoint, group_number, at)
        ON CONFLICT DO NOTHING";
    if draft.conversations.is_empty() {
        return Ok(());
    }
    let rows = || draft.conversations.iter();
    let apps: Vec<_> = rows().map(|row| row.app.uuid()).collect();
    let endpoints: Vec<_> = rows().map(|row| row.endpoint.as_str()).collect();
    let groups: Vec<_> = rows().map(|row| row.group).collect();
    let times: Vec<_> = rows().map(|row| row.touched_at.millis()).collect();
    let (written, forgotten) = tokio::join!(
        biased;
        async { connection.execute(SQL, params![apps, endpoints, groups, times]).await },
        forget_untouched(connection, &apps, &endpoints),
    );
    written.map(drop).and(forgotten)
}

/// Keeps endpoints' rows within their number. A tenth goes at once, so that one who writes to ever more groups costs a look at
/// their number each time and a sorting of them each hundredth.
const FORGET_UNTOUCHED: &str = "
    DELETE FROM respoked.conversations c
    USING (SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[]) n (app, endpoint)) n
    CROSS JOIN LATERAL (
        SELECT group_number FROM respoked.conversations o WHERE o.app_id = n.app AND o.endpoint = n.endpoint
        ORDER BY touched_at DESC, group_number DESC OFFSET $4) o
    WHERE (SELECT count(*) FROM respoked.conversations a WHERE a.app_id = n.app AND a.endpoint = n.endpoint) > $3
      AND c.app_id = n.app AND c.endpoint = n.endpoint AND c.group_number = o.group_number";

pub(in crate::postgres) async fn forget_untouched(
    connection: &Connection,
    apps: &Vec<uuid::Uuid>,
    endpoints: &Vec<&str>,
) -> Result<(), Failure> {
    let most = i64::try_from(Conversation::PER_ENDPOINT_MAX).unwrap_or(i64::MAX);
    connection.execute(FORGET_UNTOUCHED, params![*apps, *endpoints, most, most - most / 10]).await.map(drop)
}

/// Remembers what was said with keys, and forgets the oldest of apps that have too many.
async fn remember(connection: &Connection, draft: &Draft<'_>) -> Result<(), Failure> {
    const SQL: &str = "
        INSERT INTO respoked.said (key, request, message_id, at, app_id, nth)
        SELECT n.key, n.request, n.id, n.at, n.app,
               coalesce((SELECT max(s.nth) FROM respoked.said s WHERE s.app_id = n.app), 0)
                   + row_number() OVER (PARTITION BY n.app ORDER BY n.nth)
        FROM unnest($1::bytea[], $2::bytea[], $3::uuid[], $4::bigint[], $5::uuid[]) WITH ORDINALITY
             n (key, request, id, at, app, nth)";
    if draft.said.is_empty() {
        return Ok(());
    }
    let rows = || draft.said.iter();
    let keys: Vec<_> = rows().map(|(once, _)| &once.key.key[..]).collect();
    let requests: Vec<_> = rows().map(|(once, _)| &once.key.request[..]).collect();
    let ids: Vec<_> = rows().map(|(once, _)| once.id.uuid()).collect();
    let times: Vec<_> = rows().map(|(_, at)| at.millis()).collect();
    let apps: Vec<_> = rows().map(|(once, _)| once.app_id.uuid()).collect();
    let most = i64::from(SaidOnce::PER_APP_MAX);
    let (written, forgotten) = tokio::join!(
        biased;
        async { connection.execute(SQL, params![keys, requests, ids, times, apps]).await },
        async { connection.execute(FORGET_SAID, params![apps, most]).await },
    );
    written.and(forgotten).map(drop)
}

const FORGET_SAID: &str = "
    DELETE FROM respoked.said s USING (SELECT DISTINCT app FROM unnest($1::uuid[]) n (app)) n
    WHERE s.app_id = n.app AND s.nth <= (SELECT max(l.nth) FROM respoked.said l WHERE l.app_id = n.app) - $2";
