//! Log lines, on standard error.

use anyhow::Context as _;
use tracing::Metadata;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, filter, fmt};

use crate::config::{Config, LogFormat};

/// Starts logging as the settings say.
///
/// # Errors
///
/// Names a filter that cannot be read.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let asked = EnvFilter::try_new(&config.log).with_context(|| format!("log: {:?} is no filter", config.log))?;
    let registry = tracing_subscriber::registry().with(asked).with(filter::filter_fn(is_safe));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
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
