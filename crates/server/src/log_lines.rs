//! The way of log lines to standard error, which may be a file on a disk that stands still, or a pipe that nobody reads.
//!
//! Invariant: who logs never waits. Lines for which there is no room are lost, and counted in a line of their own.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. At the usual level that is hours' worth; at the finest it is what a burst of requests says while
/// the system takes a breath. They hold a few megabytes.
const LINES_MAX: usize = 16_384;
/// How long the end waits for lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

enum Order {
    Write(Vec<u8>),
    /// All before it is written when this is dropped.
    Tell(SyncSender<()>),
}

/// Where lines are put.
#[derive(Clone)]
pub(crate) struct LogLines {
    orders: mpsc::Sender<Order>,
    lost: Arc<AtomicU64>,
}

impl LogLines {
    /// Starts a thread that writes lines to `out`.
    pub(crate) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        std::thread::Builder::new().name("respoked-lines".into()).spawn(move || write(out, ordered, &counted))?;
        Ok(Self { orders, lost })
    }

    /// Waits until what was put here is written, but not for ever.
    pub(crate) fn flush(&self) {
        let (tell, told) = sync_channel(0);
        if self.orders.try_send(Order::Tell(tell)).is_ok() {
            let _ = told.recv_timeout(PATIENCE);
        }
    }
}

fn write(mut out: impl Write, mut ordered: mpsc::Receiver<Order>, lost: &AtomicU64) {
    while let Some(order) = ordered.blocking_recv() {
        // A line that cannot be written is lost, and so is the complaint of it.
        match order {
            Order::Write(line) => {
                let _ = out.write_all(&line);
            }
            Order::Tell(told) => drop(told),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} log lines were lost here: standard error did not take them in time");
        }
    }
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.orders.try_send(Order::Write(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogLines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use parking_lot::Mutex;

    use super::*;

    /// Takes nothing until it may.
    struct Stalled(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_does_not_wait_for_who_writes() {
        let (go_on, waits) = sync_channel::<()>(0);
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut lines = LogLines::to(Stalled(waits, written.clone())).unwrap();
        for number in 0..LINES_MAX + 1_000 {
            lines.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        lines.flush();
        drop(go_on);
        // All room may still be taken when it is asked for.
        let lines_written = || written.lock().split(|byte| *byte == b'\n').count() - 1;
        while lines_written() <= LINES_MAX {
            lines.flush();
        }
        let text = String::from_utf8(written.lock().clone()).unwrap();
        assert!(text.starts_with("line 0\n"));
        assert!(text.contains("log lines were lost here"), "{}", &text[..200]);
        let kept = text.lines().filter(|line| line.starts_with("line ")).count();
        assert!((LINES_MAX..LINES_MAX + 1_000).contains(&kept), "{kept}");
    }
}
