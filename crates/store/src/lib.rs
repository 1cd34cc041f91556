//! The [`respoke_core::ports::Store`] port on real databases, and the contract each must pass.
//!
//! `sqlite` is the store in one SQLite file. What no database of its own decides stands beside it: how values of core
//! are kept (`codes`), where a page of a list ends (`pages`), what a mint looks at (`mint_grounds`, `minted`), what
//! upkeep may remove (`upkeep`). `transfer` carries an installation from one to the other, and `marks` are what a database says
//! of itself that is not to be served from. `contract` holds the cases that every store must pass.

mod age;
mod codes;
#[cfg(test)]
mod contract;
mod crash;
mod marks;
mod mint_grounds;
mod minted;
mod pages;
mod postgres;
mod sqlite;
mod transfer;
mod upkeep;
mod writer_figures;

pub use postgres::{
    CarrierFigures, CarrierOptions, Dsn, DsnError, EndedLately, Examined, HalfWritten, Migrated, Moves,
    Options as PostgresOptions, Pooling, PostgresCarrier, PostgresStore, Promotions, Schema as PostgresSchema,
    Tls as PostgresTls, Writers as PostgresWriters,
};
pub use sqlite::{
    CheckDepth, DatabaseCheck, Options, Source, SqliteStore, Trouble, UndoneChange, check_database, copy_database,
    end_everything_issued, fold_log, undone_changes,
};
pub use transfer::{
    Arrival, BackedUp, CopiedOf, Departure, Occasion, Place, RestoredToServer, Stage, Stopped, Tally, Transferred,
    Watch, arrival_at, arrive, back_up_server, move_to_server, restore_to_server, take_back_to_file,
    take_back_to_server,
};
pub use writer_figures::{Again, WriterFigures};
