//! Where a test's servers keep the truth: in a data folder of its own, or in a PostgreSQL database of its own.
//!
//! With `TEST_STORE=postgres` every data folder stands for a database on the server that `TEST_POSTGRES` names, as a role that
//! may make databases. So the same tests run on both; the test command runs those again whose subject is what is kept.
//! `TEST_STORE=folder` says that there are folders, though a server is named.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use respoked::config::DatabaseUrl;
use tempfile::TempDir;

use super::canary_dir;
use super::postgres::Postgres;

/// The addresses of the databases that stand for data folders.
static STAND_FOR: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// What a test keeps until its end.
pub(crate) struct Folder {
    data: PathBuf,
    _kept: Option<TempDir>,
    database: Option<Postgres>,
}

/// A data folder: removed afterwards, or left for the search for canaries.
pub(crate) fn data_folder() -> (PathBuf, Folder) {
    let (data, folder) = match canary_dir() {
        Some(dir) => {
            let folder = tempfile::Builder::new().prefix("it-").tempdir_in(dir).unwrap().keep();
            (folder.join("data"), None)
        }
        None => {
            let folder = tempfile::tempdir().unwrap();
            (folder.path().join("data"), Some(folder))
        }
    };
    let database = is_postgres_asked().then(|| Postgres::new().expect("TEST_POSTGRES names a server"));
    if let Some(database) = &database {
        STAND_FOR.lock().unwrap().insert(data.clone(), database.url());
    }
    (data.clone(), Folder { data, _kept: folder, database })
}

impl Folder {
    /// The database that stands for it.
    pub(crate) const fn database(&self) -> Option<&Postgres> {
        self.database.as_ref()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        STAND_FOR.lock().unwrap().remove(&self.data);
    }
}

pub(crate) fn is_postgres_asked() -> bool {
    std::env::var_os("TEST_STORE").is_some_and(|store| store == "postgres")
}

/// Whether tests of several nodes have a database to do that on. They are run where folders stand for databases, and elsewhere
/// there is nothing to do: but only where that is meant. Whoever names a server and runs them is not to take that for a success.
pub(crate) fn are_nodes_asked() -> bool {
    let set = |name| std::env::var_os(name);
    match (set("TEST_STORE").as_deref().and_then(|store| store.to_str()), set("TEST_POSTGRES")) {
        (Some("postgres"), _) => true,
        (Some("folder"), _) | (None, None) => false,
        (None, Some(_)) => panic!(
            "TEST_POSTGRES names a server: TEST_STORE=postgres runs this test, and TEST_STORE=folder leaves it out"
        ),
        (Some(other), _) => panic!("TEST_STORE is postgres or folder, not {other}"),
    }
}

/// The database that stands for a folder, if one does.
pub(crate) fn database_of(data: &Path) -> Option<DatabaseUrl> {
    let url = STAND_FOR.lock().unwrap().get(data).cloned()?;
    Some(DatabaseUrl(respoke_store::Dsn::parse(&url).unwrap()))
}

/// The flags by which a command is told of it.
pub(crate) fn place(data: &Path) -> [OsString; 2] {
    match STAND_FOR.lock().unwrap().get(data) {
        Some(url) => ["--database".into(), url.into()],
        None => ["--data".into(), data.into()],
    }
}
