//! Commands that work on the database itself. Whoever may read and write its files, or sign in to it, may give them.

mod admins;
mod backup;
mod doctor;
mod migrate;
mod migrate_store;
mod progress;
mod restore;
mod settings;
mod unfinished;
mod which;

use clap::Subcommand;

use super::common::Common;
use super::failure::Failure;
use super::output::Output;

/// Commands that work on the database.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The admins, beside a running server or without one.
    #[command(subcommand)]
    Admin(admins::Command),
    /// Copy the database to a file, beside a running server or without one.
    Backup(backup::Backup),
    /// Put a backup in the place of the database, or with --verify only check the backup.
    Restore(restore::Restore),
    /// Bring the schema of a PostgreSQL database to the present one.
    Migrate(migrate::Migrate),
    /// Move the installation from a data folder to a PostgreSQL database, or back.
    MigrateStore(migrate_store::MigrateStore),
    /// Look for what is wrong with the data folder, the machine and the settings.
    Doctor(doctor::Doctor),
    /// The settings.
    #[command(subcommand)]
    Config(settings::Command),
}

impl Command {
    pub(super) fn run(&self, common: &Common, out: &mut Output<'_>) -> Result<(), Failure> {
        match self {
            Self::Admin(command) => command.run(out),
            Self::Backup(backup) => backup.run(out),
            Self::Restore(restore) => restore.run(out),
            Self::Migrate(migrate) => migrate.run(out),
            Self::MigrateStore(migrate) => migrate.run(out),
            Self::Doctor(doctor) => doctor.run(common, out),
            Self::Config(command) => command.run(out),
        }
    }
}
