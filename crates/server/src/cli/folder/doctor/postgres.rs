//! What `respoked doctor` looks at in PostgreSQL.

use respoke_store::{Dsn, Examined, HalfWritten, Pooling, PostgresStore};

use super::super::super::failure::Failure;
use super::super::which::runtime;
use super::finding::Finding;
use crate::database;

/// Connections of one server: eight of its store, and two by which it talks with other nodes.
const CONNECTIONS: i64 = 10;
/// How far clocks may be apart before it is worth a word.
const APART_MILLIS: u64 = 1_000;

pub(super) fn examine(address: &Dsn) -> Result<Vec<Finding>, Failure> {
    let options = database::options(address)?;
    let examined = match runtime()?.block_on(PostgresStore::examine(&options)) {
        Ok(examined) => examined,
        Err(error) => {
            let found = format!("{address}: {:#}", anyhow::Error::from(error));
            let advice = "docs/postgres.md says what is asked of an address, a role and a pooler";
            return Ok(vec![Finding::fail("database", found, advice)]);
        }
    };
    Ok(vec![
        sound(address, &examined),
        rights(&examined),
        clock(&examined),
        tls(address, &examined),
        pages(&examined),
        standby(&examined),
        connections(&examined),
        pooler(&examined),
        log(&examined),
    ])
}

fn sound(address: &Dsn, examined: &Examined) -> Finding {
    let Examined { version, schema, schema_known: known, refusal, .. } = examined;
    let schema = match schema {
        None => "a schema that the role may not look at".to_owned(),
        Some(0) => "no schema of respoked".to_owned(),
        Some(schema) => format!("schema {schema} of {known}"),
    };
    let mut found = format!("{address}, PostgreSQL {version}, {schema}");
    if refusal.is_none() && examined.schema < Some(*known) {
        found.push_str("; the next start of the server brings it to the present one");
    }
    match refusal {
        Some(why) => {
            Finding::fail("database", format!("{found}: {why}"), "no server starts on it before that is mended")
        }
        None => Finding::ok("database", found),
    }
}

fn rights(examined: &Examined) -> Finding {
    let what = if examined.may_change_schema { "may change the schema" } else { "may not change the schema" };
    Finding::ok("role", format!("{}, which {what}", examined.role))
}

fn clock(examined: &Examined) -> Finding {
    const WHAT: &str = "clock";
    let ahead = examined.clock_ahead_millis;
    let apart = ahead.unsigned_abs();
    let found = match ahead {
        0 => "as the database's".to_owned(),
        1.. => format!("{apart} ms ahead of the database's"),
        _ => format!("{apart} ms behind the database's"),
    };
    if apart > APART_MILLIS {
        Finding::warn(WHAT, found, "set both clocks (NTP): beyond five seconds no server starts")
    } else {
        Finding::ok(WHAT, found)
    }
}

fn tls(address: &Dsn, examined: &Examined) -> Finding {
    const WHAT: &str = "TLS to the database";
    let found = format!("sslmode={}, {}", address.sslmode(), if examined.is_encrypted { "encrypted" } else { "plain" });
    if address.stays_here() || address.sslmode() == "verify-full" {
        return Finding::ok(WHAT, found);
    }
    Finding::warn(WHAT, found, "with sslmode=verify-full nobody else can take the database's place")
}

fn pages(examined: &Examined) -> Finding {
    const WHAT: &str = "half-written pages";
    match examined.half_written {
        HalfWritten::Mended => Finding::ok(WHAT, "mended after a crash (full_page_writes = on)"),
        HalfWritten::LeftToFiles => {
            let advice = "switch it on, unless the file system never leaves a page half written, as ZFS does not";
            Finding::warn(WHAT, "full_page_writes = off", advice)
        }
    }
}

fn standby(examined: &Examined) -> Finding {
    const WHAT: &str = "standby";
    let Examined { synchronous_commit, synchronous_standbys: standbys, .. } = examined;
    if standbys.is_empty() || synchronous_commit == "local" {
        let found = format!("none that a commit waits for (synchronous_commit = {synchronous_commit})");
        let advice = "a failover may lose what was answered last, unless synchronous_standby_names names a standby";
        return Finding::warn(WHAT, found, advice);
    }
    let found = format!("a commit waits for {standbys} (synchronous_commit = {synchronous_commit})");
    match examined.standbys_connected {
        Some(connected) if connected < examined.standbys_awaited => Finding::fail(
            WHAT,
            format!("{found}, and {connected} of the {} that it needs stand by", examined.standbys_awaited),
            "nothing is written until they do: start them, or name others in synchronous_standby_names",
        ),
        Some(_) => Finding::ok(WHAT, format!("{found}, and they stand by")),
        None => Finding::ok(
            WHAT,
            format!(
                "{found}; whether they stand by is told to roles with pg_read_all_stats, which {} has not",
                examined.role
            ),
        ),
    }
}

fn connections(examined: &Examined) -> Finding {
    const WHAT: &str = "connections";
    let found = format!("max_connections is {}, and a server uses {CONNECTIONS} at most", examined.connections_max);
    // Another server that takes its place, and an operator.
    if examined.connections_max < 3 * CONNECTIONS {
        return Finding::warn(WHAT, found, "raise it, so that a second server and an operator find room");
    }
    Finding::ok(WHAT, found)
}

fn pooler(examined: &Examined) -> Finding {
    const WHAT: &str = "pooler";
    match examined.pooling {
        Pooling::Direct => Finding::ok(WHAT, "none is noticed"),
        Pooling::OtherPort => Finding::ok(
            WHAT,
            "the database listens on another port: a pooler in session mode, or a port that is passed on",
        ),
        Pooling::EachTransaction => Finding::ok(WHAT, "one is between, in transaction mode"),
        Pooling::OneAtATime => Finding::fail(
            WHAT,
            "while one connection is in use, no other is answered",
            format!("give the pool {CONNECTIONS} connections or more (PgBouncer: default_pool_size or pool_size)"),
        ),
    }
}

fn log(examined: &Examined) -> Finding {
    const WHAT: &str = "log of PostgreSQL";
    if examined.values_are_logged {
        let advice = "log_parameter_max_length = 0 keeps values, among them push tokens, out of it";
        return Finding::warn(WHAT, "values of statements stand in it", advice);
    }
    Finding::ok(WHAT, "holds no values of statements")
}
