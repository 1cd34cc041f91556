//! Log lines, on standard error.

use anyhow::Context as _;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Config, LogFormat};
use crate::log_filter::filter;
use crate::log_lines::LogLines;

/// The log, whose filter can be changed while it is written. Lines that wait are written when this is dropped.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: LogLines,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.flush();
    }
}

impl Log {
    /// Logs by another filter from now on.
    ///
    /// # Errors
    ///
    /// Says that it is none; the filter in use stays.
    pub fn change(&self, log: &str) -> anyhow::Result<()> {
        self.filter.reload(filter(log)?).context("the log's filter cannot be changed")
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// Starts logging as the settings say.
///
/// # Errors
///
/// When `log` is no filter.
pub fn start(config: &Config) -> anyhow::Result<Log> {
    let (asked, filter) = reload::Layer::new(filter(&config.log)?);
    let registry = tracing_subscriber::registry().with(asked).with(filter_fn(is_safe));
    let log = LogLines::to(std::io::stderr()).context("logging cannot be started")?;
    // A line that cannot be written is lost. Complaining of it would need standard error too, and panic without it.
    let lines = fmt::layer().with_writer(log.clone()).log_internal_errors(false);
    let started = match config.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    Ok(Log { filter, lines: log })
}

/// The WebSocket library writes whole messages into its finest lines, and in them App-Tokens; the library for PostgreSQL the values of
/// statements. Not part of the filter that can be set, where a longer target would overrule it.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    let is_of = |library| {
        let rest = metadata.target().strip_prefix(library);
        rest.is_some_and(|rest: &str| rest.is_empty() || rest.starts_with("::"))
    };
    !(is_of("tungstenite") || is_of("tokio_postgres") && *metadata.level() > Level::INFO)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_libraries_say_of_values_is_never_logged_whatever_is_asked_for() {
        let lines = Lines::default();
        let writer = lines.clone();
        let asked = EnvFilter::new("trace,tungstenite::protocol=trace,tokio_postgres::query=trace");
        let lines_layer = fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(asked).with(filter_fn(is_safe)).with(lines_layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "tungstenite::protocol", "one");
            tracing::trace!(target: "tungstenite", "two");
            tracing::trace!(target: "tokio_tungstenite", "three");
            tracing::trace!(target: "tungstenites", "four");
            tracing::debug!(target: "tokio_postgres::query", "five");
            tracing::info!(target: "tokio_postgres::connection", "six");
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        for (word, is_logged) in
            [("one", false), ("two", false), ("three", true), ("four", true), ("five", false), ("six", true)]
        {
            assert_eq!(lines.contains(word), is_logged, "{word}: {lines}");
        }
    }
}
