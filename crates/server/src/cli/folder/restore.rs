//! `respoked restore`.
//!
//! A backup does not know what was revoked after it was taken. So a restore ends every token and session of the
//! backup, and names what else it undid for somebody to do again.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use respoke_core::chance::{Chance, SystemChance};
use respoke_core::clock::{Clock, SystemClock, Timestamp};
use respoke_core::id::RequestId;
use respoke_store::{
    CheckDepth, DatabaseCheck, Dsn, Occasion, RestoredToServer, Source, Stage, Stopped, UndoneChange, restore_to_server,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::failure::Failure;
use super::super::output::{Output, path_json};
use super::super::plain::plain;
use super::progress::{Progress, Told, transfer_runtime};
use super::unfinished::{Present, Unfinished, folder_of, remove_log};
use super::which::Folder;
use crate::data_folder::{self, DATABASE, with_suffix};
use crate::database::{self, Database};
use crate::trouble;

/// Databases kept aside within one second; somebody restores in a loop.
const KEPT_PER_SECOND_MAX: u32 = 100;

/// `respoked restore`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Check the backup and change nothing.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    folder: Folder,
}

/// As what is kept what was there.
enum Kept {
    /// A database.
    File(PathBuf),
    /// A schema in the same database.
    Schema(String),
}

impl Kept {
    fn json(&self) -> Value {
        match self {
            Self::File(path) => path_json(path),
            Self::Schema(name) => json!(name),
        }
    }
}

/// What a restore did.
struct Restored {
    kept: Option<Kept>,
    undone: Vec<UndoneChange>,
}

impl Restore {
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        // What is verified is what is restored from, opened once, so that both judge alike.
        let unread = || format!("the backup {} cannot be read", self.file.display());
        let explained = |error| trouble::explained(error, folder_of(&self.file));
        let source = Source::open(&self.file).map_err(explained).with_context(unread)?;
        let checking = Progress::of("Looking whether the backup is sound");
        let check = source.check(CheckDepth::AtRest).map_err(explained).with_context(unread)?;
        drop(checking);
        if self.verify || !check.faults.is_empty() {
            return self.report(&check, out);
        }
        if check.schema < check.schema_known {
            let said = "The backup is of an earlier release and is brought into the present shape first.";
            let _ = writeln!(std::io::stderr(), "{said}");
        }
        let restored = match self.folder.which()? {
            Database::Folder(_) => self.restore(&source, check.bytes, &SystemClock)?,
            Database::Postgres(address) => self.restore_to_server(&address, &source, check.bytes, &SystemClock)?,
        };
        if out.wants_json() {
            let undone: Vec<Value> = restored
                .undone
                .iter()
                .map(
                    |change| json!({"at": change.at.to_iso(), "action": change.action.word(), "object": change.object}),
                )
                .collect();
            return out.json(&json!({ "restored": path_json(&self.file), "keptAside": restored.kept.as_ref().map(Kept::json), "undone": undone }));
        }
        out.line(format_args!("The database is as {} has it. Start the server to use it.", self.file.display()))?;
        out.line("All tokens and sessions and all logins of admins issued before are ended, because revocations made")?;
        out.line("since the backup are not in it.")?;
        match &restored.kept {
            None => {}
            Some(Kept::File(kept)) => {
                out.line(format_args!("The database that was there is kept as {}.", kept.display()))?;
            }
            Some(Kept::Schema(kept)) => {
                out.line(format_args!(
                    "What was there is kept as the schema {kept}. A role that was granted it has to be granted"
                ))?;
                out.line("the new one: `respoked migrate --grant-to ROLE`.")?;
            }
        }
        if !restored.undone.is_empty() {
            out.line("\nThis was done since the backup and is undone now; do again what still matters:")?;
            for change in &restored.undone {
                out.line(format_args!(
                    "  {}  {}  {}",
                    change.at.to_iso(),
                    change.action.word(),
                    plain(&change.object)
                ))?;
            }
        }
        Ok(())
    }

    fn report(&self, check: &DatabaseCheck, out: &mut Output<'_>) -> Result<(), Failure> {
        let sound = check.faults.is_empty();
        if out.wants_json() {
            let counts: Map<String, Value> =
                check.counts.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows))).collect();
            out.json(&json!({
                "file": path_json(&self.file), "sound": sound, "faults": check.faults, "bytes": check.bytes, "schema": check.schema,
                "counts": counts, "newestAt": check.newest_at.map(Timestamp::to_iso),
            }))?;
        } else if sound {
            out.line(format_args!("The backup {} is sound.", self.file.display()))?;
            let mut rows: Vec<(&str, String)> = vec![
                ("bytes", check.bytes.to_string()),
                ("schema", check.schema.to_string()),
                ("newest row", check.newest_at.map_or_else(|| "-".to_owned(), Timestamp::to_iso)),
            ];
            rows.extend(check.counts.iter().map(|(table, count)| (*table, count.to_string())));
            out.lines(&rows)?;
        } else {
            out.line(format_args!("The backup {} must not be used:", self.file.display()))?;
            for fault in &check.faults {
                out.line(format_args!("  {}", plain(fault)))?;
            }
        }
        if sound { Ok(()) } else { Err(Failure::Reported) }
    }

    fn restore(&self, source: &Source, bytes: u64, clock: &dyn Clock) -> Result<Restored, Failure> {
        let data = self.folder.path()?;
        data_folder::make(&data)?;
        let lock = data_folder::lock(&data)?;
        data_folder::check_files(&data)?;
        data_folder::check_access(&data)?;
        let database = data.join(DATABASE);
        if same_file(&database, &self.file) {
            return Err(Failure::Usage("the backup is the database itself".into()));
        }

        let now = clock.now();
        let keeper = lock.keeper()?;
        let explained = |error| trouble::explained(error, &data);
        let unwritten = || format!("the backup {} cannot be copied to {}", self.file.display(), data.display());
        let fresh = Unfinished::of(&database).with_context(unwritten)?;
        let copying = Progress::of_copy("Copying the backup", fresh.path(), bytes);
        source.copy_to(fresh.path()).map_err(explained).with_context(unwritten)?;
        drop(copying);
        let ending = Progress::of("Bringing the copy into shape and ending what was issued");
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        respoke_store::end_everything_issued(fresh.path(), &name, now, RequestId::new(&SystemChance))
            .map_err(explained)
            .with_context(unwritten)?;
        drop(ending);
        fresh.give(keeper)?;

        let undone = match respoke_store::fold_log(&database) {
            Ok(()) => Source::open(&database)
                .and_then(|replaced| respoke_store::undone_changes(&replaced, source))
                .unwrap_or_default(),
            // What a damaged database did last cannot be told. A sound one is still used by somebody, or cannot be
            // written for now.
            Err(_) if is_damaged_or_absent(&database) => Vec::new(),
            Err(error) => return Err(explained(error).into()),
        };
        let kept = kept_name(&database, now)?;
        match &kept {
            Some(kept) => fresh.takes_the_place_of(&database, kept)?,
            None => fresh.becomes(&database, Present::Goes)?,
        }
        lock.hand_over(keeper)?;
        Ok(Restored { kept: kept.map(Kept::File), undone })
    }

    /// Everything issued is ended in a copy, and the copy goes to the server.
    fn restore_to_server(
        &self,
        address: &Dsn,
        source: &Source,
        bytes: u64,
        clock: &dyn Clock,
    ) -> Result<Restored, Failure> {
        let now = clock.now();
        let options = database::options(address)?;
        // For a while, where other programs put what they need for a while.
        let folder = std::env::temp_dir();
        let unwritten = || format!("the backup {} cannot be copied to {}", self.file.display(), folder.display());
        let explained = |error| trouble::explained(error, &folder);
        let unfinished = Unfinished::of(&folder.join(DATABASE)).with_context(unwritten)?;
        let fresh = unfinished.path();
        let copying = Progress::of_copy("Copying the backup", fresh, bytes);
        source.copy_to(fresh).map_err(explained).with_context(unwritten)?;
        drop(copying);
        let ending = Progress::of("Bringing the copy into shape and ending what was issued");
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        respoke_store::end_everything_issued(fresh, &name, now, RequestId::new(&SystemChance))
            .map_err(explained)
            .with_context(unwritten)?;
        drop(ending);
        let occasion = Occasion { at: now, id: Uuid::from_bytes((&SystemChance as &dyn Chance).bytes()) };
        let aside = format!("respoked_before_restore_{}z", stamp(now).to_lowercase());
        let told = Told::default();
        let place = format!("the backup {name}");
        let restoring = restore_to_server((fresh, &place), &options, (occasion, &aside), &told);
        let restored = transfer_runtime()?.block_on(restoring);
        drop(told);
        let RestoredToServer { kept, undone } = restored.map_err(|stopped| self.stopped(address, stopped))?;
        Ok(Restored { kept: kept.map(Kept::Schema), undone })
    }
}

impl Restore {
    /// What is said of a restore to a server that was not brought to its end.
    fn stopped(&self, address: &Dsn, Stopped { at, aside, why }: Stopped) -> anyhow::Error {
        let file = self.file.display();
        let aside = aside.map_or_else(String::new, |aside| {
            format!(
                ". What was there may go by the name of the schema {aside}; the same command, given again, finds that"
            )
        });
        anyhow::Error::new(why).context(match at {
            Stage::NotLeft | Stage::Left => format!("the backup {file} was not put on {address}{aside}"),
            Stage::InDoubt => format!(
                "whether the backup {file} was put on {address} is not known: let no server start there, and give the \
                 same command again{aside}"
            ),
        })
    }
}

/// The instant, as it stands in names.
fn stamp(at: Timestamp) -> String {
    at.to_iso().chars().take_while(|c| *c != '.').filter(|c| !matches!(c, '-' | ':')).collect()
}

fn is_damaged_or_absent(database: &Path) -> bool {
    !database.exists()
        || respoke_store::check_database(database, CheckDepth::InUse).is_ok_and(|check| !check.faults.is_empty())
}

/// Whether both paths lead to one file.
fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// The name under which the database that is there is to stay, if one is; its log has that name already.
fn kept_name(database: &Path, now: Timestamp) -> anyhow::Result<Option<PathBuf>> {
    if !database.exists() {
        // A log without its database would be taken for the new one's.
        remove_log(database);
        return Ok(None);
    }
    let stamp = stamp(now);
    let named = |number: u32| {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        with_suffix(database, &format!(".before-restore-{stamp}Z{number}"))
    };
    let is_free =
        |kept: &PathBuf| ["", "-wal"].iter().all(|suffix| with_suffix(kept, suffix).symlink_metadata().is_err());
    // A second restore within the second.
    let kept = (1..=KEPT_PER_SECOND_MAX).map(named).find(is_free).context("too many databases are kept aside")?;
    let failed = || format!("the present database cannot be kept as {}", kept.display());
    // The log of a database that could not be folded goes with it. It goes first: should the power fail in between, the
    // old database is still there, and its log beside it under a name that says whose it is.
    let log = with_suffix(database, "-wal");
    if fs::metadata(&log).is_ok_and(|file| file.len() > 0) {
        fs::rename(&log, with_suffix(&kept, "-wal")).with_context(failed)?;
    }
    remove_log(database);
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use clap::Parser;
    use respoke_core::chance::of_this_test;
    use respoke_core::ops::{Broker, Context, Credential, FirstRun, IssueToken, SignIn};
    use respoke_core::secret::Secret;
    use respoke_core::token::Replaces;
    use respoke_store::{Options, SqliteStore};

    use super::super::super::Cli;
    use super::*;

    fn run(line: &[&str]) -> Result<String, Failure> {
        let mut text = Vec::new();
        let cli = Cli::try_parse_from(std::iter::once("respoked").chain(line.iter().copied())).unwrap();
        let done = cli.run(&mut text);
        let text = String::from_utf8(text).unwrap();
        done.map(|()| text)
    }

    fn open(data: &Path) -> Broker {
        let store = SqliteStore::open(&data.join(DATABASE), Options::default()).unwrap();
        Broker::new(
            Arc::new(store),
            std::sync::Arc::new(respoke_bus::LocalBus::default()),
            Arc::new(SystemClock),
            of_this_test(),
            10,
        )
    }

    /// The data folder as it is when no server uses it: a copy, because a store that is closed in this process closes
    /// the last of its files a little later.
    fn at_rest(data: &Path) -> PathBuf {
        let rest = data.with_extension("rest");
        data_folder::make(&rest).unwrap();
        respoke_store::copy_database(&data.join(DATABASE), &rest.join(DATABASE)).unwrap();
        rest
    }

    async fn first_run(broker: &Broker) -> FirstRun {
        broker.first_run(None, Some(Secret::new("correct horse".into()))).await.unwrap().unwrap()
    }

    async fn mint(broker: &Broker, made: &FirstRun) -> Result<Secret, respoke_core::refusal::Refusal> {
        let caller = broker.authenticate(&Credential::AppSecret(made.app_secret.secret().clone()), None).await?;
        let request = IssueToken {
            app_id: None,
            endpoint_id: Some("jo".into()),
            role_id: Some(made.role_id.to_string()),
            role_name: None,
            ttl_secs: None,
            replaces: Replaces::Nothing,
        };
        Ok(broker.issue_token(&caller, request, None, &Context::internal()).await?.text)
    }

    async fn redeem(broker: &Broker, token: &Secret) -> Result<Secret, respoke_core::refusal::Refusal> {
        let nobody = respoke_core::ops::Caller::Anonymous;
        Ok(broker.open_session(&nobody, Some(token), None, None, &Context::internal()).await?.text)
    }

    async fn admin_login(broker: &Broker) -> Secret {
        let (username, password) = (Some("admin".into()), Some(Secret::new("correct horse".into())));
        let request = SignIn { username, password, ..SignIn::default() };
        broker.sign_in(request, None, &Context::internal()).await.unwrap()
    }

    #[tokio::test]
    async fn a_restored_backup_revives_no_revoked_session() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path().join("data"), folder.path().join("backup"));
        data_folder::make(&data).unwrap();
        let (data_text, file_text) = (data.to_str().unwrap(), file.to_str().unwrap());
        let broker = open(&data);
        let made = first_run(&broker).await;
        let token = mint(&broker, &made).await.unwrap();
        let session = redeem(&broker, &token).await.unwrap();
        let outstanding = mint(&broker, &made).await.unwrap();
        let login = admin_login(&broker).await;

        run(&["backup", file_text, "--data", data_text]).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(run(&["backup", file_text, "--data", data_text]).is_err(), "a file is not written over");
        run(&["backup", file_text, "--data", data_text, "--force"]).unwrap();
        assert!(run(&["restore", file_text, "--verify"]).unwrap().contains("sound"));

        // After the backup: the session is revoked, and the endpoint banned.
        let caller = broker.authenticate(&Credential::AppSecret(made.app_secret.secret().clone()), None).await.unwrap();
        broker.revoke(&caller, &session, &Context::internal()).await.unwrap();
        broker.ban(&caller, None, "spammer", None, None, &Context::internal()).await.unwrap();
        let later = mint(&broker, &made).await.unwrap();

        let data = at_rest(&data);
        let data_text = data.to_str().unwrap();
        let lock = data_folder::lock(&data).unwrap();
        let refused = run(&["restore", file_text, "--data", data_text]).err().unwrap();
        assert_eq!(refused.exit_code(), 1, "not beside a running server");
        drop(lock);

        let said = run(&["restore", file_text, "--data", data_text]).unwrap();
        assert!(said.contains("endpoint.banned  spammer"), "{said}");
        let kept: Vec<_> = fs::read_dir(&data)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("respoked.db."))
            .collect();
        assert!(matches!(kept.as_slice(), [name] if name.starts_with("respoked.db.before-restore-2")), "{kept:?}");

        let broker = open(&data);
        for (what, credential) in [
            ("the revoked session", Credential::AppToken(session)),
            ("the admin's login", Credential::AdminToken(login)),
        ] {
            assert!(broker.authenticate(&credential, None).await.is_err(), "{what} lives");
        }
        for (what, token) in [("spent", &token), ("outstanding", &outstanding), ("later", &later)] {
            assert!(redeem(&broker, token).await.is_err(), "the {what} token is redeemed");
        }
        // Everything goes on from here.
        admin_login(&broker).await;
        let token = mint(&broker, &made).await.unwrap();
        let session = redeem(&broker, &token).await.unwrap();
        assert!(broker.authenticate(&Credential::AppToken(session), None).await.is_ok());
        let rows = broker
            .store()
            .audit_log(
                respoke_core::ports::AuditQuery {
                    account_id: broker.store().accounts().await.unwrap()[0].id,
                    app_id: None,
                    action: Some(respoke_core::audit::Action::Restored),
                    object: None,
                    request_id: None,
                },
                respoke_core::page::PageRequest::first(),
            )
            .await
            .unwrap();
        assert_eq!(rows.items.len(), 1);
        assert_eq!(rows.items[0].entry.object, "backup");
    }

    #[tokio::test]
    async fn a_damaged_backup_is_found_and_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path().join("data"), folder.path().join("backup"));
        data_folder::make(&data).unwrap();
        let broker = open(&data);
        first_run(&broker).await;
        let (data_text, file_text) = (data.to_str().unwrap(), file.to_str().unwrap());
        run(&["backup", file_text, "--data", data_text]).unwrap();
        let data = at_rest(&data);
        let data_text = data.to_str().unwrap();
        let before = fs::read(data.join(DATABASE)).unwrap();

        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(run(&["restore", file_text, "--verify"]), Err(Failure::Reported)));
        assert!(matches!(run(&["restore", file_text, "--data", data_text]), Err(Failure::Reported)));
        assert!(fs::read(data.join(DATABASE)).unwrap() == before, "the database was touched");
        assert_eq!(run(&["restore", "/nowhere", "--verify"]).err().unwrap().exit_code(), 1);
    }

    #[tokio::test]
    async fn a_restore_works_on_an_empty_folder_and_over_a_damaged_database() {
        let folder = tempfile::tempdir().unwrap();
        let (data, file) = (folder.path().join("data"), folder.path().join("backup"));
        data_folder::make(&data).unwrap();
        let broker = open(&data);
        let made = first_run(&broker).await;
        let (data_text, file_text) = (data.to_str().unwrap(), file.to_str().unwrap());
        run(&["backup", file_text, "--data", data_text]).unwrap();
        let data = at_rest(&data);
        let data_text = data.to_str().unwrap();

        let empty = folder.path().join("empty");
        run(&["restore", file_text, "--data", empty.to_str().unwrap()]).unwrap();
        mint(&open(&empty), &made).await.unwrap();

        fs::write(data.join(DATABASE), vec![0xa5; 9_000]).unwrap();
        run(&["restore", file_text, "--data", data_text]).unwrap();
        mint(&open(&data), &made).await.unwrap();
    }
}
