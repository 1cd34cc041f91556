//! The built binary beside a node of another release.

use std::ops::RangeInclusive;
use std::path::Path;

use respoke_wire::bus::VERSION;

use super::{joined, live_at};
use crate::harness::{Postgres, are_nodes_asked, respoked, run};
use crate::postgres::serve;

/// A database in which a newer release lives, which reads these versions. It answers nothing, and is late for nobody.
fn with_a_newer_neighbour(folder: &Path, codec: RangeInclusive<u8>) -> Option<Postgres> {
    if !are_nodes_asked() {
        return None;
    }
    let database = Postgres::new()?;
    let first = serve(folder, &database.url());
    first.signal("TERM");
    assert_eq!(first.wait(), 0);
    // Whoever could read the schema before can read the newer one.
    database.run_inside(
        "UPDATE respoked.meta
         SET value = int8send(('x' || encode(value, 'hex'))::bit(64)::bigint + 1) WHERE key = 'schema'",
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    drop(runtime.block_on(joined(&database, codec)));
    let later = "UPDATE respoked.nodes SET version = 'later', state = 1, beat_at = beat_at + 3600000";
    database.run_inside(later);
    Some(database)
}

#[test]
fn it_serves_beside_a_newer_release_that_reads_its_language_too() {
    let folder = tempfile::tempdir().unwrap();
    let Some(database) = with_a_newer_neighbour(folder.path(), VERSION..=VERSION + 1) else { return };
    let this = serve(folder.path(), &database.url()).with_app();
    let admin = this.admin_token("owner");
    assert_eq!(live_at(&this, &admin), 2);
    let token = this.session("alice");
    assert!(this.alive(&token));
}

#[test]
fn it_does_not_start_beside_a_newer_release_that_reads_another_language_alone() {
    let folder = tempfile::tempdir().unwrap();
    let Some(database) = with_a_newer_neighbour(folder.path(), VERSION + 1..=VERSION + 1) else { return };
    let said = run(respoked().args(["serve", "--listen", "127.0.0.1:0"]).env("RESPOKED_DATABASE", database.url()));
    assert_ne!(said.code, Some(0));
    assert!(said.err.contains("node newcomer of version later talks another language"), "{}", said.err);
}
