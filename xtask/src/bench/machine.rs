//! The machine that figures were measured on, without anything that would name it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::procfs::number_after;

/// Appends to time one flush of the disk.
const FLUSHES: usize = 200;

/// What a reader needs to judge the figures.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The processor as it names itself.
    pub(crate) processor: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    /// Linux, and its release.
    pub(crate) kernel: String,
    /// Of the folder that the data lies in.
    pub(crate) file_system: String,
}

impl Machine {
    /// One that no test runs on.
    #[cfg(test)]
    pub(crate) fn of_a_test() -> Self {
        Self {
            processor: "P".into(),
            cores: 2,
            memory_bytes: 24 << 30,
            kernel: "Linux 6.18.44".into(),
            file_system: "ext4".into(),
        }
    }

    /// Reads what the kernel tells; `folder` is where the servers keep their data.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = fs::read_to_string("/proc/meminfo")?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            processor: model.map_or("an unnamed processor", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: number_after(&memory, "MemTotal:")? * 1024,
            kernel: format!("Linux {}", release.trim().split('-').next().unwrap_or_default()),
            file_system: file_system(&fs::read_to_string("/proc/mounts")?, &fs::canonicalize(folder)?)
                .context("the data folder is on no mounted file system")?,
        })
    }

    /// One line about it.
    pub(crate) fn line(&self) -> String {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let Self { processor, cores, kernel, file_system, .. } = self;
        format!("{processor}, {cores} cores, {gib:.0} GiB, {file_system}, {kernel}")
    }
}

/// The type of the file system that holds `folder`: that of the longest mount point above it.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

/// How many programs wanted a core, on average over the last minute.
pub(crate) fn load_average() -> anyhow::Result<f64> {
    let loads = fs::read_to_string("/proc/loadavg")?;
    loads.split(' ').next().context("there is a load")?.parse().context("a load is a number")
}

/// How long an append of 4 KiB takes until it is on the disk of `folder`: the median of a few hundred.
///
/// Tells a quiet disk from a busy one, beside the figures that depend on it.
pub(crate) fn flush_time(folder: &Path) -> anyhow::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        let started = Instant::now();
        file.write_all(&[0x55; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[FLUSHES / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/x xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/y")).unwrap(), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmp/x/y")).unwrap(), "xfs");
        assert_eq!(file_system(mounts, Path::new("/tmpfoo")).unwrap(), "ext4");
    }
}
