//! How connections to PostgreSQL are made, and which servers are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::TaskTracker;

use super::connect::{Connection, Patience};
use super::driver::{Driven, Driver};
use super::facts;
use super::failure::Failure;
use super::knocking::Knocking;
use super::lineage::{Line, PROMOTED, Standing};
#[cfg(test)]
use super::plans;
use super::settle;
use super::settling::{Comer, Settling, Way};

/// What connections are called in the server's lists of them.
pub(crate) const APPLICATION: &str = "respoked";
/// How long sent bytes may stay unconfirmed by the other machine.
const UNCONFIRMED_TIMEOUT: Duration = Duration::from_secs(5);
/// After which silence the other machine is asked whether it is there, and how often.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// What hears of notifications: for each, on which channel it came.
pub(super) type Notified = Arc<dyn Fn(&str) + Send + Sync>;

/// Makes connections.
pub(super) struct Connector {
    /// One for each server that there may be.
    servers: Vec<Config>,
    /// The one of these that was connected to last.
    last: AtomicUsize,
    tls: Option<MakeRustlsConnect>,
    patience: Patience,
    /// Which each connection's task is on.
    tasks: TaskTracker,
    knocking: Knocking,
    /// Which servers are taken. None: all.
    line: Option<Arc<Line>>,
    /// Whether only such are taken as keep what is committed.
    is_to_keep: bool,
    /// Tells connections whose commit is not answered that they need not wait for it any more.
    moves: watch::Sender<()>,
    /// Whether nobody waits any more for commits that are not answered.
    is_ending: AtomicBool,
    /// What hears of notifications. None: nothing does.
    notified: Option<Notified>,
}

/// After forty seconds in which a machine does not answer, its connection is over.
const KEPT_ALIVE: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3";

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
        Self {
            servers: each_server(&config),
            last: AtomicUsize::new(0),
            tls,
            patience,
            tasks,
            knocking: Knocking::default(),
            line: None,
            is_to_keep: false,
            moves: watch::Sender::default(),
            is_ending: AtomicBool::new(false),
            notified: None,
        }
    }

    /// Has notifications be heard of that come by connections that are made from now on.
    pub(super) fn tell_of_notifications(&mut self, notified: Notified) {
        self.notified = Some(notified);
    }

    /// Takes no servers from now on but those that go on where the last one was.
    pub(super) fn keep_to(&mut self, line: Arc<Line>) {
        self.moves = line.moves.clone();
        self.line = Some(line);
    }

    /// Takes no servers from now on that may lose what is committed.
    pub(super) const fn keep_to_those_that_keep(&mut self) {
        self.is_to_keep = true;
    }

    /// Has nobody wait any more for commits that are not answered.
    pub(super) fn let_go(&self) {
        self.moves.send_replace(());
    }

    /// The same from now on, of connections that are made later too: the store ends.
    pub(super) fn let_go_for_good(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.let_go();
    }

    /// Connects to the server that was connected to last, or the next one that there is and is taken: one that was left behind
    /// by a promotion may be back, and take whatever is written to it. One that is being made fit is waited for a while.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        self.connect_for(Comer::Usual).await
    }

    /// The same for whoever comes for this.
    pub(super) async fn connect_for(&self, comer: Comer) -> Result<Connection, Failure> {
        self.knocking.may_knock(Instant::now())?;
        let mut connected = self.connect_to_any(comer).await;
        // With no connection in hand: there may be another server meanwhile.
        if let (Err(_), Some(settling)) = (&connected, self.being_made_fit())
            && comer != Comer::InHaste
            && settling.ends_within(self.patience.answer, comer).await
        {
            connected = self.connect_to_any(comer).await;
        }
        if connected.is_err() && self.being_made_fit().is_some() {
            // It was reached, whatever became of the others.
            self.knocking.note(None, Instant::now());
            return Err(Failure::lost(PROMOTED));
        }
        self.knocking.note(connected.as_ref().err(), Instant::now());
        connected
    }

    /// What makes a server fit, if one is being made so.
    fn being_made_fit(&self) -> Option<&Settling> {
        self.line.as_ref().map(|line| &line.settling).filter(|settling| settling.is_under_way())
    }

    async fn connect_to_any(&self, comer: Comer) -> Result<Connection, Failure> {
        let last = self.last.load(Ordering::Relaxed);
        let mut why = Failure::lost("the database's address names no server");
        for nth in 0..self.servers.len() {
            let server = (last + nth) % self.servers.len();
            match self.connect_to(server, comer).await {
                Ok(mut connection) => {
                    if self.last.swap(server, Ordering::Relaxed) != server {
                        self.let_go();
                    }
                    if self.is_ending.load(Ordering::Relaxed) {
                        connection.note_moved();
                    } else {
                        connection.note_current();
                    }
                    return Ok(connection);
                }
                Err(failure) => why = failure,
            }
        }
        Err(why)
    }

    /// Connects to the server that was promoted last, of those that are there and are written to. If they do not tell, to the
    /// first of these.
    pub(super) async fn connect_to_the_newest(&self) -> Result<Connection, Failure> {
        let mut newest = None;
        let several = if self.servers.len() > 1 { self.servers.len() } else { 0 };
        for server in 0..several {
            let Ok(connection) = self.connect_to(server, Comer::Usual).await else { continue };
            let Ok(told) = connection.told_of_server().await else { continue };
            if newest.is_none_or(|(timeline, _)| told.lineage.timeline > timeline) {
                newest = Some((told.lineage.timeline, server));
            }
        }
        if let Some((_, server)) = newest {
            self.last.store(server, Ordering::Relaxed);
        }
        self.connect().await
    }

    /// Whether there are several servers.
    pub(super) const fn has_several(&self) -> bool {
        self.servers.len() > 1
    }

    /// Asks those servers where they stand that it is not connected to, and has one that was promoted be made fit: the one that it is
    /// connected to was left behind, and may live on.
    pub(super) async fn look_at_others(&self) {
        let Some(line) = &self.line else { return };
        let last = self.last.load(Ordering::Relaxed);
        for (_, config) in self.servers.iter().enumerate().filter(|(nth, _)| *nth != last) {
            let asking = async { self.connect_patiently(config).await?.told_of_server().await };
            // One that stands by lets nobody in who wants to write.
            let Ok(Ok(told)) = tokio::time::timeout(self.patience.connect, asking).await else { continue };
            if told.lineage.after(line.settled().lineage) == Standing::Promoted {
                line.settling.want(told.lineage, self.way(config));
            }
        }
    }

    fn way(&self, config: &Config) -> Way {
        Way { config: config.clone(), tls: self.tls.clone(), patience: self.patience }
    }

    async fn connect_to(&self, server: usize, comer: Comer) -> Result<Connection, Failure> {
        let config = self.servers.get(server).ok_or_else(|| Failure::lost("there is no such server"))?;
        // The library's own time-out is each address's; this one is for all of them and the greeting.
        let patience = self.patience.connect * 2 / u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        let connecting = tokio::time::timeout(patience, self.connect_patiently(config));
        let connection = connecting
            .await
            .unwrap_or_else(|_| Err(Failure::lost("the database did not answer while it was connected to")))?;
        if self.is_to_keep {
            facts::still_kept(&connection).await?;
        }
        if let Some(line) = &self.line {
            // One that is refused there was refused for no reason of its own.
            settle::admit(line, &connection, comer, Some(self.way(config))).await.map_err(Failure::into_loss)?;
        }
        Ok(connection)
    }

    async fn connect_patiently(&self, config: &Config) -> Result<Connection, Failure> {
        let lost = |error| Failure::Lost(Box::new(error));
        let (client, task) = match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await.map_err(lost)?;
                (client, self.tasks.spawn(drive(connection, self.notified.clone())))
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await.map_err(lost)?;
                (client, self.tasks.spawn(drive(connection, self.notified.clone())))
            }
        };
        let connection = Connection::of(
            client,
            Driver::of(task, self.moves.subscribe()),
            self.patience,
            self.line.clone(),
            #[cfg(test)]
            {
                config.get_options() == Some(plans::OPTIONS)
            },
        );
        self.be_noticed(&connection).await?;
        Ok(connection)
    }

    /// Has the server look, while it works for the connection or waits for a lock, whether the connection is still there. Without
    /// this it would notice when it answers: processes of connections that were given up would pile up behind a lock.
    ///
    /// It is kept in the session, which a pooler may give to others. They lose nothing by it, and nothing here depends on it. A
    /// pooler's other connections are without it unless the role has the setting (docs/postgres.md). It is no option of the
    /// connection: `PgBouncer` refuses whoever brings one that it does not know.
    ///
    /// It also looks now and then whether the machine of an idle connection is still there, which may have been cut off: systems do that
    /// after hours.
    async fn be_noticed(&self, connection: &Connection) -> Result<(), Failure> {
        let working = format!("SET client_connection_check_interval = {}", self.patience.notice.as_millis());
        for sql in [KEPT_ALIVE, &working] {
            match connection.batch(sql).await {
                // It is of version 13, or on a system that cannot tell.
                Ok(()) | Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}

/// Drives a connection until it ends.
async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, notified: Option<Notified>) -> Driven
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    // By itself it passes notifications over.
    let Some(notified) = notified else { return connection.await };
    while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(told) = message? {
            notified(told.channel());
        }
    }
    Ok(())
}

/// The same for each of the servers that it names, so that one can be passed over that was connected to.
pub(crate) fn each_server(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    // What fits together in no way, the library refuses.
    let fit = |len: usize| len == 0 || len == count;
    if count < 2 || !fit(hosts.len()) || !fit(addresses.len()) || (ports.len() > 1 && ports.len() != count) {
        return vec![config.clone()];
    }
    let each = (0..count).map(|nth| {
        let mut one = Config::new();
        one.ssl_mode(config.get_ssl_mode())
            .ssl_negotiation(config.get_ssl_negotiation())
            .channel_binding(config.get_channel_binding())
            .target_session_attrs(config.get_target_session_attrs())
            .keepalives(config.get_keepalives())
            .keepalives_idle(config.get_keepalives_idle());
        config.get_user().map(|user| one.user(user));
        config.get_password().map(|password| one.password(password));
        config.get_dbname().map(|name| one.dbname(name));
        config.get_options().map(|options| one.options(options));
        config.get_application_name().map(|name| one.application_name(name));
        config.get_connect_timeout().map(|timeout| one.connect_timeout(*timeout));
        config.get_tcp_user_timeout().map(|timeout| one.tcp_user_timeout(*timeout));
        config.get_keepalives_interval().map(|interval| one.keepalives_interval(interval));
        config.get_keepalives_retries().map(|retries| one.keepalives_retries(retries));
        match hosts.get(nth) {
            Some(Host::Tcp(host)) => drop(one.host(host)),
            Some(Host::Unix(path)) => drop(one.host_path(path)),
            None => {}
        }
        addresses.get(nth).map(|address| one.hostaddr(*address));
        ports.get(nth).or_else(|| ports.first()).map(|port| one.port(*port));
        one
    });
    each.collect()
}
