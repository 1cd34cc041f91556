//! How what was taken away is taken away once more, on a server that lacks it (`journal.rs`).
//!
//! Each deed is done as it was done first, but to what was there before the server was promoted: what was made behind that is
//! nobody's whom it meant. What is not there is passed over, and so is what somebody did otherwise since (`since.rs`). Whoever followed
//! the feed before hears of each as of any change.

mod admins;
pub(super) mod since;
pub(super) mod there;

use respoke_core::audit::Action;
use respoke_core::clock::Timestamp;
use respoke_core::id::{AccountId, AdminId, AppId};
use respoke_core::ports::{BanRecord, Change, ScopeEnding};
use uuid::Uuid;

use self::there::{There, changed};
use super::connect::{Connection, params};
use super::deeds::{Deed, OfApp, Redeemed};
use super::failure::Failure;
use super::journal::Again;
use super::marks::mark_up_to;
use super::rows::{all, exists, lock_app};
use super::{admin_rows, endpoint_rows, feed_rows, node_lives};
use crate::codes;

/// Deeds of one transaction.
const DEEDS: usize = 100;
/// Redemptions of one.
const REDEMPTIONS: usize = 5_000;
/// How often each is tried: another process that does the same may be in the way.
const TRIES: usize = 8;

/// What was written again.
#[derive(Default)]
pub(super) struct Written {
    pub(super) deeds: u64,
    pub(super) tokens: u64,
    /// What this process had no room for.
    pub(super) forgotten: u64,
}

impl Written {
    pub(super) const fn is_nothing(&self) -> bool {
        self.deeds == 0 && self.tokens == 0 && self.forgotten == 0
    }
}

/// Writes again which nodes are dead. Says how many there were.
pub(super) async fn write_deaths_again(there: There<'_>, again: &Again) -> Result<u64, Failure> {
    let deaths: Vec<_> = again.deeds.iter().filter(|deed| deed.is_a_death()).cloned().collect();
    let mut written = 0;
    for part in deaths.chunks(DEEDS) {
        written += in_transaction(there, Part::Deeds(part)).await?;
    }
    Ok(written)
}

/// Writes all the rest of what the server lacks.
pub(super) async fn write_again(there: There<'_>, again: &Again) -> Result<Written, Failure> {
    let mut written = Written { forgotten: again.forgotten, ..Written::default() };
    for part in again.redeemed.chunks(REDEMPTIONS) {
        written.tokens += in_transaction(there, Part::Redeemed(part)).await?;
    }
    let deeds: Vec<_> = again.deeds.iter().filter(|deed| !deed.is_a_death()).cloned().collect();
    for part in deeds.chunks(DEEDS) {
        written.deeds += in_transaction(there, Part::Deeds(part)).await?;
    }
    Ok(written)
}

/// What is written in one transaction.
#[derive(Clone, Copy)]
enum Part<'a> {
    Redeemed(&'a [Redeemed]),
    Deeds(&'a [Deed]),
}

async fn in_transaction(there: There<'_>, part: Part<'_>) -> Result<u64, Failure> {
    let There { connection, settled, .. } = there;
    let mut tries = 0;
    loop {
        connection.begin_where("", |told| told.goes_on(settled)).await?;
        let done = match write_part(there, part).await {
            Ok(done) => connection.commit().await.map(|()| done),
            Err(failure) => Err(failure),
        };
        tries += 1;
        match done {
            Err(Failure::Again(_)) if tries < TRIES => connection.roll_back().await?,
            done => return done,
        }
    }
}

async fn write_part(there: There<'_>, part: Part<'_>) -> Result<u64, Failure> {
    match part {
        Part::Redeemed(redeemed) => spend(there.connection, redeemed, there.settled.head).await,
        Part::Deeds(deeds) => {
            let mut written = 0;
            for deed in deeds {
                written += u64::from(write(there, deed).await?);
            }
            Ok(written)
        }
    }
}

async fn spend(connection: &Connection, redeemed: &[Redeemed], head: i64) -> Result<u64, Failure> {
    let sql = "UPDATE respoked.log l SET ended_at = n.at, session_number = n.session
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) n (number, session, at)
               WHERE l.number = n.number AND l.expires_at IS NOT NULL AND l.ended_at IS NULL AND l.born <= $4";
    let numbers: Vec<_> = redeemed.iter().map(|one| one.number).collect();
    let sessions: Vec<_> = redeemed.iter().map(|one| one.session).collect();
    let times: Vec<_> = redeemed.iter().map(|one| one.at).collect();
    connection.execute(sql, params![numbers, sessions, times, head]).await
}

/// Writes one. False: what it is about is not there, or was ended here as well.
async fn write(there: There<'_>, deed: &Deed) -> Result<bool, Failure> {
    let (connection, head) = (there.connection, there.settled.head);
    match deed {
        Deed::TokenRevoked { number, at } => {
            let sql = "UPDATE respoked.log SET ended_at = $2
                       WHERE number = $1 AND expires_at IS NOT NULL AND ended_at IS NULL AND born <= $3";
            Ok(connection.execute(sql, params![*number, at.millis(), head]).await? > 0)
        }
        Deed::SessionEnded { number, at, cause } => {
            let sql = "UPDATE respoked.sessions SET ended_at = $2, ended_as = $3
                       WHERE number = $1 AND ended_at IS NULL AND born <= $4";
            let cause = codes::end_cause(*cause);
            let ended = connection.execute(sql, params![*number, at.millis(), cause, head]).await?;
            changed(connection, ended, Change::Session(number.cast_unsigned()), *at).await
        }
        Deed::Ended { request, at } => Ok(mark_up_to(connection, request, *at, head).await? == ScopeEnding::Ended),
        Deed::Banned { app, ban: record } => ban(there, *app, record).await,
        Deed::AccountDeleted { account, at } => delete_account(connection, *account, *at).await,
        Deed::OfApp { app, deed, at } => write_of_app(connection, *app, deed, *at).await,
        Deed::OfAdmin { admin, deed, at } => admins::write(there, *admin, deed, *at).await,
        Deed::NodeGone { node, at } => {
            let gone = node_lives::end(connection, *node).await?;
            changed(connection, gone, Change::Nodes, *at).await
        }
    }
}

/// One that somebody banned later, or let in again, stays as they left it. What was there of it is ended all the same.
async fn ban(there: There<'_>, app: AppId, ban: &BanRecord) -> Result<bool, Failure> {
    const END: &str = "UPDATE respoked.endpoints SET tokens_from = greatest(tokens_from, $3),
                       sessions_from = greatest(sessions_from, $3) WHERE app_id = $1 AND endpoint = $2";
    const BAN: &str =
        "UPDATE respoked.endpoints SET tokens_from = $3, sessions_from = $3, banned_at = $4, banned_until = $5,
                       ban_reason = $6 WHERE app_id = $1 AND endpoint = $2";
    let connection = there.connection;
    if !lock_app(connection, app).await? {
        return Ok(false);
    }
    let (uuid, endpoint) = (app.uuid(), ban.endpoint_id.as_str());
    endpoint_rows::lock(connection, &[uuid], &[endpoint]).await?;
    let times = (ban.banned_at.millis(), ban.until.millis());
    let banned = "SELECT 1 FROM respoked.endpoints WHERE app_id = $1 AND endpoint = $2 AND banned_at > $3";
    let change = Change::Endpoint(app, ban.endpoint_id.clone());
    let stays = exists(connection, banned, params![uuid, endpoint, times.0]).await?
        || there.since.is_done(connection, &change, &[Action::BanLifted], endpoint, ban.banned_at).await?;
    let number = feed_rows::write(connection, Some(&change), ban.banned_at).await?;
    if stays {
        let ended = connection.execute(END, params![uuid, endpoint, there.settled.head + 1]).await?;
        return Ok(ended > 0);
    }
    let sql = "DELETE FROM respoked.push_tokens WHERE app_id = $1 AND endpoint = $2";
    connection.execute(sql, params![uuid, endpoint]).await?;
    Ok(connection.execute(BAN, params![uuid, endpoint, number, times.0, times.1, ban.reason]).await? > 0)
}

async fn delete_account(connection: &Connection, account: AccountId, at: Timestamp) -> Result<bool, Failure> {
    let account = account.uuid();
    let gone = connection.execute("DELETE FROM respoked.accounts WHERE id = $1", params![account]).await?;
    let apps = "SELECT id FROM respoked.apps WHERE account_id = $1 ORDER BY id FOR UPDATE";
    let apps = all(connection, apps, params![account], admin_rows::read_uuid).await?;
    let admins = "SELECT id FROM respoked.admins WHERE account_id = $1 ORDER BY id FOR UPDATE";
    let admins = all(connection, admins, params![account], admin_rows::read_uuid).await?;
    for app in &apps {
        delete_app(connection, *app).await?;
    }
    for admin in &admins {
        admins::delete(connection, *admin).await?;
    }
    let apps = apps.into_iter().map(|id| Change::App(AppId::from_uuid(id)));
    let admins = admins.into_iter().map(|id| Change::Admin(AdminId::from_uuid(id)));
    let changes: Vec<_> = apps.chain(admins).map(|change| (Some(change), at)).collect();
    if !changes.is_empty() {
        feed_rows::write_all(connection, &changes).await?;
    }
    Ok(gone > 0)
}

async fn write_of_app(connection: &Connection, app: AppId, deed: &OfApp, at: Timestamp) -> Result<bool, Failure> {
    let uuid = app.uuid();
    if !lock_app(connection, app).await? {
        return Ok(false);
    }
    let (rows, change) = match deed {
        OfApp::Deleted => (delete_app(connection, uuid).await?, Change::App(app)),
        OfApp::DevelopmentModeOff => {
            let sql = "UPDATE respoked.apps SET development_mode = false WHERE id = $1 AND development_mode";
            (connection.execute(sql, params![uuid]).await?, Change::App(app))
        }
        OfApp::RoleDeleted(role) => {
            let sql = "DELETE FROM respoked.roles WHERE app_id = $1 AND id = $2";
            (connection.execute(sql, params![uuid, role.uuid()]).await?, Change::Role(app, *role))
        }
        OfApp::RoleChanged(role, permissions) => {
            // Another process may have written a later one again.
            let sql = "UPDATE respoked.roles SET permissions = $3, updated_at = $4
                       WHERE app_id = $1 AND id = $2 AND updated_at <= $4";
            let values = (role.uuid(), permissions.as_str(), at.millis());
            (connection.execute(sql, params![uuid, values.0, values.1, values.2]).await?, Change::Role(app, *role))
        }
        OfApp::SecretRevoked { secret, keep_sessions } => {
            let sql = "UPDATE respoked.secrets SET
                       keep_sessions = CASE WHEN revoked_at IS NULL THEN $3 ELSE keep_sessions AND $3 END,
                       revoked_at = coalesce(revoked_at, $4) WHERE id = $1 AND app_id = $2";
            let values = (secret.uuid(), *keep_sessions, at.millis());
            (connection.execute(sql, params![values.0, uuid, values.1, values.2]).await?, Change::Secret(app, *secret))
        }
        OfApp::SecretRolled { secret, until } => {
            let sql = "UPDATE respoked.secrets SET expires_at = least(expires_at, $3) WHERE id = $1 AND app_id = $2";
            let values = (secret.uuid(), until.millis());
            (connection.execute(sql, params![values.0, uuid, values.1]).await?, Change::Secret(app, *secret))
        }
    };
    changed(connection, rows, change, at).await
}

/// Removes an app, of which nothing is found any more then. Upkeep removes what is left of it.
async fn delete_app(connection: &Connection, app: Uuid) -> Result<u64, Failure> {
    let gone = connection.execute("DELETE FROM respoked.apps WHERE id = $1", params![app]).await?;
    if gone > 0 {
        let sql = "INSERT INTO respoked.deleted_apps (app_id) VALUES ($1) ON CONFLICT (app_id) DO NOTHING";
        connection.execute(sql, params![app]).await?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests;
