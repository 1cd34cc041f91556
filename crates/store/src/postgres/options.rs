//! How a store is opened.

use std::sync::Arc;
use std::time::Duration;

use respoke_core::chance::{Chance, SystemChance};
use tokio_postgres::Config;

use super::connect::Patience;
use super::journal::EndedLately;
use super::lineage::Promotions;
use super::tls::Tls;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Where the database is, and as who it is used.
    pub config: Config,
    /// How connections are made private.
    pub tls: Tls,
    /// The most operations committed together.
    pub commit_batch_max: usize,
    /// What becomes of a schema that is not the present one.
    pub schema: Schema,
    /// How long a server that cannot be connected to is tried again when it is opened.
    pub reached_within: Duration,
    /// How long the server is waited for.
    pub(crate) patience: Patience,
    /// What is done about servers that take each other's place.
    pub promotions: Promotions,
    /// Where batches are written.
    pub writers: Writers,
    /// What a new database's key is drawn from.
    pub chance: Arc<dyn Chance>,
    /// What the store had ended lately that was open before, if one was.
    pub ended: EndedLately,
}

impl Options {
    /// As is usual, for the database there.
    #[must_use]
    pub fn of(config: Config) -> Self {
        // A row of 128 costs half as much of the machine as one of 32.
        Self {
            config,
            tls: Tls::None,
            commit_batch_max: 128,
            schema: Schema::Brought,
            reached_within: Duration::ZERO,
            patience: Patience::default(),
            promotions: Promotions::default(),
            writers: Writers::Here,
            chance: Arc::new(SystemChance),
            ended: EndedLately::default(),
        }
    }
}

/// What becomes of a schema that is not the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// It is brought to it, if the role may do that.
    Brought,
    /// It stays, and the database is not opened.
    LeftAlone,
}

/// Where batches are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// By tasks of the runtime on which the store is opened.
    Here,
    /// On a thread of their own: requests keep none of its statements waiting.
    OnTheirOwnThread,
}
