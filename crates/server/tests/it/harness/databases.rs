//! Where a test's servers keep the truth: in a data folder of its own, or in a PostgreSQL database of its own.
//!
//! With `TEST_STORE=postgres` every data folder stands for a database on the server that `TEST_POSTGRES` names, as a role that
//! may make databases. So the same tests run on both; the test command runs those again whose subject is what is kept.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use respoked::config::DatabaseUrl;
use tempfile::TempDir;
use tokio_postgres::{Config, NoTls};
use uuid::Uuid;

use super::canary_dir;

/// The addresses of the databases that stand for data folders.
static STAND_FOR: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// What a test keeps until its end.
pub(crate) struct Folder {
    data: PathBuf,
    _kept: Option<TempDir>,
    _database: Option<OwnDatabase>,
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
    let database = is_postgres_asked().then(|| OwnDatabase::make().expect("TEST_POSTGRES names a server"));
    if let Some(database) = &database {
        STAND_FOR.lock().unwrap().insert(data.clone(), database.url());
    }
    (data.clone(), Folder { data, _kept: folder, _database: database })
}

impl Drop for Folder {
    fn drop(&mut self) {
        STAND_FOR.lock().unwrap().remove(&self.data);
    }
}

pub(super) fn is_postgres_asked() -> bool {
    std::env::var_os("TEST_STORE").is_some_and(|store| store == "postgres")
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

/// A database of a test's own.
pub(crate) struct OwnDatabase {
    server: Config,
    name: String,
}

impl OwnDatabase {
    /// Makes one on the server that `TEST_POSTGRES` names; none, if it names none.
    pub(crate) fn make() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests are told by the test command")]
        let server = std::env::var("TEST_POSTGRES").ok()?;
        let server: Config = server.parse().expect("TEST_POSTGRES is an address");
        let name = format!("respoked_it_{}", Uuid::from_u128(rand()).simple());
        let database = Self { server, name };
        database.run(&format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", database.name));
        Some(database)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.url_of(self.server.get_user().expect("it says who"))
    }

    /// Its address for somebody, who may be `name:password`.
    pub(crate) fn url_of(&self, who: &str) -> String {
        let host = match self.server.get_hosts() {
            [tokio_postgres::config::Host::Tcp(host)] => host,
            hosts => panic!("one host is expected, not {hosts:?}"),
        };
        format!("postgres://{who}@{host}:{}/{}", self.server.get_ports()[0], self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a statement on the server, not in this database.
    pub(crate) fn run(&self, sql: &str) {
        std::thread::scope(|scope| scope.spawn(|| run(&self.server, sql)).join().unwrap());
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// Whose tests have a chance of their own begin alike in each run, and a run that was killed left its databases.
fn rand() -> u128 {
    use respoke_core::chance::{Chance, SystemChance};
    let chance: &dyn Chance = &SystemChance;
    u128::from_be_bytes(chance.bytes())
}

fn run(server: &Config, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = server.connect(NoTls).await.unwrap();
        let ran = async {
            let ran = client.batch_execute(sql).await;
            drop(client);
            ran
        };
        let (ran, _) = tokio::join!(ran, connection);
        ran.unwrap();
    });
}
