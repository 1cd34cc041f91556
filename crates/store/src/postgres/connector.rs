//! How connections to PostgreSQL are made.

use std::time::Duration;

use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::connect::{Connection, Patience};
use super::failure::Failure;
#[cfg(test)]
use super::plans;

/// What connections are called in the server's lists of them.
const APPLICATION: &str = "respoked";
/// How long sent bytes may stay unconfirmed by the other machine.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_secs(5);
/// After which silence the other machine is asked whether it is there, and how often.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    patience: Patience,
    /// Which each connection's task is on.
    tasks: TaskTracker,
}

impl Connector {
    pub(super) fn new(
        mut config: Config,
        tls: Option<MakeRustlsConnect>,
        patience: Patience,
        tasks: TaskTracker,
    ) -> Self {
        config
            .application_name(APPLICATION)
            .connect_timeout(patience.connect)
            .tcp_user_timeout(UNCONFIRMED_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE / 5)
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Self { config, tls, patience, tasks }
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        // The library's own time-out is each address's; this one is for all of them and the greeting.
        let connecting = tokio::time::timeout(2 * self.patience.connect, self.connect_patiently());
        connecting.await.unwrap_or_else(|_| Err(Failure::lost("the database did not answer while it was connected to")))
    }

    async fn connect_patiently(&self) -> Result<Connection, Failure> {
        let lost = |error| Failure::Lost(Box::new(error));
        let client = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(lost)?;
                self.tasks.spawn(connection);
                client
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(lost)?;
                self.tasks.spawn(connection);
                client
            }
        };
        Ok(Connection::of(
            client,
            self.patience,
            #[cfg(test)]
            {
                self.config.get_options() == Some(plans::OPTIONS)
            },
        ))
    }
}
