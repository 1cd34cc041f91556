//! A PostgreSQL database of a test's own, on the server that `TEST_POSTGRES` names: a role that may create databases.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use respoke_core::chance::{Chance, SystemChance};
use tokio_postgres::{Config, NoTls};
use uuid::Uuid;

/// A database, which goes with this.
pub(crate) struct Postgres {
    server: String,
    name: String,
}

impl Postgres {
    /// None: there is no server, which is said.
    #[expect(clippy::disallowed_methods, reason = "tests take their server from the test command")]
    pub(crate) fn new() -> Option<Self> {
        let Ok(server) = std::env::var("TEST_POSTGRES") else {
            // Not by a macro for printing: what a test prints that passes, nobody sees.
            let _ = std::io::stderr().write_all(b"\nTEST_POSTGRES is not set: tests on PostgreSQL are not run\n");
            return None;
        };
        // By the system's chance: a test's own begins alike in each run.
        let chance: &dyn Chance = &SystemChance;
        let postgres = Self { server, name: format!("respoked_test_{}", Uuid::from_bytes(chance.bytes()).simple()) };
        on_the_server(&postgres.server, &format!("CREATE DATABASE {}", postgres.name));
        Some(postgres)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
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
        on_the_server(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

fn on_the_server(server: &str, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config: Config = server.parse().unwrap();
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let done = async {
            client.batch_execute(sql).await.unwrap();
            drop(client);
        };
        let _ = tokio::join!(done, connection);
    });
}
