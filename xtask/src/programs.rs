//! Programs of others: found, or installed from Debian's packages.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::command::run_command;
use crate::test::postgres::Postgres;

/// What of Debian was looked for by this run.
#[derive(Default)]
pub(crate) struct Programs {
    /// Debian's package lists were fetched by this run.
    lists_fetched: Cell<bool>,
}

impl Programs {
    /// Makes sure that a program is there; on Debian, as root, installs it. Tells whether it had to.
    pub(crate) fn have(&self, program: &str, packages: &[&str]) -> anyhow::Result<bool> {
        if Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
            return Ok(false);
        }
        println!("{program} is missing");
        self.install(packages).with_context(|| format!("{program} is needed; install it and run this again"))?;
        Ok(true)
    }

    /// The same of a program whose package makes a service of its name. That is neither left running nor enabled.
    pub(crate) fn have_without_service(&self, program: &str, package: &str) -> anyhow::Result<()> {
        if self.have(program, &[package])? {
            disable(package)?;
        }
        Ok(())
    }

    /// Where PostgreSQL's programs are.
    pub(crate) fn postgres(&self) -> anyhow::Result<PathBuf> {
        if let Some(programs) = Postgres::programs() {
            return Ok(programs);
        }
        println!("PostgreSQL is missing");
        self.install(&["postgresql"])?;
        // The package makes a database of its own and serves it.
        disable("postgresql")?;
        Postgres::programs().context("PostgreSQL was installed, and is too old or not where it should be")
    }

    /// A program that is installed, or taken out of its Debian package and put below `into`: for those of which this program alone is
    /// wanted, and no service. `path` is where it is from the root on.
    pub(crate) fn unpacked(&self, package: &str, path: &str, into: &Path) -> anyhow::Result<PathBuf> {
        let installed = Path::new("/").join(path);
        let unpacked = into.join(path);
        if let Some(found) = [&installed, &unpacked].into_iter().find(|program| program.exists()) {
            return Ok(found.clone());
        }
        println!("taking {path} out of Debian's {package}");
        self.fetch_lists()?;
        std::fs::create_dir_all(into)?;
        let folder = tempfile::tempdir_in(into)?;
        let mut download = Command::new("apt-get");
        // As whoever runs this, who can write there.
        download.args(["-o", "APT::Sandbox::User=", "download", package]).current_dir(folder.path());
        run_command(&mut download)?;
        let packages = std::fs::read_dir(folder.path())?.collect::<Result<Vec<_>, _>>()?;
        for package in packages {
            run_command(Command::new("dpkg").arg("-x").arg(package.path()).arg(into))?;
        }
        ensure!(unpacked.exists(), "Debian's {package} has no {path}");
        Ok(unpacked)
    }

    fn fetch_lists(&self) -> anyhow::Result<()> {
        if self.lists_fetched.replace(true) { Ok(()) } else { run_command(Command::new("apt-get").arg("update")) }
    }

    fn install(&self, packages: &[&str]) -> anyhow::Result<()> {
        println!("installing Debian's {} with apt-get", packages.join(", "));
        self.fetch_lists()?;
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args(["install", "-y", "--no-install-recommends"]).args(packages);
        run_command(&mut command)
    }
}

/// Ends the service of a package, and keeps it from starting: Debian enables it, and starts it where services run; the tests want
/// the programs alone. Done by what every Debian has, with systemd and without.
fn disable(service: &str) -> anyhow::Result<()> {
    if Path::new("/etc/init.d").join(service).exists() {
        run_command(Command::new("update-rc.d").args([service, "disable"]))?;
        return run_command(Command::new("service").args([service, "stop"]));
    }
    // Its package is made for systemd alone. Without systemd nothing starts it.
    if Command::new("systemctl").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        return Ok(());
    }
    run_command(Command::new("systemctl").args(["disable", service]))?;
    if Path::new("/run/systemd/system").exists() {
        run_command(Command::new("systemctl").args(["stop", service]))?;
    }
    Ok(())
}
