//! How connections to PostgreSQL are made.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::connect::{Connection, Patience};
use super::failure::Failure;
use super::knocking::Knocking;
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
    knocking: Knocking,
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
        Self { config, tls, patience, tasks, knocking: Knocking::default() }
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        self.knocking.may_knock(Instant::now())?;
        // The library's own time-out is each address's; this one is for all of them and the greeting.
        let connecting = tokio::time::timeout(2 * self.patience.connect, self.connect_patiently());
        let connected = connecting
            .await
            .unwrap_or_else(|_| Err(Failure::lost("the database did not answer while it was connected to")));
        self.knocking.note(connected.is_ok(), Instant::now());
        connected
    }

    async fn connect_patiently(&self) -> Result<Connection, Failure> {
        let lost = |error| Failure::Lost(Box::new(error));
        let (client, task) = match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(lost)?;
                (client, self.tasks.spawn(connection))
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(lost)?;
                (client, self.tasks.spawn(connection))
            }
        };
        let connection = Connection::of(
            client,
            task,
            self.patience,
            #[cfg(test)]
            {
                self.config.get_options() == Some(plans::OPTIONS)
            },
        );
        self.be_noticed(&connection).await?;
        Ok(connection)
    }

    /// Has the server look, while it works for the connection or waits for a lock, whether the connection is still there. Without
    /// this it would notice when it answers: processes of connections that were given up would pile up behind a lock.
    ///
    /// It is kept in the session, which a pooler may give to others. They lose nothing by it, and nothing here depends on it.
    async fn be_noticed(&self, connection: &Connection) -> Result<(), Failure> {
        let sql = format!("SET client_connection_check_interval = {}", self.patience.notice.as_millis());
        match connection.batch(&sql).await {
            // It is of version 13, or on a system that cannot tell.
            Err(Failure::Refused(_)) => Ok(()),
            noticed => noticed,
        }
    }
}
