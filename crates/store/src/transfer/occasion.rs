//! What a move or a backup is told, and what it tells.

use std::sync::Arc;

use respoke_core::clock::Timestamp;
use respoke_core::ports::StoreError;
use uuid::Uuid;

use super::contents::Tally;
use crate::marks::Mark;

/// Hears how far it is.
pub trait Watch {
    /// Something begins; what was under way before is over.
    fn begins(&self, what: &'static str, tally: &Arc<Tally>);
}

/// One of the two sides of a move, in words: a URL without a password.
pub type Place = str;

/// When it is done, and by which id both sides know that it is the same.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// When.
    pub at: Timestamp,
    /// By which id.
    pub id: Uuid,
}

impl Occasion {
    pub(super) fn mark(self, place: &Place, key: &[u8]) -> Mark {
        Mark {
            id: self.id,
            by: self.id,
            place: place.to_owned(),
            at: self.at.millis(),
            of: Mark::installation(key),
            aside: None,
        }
    }
}

/// Why a move or a restore was not brought to its end, and what is known of how far it came.
#[derive(Debug)]
pub struct Stopped {
    /// How far it came.
    pub at: Stage,
    /// By which name a schema goes that was put aside, or may have been.
    pub aside: Option<String>,
    /// Why it went no farther.
    pub why: StoreError,
}

/// How far a move or a restore came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The source of a move is as it was. A copy may have been begun, which is marked as unfinished.
    NotLeft,
    /// The source is marked as moved, and the copy is marked as unfinished: nothing serves from either until the same is done again.
    Left,
    /// What was last to be committed may have been, or not. The same done again finds out and goes on.
    InDoubt,
}

impl Stopped {
    /// The source may still be as it was: what failed was asked for before it was marked, or marked it.
    pub(super) fn before(why: StoreError) -> Self {
        let at = if matches!(why, StoreError::InDoubt(_)) { Stage::InDoubt } else { Stage::NotLeft };
        Self { at, aside: None, why }
    }

    /// The source is marked.
    pub(super) fn behind(why: StoreError) -> Self {
        let at = if matches!(why, StoreError::InDoubt(_)) { Stage::InDoubt } else { Stage::Left };
        Self { at, aside: None, why }
    }

    pub(super) fn aside(self, aside: Option<&str>) -> Self {
        Self { aside: aside.map(str::to_owned), ..self }
    }
}

/// What failed before the source was marked: whatever became of it, that one is as it was.
impl From<StoreError> for Stopped {
    fn from(why: StoreError) -> Self {
        Self { at: Stage::NotLeft, aside: None, why }
    }
}

/// What was carried over.
#[derive(Clone, Debug)]
pub struct Transferred {
    /// Rows by table.
    pub tables: Vec<(&'static str, u64)>,
    /// Texts in which U+FFFD stands for U+0000 now, which PostgreSQL does not hold.
    pub replaced: u64,
}

/// Says what begins, and how many rows it goes through.
pub(super) fn begin(watch: &dyn Watch, what: &'static str, rows: u64) -> Arc<Tally> {
    let tally = Arc::new(Tally::of(rows));
    watch.begins(what, &tally);
    tally
}
