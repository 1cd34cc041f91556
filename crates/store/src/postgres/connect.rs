//! Connections to PostgreSQL.
//!
//! Invariant: every wait for the server ends. Who waited too long has a connection that is of no use any more: what its
//! statement does there, nobody knows. No statement is ever cancelled, as a commit that is cancelled may be seen and then
//! be lost.
//! Invariant: nothing is kept in the server's session (no settings, no named statements, no locks beyond a transaction), so
//! that a pooler may give each transaction another one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::failure::Failure;
#[cfg(test)]
use super::plans;

/// What connections are called in the server's lists of them: by this the transactions of all nodes are known.
pub(super) const APPLICATION: &str = "respoked";
/// How long a connection is tried for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long sent bytes may stay unconfirmed by the other machine.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_secs(5);
/// After which silence the other machine is asked whether it is there, and how often.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long an answer to a statement is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer to a commit is waited for: whoever gives up does not know what came of it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Begins a transaction that stands on no setting of the server, the database or the role.
///
/// - What locks a row and then looks anew has to see what was committed meanwhile.
/// - A node that is stopped in a transaction holds its locks for eight seconds at most, and nobody waits for a lock so long that
///   the answer is given up.
/// - No time-out ends a commit: one that waits for a standby and is cancelled may be seen and then be lost.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '8s'; \
                                SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = 0";

/// A value of a statement, with its type: the server is not asked for it.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Makes connections.
pub(super) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// Which each connection's task is on.
    tasks: TaskTracker,
}

impl Connector {
    pub(super) fn new(mut config: Config, tls: Option<MakeRustlsConnect>, tasks: TaskTracker) -> Self {
        config
            .application_name(APPLICATION)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(UNCONFIRMED_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE / 5)
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        Self { config, tls, tasks }
    }

    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        // The library's own time-out is each address's; this one is for all of them and the greeting.
        let connecting = tokio::time::timeout(2 * CONNECT_TIMEOUT, self.connect_patiently());
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
        Ok(Connection {
            client,
            broken: AtomicBool::new(false),
            #[cfg(test)]
            is_looked_at: self.config.get_options() == Some(plans::OPTIONS),
        })
    }
}

/// A connection. Whoever drops it ends it, and with it what was not committed on it.
pub(super) struct Connection {
    client: Client,
    broken: AtomicBool,
    /// Whether the plans of its statements are looked at.
    #[cfg(test)]
    is_looked_at: bool,
}

impl Connection {
    /// Whether nothing more can be done with it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed) || self.client.is_closed()
    }

    /// Makes it of no use any more.
    pub(super) fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Runs a statement and returns its rows. Several at once are sent one behind the other, in the order in which they are
    /// first polled, without waiting for each other's answers.
    pub(super) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        self.answered(ANSWER_TIMEOUT, self.client.query_typed(sql, params)).await
    }

    /// Runs a statement and says how many rows it touched.
    pub(super) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, Failure> {
        #[cfg(test)]
        self.look_at(sql, params).await;
        self.answered(ANSWER_TIMEOUT, self.client.execute_typed(sql, params)).await
    }

    #[cfg(test)]
    async fn look_at(&self, sql: &str, params: &[Param<'_>]) {
        if self.is_looked_at {
            plans::check(&self.client, sql, params).await;
        }
    }

    /// Runs statements without values.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Failure> {
        self.answered(ANSWER_TIMEOUT, self.client.batch_execute(sql)).await
    }

    /// Commits the transaction. What came of it is not known if this fails with [`Failure::Lost`].
    pub(super) async fn commit(&self) -> Result<(), Failure> {
        self.answered(COMMIT_TIMEOUT, self.client.batch_execute("COMMIT")).await
    }

    async fn answered<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        let answered = match tokio::time::timeout(patience, answer).await {
            Ok(answered) => answered.map_err(Failure::from),
            Err(_) => Err(Failure::lost("the database did not answer in time")),
        };
        if matches!(answered, Err(Failure::Lost(_))) {
            self.give_up();
        }
        answered
    }
}

/// What can be bound to a statement, and as which type.
pub(super) trait Bind: ToSql + Sync {
    const TYPE: Type;
}

/// What arrays of can be bound.
pub(super) trait Element: ToSql + Sync {
    const ARRAY: Type;
}

macro_rules! bind {
    ($($type:ty: $one:ident $many:ident)*) => {$(
        impl Bind for $type {
            const TYPE: Type = Type::$one;
        }

        impl Element for $type {
            const ARRAY: Type = Type::$many;
        }
    )*};
}
bind! {
    i64: INT8 INT8_ARRAY
    bool: BOOL BOOL_ARRAY
    Uuid: UUID UUID_ARRAY
    String: TEXT TEXT_ARRAY
    &str: TEXT TEXT_ARRAY
    &[u8]: BYTEA BYTEA_ARRAY
}

impl<T: Bind> Bind for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: Element> Element for Option<T> {
    const ARRAY: Type = T::ARRAY;
}

impl<T: Element> Bind for Vec<T> {
    const TYPE: Type = T::ARRAY;
}

pub(super) fn bound<T: Bind>(value: &T) -> Param<'_> {
    (value, T::TYPE)
}

/// The values of a statement, in order.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::postgres::connect::bound(&$value)),*] };
}
pub(super) use params;
