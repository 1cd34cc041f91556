//! What a move or a backup is told, and what it tells.

use std::sync::Arc;

use respoke_core::clock::Timestamp;
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
        Mark { id: self.id, by: self.id, place: place.to_owned(), at: self.at.millis(), of: Mark::installation(key) }
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
