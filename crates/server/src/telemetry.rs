//! Log lines, on standard error.

use anyhow::Context as _;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, filter, fmt, reload};

use crate::config::{Config, LogFormat};
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
    let registry = tracing_subscriber::registry().with(asked).with(filter::filter_fn(is_safe));
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

/// The filter that a text asks for. The text is not shown, as no setting's value is.
fn filter(log: &str) -> anyhow::Result<EnvFilter> {
    // What has no level in it is a module's name to the library, and takes the log away from all others: a level with a
    // slip in it would.
    let is_one = |part: &str| !part.trim().contains(char::is_whitespace);
    let has_level = |part: &str| is_one(part) && (part.contains('=') || part.trim().parse::<LevelFilter>().is_ok());
    let parts = log.split(',').filter(|part| !part.trim().is_empty());
    let filter = parts.clone().all(has_level).then(|| EnvFilter::try_new(log).ok()).flatten();
    filter.filter(|_| parts.count() > 0).context("log must be a level, or a list of module=level")
}

/// Whether a text is a filter.
pub(crate) fn is_filter(log: &str) -> bool {
    filter(log).is_ok()
}

/// The WebSocket library writes whole messages into its finest lines, and in them App-Tokens. Not part of the filter
/// that can be set, where a longer target would overrule it.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    target.strip_prefix("tungstenite").is_none_or(|rest| !(rest.is_empty() || rest.starts_with("::")))
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
    fn a_filter_is_known_and_not_shown() {
        for sound in ["info", "WARN", "off", "respoked=debug,hyper=warn", "info,respoked::run=trace"] {
            assert!(is_filter(sound), "{sound}");
        }
        for slip in ["inof", "warn,inof", "respoked", "info respoked=debug", "x=inof", "", " , "] {
            assert!(!is_filter(slip), "{slip}");
        }
        let error = format!("{:#}", filter("CANARY=loud=").unwrap_err());
        assert!(error.contains("log must be") && !error.contains("CANARY"), "{error}");
    }

    #[test]
    fn what_the_websocket_library_says_is_never_logged_whatever_is_asked_for() {
        let lines = Lines::default();
        let writer = lines.clone();
        let asked = EnvFilter::new("trace,tungstenite::protocol=trace");
        let lines_layer = fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(asked).with(filter::filter_fn(is_safe)).with(lines_layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "tungstenite::protocol", "one");
            tracing::trace!(target: "tungstenite", "two");
            tracing::trace!(target: "tokio_tungstenite", "three");
            tracing::trace!(target: "tungstenites", "four");
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(lines.contains("three") && lines.contains("four"), "{lines}");
        assert!(!lines.contains("one") && !lines.contains("two"), "{lines}");
    }
}
