//! `respoked backup`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::super::failure::Failure;
use super::super::output::Output;
use super::Folder;

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
        let database = self.folder.database()?;
        if same_file(&database, &self.file) {
            return Err(Failure::Usage("the backup would be written over the database itself".into()));
        }
        if !self.force && self.file.exists() {
            return Err(Failure::because(format!("{} is there already; --force writes over it", self.file.display())));
        }
        let unfinished = Unfinished::beside(&self.file, "unfinished");
        let bytes = respoke_store::copy_database(&database, &unfinished.0)
            .with_context(|| format!("the backup {} cannot be written", self.file.display()))?;
        unfinished.becomes(&self.file)?;
        out.say(
            &json!({ "file": self.file, "bytes": bytes }),
            format_args!(
                "The backup {} is written, {bytes} bytes. `respoked restore --verify {}` checks it.",
                self.file.display(),
                self.file.display()
            ),
        )
    }
}

/// A file that gets its name when it is finished, and is removed if it never is.
pub(super) struct Unfinished(pub(super) PathBuf);

impl Unfinished {
    /// A name beside `path`. What an interrupted command left under it is removed.
    pub(super) fn beside(path: &Path, suffix: &str) -> Self {
        let unfinished = Self(with_suffix(path, &format!(".{suffix}")));
        unfinished.remove();
        unfinished
    }

    /// Gives the file the name `path`, for good.
    pub(super) fn becomes(self, path: &Path) -> anyhow::Result<()> {
        let renamed = fs::rename(&self.0, path).with_context(|| format!("{} cannot be written", path.display()));
        if renamed.is_ok() {
            sync_folder_of(path)?;
        }
        renamed
    }

    fn remove(&self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(with_suffix(&self.0, suffix));
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.remove();
    }
}

/// `path` with `suffix` at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts the names in the folder of `path` on disk; a power cut could otherwise bring back the old ones.
pub(super) fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("the folder {} cannot be flushed", folder.display()))
}

/// Whether both paths lead to one file.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
