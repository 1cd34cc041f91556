//! What is to be known of a server of PostgreSQL before it is trusted with the truth.

use respoke_core::clock::{Clock as _, SystemClock};
use thiserror::Error;

use super::connect::Connection;
use super::failure::Failure;
use super::rows::one;

/// The oldest version that is worked with, as the server numbers it.
const VERSION_MIN: i64 = 150_000;
/// How far the clocks may be apart: what is said of a token's and a session's end holds to so many seconds.
const CLOCKS_APART_MAX_MILLIS: i64 = 5_000;

/// What a server says of itself and of who asks.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Its version, as people know it.
    pub(super) version: String,
    version_number: i64,
    /// As whom one is there.
    pub(super) role: String,
    /// The database one is in.
    database: String,
    encoding: String,
    fsync: bool,
    /// Whether a page that a crash leaves half written can be mended. Where the file system never leaves one so, it costs much for
    /// nothing: so there it is off as a rule, and nobody can tell from here which kind it is.
    pub(super) full_page_writes: bool,
    /// How far a commit is waited for.
    pub(super) synchronous_commit: String,
    /// Milliseconds that this machine's clock is ahead of its; negative: behind.
    pub(super) clock_ahead_millis: i64,
}

/// Why a server cannot be trusted with the truth.
#[derive(Debug, Error)]
pub(super) enum Unfit {
    #[error("it is PostgreSQL {0}, which is too old: respoked needs 15 or later")]
    Version(String),
    #[error("the database {database} keeps text in {encoding}: respoked needs one that was made with ENCODING 'UTF8'")]
    Encoding { database: String, encoding: String },
    #[error("the server runs with fsync = off: a crash would lose or damage what was answered; switch it on")]
    Lossy,
    #[error(
        "synchronous_commit is off for the role {0}: a crash would lose what was answered, and spent tokens could be redeemed \
         again; say ALTER ROLE {0} SET synchronous_commit = on"
    )]
    Asynchronous(String),
    #[error("the clock of this machine is {} s {} the database's, and at most 5 s may be between them: set both (NTP)",
            .0.abs() / 1_000, if *.0 > 0 { "ahead of" } else { "behind" })]
    Clock(i64),
}

impl Facts {
    pub(super) async fn read(connection: &Connection) -> Result<Self, Failure> {
        const ASK: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::bigint,
                                  current_user::text, datname::text, pg_encoding_to_char(encoding)::text,
                                  current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
                                  current_setting('synchronous_commit'),
                                  (extract(epoch FROM clock_timestamp()) * 1000)::bigint
                           FROM pg_catalog.pg_database WHERE datname = current_database()";
        let before = SystemClock.now().millis();
        let read = |columns: &mut super::rows::Columns<'_>| {
            Ok(Self {
                version: columns.next()?,
                version_number: columns.next()?,
                role: columns.next()?,
                database: columns.next()?,
                encoding: columns.next()?,
                fsync: columns.next()?,
                full_page_writes: columns.next()?,
                synchronous_commit: columns.next()?,
                clock_ahead_millis: columns.next()?,
            })
        };
        let read = one(connection, ASK, &[], read).await?;
        let mut facts = read.ok_or(Failure::Row("the database is not in the list of databases"))?;
        let after = SystemClock.now().millis();
        // It looked at its clock at some time in between.
        facts.clock_ahead_millis = apart(facts.clock_ahead_millis, before, after);
        Ok(facts)
    }

    /// Whether the truth may be kept there by this role.
    pub(super) fn check(&self) -> Result<(), Unfit> {
        self.check_place()?;
        kept(self.fsync, &self.synchronous_commit, &self.role)?;
        if self.clock_ahead_millis.abs() > CLOCKS_APART_MAX_MILLIS {
            return Err(Unfit::Clock(self.clock_ahead_millis));
        }
        Ok(())
    }

    /// Whether it may be kept there by any role.
    pub(super) fn check_place(&self) -> Result<(), Unfit> {
        if self.version_number < VERSION_MIN {
            return Err(Unfit::Version(self.version.clone()));
        }
        if self.encoding != "UTF8" {
            return Err(Unfit::Encoding { database: self.database.clone(), encoding: self.encoding.clone() });
        }
        if self.fsync { Ok(()) } else { Err(Unfit::Lossy) }
    }
}

/// Whether what is committed stays.
fn kept(fsync: bool, synchronous_commit: &str, role: &str) -> Result<(), Unfit> {
    if !fsync {
        return Err(Unfit::Lossy);
    }
    if synchronous_commit == "off" {
        return Err(Unfit::Asynchronous(role.to_owned()));
    }
    Ok(())
}

/// Whether what is committed by this connection stays: it may lead to another server than the one that was looked at first, or
/// settings may be others now. One that does not keep it is not used.
pub(super) async fn still_kept(connection: &Connection) -> Result<(), Failure> {
    const ASK: &str =
        "SELECT current_setting('fsync') = 'on', current_setting('synchronous_commit'), current_user::text";
    let read = |columns: &mut super::rows::Columns<'_>| Ok(kept(columns.next()?, columns.next()?, columns.next()?));
    let kept = one(connection, ASK, &[], read).await?.ok_or(Failure::Row("settings have no row"))?;
    kept.map_err(|unfit| Failure::Lost(Box::new(unfit)))
}

/// How far our clock is ahead of another that was looked at while ours went from `before` to `after`; none if it may have
/// stood within that.
pub(super) const fn apart(other: i64, before: i64, after: i64) -> i64 {
    if other > after {
        after - other
    } else if other < before {
        before - other
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Facts {
        Facts {
            version: "15.4".into(),
            version_number: 150_004,
            role: "r".into(),
            database: "d".into(),
            encoding: "UTF8".into(),
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".into(),
            clock_ahead_millis: 0,
        }
    }

    #[test]
    fn what_could_lose_an_answer_is_refused_and_named() {
        assert!(sound().check().is_ok());
        assert!(Facts { full_page_writes: false, ..sound() }.check().is_ok(), "some file systems need none");
        for waited in ["local", "remote_write", "remote_apply"] {
            assert!(Facts { synchronous_commit: waited.into(), ..sound() }.check().is_ok(), "{waited}");
        }
        for near in [-5_000, 5_000] {
            assert!(Facts { clock_ahead_millis: near, ..sound() }.check().is_ok());
        }
        for (unfit, named) in [
            (Facts { version: "14.9".into(), version_number: 140_009, ..sound() }, "PostgreSQL 14.9"),
            (Facts { encoding: "SQL_ASCII".into(), ..sound() }, "d keeps text in SQL_ASCII"),
            (Facts { fsync: false, ..sound() }, "fsync = off"),
            (Facts { synchronous_commit: "off".into(), ..sound() }, "ALTER ROLE r SET synchronous_commit = on"),
            (Facts { clock_ahead_millis: 7_300, ..sound() }, "7 s ahead of"),
            (Facts { clock_ahead_millis: -6_000, ..sound() }, "6 s behind"),
        ] {
            let said = unfit.check().unwrap_err().to_string();
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn the_time_that_an_answer_took_is_no_difference_of_clocks() {
        for (other, apart_by) in [(90, 10), (100, 0), (150, 0), (200, 0), (230, -30)] {
            assert_eq!(apart(other, 100, 200), apart_by, "{other}");
        }
    }
}
