//! Finds the database that a command is about, by its flags and the settings, and opens it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use respoke_core::chance::SystemChance;
use respoke_core::clock::SystemClock;
use respoke_core::ops::Broker;

use super::super::failure::Failure;
use crate::config::Config;
use crate::data_folder::{self, DATABASE, Lock};
use crate::database::Database;

/// Which database: that of a data folder, or one in PostgreSQL.
#[derive(Debug, Args)]
pub(in crate::cli) struct Folder {
    /// Folder of the database [default: as the server's settings say, else ./respoked-data].
    #[arg(long, value_name = "FOLDER", conflicts_with = "database")]
    pub(super) data: Option<PathBuf>,
    /// Address of the PostgreSQL database, without a password [default: as the server's settings say].
    #[arg(long, value_name = "URL")]
    pub(super) database: Option<OsString>,
    /// TOML file with the server's settings, as `RESPOKED_CONFIG` names it too.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl Folder {
    /// The settings that a server of this database would have.
    pub(super) fn settings(&self) -> Result<Config, Failure> {
        let data = self.data.iter().map(|data| ("data", data.clone().into_os_string()));
        let database = self.database.iter().map(|database| ("database", database.clone()));
        Ok(Config::load(self.config.as_deref(), &data.chain(database).collect::<Vec<_>>())?)
    }

    /// Which database it is.
    pub(super) fn which(&self) -> Result<Database, Failure> {
        Ok(Database::of(&self.settings()?))
    }

    /// The folder's path.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        match self.which()? {
            Database::Folder(folder) => Ok(folder),
            Database::Postgres(address) => Err(Failure::because(format!(
                "this works on a data folder, and the settings name the database {address}; name a folder with --data"
            ))),
        }
    }

    /// The path of the database, which is there.
    pub(super) fn database(&self) -> Result<PathBuf, Failure> {
        let folder = self.path()?;
        data_folder::check_files(&folder)?;
        let path = folder.join(DATABASE);
        if path.exists() {
            return Ok(path);
        }
        Err(Failure::because(format!(
            "there is no database {}; name the folder with --data, or start the server once to make one",
            path.display()
        )))
    }

    /// Makes sure, as far as can be seen without opening it, that there is a database.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.which()? {
            Database::Folder(_) => self.database().map(drop),
            Database::Postgres(_) => Ok(()),
        }
    }

    /// Takes the data folder, so that no server can use it; of a PostgreSQL database nothing.
    pub(super) fn lock(&self) -> Result<Option<Lock>, Failure> {
        match self.which()? {
            Database::Folder(folder) => Ok(Some(data_folder::lock(&folder)?)),
            Database::Postgres(_) => Ok(None),
        }
    }

    /// Does `work` with a broker over the database.
    pub(super) fn with_broker<T>(&self, work: impl AsyncFnOnce(&Broker) -> Result<T, Failure>) -> Result<T, Failure> {
        self.check()?;
        let settings = self.settings()?;
        let database = Database::of(&settings);
        runtime()?.block_on(async {
            let broker = Broker::new(
                database.visit(&settings).await?,
                Arc::new(respoke_bus::LocalBus::default()),
                Arc::new(SystemClock),
                Arc::new(SystemChance),
                0,
            );
            let done = work(&broker).await;
            broker.store().close().await;
            done
        })
    }
}

/// What a command runs on that waits for a database.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")
}
