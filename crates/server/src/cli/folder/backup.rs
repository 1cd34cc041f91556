//! `respoked backup`: copies the database into one file, while the server runs or not.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use respoke_core::clock::Timestamp;
use respoke_store::{BackedUp, CopiedOf, Dsn, Source, back_up_server};
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::{Output, path_json};
use super::progress::{Progress, Told, transfer_runtime};
use super::unfinished::{Present, Unfinished, check_target, folder_of};
use super::which::Folder;
use crate::database::{self, Database};
use crate::{data_folder, trouble};

/// `respoked backup`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Backup {
    /// Where to put it. Keep it as safe as the database: it holds the key that tokens are made with.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write over a file that is there already.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    folder: Folder,
}

impl Backup {
    pub(super) fn run(&self, out: &mut Output<'_>) -> Result<(), Failure> {
        let (bytes, of) = match self.folder.which()? {
            Database::Folder(_) => (self.of_folder()?, CopiedOf::Primary),
            Database::Postgres(address) => self.of_server(&address)?,
        };
        let as_of = match of {
            CopiedOf::Primary => None,
            CopiedOf::Standby { as_of } => {
                Some(as_of.map_or_else(|| "a time that it does not know".to_owned(), Timestamp::to_iso))
            }
        };
        if let Some(as_of) = &as_of {
            let said = "It is read from a standby, and the server that is written to was not found: what was committed there after";
            let _ = writeln!(std::io::stderr(), "{said} {as_of} may be missing.");
        }
        out.say(
            &json!({ "file": path_json(&self.file), "bytes": bytes, "standbyAsOf": as_of }),
            format_args!(
                "The backup {} is written, {bytes} bytes. `respoked restore --verify {}` checks it.",
                self.file.display(),
                self.file.display()
            ),
        )
    }

    fn of_folder(&self) -> Result<u64, Failure> {
        let database = self.folder.database()?;
        self.check_target(Some(&database))?;
        let written = || self.not_written();
        let source = Source::open_live(&database)
            .map_err(|error| trouble::explained(error, folder_of(&database)))
            .with_context(|| format!("the database {} cannot be read", database.display()))?;
        // It would be a backup of what was there when it was moved, taken for one of what is.
        if let Some(why) = source.not_served().map_err(|error| trouble::explained(error, folder_of(&database)))? {
            return Err(Failure::because(format!("{} is not backed up: {why}", database.display())));
        }
        let unfinished = Unfinished::of(&self.file).with_context(written)?;
        let whole = fs::metadata(&database).map_or(0, |file| file.len());
        let copying = Progress::of_copy("Copying the database", unfinished.path(), whole);
        let bytes = source
            .copy_to(unfinished.path())
            .map_err(|error| trouble::explained(error, folder_of(&self.file)))
            .with_context(written)?;
        drop(copying);
        self.is_whole(unfinished)?;
        Ok(bytes)
    }

    /// The same database as a backup of a folder is, filled from the server.
    fn of_server(&self, address: &Dsn) -> Result<(u64, CopiedOf), Failure> {
        self.check_target(None)?;
        let written = || self.not_written();
        let options = database::options(address)?;
        let unfinished = Unfinished::of(&self.file).with_context(written)?;
        let told = Told::default();
        let copied = transfer_runtime()?.block_on(back_up_server(&options, unfinished.path(), &told));
        drop(told);
        let BackedUp { bytes, of, .. } = copied
            .map_err(|error| trouble::explained(error, folder_of(&self.file)))
            .with_context(|| format!("{address} cannot be copied"))?;
        self.is_whole(unfinished)?;
        Ok((bytes, of))
    }

    fn not_written(&self) -> String {
        format!("the backup {} cannot be written", self.file.display())
    }

    fn is_whole(&self, unfinished: Unfinished) -> anyhow::Result<()> {
        unfinished.becomes(&self.file, if self.force { Present::Goes } else { Present::Stays })
    }

    /// Whether the backup may get the name that it is to have. It is looked at again when it gets it.
    fn check_target(&self, database: Option<&Path>) -> Result<(), Failure> {
        let Some(name) = self.file.file_name() else {
            return Err(Failure::Usage(format!("{} is no name of a file", self.file.display())));
        };
        if self.file == Path::new("-") {
            return Err(Failure::Usage("a backup is written to a file, not to standard output; name one".into()));
        }
        check_target(&self.file)?;
        if let Some(data) = database.map(folder_of) {
            let own = data_folder::own_files(data).any(|own| own.file_name() == Some(name));
            if own && fs::canonicalize(data).ok() == fs::canonicalize(folder_of(&self.file)).ok() {
                return Err(Failure::Usage("the backup would be written over the database itself".into()));
            }
        }
        if !self.force && self.file.exists() {
            return Err(Failure::because(format!("{} is there already; --force writes over it", self.file.display())));
        }
        Ok(())
    }
}
