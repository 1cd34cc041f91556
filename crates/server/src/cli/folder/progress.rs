//! Says on standard error how far a long command is: on a terminal in one line that changes, elsewhere in a line now and
//! then.

use std::cell::RefCell;
use std::fs;
use std::io::{IsTerminal as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use respoke_store::{Tally, Watch};

/// Between two lines.
const TELL_EACH: Duration = Duration::from_secs(5);
/// Between two looks where one line changes.
const CHANGE_EACH: Duration = Duration::from_secs(1);

/// Tells of something until this is dropped. What does not take that long is not told of.
pub(super) struct Progress {
    telling: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Of something that tells nothing itself: for how long it goes on.
    pub(super) fn of(what: &'static str) -> Self {
        Self::on_standard_error(what, || None)
    }

    /// Of a file that is being written: how much of about so many bytes there is.
    pub(super) fn of_copy(what: &'static str, file: &Path, bytes: u64) -> Self {
        let file = file.to_owned();
        Self::on_standard_error(what, move || {
            let written = fs::metadata(&file).map_or(0, |file| file.len());
            Some((written.saturating_mul(100) / bytes.max(1)).min(100))
        })
    }

    /// Of rows that are gone through.
    pub(super) fn of_rows(what: &'static str, tally: Arc<Tally>) -> Self {
        Self::on_standard_error(what, move || Some(tally.percent()))
    }

    fn on_standard_error(what: &'static str, percent: impl Fn() -> Option<u64> + Send + 'static) -> Self {
        let out = std::io::stderr();
        let changes = out.is_terminal();
        Self::to(out, if changes { CHANGE_EACH } else { TELL_EACH }, changes, what, percent)
    }

    fn to(
        mut out: impl Write + Send + 'static,
        each: Duration,
        changes: bool,
        what: &'static str,
        percent: impl Fn() -> Option<u64> + Send + 'static,
    ) -> Self {
        let (over, ends) = sync_channel(1);
        let began = Instant::now();
        let tell = move || {
            let mut told = false;
            while ends.recv_timeout(each) == Err(RecvTimeoutError::Timeout) {
                let far = percent().map_or_else(
                    || format!("since {} seconds", began.elapsed().as_secs()),
                    |percent| format!("{percent} %"),
                );
                // What cannot be told stops nothing.
                let _ = if changes { write!(out, "\r{what}: {far}\x1b[K") } else { writeln!(out, "{what}: {far}") };
                let _ = out.flush();
                told = true;
            }
            if told && changes {
                let _ = write!(out, "\r\x1b[K");
            }
        };
        // Without a thread nothing is told.
        let telling = std::thread::Builder::new().name("progress".to_owned()).spawn(tell).ok();
        Self { telling: telling.map(|telling| (over, telling)) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((over, telling)) = self.telling.take() {
            drop(over);
            let _ = telling.join();
        }
    }
}

/// Tells of each step of a copy between two databases.
#[derive(Default)]
pub(super) struct Told(RefCell<Option<Progress>>);

impl Watch for Told {
    fn begins(&self, what: &'static str, tally: &Arc<Tally>) {
        // What was told before is over before this begins.
        self.0.take();
        self.0.replace(Some(Progress::of_rows(what, tally.clone())));
    }
}

/// What such a copy runs on: one side is read while the other's connection is worked on.
pub(super) fn transfer_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().context("the runtime cannot be started")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    /// Each flush is one text.
    struct Texts(Vec<u8>, SyncSender<String>);

    impl Write for Texts {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            let _ = self.1.try_send(String::from_utf8(std::mem::take(&mut self.0)).unwrap());
            Ok(())
        }
    }

    impl Drop for Texts {
        fn drop(&mut self) {
            let _ = self.flush();
        }
    }

    fn texts() -> (Texts, Receiver<String>) {
        let (told, texts) = sync_channel(10_000);
        (Texts(Vec::new(), told), texts)
    }

    #[test]
    fn how_much_is_there_is_told_in_lines_while_it_grows_and_nothing_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("copy");
        let (out, told) = texts();
        let measured = file.clone();
        let progress = Progress::to(out, Duration::from_millis(1), false, "Copying", move || {
            Some(fs::metadata(&measured).map_or(0, |file| file.len()) * 100 / 400)
        });
        for (bytes, line) in [(0, "Copying: 0 %\n"), (100, "Copying: 25 %\n"), (400, "Copying: 100 %\n")] {
            fs::write(&file, vec![0; bytes]).unwrap();
            assert!(told.iter().any(|told| told == line), "{line}");
        }
        drop(progress);
        // It ends with what it wrote to, and what it told before.
        assert!(told.iter().all(|told| told.is_empty() || told == "Copying: 100 %\n"));
    }

    #[test]
    fn a_terminals_line_changes_and_is_gone_at_the_end() {
        let (out, told) = texts();
        let progress = Progress::to(out, Duration::from_millis(1), true, "Checking", || None);
        assert_eq!(told.recv().unwrap(), "\rChecking: since 0 seconds\x1b[K");
        drop(progress);
        assert_eq!(told.iter().last().unwrap(), "\r\x1b[K");
    }

    #[test]
    fn what_does_not_take_long_is_not_told_of() {
        let (out, told) = texts();
        drop(Progress::to(out, Duration::from_secs(3_600), true, "Copying", || None));
        assert_eq!(told.iter().collect::<String>(), "");
    }
}
