//! What a database says of itself that is not to be served from: that its installation was moved elsewhere, or that it is a
//! copy that is not finished. It stands in `meta`.

use respoke_core::clock::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The key of the mark of one whose installation was moved.
pub(crate) const MOVED: &str = "moved";
/// The key of the mark of a copy that is not finished.
pub(crate) const UNFINISHED: &str = "unfinished";

/// What the mark of a copy becomes when it is finished: it keeps nobody from serving, and tells where it came from.
pub(crate) const ARRIVED: &str = "arrived";

/// A mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Of which move or restore. Both sides of one have the same.
    pub(crate) id: Uuid,
    /// By which try of it: nobody else has this mark.
    #[serde(default)]
    pub(crate) by: Uuid,
    /// The other side, without a password.
    pub(crate) place: String,
    /// When it was set, in milliseconds.
    pub(crate) at: i64,
    /// Of which installation: see [`Mark::installation`].
    pub(crate) of: String,
    /// By which name that goes in whose place the copy is put, if it was something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aside: Option<String>,
}

impl Mark {
    /// What an installation is known by: a hash of the key of its tokens, which tells nothing of the key.
    pub(crate) fn installation(key: &[u8]) -> String {
        let hash = Sha256::new_with_prefix(b"respoked installation").chain_update(key).finalize();
        hash.iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// As `meta` holds it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether it is of the same move of the same installation. Of a mark that could not be read that is not known.
    pub(crate) fn is_of_the_move_of(&self, other: &Self) -> bool {
        !self.id.is_nil() && self.id == other.id && self.of == other.of
    }

    /// A mark that cannot be read is one all the same.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let unread = |_| Self {
            id: Uuid::nil(),
            by: Uuid::nil(),
            place: "an unknown place".to_owned(),
            at: 0,
            of: String::new(),
            aside: None,
        };
        serde_json::from_slice(bytes).unwrap_or_else(unread)
    }
}

/// The marks that a database has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) moved: Option<Mark>,
    pub(crate) unfinished: Option<Mark>,
    pub(crate) arrived: Option<Mark>,
}

impl Marks {
    /// Of what `find` finds in `meta`.
    pub(crate) fn find<E>(mut find: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>) -> Result<Self, E> {
        let mut mark = |key| find(key).map(|value| value.as_deref().map(Mark::read));
        Ok(Self { moved: mark(MOVED)?, unfinished: mark(UNFINISHED)?, arrived: mark(ARRIVED)? })
    }

    /// Whether it is what the move made, or is making, by which the other side was marked as moved.
    pub(crate) fn came_by(&self, moved: &Mark) -> bool {
        [&self.unfinished, &self.arrived].into_iter().flatten().any(|mark| mark.is_of_the_move_of(moved))
    }

    /// Why it is not to be served from, if it is not. `undo` takes back that it was moved.
    pub(crate) fn refusal(&self, undo: &str) -> Option<String> {
        if let Some(Mark { place, at, .. }) = &self.moved {
            let at = Timestamp::from_millis(*at).to_iso();
            return Some(format!(
                "its installation was moved to {place} at {at} and is served from there. To go on here without what was done \
                 there since, once nothing serves there any more: {undo}"
            ));
        }
        let Mark { place, .. } = self.unfinished.as_ref()?;
        Some(format!("it is an unfinished copy of {place}: run the command that began it again, which finishes it"))
    }
}
