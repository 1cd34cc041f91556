//! What the kernel counts for a process.

use std::fs;

use anyhow::Context;

/// Counters of one process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all its threads so far, in seconds.
    pub(crate) cpu_secs: f64,
    /// Bytes it made the kernel write to a disk so far: log, checkpoints and all else.
    pub(crate) written_bytes: u64,
    /// Resident memory, in bytes: now, and at most so far.
    pub(crate) resident_bytes: u64,
    pub(crate) resident_bytes_max: u64,
}

impl Usage {
    /// Reads the counters of process `pid`.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("cannot read {file} of a server"))
        };
        let (stat, io, status) = (read("stat")?, read("io")?, read("status")?);
        let [user, system, ..] = cpu_ticks(&stat)?;
        Ok(Self {
            cpu_secs: secs(user + system),
            written_bytes: number_after(&io, "write_bytes:")?,
            resident_bytes: number_after(&status, "VmRSS:")? * 1024,
            resident_bytes_max: number_after(&status, "VmHWM:")? * 1024,
        })
    }
}

/// User and system time of process `pid` so far, and of those of its children that have ended, in seconds.
pub(crate) fn cpu_secs_with_ended(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read stat of a server")?;
    Ok(secs(cpu_ticks(&stat)?.iter().sum()))
}

fn secs(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Fields 14 to 17 of `stat`: user and system time in clock ticks, and the same of children that have ended.
///
/// # Source
///
/// `proc_pid_stat(5)`; field 2 is the name in parentheses and may itself hold spaces and parentheses.
fn cpu_ticks(stat: &str) -> anyhow::Result<[u64; 4]> {
    let (_, rest) = stat.rsplit_once(')').context("stat has no process name")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next().context("stat has too few fields")?.parse::<u64>().context("ticks are a number");
    Ok([next()?, next()?, next()?, next()?])
}

/// The number in the line of `text` that begins with `label`.
pub(crate) fn number_after(text: &str, label: &str) -> anyhow::Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(label)?.split_ascii_whitespace().next()?.parse().ok())
        .with_context(|| format!("no {label} among the kernel's counters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_parentheses() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 7 3 20 0 3 0";
        assert_eq!(cpu_ticks(stat).unwrap(), [250, 50, 7, 3]);
    }

    #[test]
    fn a_counter_is_found_by_its_whole_label() {
        let io = "cancelled_write_bytes: 1\nwrite_bytes: 4096\n";
        assert_eq!(number_after(io, "write_bytes:").unwrap(), 4096);
        assert_eq!(number_after("VmRSS:\t   12 kB\n", "VmRSS:").unwrap(), 12);
        assert!(number_after(io, "read_bytes:").is_err());
    }

    #[test]
    fn the_own_process_has_counters() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 0 && usage.resident_bytes_max >= usage.resident_bytes);
    }
}
