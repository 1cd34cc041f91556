//! Where a benchmark builds, and the folder its servers keep their data in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

/// The binaries under test and the folders beside them.
pub(crate) struct Workplace {
    /// The server.
    pub(crate) respoked: PathBuf,
    /// This very program, which also serves the ceiling.
    pub(crate) xtask: PathBuf,
    /// On the real disk: `target/bench`.
    folder: PathBuf,
}

impl Workplace {
    /// Builds the server as it is distributed, unless a ready `binary` is named.
    pub(crate) fn prepare(binary: Option<&Path>) -> anyhow::Result<Self> {
        let mut this = Self::without_server()?;
        if let Some(binary) = binary {
            this.respoked = fs::canonicalize(binary).context("no such server binary")?;
        } else {
            eprintln!("building respoked as it is distributed");
            cargo(&["build", "--profile", "dist", "--package", "respoked"])?;
        }
        ensure!(this.respoked.is_file(), "there is no server binary at {}", this.respoked.display());
        Ok(this)
    }

    /// For what needs no server but the ceiling.
    pub(crate) fn without_server() -> anyhow::Result<Self> {
        let xtask = std::env::current_exe()?;
        // target/dist/xtask; this holds wherever the target folder is.
        let target = xtask.ancestors().nth(2).context("xtask does not run from a target folder")?;
        let folder = target.join("bench");
        fs::create_dir_all(&folder)?;
        remove_left_over(&folder)?;
        Ok(Self { respoked: target.join("dist/respoked"), folder, xtask })
    }

    /// A fresh folder that goes away when it is dropped.
    pub(crate) fn fresh_folder(&self) -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new().prefix(&format!("{}-", process::id())).tempdir_in(&self.folder)?)
    }

    /// The folder of all runs.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Removes what interrupted runs left in `folder`: what is named after a process that is no more.
fn remove_left_over(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_process = name.split_once('-').and_then(|(pid, _)| pid.parse::<u32>().ok());
        if of_process.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Runs cargo with `args` in the current folder.
pub(crate) fn cargo(args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("cargo").args(args).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", args.join(" "));
    }
    Ok(())
}
