//! What `SIGHUP` does to a running server: it reads the settings again, takes the new log level up, and looks at the
//! certificate.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;
use crate::config::Config;
use crate::telemetry::Log;
use crate::tls::Certificate;

/// SIGHUP, which a terminal sends when it goes away and a service manager when files have changed. Without somebody who
/// listens it would end the process; from here on it never does.
pub(super) struct HangUp(Signal);

impl HangUp {
    /// Listens from now on.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }
}

/// What is read again: the certificate and, from the settings, how much is logged.
pub(super) struct Reload {
    /// Reads the settings from where they came.
    pub(super) settings: Arc<dyn Fn() -> Result<Config, Failure> + Send + Sync>,
    /// Those in force, but for what was changed since.
    pub(super) config: Config,
    pub(super) log: Log,
    pub(super) certificate: Option<Certificate>,
}

impl Reload {
    /// Reads again at each hang-up, for as long as it is polled.
    pub(super) async fn at_each(&mut self, hang_up: &mut HangUp) {
        while hang_up.0.recv().await.is_some() {
            tracing::info!("SIGHUP: certificate and log level are read again");
            self.log_level().await;
            if let Some(certificate) = &self.certificate {
                certificate.look_and_tell().await;
            }
        }
        // Nobody sends it any more; serving goes on.
        std::future::pending::<()>().await;
    }

    async fn log_level(&mut self) {
        let settings = self.settings.clone();
        // A file system may stall, and the requests must not.
        let Ok(read) = tokio::task::spawn_blocking(move || settings()).await else { return };
        let fresh = match read {
            Ok(fresh) => fresh,
            Err(failure) => {
                tracing::error!(error = failure.text(), "the settings cannot be read again; those in force stay");
                return;
            }
        };
        if fresh.log != self.config.log {
            // Said while either filter lets it through.
            tracing::info!(log = fresh.log, "the log level changes");
            match self.log.change(&fresh.log) {
                Ok(()) => {
                    tracing::info!(log = fresh.log, "the log level has changed");
                    self.config.log.clone_from(&fresh.log);
                }
                Err(error) => tracing::error!(error = format!("{error:#}"), "the log level stays"),
            }
        }
        let others = self.config.differing(&fresh);
        if !others.is_empty() {
            tracing::warn!(settings = others.join(" "), "these settings have changed too; a restart takes them up");
        }
    }
}
