//! Finds the data folder that a command is about, by its flags and the settings, and opens the database in it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use respoke_core::chance::SystemChance;
use respoke_core::clock::SystemClock;
use respoke_core::ops::Broker;
use respoke_store::{Options, SqliteStore};

use super::super::failure::Failure;
use super::unfinished::folder_of;
use crate::config::Config;
use crate::data_folder::{self, DATABASE};
use crate::trouble;

/// Which data folder.
#[derive(Debug, Args)]
pub(in crate::cli) struct Folder {
    /// Folder of the database [default: as the server's settings say, else ./respoked-data].
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    /// TOML file with the server's settings, as `RESPOKED_CONFIG` names it too.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

impl Folder {
    /// The settings that a server of this folder would have.
    pub(super) fn settings(&self) -> Result<Config, Failure> {
        let data = self.data.iter().map(|data| ("data", data.clone().into_os_string())).collect::<Vec<_>>();
        Ok(Config::load(self.config.as_deref(), &data)?)
    }

    /// The folder's path.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        Ok(self.settings()?.data)
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

    /// Does `work` with a broker over the database.
    pub(super) fn with_broker<T>(&self, work: impl AsyncFnOnce(&Broker) -> Result<T, Failure>) -> Result<T, Failure> {
        let path = self.database()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime cannot be started")?;
        runtime.block_on(async {
            let options = Options { beside_a_server: true, ..Options::default() };
            let store = SqliteStore::open(&path, options)
                .map_err(|error| trouble::explained(error, folder_of(&path)))
                .with_context(|| format!("the database {} cannot be opened", path.display()))?;
            let broker = Broker::new(
                Arc::new(store),
                std::sync::Arc::new(respoke_bus::LocalBus::default()),
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
