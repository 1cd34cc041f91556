//! `respoked doctor` on PostgreSQL: directly, through `PgBouncer`, and where a standby stands by.

use serde_json::Value;

use crate::harness::{Pooler, Postgres, PostgresServer, eventually, respoked, run};
use crate::postgres::serve;

/// What it found, by what it is about.
struct Found {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Found {
    fn at(address: &str) -> Self {
        let said = run(respoked().args(["doctor", "--json", "--database", address]));
        Self { code: said.code, findings: serde_json::from_str(&said.out).expect("it says what it found") }
    }

    fn of(&self, what: &str) -> &Value {
        self.findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{:?}", self.findings))
    }

    /// Holds what was found of one thing against how bad it is and what is said of it. What fails shows in the exit code.
    #[track_caller]
    fn says(&self, what: &str, level: &str, parts: &[&str]) -> &Self {
        let finding = self.of(what);
        let said = format!("{} {}", finding["found"], finding["advice"]);
        assert!(finding["level"] == level && parts.iter().all(|part| said.contains(part)), "{finding}");
        assert_eq!(self.code, Some(i32::from(self.findings.iter().any(|finding| finding["level"] == "fail"))));
        self
    }
}

#[test]
fn doctor_says_what_a_database_is_and_who_may_do_what_there() {
    let Some(database) = Postgres::new() else { return };
    let (role, nobody) = (format!("{}_server", database.name()), format!("{}_nobody", database.name()));
    database.run(&format!("CREATE ROLE {role} LOGIN; CREATE ROLE {nobody} LOGIN"));
    let (owner, server) = (database.url(), database.url_of(&role));

    let found = Found::at(&owner);
    found.says("database", "ok", &["PostgreSQL 1", "no schema of respoked; the next start of the server brings it"]);
    found.says("role", "ok", &["respoked, which may change the schema"]);
    found.says("clock", "ok", &["the database's"]).says("pooler", "ok", &["none is noticed"]);
    found.says("standby", "warn", &["none that a commit waits for", "synchronous_standby_names"]);
    found.says("connections", "ok", &["10 at most"]).says("log of PostgreSQL", "ok", &["no values"]);
    let grant = format!("`respoked migrate --grant-to {role}`");
    Found::at(&server).says("database", "fail", &["no schema of respoked", &grant]);

    let migrated = run(respoked().args(["migrate", "--database", &owner, "--grant-to", &role]));
    assert_eq!(migrated.code, Some(0), "{}", migrated.err);
    let found = Found::at(&server);
    found.says("database", "ok", &["schema 5 of 5\""]).says("role", "ok", &[&role, "may not change the schema"]);
    let grant = format!("`respoked migrate --grant-to {nobody}`");
    Found::at(&database.url_of(&nobody)).says("database", "fail", &["a schema that the role may not look at", &grant]);

    // What would lose answers, and what would show them.
    database
        .run(&format!("ALTER ROLE {role} SET synchronous_commit = off; ALTER ROLE {role} SET log_statement = 'none'"));
    database.run(&format!("ALTER DATABASE {} SET log_min_duration_statement = 1000", database.name()));
    let found = Found::at(&server);
    found.says("database", "fail", &[&format!("ALTER ROLE {role} SET synchronous_commit = on")]);
    found.says("log of PostgreSQL", "warn", &["log_parameter_max_length = 0"]);
    let absent = owner.replace(database.name(), "respoked_absent");
    Found::at(&absent).says("database", "fail", &["SQLSTATE 3D000", "make the database", "docs/postgres.md"]);
    database.run_inside(&format!("DROP OWNED BY {role}"));
    database.run(&format!("DROP ROLE {role}; DROP ROLE {nobody}"));
}

#[test]
fn doctor_says_that_a_database_was_moved() {
    let Some(database) = Postgres::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let process = serve(folder.path(), &database.url());
    process.signal("TERM");
    assert_eq!(process.wait(), 0);
    Found::at(&database.url()).says("database", "ok", &["schema 5 of 5\""]);
    let place = format!("sqlite:{}", folder.path().join("data").display());
    let moved = run(respoked().args(["migrate-store", "--from", &database.url(), "--to", &place]));
    assert_eq!(moved.code, Some(0), "{}", moved.err);
    Found::at(&database.url()).says("database", "fail", &["schema 5 of 5:", "moved", &place]);
}

#[test]
fn doctor_notices_a_pooler() {
    let Some(database) = Postgres::new() else { return };
    for (settings, level, said) in [
        ("", "ok", "one is between, in transaction mode"),
        ("server_round_robin = 1", "ok", "one is between, in transaction mode"),
        ("pool_mode = session", "ok", "listens on another port: a pooler in session mode"),
        ("default_pool_size = 1", "fail", "no other is answered\" \"give the pool 10 connections or more"),
        ("pool_mode = session\ndefault_pool_size = 1", "fail", "no other is answered"),
    ] {
        let Some(pooler) = Pooler::with(settings, database.server()) else { return };
        let found = Found::at(&database.url_by(pooler.config().get_ports()[0]));
        found.says("pooler", level, &[said]).says("database", "ok", &["no schema of respoked"]);
    }
    let Some(pooler) = Pooler::with("pool_mode = statement", database.server()) else { return };
    let found = Found::at(&database.url_by(pooler.config().get_ports()[0]));
    found.says("database", "fail", &["statement pooling mode", "pooler"]);
}

#[test]
fn doctor_says_whether_those_stand_by_that_a_commit_waits_for() {
    if Postgres::new().is_none() {
        return;
    }
    let mut primary = PostgresServer::make("trust").expect("it is installed, as one runs");
    primary.start(&["synchronous_standby_names=FIRST 1 (*)"]);
    let address = |ports: &str| {
        let hosts = ports.split(',').map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>();
        format!("postgres://respoked@{}/postgres", hosts.join(","))
    };
    let of_primary = primary.port().to_string();
    let waits = "a commit waits for FIRST 1 (*)";
    Found::at(&address(&of_primary)).says("standby", "fail", &[waits, "0 of the 1 that it needs stand by"]);
    let standby = primary.standby();
    let found = eventually(|| Some(Found::at(&address(&of_primary))).filter(|found| found.code == Some(0)));
    found.says("standby", "ok", &[waits, "and they stand by"]);

    let of_standby = standby.port().to_string();
    let found = Found::at(&address(&of_standby));
    found.says("database", "fail", &["only read from: a standby", "name the server that is written to"]);
    Found::at(&address(&format!("{of_standby},{of_primary}"))).says("standby", "ok", &["and they stand by"]);
}
