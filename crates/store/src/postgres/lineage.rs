//! Which history of the database a connection leads to.
//!
//! A server that is promoted goes on with another timeline than the one that it stood by for. What the old one committed last
//! may be missing there; and the old one may come back, and take what is written to it with it. So each transaction that
//! writes asks which server it is on, in the packet that begins it.
//!
//! Invariant: nothing is written to a server whose timeline is below one that this process or the database has seen, nor to
//! a copy that is another system.
//! Invariant: nothing is written on a new timeline before what `settle.rs` does was committed there, and before what this
//! process had ended lately is ended there as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use parking_lot::Mutex;
use respoke_core::chance::Chance;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::{Row, SimpleQueryMessage};

use super::failure::Failure;
use super::journal::{EndedLately, Journal};
pub(crate) use super::places::Lineage;
pub(super) use super::places::{Settled, Standing};
use super::settling::Settling;

/// Asks a server where it stands. The timeline is that of the log which is written now: the control file tells the old one until
/// a checkpoint ends.
pub(crate) const ASK_SERVER: &str =
    "SELECT system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM pg_control_system()";
/// The same, what was settled last in the database, and which session this is: its process, and when the server started.
pub(super) const ASK: &str = "SELECT system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), \
                              (SELECT encode(value, 'hex') FROM respoked.meta WHERE key = 'lineage'), \
                              pg_backend_pid() || ' ' || pg_postmaster_start_time() FROM pg_control_system()";
/// Where [`ASK`] tells the session.
pub(super) const SESSION_COLUMN: usize = 3;
/// Where the database keeps what was settled last.
pub(crate) const KEY: &str = "lineage";
/// What stands behind that in a database whose installation was moved elsewhere. So who had it open reads and writes nothing there
/// any more, and nobody has to ask for more than where it stands.
pub(crate) const LEFT: &str = "moved";
/// How long nobody asks where a connection leads, once somebody did. A server takes longer to take another's place.
const CONFIRMED_FOR: Duration = Duration::from_millis(100);

/// What is done about servers that take each other's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promotions {
    /// A promotion is noticed, and a server that was left behind is refused. A database that does not tell where it stands is not
    /// opened, nor one that is another system than the one that it says it was last: restored from a dump, or upgraded.
    #[default]
    Noticed,
    /// The same; and one that is another system takes the place of the one before, as a promoted server does. It is meant for one
    /// start: tokens that were not redeemed are spent by it.
    NoticedAndCopyTaken,
    /// Nothing. What was ended may be alive again after a promotion, and a token be redeemed twice. For databases that do not
    /// tell where they stand.
    Unnoticed,
}

/// Where a server stands that answered [`ASK_SERVER`]. None: that cannot be read.
pub(crate) fn stands(said: &[SimpleQueryMessage]) -> Option<Lineage> {
    Told::of(said).ok().map(|told| told.lineage)
}

/// Why an installation does not leave a server that stands there, if `settled` is what was settled last in its database: what is
/// done after a promotion before anything is read was not done there.
pub(crate) fn keeps(seen: Lineage, settled: &[u8]) -> Option<&'static str> {
    let Some(settled) = Settled::from_bytes(settled) else {
        return Some("what the database says of its timeline cannot be read");
    };
    match seen.after(settled.lineage) {
        Standing::Same => None,
        Standing::Promoted => Some(
            "the database was promoted since a server last used it: start a server there once, which spends the tokens that may \
             have been redeemed before",
        ),
        Standing::LeftBehind => Some(LEFT_BEHIND),
        Standing::Stranger => Some(
            "this server is another system than the one that the database was last: it was restored from a dump or upgraded. Start \
             a server there once with database_promotions = copy_taken, which spends the tokens that may have been redeemed, or \
             see what is to be done after an upgrade (docs/postgres.md)",
        ),
    }
}

/// What a server told of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) lineage: Lineage,
    /// What was settled last in its database.
    pub(super) settled: Option<Settled>,
}

impl Told {
    /// What [`ASK`] or [`ASK_SERVER`] was answered with: the last row of what a server said.
    pub(super) fn of(said: &[SimpleQueryMessage]) -> Result<Self, Failure> {
        let system = told_in(said, 0).and_then(|system| system.parse().ok());
        Self::read(system, told_in(said, 1), settled_in(told_in(said, 2))?.as_deref())
    }

    /// What [`ASK`] was answered with where the server keeps that statement.
    pub(super) fn of_row(row: &Row) -> Result<Self, Failure> {
        let settled = settled_in(row.try_get(2).map_err(|_| UNREADABLE)?)?;
        Self::read(row.try_get(0).ok(), row.try_get(1).ok(), settled.as_deref())
    }

    /// What a server told by the columns of these.
    pub(super) fn read(system: Option<i64>, timeline: Option<&str>, settled: Option<&[u8]>) -> Result<Self, Failure> {
        if settled.is_some_and(|settled| settled.ends_with(LEFT.as_bytes())) {
            return Err(Failure::lost(MOVED));
        }
        let read = || {
            let lineage = Lineage { system: system?, timeline: u32::from_str_radix(timeline?, 16).ok()? };
            let settled = match settled {
                Some(bytes) => Some(Settled::from_bytes(bytes)?),
                None => None,
            };
            Some(Self { lineage, settled })
        };
        read().ok_or(UNREADABLE)
    }

    /// Whether what is written there is what goes on from `settled`.
    pub(super) fn goes_on(&self, settled: Settled) -> Result<(), Failure> {
        match self.lineage.after(settled.lineage) {
            Standing::Same if self.settled == Some(settled) => Ok(()),
            Standing::Same | Standing::Promoted => Err(Failure::lost(PROMOTED)),
            Standing::LeftBehind => Err(Failure::lost(LEFT_BEHIND)),
            Standing::Stranger => Err(Failure::lost(STRANGER)),
        }
    }
}

/// A column of the last row of what a server said, if it said that.
fn told_in(said: &[SimpleQueryMessage], column: usize) -> Option<&str> {
    let row = said.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.and_then(|row| row.try_get(column).ok().flatten())
}

/// The session of a server that answered [`ASK`].
pub(super) fn session_in(said: &[SimpleQueryMessage]) -> Option<&str> {
    told_in(said, SESSION_COLUMN)
}

fn settled_in(hex: Option<&str>) -> Result<Option<Vec<u8>>, Failure> {
    hex.map(|hex| from_hex(hex).ok_or(UNREADABLE)).transpose()
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits =
        hex.as_bytes().chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.collect()
}

/// Where this process's database stands, as far as it knows: what all its connections share.
pub(super) struct Line {
    place: Mutex<Place>,
    /// What this process has ended lately.
    pub(super) journal: Arc<Journal>,
    /// What makes a promoted server fit to be used.
    pub(super) settling: Settling,
    /// The newest numbers that this process was given.
    pub(super) given: Given,
    /// What is drawn when a timeline begins.
    pub(super) chance: Arc<dyn Chance>,
    /// Tells that the database goes on elsewhere.
    pub(super) moves: watch::Sender<()>,
    /// Whether no statements are to be kept in the server's sessions (`own_session.rs`).
    pub(super) sessions_are_shared: Arc<AtomicBool>,
}

/// Where it goes on.
#[derive(Clone, Copy)]
struct Place {
    settled: Settled,
    /// How often it went on elsewhere.
    moves: u64,
    /// What was settled on the server where it goes on next, once nodes may say there that they live.
    beats: Option<Settled>,
}

/// When a connection was asked where it leads, and the database went on there.
#[derive(Clone, Copy)]
pub(super) struct Confirmed {
    at: Instant,
    /// How often the database had gone on elsewhere before.
    moves: u64,
}

/// Tells that the database goes on elsewhere, or may, and which servers were left behind.
#[derive(Clone)]
pub struct Moves {
    told: watch::Receiver<()>,
    line: Arc<Line>,
}

impl std::fmt::Debug for Moves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moves").finish_non_exhaustive()
    }
}

impl Moves {
    pub(super) fn of(line: &Arc<Line>) -> Self {
        Self { told: line.moves.subscribe(), line: line.clone() }
    }

    /// Whether it did since it was [noted](Self::note).
    pub(super) fn is_new(&self) -> bool {
        // Whoever could tell may be gone: then nothing is new.
        self.told.has_changed().unwrap_or(false)
    }

    pub(super) fn note(&mut self) {
        self.told.mark_unchanged();
    }

    /// The error says that a server that stands there was left behind.
    pub(super) fn goes_on_at(&self, seen: Lineage) -> Result<(), Failure> {
        match seen.after(self.line.settled().lineage) {
            Standing::LeftBehind => Err(Failure::lost(LEFT_BEHIND)),
            Standing::Same | Standing::Promoted | Standing::Stranger => Ok(()),
        }
    }
}

/// The newest numbers that a process was given.
#[derive(Default)]
pub(super) struct Given {
    pub(super) log: AtomicU64,
    pub(super) session: AtomicU64,
}

impl Line {
    /// The line that begins with the server that a store was opened on; or goes on from where the store before
    /// was.
    pub(super) fn of(settled: Settled, chance: Arc<dyn Chance>, ended: EndedLately) -> Self {
        let EndedLately(journal) = ended;
        Self {
            place: Mutex::new(Place { settled: journal.begin(settled), moves: 0, beats: None }),
            journal,
            settling: Settling::default(),
            given: Given::default(),
            chance,
            moves: watch::Sender::default(),
            sessions_are_shared: Arc::default(),
        }
    }

    pub(super) fn settled(&self) -> Settled {
        self.place.lock().settled
    }

    /// Goes on from what was settled on a new timeline.
    pub(super) fn go_on(&self, settled: Settled) {
        let mut place = self.place.lock();
        *place = Place { settled, moves: place.moves + 1, beats: None };
        self.journal.go_on(settled);
        drop(place);
        self.moves.send_replace(());
    }

    /// Has what came too late be ended where the database goes on.
    pub(super) fn see_to_late(&self) {
        if self.journal.has_late() {
            self.settling.look();
        }
    }

    /// Has nodes say that they live where that was settled, though the database does not go on there yet.
    pub(super) fn let_beats_pass(&self, settled: Settled) -> Passing<'_> {
        self.place.lock().beats = Some(settled);
        self.settling.let_beats_pass();
        Passing(self)
    }

    /// Where nodes say that they live.
    pub(super) fn beats_at(&self) -> Settled {
        let place = self.place.lock();
        place.beats.unwrap_or(place.settled)
    }

    /// Whether a transaction may write on the server that it began on.
    pub(super) fn may_write(&self, told: &Told) -> Result<(), Failure> {
        told.goes_on(self.settled())
    }

    /// What a connection keeps that is asked from now on, and [goes on](Self::may_write) where the database does.
    pub(super) fn confirming(&self) -> Confirmed {
        Confirmed { at: Instant::now(), moves: self.place.lock().moves }
    }

    /// Whether what was confirmed then holds: a moment ago, and the database went nowhere since.
    pub(super) fn holds(&self, confirmed: Confirmed) -> bool {
        confirmed.moves == self.place.lock().moves && confirmed.at.elapsed() < CONFIRMED_FOR
    }
}

/// Nodes say that they live where the database does not go on yet, until this is dropped.
pub(super) struct Passing<'a>(&'a Line);

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.0.place.lock().beats = None;
    }
}

const UNREADABLE: Failure = Failure::Row("where the server stands cannot be read");
pub(super) const LEFT_BEHIND: &str = "this server was left behind by a promotion: another one goes on in its place";
/// Said of a server that is made fit to be used (`settling.rs`).
pub(super) const PROMOTED: &str = "the database was promoted, and is being made fit to be used";
const MOVED: &str = "the installation in this database was moved elsewhere: stop this server, and serve it from there";
pub(super) const STRANGER: &str = "this server is another system than the one that the database was last";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_goes_on_or_was_left_behind_or_is_a_stranger() {
        let of = |system, timeline| Lineage { system, timeline };
        for (seen, standing) in [
            (of(7, 2), Standing::Same),
            (of(7, 3), Standing::Promoted),
            (of(7, 1), Standing::LeftBehind),
            (of(8, 2), Standing::Stranger),
            (of(8, 9), Standing::Stranger),
        ] {
            assert_eq!(seen.after(of(7, 2)), standing, "{seen:?}");
        }
    }

    #[test]
    fn rows_that_reach_the_gap_have_as_many_numbers_more() {
        let lineage = Lineage { system: 1, timeline: 2 };
        let settled = Settled { lineage, draw: 3, head: 4, gap: (100, 1_000) };
        for (rows, newest, numbers) in [(50, 90, 50), (50, 1_020, 950), (50, 1_050, 50), (200, 1_050, 1_100)] {
            assert_eq!(settled.numbers_of(rows, newest), numbers, "{rows} before {newest}");
        }
        let unbroken = Settled { gap: (0, 0), ..settled };
        assert_eq!(unbroken.numbers_of(50, 20), 50);
    }

    #[test]
    fn what_was_settled_is_read_as_it_was_kept() {
        let lineage = Lineage { system: -7, timeline: 0x0102_0304 };
        let settled = Settled { lineage, draw: u64::MAX - 1, head: 9, gap: (10, 1 << 40) };
        let bytes = settled.to_bytes();
        assert_eq!((bytes.len(), Settled::from_bytes(&bytes)), (Settled::LEN, Some(settled)));
        for bytes in [&bytes[1..], &[&bytes[..], &[0]].concat(), &[]] {
            assert_eq!(Settled::from_bytes(bytes), None);
        }
    }
}
