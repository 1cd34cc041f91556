//! What is done before anything is written on a new timeline, or read there (`lineage.rs`).
//!
//! Each process writes again what it had ended lately (`again.rs`), before it uses the new server for anything. It does not wait
//! for other processes to do so.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use respoke_core::audit::{Action, Actor, AuditEntry};
use respoke_core::chance::Chance;
use respoke_core::clock::Timestamp;
use respoke_core::id::RequestId;
use respoke_core::ports::StoreError;

use super::again::since::Since;
use super::again::there::There;
use super::again::{Written, write_again, write_deaths_again};
use super::audit_rows;
use super::connect::{Connection, params};
use super::failure::Failure;
use super::histories::{Histories, KEY as HISTORIES};
use super::journal::EndedLately;
use super::lineage::{Given, KEY, LEFT_BEHIND, Line, Lineage, Promotions, STRANGER, Settled, Standing};
use super::migrations::{meta, set_meta};
use super::node_lives;
use super::rows::{Columns, one, only, stored};
use super::settling::{Comer, Way};

/// What those who settle on a new timeline lock together.
const LOCK: i64 = i64::from_be_bytes(*b"lineage\0");
/// How far numbers jump beyond the newest that is known to have been given, by the database or by this process. That is what
/// 50,000 a second give in 80 seconds, to others while a standby is so far behind; and numbers are enough for 250,000 promotions.
const JUMP: i64 = 1 << 22;
/// How far the numbers of nodes' lives jump, of which there are fewer: that is enough for a million promotions.
const JUMP_OF_LIVES: i64 = 1 << 12;

/// Finds out where a database stands whose schema is there, and settles there if it is on a new timeline.
pub(super) async fn begin(
    connection: &Connection,
    promotions: Promotions,
    chance: Arc<dyn Chance>,
    ended: EndedLately,
) -> Result<Option<Line>, StoreError> {
    if promotions == Promotions::Unnoticed {
        return Ok(None);
    }
    let seen = match connection.told_of_server().await {
        Ok(told) => told.lineage,
        Err(Failure::Refused(error)) => return Err(StoreError::Unavailable(Box::new(Untold(error)))),
        Err(failure) => return Err(failure.nothing_written()),
    };
    let copy_taken = promotions == Promotions::NoticedAndCopyTaken;
    let settled = settle(connection, seen, copy_taken, &*chance, &Given::default()).await;
    Ok(Some(Line::of(settled.map_err(Failure::nothing_written)?, chance, ended)))
}

/// Whether a connection may be used for this. A new timeline, to which there is a way, is made fit; until it is, nobody uses it.
pub(super) async fn admit(
    line: &Arc<Line>,
    connection: &Connection,
    comer: Comer,
    way: Option<Way>,
) -> Result<(), Failure> {
    let confirming = line.confirming();
    let told = connection.told().await?;
    // While a server is made fit, who beats may do so there alone, though the one before may live.
    let place = if comer == Comer::Beat { line.beats_at() } else { line.settled() };
    let Err(elsewhere) = told.goes_on(place) else {
        if place == line.settled() {
            connection.note_confirmed(confirming);
        }
        if line.settling.is_over() {
            line.journal.stand_still_no_more();
        }
        return Ok(());
    };
    match told.lineage.after(place.lineage) {
        Standing::Stranger | Standing::LeftBehind => {}
        Standing::Same | Standing::Promoted => {
            if let Some(way) = way {
                line.settling.want(told.lineage, way);
            }
        }
    }
    Err(elsewhere)
}

/// Makes the server fit to be used that a connection leads to, and goes on there.
pub(super) async fn make_fit(line: &Line, connection: &Connection) -> Result<(), Failure> {
    let told = connection.told().await?;
    if line.may_write(&told).is_ok() {
        return Ok(());
    }
    let known = line.settled();
    match told.lineage.after(known.lineage) {
        Standing::Stranger => return Err(Failure::lost(STRANGER)),
        Standing::LeftBehind => return Err(Failure::lost(LEFT_BEHIND)),
        Standing::Same | Standing::Promoted => {}
    }
    line.journal.stand_still();
    let settled = settle(connection, told.lineage, false, &*line.chance, &line.given).await?;
    let histories = Histories::from_bytes(&meta(connection, HISTORIES).await?.unwrap_or_default());
    let common = histories.shared(known, settled);
    // Until this goes on, nothing more is confirmed that is committed on the server before: it may be alive.
    let between = line.journal.begin_again();
    let again = line.journal.lacking(common);
    let since = Since::promoted(known, settled, &line.given);
    let there = There { connection, settled, since, chance: &*line.chance };
    let deaths = write_deaths_again(there, &again).await?;
    // Whoever this process had declared dead is so. So a beat tells of nobody who is not.
    let passing = line.let_beats_pass(settled);
    let mut written = write_again(there, &again).await?;
    written.deeds += deaths;
    let head = one(connection, "SELECT head FROM respoked.feed", &[], only::<i64>).await?;
    line.journal.note_again(common, head.unwrap_or(settled.head));
    if !written.is_nothing() {
        tell(connection, line, settled, &written).await?;
    }
    log(known, settled, &written);
    line.go_on(settled);
    drop((between, passing));
    Ok(())
}

fn log(known: Settled, settled: Settled, written: &Written) {
    if known.lineage == settled.lineage {
        tracing::warn!(
            timeline = settled.lineage.timeline,
            from = format!("{:016x}", known.draw),
            to = format!("{:016x}", settled.draw),
            deeds_written_again = written.deeds,
            tokens_spent_again = written.tokens,
            deeds_forgotten = written.forgotten,
            "the database goes on on another server that was promoted to the same timeline, neither knowing of the other: what was ended \
             lately is ended there again"
        );
        return;
    }
    tracing::warn!(
        from = known.lineage.timeline,
        to = settled.lineage.timeline,
        changes_kept = settled.head,
        deeds_written_again = written.deeds,
        tokens_spent_again = written.tokens,
        deeds_forgotten = written.forgotten,
        "the database was promoted: tokens that were not redeemed are spent, and what was ended lately is ended again"
    );
}

/// Ends where the database goes on what came too late to be ended when that server was made fit. It had been committed on one that was
/// left behind, or is in doubt.
pub(super) async fn end_late(line: &Line, connection: &Connection) -> Result<(), Failure> {
    let (settled, late) = (line.settled(), line.journal.late());
    let since = Since::promoted(settled, settled, &line.given);
    let there = There { connection, settled, since, chance: &*line.chance };
    let deaths = write_deaths_again(there, &late).await?;
    let mut written = write_again(there, &late).await?;
    written.deeds += deaths;
    if !written.is_nothing() {
        tell(connection, line, settled, &written).await?;
        tracing::warn!(
            timeline = settled.lineage.timeline,
            deeds_written_again = written.deeds,
            "what was ended on a server that was left behind is ended where the database goes on"
        );
    }
    line.journal.note_late_written();
    Ok(())
}

/// Says in the audit log what was written again.
async fn tell(connection: &Connection, line: &Line, settled: Settled, written: &Written) -> Result<(), Failure> {
    let Written { deeds, tokens, forgotten, .. } = written;
    let object = format!(
        "timeline {}: {deeds} ends and {tokens} redemptions written again, {forgotten} not known any more",
        settled.lineage.timeline
    );
    connection.begin_where("", |told| told.goes_on(settled)).await?;
    audit(connection, object, &*line.chance).await?;
    connection.commit().await
}

/// Makes a new timeline fit to be written to, once: whoever comes later finds it done. What was committed before the promotion may
/// be missing here, and nobody knows what.
///
/// - The feed has another epoch, so that whoever follows it forgets what was read before. So have the histories of groups.
/// - Numbers jump, so that none is given twice of which somebody has the first.
/// - Tokens that were minted before are spent, because they may have been redeemed. They live for minutes, and clients have
///   new ones minted; the keys of their requests are forgotten, so that a repetition mints anew.
/// - Nodes have the time to beat again before one of them may be declared dead: their last beats may be missing. A copy that takes
///   the place of another system is another cluster.
async fn settle(
    connection: &Connection,
    seen: Lineage,
    copy_taken: bool,
    chance: &dyn Chance,
    given: &Given,
) -> Result<Settled, Failure> {
    // A pooler may have led elsewhere meanwhile.
    let is_seen =
        |lineage: Lineage| if lineage == seen { Ok(()) } else { Err(Failure::lost("the server is another one now")) };
    connection.begin_where("", |told| is_seen(told.lineage)).await?;
    connection.query("SELECT pg_advisory_xact_lock($1)", params![LOCK]).await?;
    let known = match meta(connection, KEY).await? {
        Some(bytes) => Some(Settled::from_bytes(&bytes).ok_or(Failure::Row("what was settled cannot be read"))?),
        None => None,
    };
    let head = one(connection, "SELECT head FROM respoked.feed", &[], only::<i64>).await?;
    let head = head.ok_or(Failure::Row("the feed has no row"))?;
    let draw = u64::from_be_bytes(chance.bytes());
    let gap = match known.map(|known| (known, seen.after(known.lineage))) {
        Some((known, Standing::Same)) => {
            connection.roll_back().await?;
            return Ok(known);
        }
        Some((_, Standing::LeftBehind)) => return Err(Failure::lost(LEFT_BEHIND)),
        Some((_, Standing::Stranger)) if !copy_taken => return Err(Failure::lost(STRANGER)),
        // A new database, or one of before this was kept.
        None => (0, 0),
        Some((known, Standing::Promoted | Standing::Stranger)) => {
            let is_copy = seen.after(known.lineage) == Standing::Stranger;
            if is_copy {
                node_lives::begin_another(connection, chance).await?;
            } else {
                node_lives::begin_anew(connection).await?;
            }
            let gap = spend(connection, chance, given).await?;
            if !is_copy {
                // Once more, because that may have taken longer than a node may be silent.
                node_lives::begin_anew(connection).await?;
            }
            let (from, to) = (known.lineage.timeline, seen.timeline);
            audit(connection, format!("timeline {to} after {from}"), chance).await?;
            gap
        }
    };
    let settled = Settled { lineage: seen, draw, head, gap };
    let histories = Histories::from_bytes(&meta(connection, HISTORIES).await?.unwrap_or_default());
    set_meta(connection, HISTORIES, &histories.followed_by(known, settled).to_bytes()).await?;
    set_meta(connection, KEY, &settled.to_bytes()).await?;
    connection.commit().await?;
    Ok(settled)
}

/// Returns between which numbers the log has none.
async fn spend(connection: &Connection, chance: &dyn Chance, given: &Given) -> Result<(i64, i64), Failure> {
    // The key of a mint has its token's number and instant.
    const FORGET_KEYS: &str = "
        DELETE FROM respoked.idempotency WHERE key IN (
            SELECT i.key FROM respoked.idempotency i
            JOIN respoked.log l ON l.number = ('x' || encode(i.object, 'hex'))::bit(64)::bigint AND l.at = i.at
            WHERE octet_length(i.object) = 8 AND l.expires_at IS NOT NULL AND l.ended_at IS NULL)";
    let drawn = || i64::from_be_bytes(chance.bytes()) & i64::MAX;
    // Rows first, the feed last, as in every transaction.
    connection.execute_patiently(FORGET_KEYS, &[]).await?;
    connection.query("SELECT 1 FROM respoked.apps ORDER BY id FOR NO KEY UPDATE", &[]).await?;
    connection.execute_patiently("UPDATE respoked.message_groups SET epoch = epoch # $1", params![drawn()]).await?;
    connection.execute("UPDATE respoked.feed SET epoch = $1, head = head + 1", params![drawn()]).await?;
    connection.execute_patiently("DELETE FROM respoked.changes", &[]).await?;
    let sql = "UPDATE respoked.apps SET tokens_from = (SELECT head FROM respoked.feed)";
    connection.execute_patiently(sql, &[]).await?;
    let gap = jump(connection, "log_number", given.log.load(Ordering::Relaxed), JUMP).await?;
    jump(connection, "session_number", given.session.load(Ordering::Relaxed), JUMP).await?;
    for sequence in ["admin_session_number", "group_number", "message_number", "said_number", "call_report_number"] {
        jump(connection, sequence, 0, JUMP).await?;
    }
    jump(connection, "node_life", 0, JUMP_OF_LIVES).await?;
    Ok(gap)
}

/// Has the numbers of a sequence jump. That is not undone with the transaction: twice is farther, and does no harm.
async fn jump(connection: &Connection, sequence: &str, given: u64, far: i64) -> Result<(i64, i64), Failure> {
    let from = one(connection, &format!("SELECT nextval('respoked.{sequence}')"), &[], only::<i64>).await?;
    let from = from.ok_or(Failure::Row("a sequence has no row"))?;
    let to = from.max(stored(given)).saturating_add(far);
    connection.query(&format!("SELECT setval('respoked.{sequence}', $1)"), params![to]).await?;
    Ok((from, to))
}

/// Adds a row to the audit log, as of the database's clock.
async fn audit(connection: &Connection, object: String, chance: &dyn Chance) -> Result<(), Failure> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let read = |columns: &mut Columns<'_>| columns.next().map(Timestamp::from_millis);
    let at = one(connection, sql, &[], read).await?.ok_or(Failure::Row("the clock has no row"))?;
    let entry = AuditEntry {
        at,
        account_id: None,
        app_id: None,
        actor: Actor::System,
        action: Action::Promoted,
        object,
        address: String::new(),
        request_id: RequestId::from_uuid(chance.uuid()),
        fingerprint: None,
    };
    audit_rows::insert(connection, &entry).await
}

/// A database does not tell its lineage.
#[derive(Debug, thiserror::Error)]
#[error(
    "the database does not tell on which timeline it is, so that a promotion would not be noticed; the setting \
     database_promotions = unnoticed takes it all the same (docs/postgres.md)"
)]
struct Untold(#[source] tokio_postgres::Error);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    use crate::contract::postgres::{Postgres, there_is_a_server};
    use crate::postgres::connect::Patience;
    use crate::postgres::connector::Connector;
    use crate::postgres::failure::Failure;

    /// Else it would begin anew each time, and never be done.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_touches_all_rows_of_a_table_is_waited_for_long_and_not_for_ever() {
        if !there_is_a_server() {
            return;
        }
        let fixture = Postgres::default();
        let config = fixture.config();
        let waiting = async {
            let connector = Connector::new(config, None, Patience::default(), TaskTracker::new());
            let connection = connector.connect().await.unwrap();
            tokio::time::pause();
            let since = Instant::now();
            let answered = connection.execute_patiently("SELECT pg_sleep(30)", &[]).await;
            assert!(matches!(answered, Err(Failure::Unanswered)), "{answered:?}");
            since.elapsed()
        };
        // Time passes by itself where nothing else is done.
        let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(waiting);
        let waited = tokio::task::block_in_place(|| std::thread::scope(|scope| scope.spawn(run).join()));
        let (waited, minute) = (waited.unwrap(), Duration::from_secs(60));
        assert!(waited >= 20 * minute && waited < 90 * minute, "{waited:?}");
    }
}
