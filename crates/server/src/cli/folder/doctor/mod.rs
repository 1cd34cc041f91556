//! `respoked doctor`: looks for what is wrong, and says what to do about it.

mod certificate;
mod finding;
mod folder;
mod postgres;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use respoke_core::clock::{Clock, SystemClock, Timestamp};
use respoke_core::totp::STEP_SECS;
use respoke_store::{CheckDepth, DatabaseCheck, Trouble};
use rustix::process::{Resource, getrlimit};

use finding::{Finding, Level};

use super::super::common::Common;
use super::super::failure::Failure;
use super::super::output::Output;
use super::super::plain::plain;
use super::super::remote::Client;
use super::which::Folder;
use crate::config::Config;
use crate::data_folder::DATABASE;
use crate::database::Database;
use crate::tls::Certificate;
use crate::{files, trouble};

/// Free space below which a server will soon not be able to write.
const FREE_BYTES_MIN: u64 = 200 * 1024 * 1024;
/// Free space that leaves time to do something about it.
const FREE_BYTES_GOOD: u64 = 2 * 1024 * 1024 * 1024;
/// Flushes timed.
const FLUSHES: usize = 15;
/// Days before its end at which a certificate is worth a word.
const CERTIFICATE_DAYS: i64 = 14;

/// `respoked doctor`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Doctor {
    #[command(flatten)]
    folder: Folder,
}

impl Doctor {
    pub(super) fn run(&self, common: &Common, out: &mut Output<'_>) -> Result<(), Failure> {
        let config = self.folder.settings()?;
        let mut findings = match Database::of(&config) {
            Database::Folder(data) => folder(&data, SystemClock.now()),
            Database::Postgres(address) => postgres::examine(&address)?,
        };
        findings.extend(machine(&config, SystemClock.now()));
        if common.server.is_some() {
            findings.push(server(&Client::new(common)?));
        }
        report(&findings, out)
    }
}

fn report(findings: &[Finding], out: &mut Output<'_>) -> Result<(), Failure> {
    if out.wants_json() {
        out.json(&findings)?;
    } else {
        for finding in findings {
            let word = match finding.level {
                Level::Ok => "ok  ",
                Level::Warn => "warn",
                Level::Fail => "FAIL",
            };
            out.line(format_args!("{word}  {}: {}", finding.what, plain(&finding.found)))?;
            if let Some(advice) = &finding.advice {
                out.line(format_args!("      -> {}", plain(advice)))?;
            }
        }
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

fn folder(data: &Path, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![folder::privacy(data)];
    // Without a folder there is nothing in it.
    if data.is_dir() {
        let database = database(data, now);
        // Afterwards: SQLite gives the log to whoever the database belongs to, if root looks at it.
        findings.push(folder::ownership(data));
        findings.push(space(data));
        findings.push(flushing(data));
        findings.extend(database);
    }
    findings
}

fn machine(config: &Config, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![files(config.connections_max)];
    if let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) {
        findings.push(tls(cert, key, now));
    }
    findings
}

#[cfg(test)]
fn examine(config: &Config, now: Timestamp) -> Vec<Finding> {
    let mut findings = folder(&config.data, now);
    findings.extend(machine(config, now));
    findings
}

fn space(data: &Path) -> Finding {
    const WHAT: &str = "disk space";
    let figures = match rustix::fs::statvfs(data) {
        Ok(figures) => figures,
        Err(error) => return Finding::warn(WHAT, error.to_string(), "look at it with `df`"),
    };
    let free = figures.f_bavail.saturating_mul(figures.f_frsize);
    let found = format!("{} MiB free", free / 1024 / 1024);
    let advice = "make room: a server that cannot write answers 503";
    if free < FREE_BYTES_MIN {
        Finding::fail(WHAT, found, advice)
    } else if free < FREE_BYTES_GOOD {
        Finding::warn(WHAT, found, advice)
    } else {
        Finding::ok(WHAT, found)
    }
}

/// How long the disk takes to keep something: every mint and redemption waits for one flush, shared with others.
fn flushing(data: &Path) -> Finding {
    const WHAT: &str = "disk flush";
    match time_flushes(data) {
        Err(error) => Finding::fail(
            WHAT,
            format!("a file in {} cannot be written: {error}", data.display()),
            Trouble::of_io(&error).map_or("check the disk and the permissions of the folder", Trouble::advice),
        ),
        Ok(median) => {
            let found = format!("{:.2} ms", median.as_secs_f64() * 1000.0);
            if median > Duration::from_millis(20) {
                Finding::warn(
                    WHAT,
                    found,
                    "the disk is slow to flush; every answer that writes waits for it: use an SSD",
                )
            } else if median < Duration::from_micros(15) {
                let advice = "so fast that it may not be flushing at all (tmpfs, or a disk that lies): a power cut may lose what was answered";
                Finding::warn(WHAT, found, advice)
            } else {
                Finding::ok(WHAT, found)
            }
        }
    }
}

fn time_flushes(data: &Path) -> std::io::Result<Duration> {
    // Under a name that nobody can foresee, and gone however this ends.
    let mut file = tempfile::Builder::new().prefix(".respoked-doctor-").tempfile_in(data)?;
    let mut times = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let started = Instant::now();
        file.write_all(&[0x5a; 4_096])?;
        file.as_file().sync_data()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[FLUSHES / 2])
}

fn database(data: &Path, now: Timestamp) -> Vec<Finding> {
    const WHAT: &str = "database";
    let path = data.join(DATABASE);
    match respoke_store::check_database(&path, CheckDepth::InUse) {
        Err(error) => {
            let trouble = trouble::of(&error, data);
            let found = format!("{}: {:#}", path.display(), trouble::explained(error, data));
            vec![match trouble {
                Some(Trouble::Absent) => {
                    Finding::fail(WHAT, found, "start the server once to make one, or restore a backup")
                }
                Some(trouble) => {
                    let advice = format!("{}; nothing was found against the database itself", trouble.advice());
                    Finding::fail(WHAT, found, advice)
                }
                None => Finding::fail(WHAT, found, "look at what lies there under that name"),
            }]
        }
        Ok(check) if !check.faults.is_empty() => {
            let found = format!("{}: {}", path.display(), check.faults.join("; "));
            let advice =
                "stop the server, keep a copy of the data folder, and restore a backup: `respoked restore FILE`";
            vec![Finding::fail(WHAT, found, advice)]
        }
        Ok(check) => {
            if let Some(why) = check.moved {
                let found = format!("{}: {why}", path.display());
                return vec![Finding::fail(WHAT, found, "no server starts on it: look where the installation went")];
            }
            let mut findings = vec![sound(&check), journal(&check), clock(check.newest_at, now)];
            findings.extend(check.last_code_at.and_then(|at| codes(at, now)));
            findings
        }
    }
}

fn sound(check: &DatabaseCheck) -> Finding {
    let count = |table: &str| check.counts.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows);
    let mut found = format!(
        "sound, {} MiB, schema {} of {}, {} apps, {} tokens, {} sessions",
        check.bytes / 1024 / 1024,
        check.schema,
        check.schema_known,
        count("apps"),
        count("tokens"),
        count("sessions")
    );
    if check.schema < check.schema_known {
        let mib = 2 * check.bytes / 1024 / 1024 + 16;
        found.push_str("; the next start brings it into the present shape, for which ");
        found.push_str(&mib.to_string());
        found.push_str(" MiB or more must be free");
    }
    if count("admins") == 0 {
        return Finding::warn("database", format!("{found}, and no admin"), "the next start of the server makes one");
    }
    Finding::ok("database", found)
}

fn journal(check: &DatabaseCheck) -> Finding {
    const WHAT: &str = "journal mode";
    if check.journal_mode.eq_ignore_ascii_case("wal") {
        Finding::ok(WHAT, "WAL")
    } else {
        // As a restored database is until it is first opened.
        Finding::warn(WHAT, check.journal_mode.to_uppercase(), "the next start of the server sets it to WAL")
    }
}

fn clock(newest: Option<Timestamp>, now: Timestamp) -> Finding {
    const WHAT: &str = "clock";
    let advice = "set the clock (NTP): tokens would expire late, and sessions seem to come from the future";
    let ahead = newest.map_or(0, |newest| (newest.millis() - now.millis()) / 1000);
    let found = format!("it is {}", now.to_iso());
    // 2025 began before this program was written.
    if now < Timestamp::from_secs(1_735_689_600) {
        Finding::fail(WHAT, found, advice)
    } else if ahead > 600 {
        Finding::fail(WHAT, format!("{found}, {ahead} s before the newest row was written"), advice)
    } else if ahead > 2 {
        Finding::warn(WHAT, format!("{found}, {ahead} s before the newest row was written"), advice)
    } else {
        Finding::ok(WHAT, found)
    }
}

/// Whether right codes of second factors are refused, because the clock went back behind one that was taken.
fn codes(last: Timestamp, now: Timestamp) -> Option<Finding> {
    // One may be taken a step early, as clocks differ.
    let ahead = last.secs() - now.secs() - STEP_SECS.cast_signed();
    (ahead > 0).then(|| {
        Finding::warn(
            "second factors",
            format!("a code was taken that is {ahead} s ahead of the clock, which went back since: the codes of that admin are refused until it has caught up"),
            "set the clock (NTP); until then a recovery code signs in, or take the second factor away with `respoked admin password NAME`",
        )
    })
}

fn files(connections_max: usize) -> Finding {
    const WHAT: &str = "open files";
    let needed = files::needed(connections_max);
    // The server takes as many as it can get.
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < needed => Finding::warn(
            WHAT,
            format!("at most {limit}, and {connections_max} connections need {needed}"),
            format!("raise it (`ulimit -Hn {needed}`, or LimitNOFILE= in the service), or lower connections_max"),
        ),
        Some(limit) => Finding::ok(WHAT, format!("at most {limit}; this shell's, a service may have another")),
        None => Finding::ok(WHAT, "without limit"),
    }
}

fn tls(cert: &Path, key: &Path, now: Timestamp) -> Finding {
    const WHAT: &str = "TLS";
    if let Err(error) = Certificate::load(cert, key) {
        return Finding::fail(WHAT, format!("{error:#}"), "give tls_cert the chain and tls_key its key, both PEM");
    }
    if let Ok(metadata) = fs::metadata(key)
        && metadata.mode() & 0o007 != 0
    {
        let found = format!("everybody can read the key {}", key.display());
        return Finding::fail(WHAT, found, format!("chmod o= {}", key.display()));
    }
    let Some(validity) = certificate::validity(cert) else {
        return Finding::warn(WHAT, "the certificate's dates cannot be read", "look at it with `openssl x509 -text`");
    };
    let advice = "renew it; a running server takes up the new files by itself";
    let days = (validity.until.secs() - now.secs()) / 86_400;
    if now < validity.from {
        Finding::fail(WHAT, format!("the certificate is valid only from {}", validity.from.to_iso()), "check the clock")
    } else if validity.until <= now {
        Finding::fail(WHAT, format!("the certificate ended at {}", validity.until.to_iso()), advice)
    } else if days < CERTIFICATE_DAYS {
        Finding::warn(WHAT, format!("the certificate ends in {days} days"), advice)
    } else {
        Finding::ok(WHAT, format!("the certificate is good for {days} days"))
    }
}

fn server(client: &Client) -> Finding {
    const WHAT: &str = "server";
    let url = client.server().to_owned();
    match client.get("/readyz", &[]) {
        Ok(_) => Finding::ok(WHAT, format!("{url} is ready")),
        Err(Failure::Unreachable { cause, .. }) => Finding::fail(
            WHAT,
            format!("{url} cannot be reached: {cause}"),
            "start it, or look for a firewall or a wrong --server",
        ),
        Err(Failure::Refused(problem)) => Finding::fail(
            WHAT,
            format!("{url} is not ready: it answered {}", problem.status),
            "read its log; a database that cannot be written is the likely cause",
        ),
        Err(_) => Finding::fail(WHAT, format!("{url} gives answers that make no sense"), "check --server"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use respoke_core::audit::{Action, Actor, AuditEntry};
    use respoke_core::id::RequestId;
    use respoke_core::ops::Broker;
    use respoke_core::ports::{Factor, FactorAddition, NewSecondFactor};
    use respoke_core::secret::Secret;
    use respoke_core::totp::TotpSecret;
    use respoke_store::{Options, SqliteStore};

    use super::*;

    fn data() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        crate::data_folder::make(&data).unwrap();
        SqliteStore::open(&data.join(DATABASE), Options::default()).unwrap();
        let config = Config { data, connections_max: 10, ..Config::default() };
        (folder, config)
    }

    fn of<'a>(findings: &'a [Finding], what: &str) -> &'a Finding {
        findings.iter().find(|finding| finding.what == what).unwrap()
    }

    #[test]
    fn a_sound_folder_has_no_failure() {
        let (_folder, config) = data();
        let findings = examine(&config, SystemClock.now());
        for what in ["data folder", "database", "journal mode", "clock", "disk flush"] {
            assert_ne!(of(&findings, what).level, Level::Fail, "{findings:?}");
        }
        assert_eq!(
            fs::read_dir(&config.data)
                .unwrap()
                .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("doctor"))
                .count(),
            0
        );
    }

    #[test]
    fn what_is_wrong_fails_with_advice_and_exit_code() {
        let (_folder, config) = data();
        fs::set_permissions(config.data.join(DATABASE), fs::Permissions::from_mode(0o644)).unwrap();
        let findings = examine(&config, SystemClock.now());
        let found = of(&findings, "data folder");
        assert!(found.level == Level::Fail && found.advice.as_ref().unwrap().contains("chmod"), "{found:?}");
        let mut text = Vec::new();
        assert!(matches!(report(&findings, &mut Output::new(&mut text, false)), Err(Failure::Reported)));
        assert!(String::from_utf8(text).unwrap().starts_with("FAIL  data folder"));

        let absent = Config { data: config.data.join("absent"), ..config.clone() };
        assert_eq!(examine(&absent, SystemClock.now())[0].level, Level::Fail);

        fs::write(config.data.join(DATABASE), [0xa5; 5_000]).unwrap();
        let findings = examine(&config, SystemClock.now());
        let found = of(&findings, "database");
        assert!(found.level == Level::Fail && found.advice.as_ref().unwrap().contains("restore"), "{found:?}");
    }

    #[test]
    fn a_clock_set_back_is_noticed() {
        let now = SystemClock.now();
        assert_eq!(clock(None, now).level, Level::Ok);
        assert_eq!(clock(Some(now.plus_secs(-5)), now).level, Level::Ok);
        assert_eq!(clock(Some(now.plus_secs(60)), now).level, Level::Warn);
        assert_eq!(clock(Some(now.plus_secs(86_400)), now).level, Level::Fail);
        assert_eq!(clock(None, Timestamp::from_secs(0)).level, Level::Fail);
    }

    #[test]
    fn a_code_from_the_future_is_noticed() {
        let (folder, config) = data();
        let data = folder.path().join("data");
        let store = SqliteStore::open(&data.join(DATABASE), Options::default()).unwrap();
        let now = SystemClock.now();
        let clock = std::sync::Arc::new(respoke_core::clock::ManualClock::at(now));
        let bus = std::sync::Arc::new(respoke_bus::LocalBus::default());
        let broker = Broker::new(std::sync::Arc::new(store), bus, clock, respoke_core::chance::of_this_test(), 10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let admin = runtime.block_on(async {
            broker.first_run(None, Some(Secret::new("correct horse".to_owned()))).await.unwrap();
            broker.store().admin_by_username("admin").await.unwrap().unwrap()
        });
        let take = |step: i64| {
            let factor = NewSecondFactor {
                sealed: TotpSecret::random().seal(&Secret::new("correct horse".to_owned()), [1; 16]).unwrap(),
                last_step: step.unsigned_abs(),
                recovery: Vec::new(),
                password_hash: admin.password_hash.clone(),
                keep_session: 0,
            };
            let audit = AuditEntry {
                at: now,
                account_id: Some(admin.account_id),
                app_id: None,
                actor: Actor::System,
                action: Action::SecondFactorAdded,
                object: String::new(),
                address: String::new(),
                request_id: RequestId::random(),
                fingerprint: None,
            };
            runtime.block_on(async {
                let store = broker.store();
                let _ = store.remove_second_factor(admin.id, Factor::Step(u64::MAX >> 1), audit.clone()).await.unwrap();
                assert_eq!(store.add_second_factor(admin.id, factor, audit).await.unwrap(), FactorAddition::Added);
            });
            examine(&config, now).into_iter().find(|finding| finding.what == "second factors")
        };
        let present = now.secs() / 30;
        for step in [present - 120, present, present + 1] {
            assert!(take(step).is_none(), "a code is taken a step early at most");
        }
        let found = take(present + 120).unwrap();
        assert!(found.level == Level::Warn && found.found.contains("clock"), "{found:?}");
        assert!(found.advice.unwrap().contains("recovery code"));
    }

    #[test]
    fn too_few_files_are_warned_of() {
        assert_eq!(files(usize::MAX / 2).level, Level::Warn);
    }

    #[test]
    fn a_certificate_is_judged_by_its_dates_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let validity = certificate::validity(&cert).unwrap();
        let level = |now: Timestamp| tls(&cert, &key, now).level;
        assert_eq!(level(SystemClock.now()), Level::Ok);
        assert_eq!(level(validity.until.plus_secs(-86_400)), Level::Warn);
        assert_eq!(level(validity.until), Level::Fail);
        assert_eq!(level(validity.from.plus_secs(-1)), Level::Fail);
        fs::write(&cert, "x").unwrap();
        assert_eq!(level(SystemClock.now()), Level::Fail);
    }
}
