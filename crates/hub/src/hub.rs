//! The hub of one node, and what it does with its sockets. What comes over the bus is in `receiving.rs`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use respoke_core::event::{Content, Event};
use respoke_core::id::{AppId, ConnectionId, EndpointId, RequestId};
use respoke_core::ops::{Broker, Caller, ConfirmFigures, Standing};
use respoke_core::ports::{Audience, Bookkeeper, Bus, Change, Concerned, Delivery};
use respoke_core::term::Term;
use respoke_wire::close::Close;

use crate::hands_over::HandsOver;
use crate::local::Local;
use crate::others::Others;
use crate::outbox::OutboxLimits;
use crate::parking::Parking;
use crate::registry::{Counts, Home};
use crate::roster::Roster;
use crate::socket::{Opening, Socket};
use crate::suspects::{Suspects, Suspicion};
use crate::tails::Tails;

/// How the hub treats its sockets.
#[derive(Clone, Copy, Debug)]
pub struct HubSettings {
    /// What may wait for one socket.
    pub outbox: OutboxLimits,
    /// How long a client may be silent.
    pub heartbeat_timeout: Duration,
    /// Sockets open at once on this node.
    pub sockets_max: usize,
}

/// Counts of what the hub did, ever growing.
#[derive(Debug, Default)]
pub struct HubFigures {
    /// Sockets opened.
    pub opened: AtomicU64,
    /// Sockets closed, by reason, in the order of [`Close::ALL`].
    pub closed: [AtomicU64; Close::ALL.len()],
    /// Messages sent to endpoints.
    pub messages: AtomicU64,
    /// Messages published to groups.
    pub published: AtomicU64,
    /// Signals relayed.
    pub signals: AtomicU64,
    /// Frames handed to outboxes.
    pub delivered: AtomicU64,
    /// Packets of clients that could not be read.
    pub strays: AtomicU64,
}

/// What the hub holds and did, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct HubView<'a> {
    /// Open sockets.
    pub sockets: usize,
    /// What the registry holds.
    pub counts: Counts,
    /// What the hub did.
    pub figures: &'a HubFigures,
    /// How long changes waited until the other nodes had followed them.
    pub confirming: &'a ConfirmFigures,
    /// How long ago all changes were followed that there were.
    pub feed_age: Duration,
}

/// Who is connected to this node, and what reaches them.
pub struct Hub {
    pub(crate) broker: Arc<Broker>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) figures: HubFigures,
    pub(crate) tails: Arc<Tails>,
    pub(crate) local: Local,
    /// None: this node is alone.
    pub(crate) others: Option<Others>,
    /// What hands over clients that came to another node.
    pub(crate) door: OnceLock<Weak<dyn HandsOver>>,
    /// What counts beside the sockets.
    pub(crate) books: OnceLock<Weak<dyn Bookkeeper>>,
    numbers: AtomicU64,
    pub(crate) suspects: Suspects,
    /// Connections without sockets, here and on other nodes, that wait for their clients.
    pub(crate) parking: Parking,
    settings: HubSettings,
    started: Instant,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub with nobody connected.
    #[must_use]
    pub fn new(broker: Arc<Broker>, bus: Arc<dyn Bus>, settings: HubSettings) -> Self {
        let others = Others::beside(&bus);
        Self {
            broker,
            bus,
            others,
            figures: HubFigures::default(),
            tails: Arc::default(),
            local: Local::new(settings.sockets_max, settings.heartbeat_timeout),
            door: OnceLock::new(),
            books: OnceLock::new(),
            numbers: AtomicU64::new(1),
            suspects: Suspects::default(),
            parking: Parking::default(),
            settings,
            started: Instant::now(),
        }
    }

    /// Opens a socket for a client that proved who it is. None: the node or the endpoint has its most sockets.
    ///
    /// What it stands on may have ended since it was looked at, so it is looked at again, soon.
    pub fn open(&self, opening: Opening) -> Option<Arc<Socket>> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let now_secs = self.now_secs();
        let socket = Socket::new(number, opening, self.settings.outbox, self.local.sockets.notes(), now_secs);
        let socket = Arc::new(socket);
        if !self.local.sockets.open(&socket, now_secs) {
            return None;
        }
        self.figures.opened.fetch_add(1, Ordering::Relaxed);
        self.suspects.add(socket.clone(), Suspicion::Routine);
        Some(socket)
    }

    /// Closes a socket for good; its connection departs, unless it is parked and might go on. A second closing does nothing.
    pub fn close(&self, socket: &Socket, why: Close) {
        if socket.is_parked() && !matches!(why, Close::SessionEnded | Close::NodeLost) {
            return;
        }
        if let Some(gone) = self.local.close(socket, why) {
            self.departed(gone);
        }
        if self.local.sockets.forget(socket) {
            let why = socket.outbox.closed().unwrap_or(why);
            if let Some(at) = Close::ALL.iter().position(|close| *close == why) {
                self.figures.closed[at].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Notes that something came from the client.
    pub fn heard(&self, socket: &Socket) {
        socket.heard(self.now_secs());
    }

    /// Counts a packet that could not be read.
    pub fn note_stray(&self) {
        self.figures.strays.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that nothing is read from the client until something is heard again, which is not its fault.
    pub fn not_listening(&self, socket: &Socket) {
        socket.heard(u64::MAX);
    }

    /// The open sockets.
    #[must_use]
    pub fn sockets(&self) -> Vec<Arc<Socket>> {
        self.local.sockets.all()
    }

    /// Who looks on at frames.
    #[must_use]
    pub fn tails(&self) -> &Tails {
        &self.tails
    }

    /// What the hub holds and did.
    #[must_use]
    pub fn view(&self) -> HubView<'_> {
        HubView {
            sockets: self.local.sockets.count(),
            counts: self.local.registry.counts(),
            figures: &self.figures,
            confirming: self.broker.confirm_figures(),
            feed_age: self.broker.feed_age(),
        }
    }

    /// How long nothing was heard from the client, in whole seconds.
    #[must_use]
    pub fn silent_for(&self, socket: &Socket) -> Duration {
        Duration::from_secs(socket.silent_for_secs(self.now_secs()))
    }

    /// Notes that the client fetched what is for it, or begins to.
    pub fn fetched(&self, socket: &Socket) {
        socket.fetched(Some(self.now_secs()));
    }

    /// Notes that what is for the client is written to it from now on, and it fetches nothing.
    pub fn is_written_to(&self, socket: &Socket) {
        socket.fetched(None);
    }

    /// Once a second: closes who is silent or does not fetch what is for it, and looks anew at whose time is over.
    pub fn sweep(&self) {
        let (now, now_secs) = (self.broker.now(), self.now_secs());
        while let Some((socket, why)) = self.local.sockets.next_silent(now_secs) {
            self.close(&socket, why);
        }
        self.tails.sweep(&*self.bus);
        for socket in self.local.sockets.expired(now) {
            self.suspects.add(socket, Suspicion::Routine);
        }
    }

    /// The number of a socket that was closed, whoever closed it; each is told once, for its door to clear up behind it. It
    /// is out of everything here, though its transport may take a while to end.
    ///
    /// There is one door. A second one would bring endings of its own with each opening.
    pub fn next_ended(&self) -> Option<u64> {
        let number = self.local.sockets.notes().next_ended()?;
        if let Some(socket) = self.local.sockets.socket(number)
            && let Some(why) = socket.outbox.closed()
        {
            self.close(&socket, why);
        }
        Some(number)
    }

    /// Looks anew at sockets whose ground may be gone, as they come up, and closes those without. Never ends.
    pub async fn judge(&self) {
        loop {
            let judging = Judging { hub: self, socket: self.suspects.next().await };
            self.judge_one(&judging.socket).await;
            drop(judging);
            tokio::task::yield_now().await;
        }
    }

    /// Looks anew at one socket, and closes or keeps it accordingly.
    pub async fn judge_one(&self, socket: &Arc<Socket>) {
        let connection = socket.connection();
        let connected = connection.as_ref().map(|connection| (connection.app_id, &connection.endpoint));
        let doubted = socket.take_doubt();
        let kept = match &socket.opening.caller {
            Caller::Endpoint { session, .. } if socket.kept() && !doubted => Some(&session.record),
            Caller::Endpoint { .. } | Caller::App { .. } | Caller::Admin { .. } | Caller::Anonymous => None,
        };
        match self.broker.standing(&socket.opening.credential, connected, kept).await {
            Ok(Standing::Good { term }) => self.local.sockets.lasts(socket, term),
            Ok(Standing::Kept) => {
                socket.keep();
                self.local.sockets.lasts(socket, None);
            }
            Ok(Standing::Over { why }) => {
                socket.lapses(why);
                self.close(socket, Close::SessionEnded);
            }
            Err(refusal) => {
                // Nothing is known of it; asking again in a second is better than to cut all or to forget.
                tracing::error!(error = &refusal as &dyn std::error::Error, "a socket's standing is not known");
                if doubted {
                    socket.doubt();
                }
                let now = self.broker.now();
                self.local.sockets.lasts(socket, Some(Term { from: now, until: now }));
            }
        }
    }

    /// Lets connections end from here on without telling those left behind here, who are sent away too. Other nodes tell
    /// theirs.
    pub fn mute_departures(&self) {
        self.local.departures.mute();
    }

    /// Takes away, by and by, what connections were in that are gone. Never ends.
    pub async fn take_remains_away(&self) {
        self.local.registry.take_all_away().await;
    }

    /// Who is connected anywhere.
    pub(crate) fn roster(&self) -> Roster<'_> {
        Roster::new(&self.local, self.others.as_ref())
    }

    /// Ends a connection of this node, and its socket with it. False: there is none.
    pub(crate) fn end_connection(&self, app: AppId, id: ConnectionId) -> bool {
        let Some(connection) = self.local.registry.connection(app, id) else { return false };
        if let Home::Here(outbox) = &connection.home {
            outbox.close(Close::SessionEnded);
        }
        if let Some(gone) = self.local.depart(&connection) {
            self.departed(gone);
        }
        true
    }

    /// An event of this moment.
    pub(crate) fn event(
        &self,
        from: &EndpointId,
        from_connection: Option<ConnectionId>,
        request_id: RequestId,
        content: Content,
    ) -> Event {
        Event { from: from.clone(), from_connection, at: self.broker.now(), request_id, content }
    }

    pub(crate) fn push(&self, app_id: AppId, to: Audience, event: Event) {
        self.bus.publish(Delivery::Push { app_id, to, event: Arc::new(event) });
    }

    fn now_secs(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

/// A socket while it is looked at anew.
struct Judging<'a> {
    hub: &'a Hub,
    socket: Arc<Socket>,
}

impl Drop for Judging<'_> {
    /// One that cannot be looked at, because that panics, does not stay open unseen.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.hub.close(&self.socket, Close::SessionEnded);
        }
    }
}

impl Concerned for Hub {
    /// Marks every socket that may stand on what changed, to be looked at anew.
    fn changed(&self, change: &Change) {
        for socket in self.local.sockets.concerned(change) {
            if let Change::Session(_) = change {
                socket.session_named();
            }
            self.suspects.add(socket, Suspicion::Change);
        }
    }

    /// Marks every socket, behind those of which it is known what changed.
    ///
    /// A session that was ended long ago by its name may not be stored any more. So of the sockets that are kept though
    /// their sessions expired only those stay whose sessions still are.
    fn anything_changed(&self) {
        for socket in self.local.sockets.all() {
            socket.doubt();
            self.suspects.add(socket, Suspicion::Routine);
        }
    }
}
