//! A PostgreSQL database of a test's own, on the server that `TEST_POSTGRES` names: a role that may create databases.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use futures_util::{StreamExt as _, pin_mut};
use respoke_core::chance::{Chance, SystemChance};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use super::canary_dir;

/// A database, which goes with this. What its rows held is left for the search for canaries.
pub(crate) struct Postgres {
    server: Config,
    name: String,
}

impl Postgres {
    /// None: there is no server, which is said.
    pub(crate) fn new() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests take their server from the test command")]
        let Ok(server) = std::env::var("TEST_POSTGRES") else {
            // Not by a macro for printing: what a test prints that passes, nobody sees.
            let _ = std::io::stderr().write_all(b"\nTEST_POSTGRES is not set: tests on PostgreSQL are not run\n");
            return None;
        };
        Some(Self::on(server.parse().expect("TEST_POSTGRES is an address")))
    }

    /// One on another server.
    pub(crate) fn on(server: Config) -> Self {
        // By the system's chance: a test's own begins alike in each run, and a run that was killed left its databases.
        let chance: &dyn Chance = &SystemChance;
        let postgres = Self { server, name: format!("respoked_it_{}", Uuid::from_bytes(chance.bytes()).simple()) };
        postgres.run(&format!("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", postgres.name));
        postgres
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.url_of(self.server.get_user().expect("it says who"))
    }

    /// Its address for somebody, who may be `name:password`.
    pub(crate) fn url_of(&self, who: &str) -> String {
        let host = match self.server.get_hosts() {
            [Host::Tcp(host)] => host,
            hosts => panic!("one host is expected, not {hosts:?}"),
        };
        format!("postgres://{who}@{host}:{}/{}", self.server.get_ports()[0], self.name)
    }

    /// Its address by way of what listens on another port of this machine.
    pub(crate) fn url_by(&self, port: u16) -> String {
        format!("postgres://{}@127.0.0.1:{port}/{}", self.server.get_user().expect("it says who"), self.name)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server that it is on.
    pub(crate) const fn server(&self) -> &Config {
        &self.server
    }

    /// Runs statements on the server, not in this database.
    pub(crate) fn run(&self, sql: &str) {
        on(&self.server, async |client| client.batch_execute(sql).await.unwrap());
    }

    /// Runs statements in this database.
    pub(crate) fn run_inside(&self, sql: &str) {
        on(&self.inside(), async |client| client.batch_execute(sql).await.unwrap());
    }

    fn inside(&self) -> Config {
        let mut config = self.server.clone();
        config.dbname(&self.name);
        config
    }

    /// Writes all rows of all its tables into a file in `folder`, each value as it is.
    pub(crate) fn leave_rows(&self, folder: &Path) {
        const TABLES: &str = "SELECT format('COPY %I.%I TO STDOUT (FORMAT binary)', schemaname, tablename)
                              FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        let mut file = File::create(folder.join(format!("{}.rows", self.name))).unwrap();
        on(&self.inside(), async |client| {
            for table in client.query(TABLES, &[]).await.unwrap() {
                let rows = client.copy_out(table.get::<_, &str>(0)).await.unwrap();
                pin_mut!(rows);
                while let Some(rows) = rows.next().await {
                    file.write_all(&rows.unwrap()).unwrap();
                }
            }
        });
    }

    /// Has `command` log in with a password, which the server does not ask for.
    pub(crate) fn with_password(command: &mut Command, password: &str, folder: &Path) {
        use std::os::unix::fs::PermissionsExt as _;
        let file = folder.join("pgpass");
        std::fs::write(&file, format!("*:*:*:*:{password}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        command.env("PGPASSFILE", file);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(folder) = canary_dir()
            && !std::thread::panicking()
        {
            self.leave_rows(&folder);
        }
        self.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// Works with a connection, on a thread of its own: this may be within a runtime.
fn on(config: &Config, work: impl AsyncFnOnce(&Client) + Send) {
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            let worked = async {
                work(&client).await;
                drop(client);
            };
            let ((), _) = tokio::join!(worked, connection);
        });
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
}
