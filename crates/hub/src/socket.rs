//! One client's socket: what it was opened with, what waits for it, and the connection it registered.
//!
//! Invariant: a closed socket has no connection, and gets none. Closing and registering hold one lock.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use respoke_core::grant::Lapse;
use respoke_core::ops::{Caller, Credential};
use respoke_core::ports::Change;
use respoke_wire::close::Close;
use respoke_wire::dialect::Dialect;

use crate::footing::Footing;
use crate::outbox::{Notes, Outbox, OutboxLimits};
use crate::registry::Connection;

/// What a client showed when it opened a socket.
#[derive(Debug)]
pub struct Opening {
    /// Its credential; looked at anew whenever that may have ended.
    pub credential: Credential,
    /// Whom the credential proved.
    pub caller: Caller,
    /// From where.
    pub address: IpAddr,
    /// The page it runs in, if a browser says one.
    pub origin: Option<String>,
    /// The host it was opened at, as the client says.
    pub host: Option<String>,
    /// In which protocol it speaks.
    pub dialect: Dialect,
}

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    /// Its number on this node; never given twice.
    pub number: u64,
    /// What it was opened with.
    pub opening: Opening,
    /// What waits to be written.
    pub outbox: Arc<Outbox>,
    seat: Mutex<Seat>,
    /// Seconds on the hub's own clock when something last came from the client.
    heard_at: AtomicU32,
    /// When the client last fetched what is for it; [`WRITTEN_TO`] if it has not to.
    fetched_at: AtomicU32,
    /// Whether it waits to be looked at anew, by [`crate::suspects::Suspicion`].
    pub(crate) suspect: [AtomicBool; 2],
    /// Whether it stays open though its session expired, as its app has it.
    kept: AtomicBool,
    /// Whether its session was ended by name after that. What is stored may not tell: it is removed by and by.
    named: AtomicBool,
    /// Whether that may have been, unheard: it is not kept by the next look unless what is stored tells.
    doubted: AtomicBool,
    /// Whether its connection is parked (`coming_back.rs`): the end of its transport is not that of the connection.
    parked: AtomicBool,
    /// Why its session was over, once it was found to be.
    lapse: OnceLock<Lapse>,
}

/// What is for the client is written to it, and it fetches nothing.
const WRITTEN_TO: u32 = u32::MAX;
/// How many times as long as a client may be silent it may bring something and not fetch what is for it.
const UNFETCHED_MAX: u64 = 3;

/// Seconds as they are held of each socket: enough for a hundred years.
fn short(secs: u64) -> u32 {
    u32::try_from(secs).unwrap_or(u32::MAX)
}

#[derive(Debug)]
enum Seat {
    Open(Option<Arc<Connection>>),
    Closed,
}

impl Socket {
    /// A socket whose outbox notes its end among `notes`.
    pub(crate) fn new(number: u64, opening: Opening, limits: OutboxLimits, notes: &Arc<Notes>, now_secs: u64) -> Self {
        let outbox = Arc::new(Outbox::new(limits).speaking(opening.dialect).noted(notes, number));
        Self {
            number,
            opening,
            outbox,
            seat: Mutex::new(Seat::Open(None)),
            heard_at: AtomicU32::new(short(now_secs)),
            fetched_at: AtomicU32::new(WRITTEN_TO),
            suspect: Default::default(),
            kept: AtomicBool::new(false),
            named: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            lapse: OnceLock::new(),
        }
    }

    /// Parks the connection, if `park` can, and sends the client away. None: there is none, or it is about to end.
    ///
    /// In one step: on a socket that is still open another connection might be registered in the place of the parked one.
    pub(crate) fn park(&self, park: impl FnOnce(&Connection) -> bool) -> Option<Arc<Connection>> {
        match &*self.seat.lock() {
            Seat::Open(Some(connection)) if self.outbox.closed().is_none() && park(connection) => {
                self.parked.store(true, Ordering::Relaxed);
                self.outbox.close(Close::GoingAway);
                Some(connection.clone())
            }
            Seat::Open(_) | Seat::Closed => None,
        }
    }

    /// Lets the next closing be the end.
    pub(crate) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Whether its connection is parked.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed)
    }

    /// The connection it registered.
    #[must_use]
    pub fn connection(&self) -> Option<Arc<Connection>> {
        match &*self.seat.lock() {
            Seat::Open(connection) => connection.clone(),
            Seat::Closed => None,
        }
    }

    /// Puts `connection` in the place of the present one, which is handed back, if `register`, which is shown that one,
    /// succeeds and the socket is open. None: it is closed.
    pub(crate) fn register<E>(
        &self,
        connection: &Arc<Connection>,
        register: impl FnOnce(Option<&Connection>) -> Result<(), E>,
    ) -> Option<Result<Option<Arc<Connection>>, E>> {
        match &mut *self.seat.lock() {
            // A closed outbox ends the socket too, once its transport has seen it.
            Seat::Open(present) if self.outbox.closed().is_none() => {
                Some(register(present.as_deref()).map(|()| present.replace(connection.clone())))
            }
            Seat::Open(_) | Seat::Closed => None,
        }
    }

    /// Takes the connection away, which `unregister` is shown; the socket stays open.
    pub(crate) fn unregister(&self, unregister: impl FnOnce(&Connection)) -> Option<Arc<Connection>> {
        match &mut *self.seat.lock() {
            Seat::Open(connection) => connection.take().inspect(|connection| unregister(connection)),
            Seat::Closed => None,
        }
    }

    /// Closes the socket and hands back the connection to take leave of.
    pub(crate) fn close(&self, why: Close) -> Option<Arc<Connection>> {
        self.outbox.close(why);
        match std::mem::replace(&mut *self.seat.lock(), Seat::Closed) {
            Seat::Open(connection) => connection,
            Seat::Closed => None,
        }
    }

    /// Notes that something came from the client.
    pub(crate) fn heard(&self, now_secs: u64) {
        self.heard_at.store(short(now_secs), Ordering::Relaxed);
    }

    /// Notes that the client fetched what is for it, or begins to. None: it is written to it from now on.
    pub(crate) fn fetched(&self, now_secs: Option<u64>) {
        self.fetched_at.store(now_secs.map_or(WRITTEN_TO, short), Ordering::Relaxed);
    }

    pub(crate) fn silent_for_secs(&self, now_secs: u64) -> u64 {
        now_secs.saturating_sub(self.heard_at.load(Ordering::Relaxed).into())
    }

    fn unfetched_for_secs(&self, now_secs: u64) -> u64 {
        now_secs.saturating_sub(self.fetched_at.load(Ordering::Relaxed).into())
    }

    /// Why its client is to go that may be silent for so long, if it is: whatever it brings, it has to fetch as well.
    pub(crate) fn overdue(&self, now_secs: u64, patience_secs: u64) -> Option<Close> {
        if self.silent_for_secs(now_secs) > patience_secs {
            Some(Close::Silent)
        } else if self.unfetched_for_secs(now_secs) > UNFETCHED_MAX.saturating_mul(patience_secs) {
            Some(Close::SlowConsumer)
        } else {
            None
        }
    }

    /// The first second after this one at which it may be [`Self::overdue`], if nothing more happens.
    pub(crate) fn overdue_at(&self, now_secs: u64, patience_secs: u64) -> u64 {
        let silence = patience_secs.saturating_sub(self.silent_for_secs(now_secs));
        let unfetched = UNFETCHED_MAX.saturating_mul(patience_secs).saturating_sub(self.unfetched_for_secs(now_secs));
        now_secs.saturating_add(silence.min(unfetched)).saturating_add(1)
    }

    /// Notes why its session is over, before it is closed for that.
    pub(crate) fn lapses(&self, why: Option<Lapse>) {
        if let Some(why) = why {
            let _ = self.lapse.set(why);
        }
    }

    /// Why its session was over when it was closed for that, if that is known.
    #[must_use]
    pub fn lapse(&self) -> Option<Lapse> {
        self.lapse.get().copied()
    }

    /// Lets it stay open after its session expired.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Whether it stays open though its session expired.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed) && !self.named.load(Ordering::Relaxed)
    }

    /// Notes that its session was named by a change. Of one that expired nothing changes but that it is ended.
    pub(crate) fn session_named(&self) {
        if self.kept() {
            self.named.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that changes may have gone by unheard.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Whether changes may have gone by unheard since it was asked last.
    pub(crate) fn take_doubt(&self) -> bool {
        self.doubted.swap(false, Ordering::Relaxed)
    }

    /// Whether what changed may be what the socket stands on.
    pub(crate) fn concerns(&self, change: &Change) -> bool {
        let changed = Footing::of_change(change);
        Footing::of_caller(&self.opening.caller).any(|footing| footing == changed)
            || self.connection().is_some_and(|connection| Footing::of_connection(&connection).contains(&changed))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use respoke_core::admin::AdminRole;
    use respoke_core::app::{App, AppSettings};
    use respoke_core::clock::Timestamp;
    use respoke_core::grant::{Grant, Marks};
    use respoke_core::id::{AccountId, AdminId, AppId, EndpointId, RoleId, SecretId};
    use respoke_core::ops::LiveSession;
    use respoke_core::secret::SecretHash;
    use respoke_core::session::SessionRecord;

    use super::*;
    use crate::local::Local;
    use crate::registry::Caps;
    use crate::registry::tests::connection;

    pub(crate) fn opened_by(number: u64, caller: Caller) -> Arc<Socket> {
        noted(number, caller, &Arc::default())
    }

    pub(crate) fn noted(number: u64, caller: Caller, notes: &Arc<Notes>) -> Arc<Socket> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let opening = Opening {
            credential: Credential::None,
            caller,
            address,
            origin: None,
            host: None,
            dialect: Dialect::SocketIo,
        };
        Arc::new(Socket::new(number, opening, OutboxLimits { frames_max: 10, bytes_max: 100_000 }, notes, 0))
    }

    pub(crate) fn socket() -> Arc<Socket> {
        opened_by(1, Caller::Anonymous)
    }

    /// Who is in session `number` of an app.
    pub(crate) fn in_session(app: &Arc<App>, number: u64, grant: Grant) -> Caller {
        let at = Timestamp::from_secs(0);
        let record = SessionRecord {
            number,
            token_number: number,
            grant,
            hash: SecretHash::of(b"app token"),
            born: 0,
            created_at: at,
            expires_at: at.plus_secs(3_600),
            last_seen_at: at,
            address: String::new(),
            end: None,
        };
        Caller::Endpoint { session: Arc::new(LiveSession::new(record)), app: app.clone() }
    }

    pub(crate) fn admin(admin_id: AdminId) -> Caller {
        let (account_id, expires_at) = (AccountId::random(), Timestamp::from_secs(100));
        Caller::Admin { admin_id, account_id, session: 1, expires_at, role: AdminRole::Owner }
    }

    #[expect(clippy::option_option, reason = "closed, none replaced and one replaced are three things")]
    fn registered(socket: &Socket, connection: &Arc<Connection>) -> Option<Option<Arc<Connection>>> {
        socket.register(connection, |_| Ok::<_, ()>(())).map(Result::unwrap)
    }

    #[test]
    fn registering_hands_back_what_it_takes_the_place_of() {
        let (socket, app) = (socket(), AppId::random());
        let (one, two) = (connection(app, "alice"), connection(app, "alice"));
        assert!(registered(&socket, &one).unwrap().is_none());
        let refused = socket.register(&two, |present| {
            assert_eq!(present.map(|present| present.id), Some(one.id));
            Err("full")
        });
        assert_eq!(refused.unwrap().unwrap_err(), "full");
        assert_eq!(socket.connection().unwrap().id, one.id, "who is refused keeps what it has");
        assert_eq!(registered(&socket, &two).unwrap().unwrap().id, one.id);
        assert_eq!(socket.unregister(|present| assert_eq!(present.id, two.id)).unwrap().id, two.id);
        assert!(socket.unregister(|_| unreachable!()).is_none() && socket.connection().is_none());
    }

    #[test]
    fn what_a_socket_is_found_by_changes_in_one_step_with_its_connection() {
        let (socket, one) = (socket(), connection(AppId::random(), "alice"));
        let in_between = || assert!(socket.seat.is_locked(), "another thread might see the one without the other");
        let registered = socket.register(&one, |_| {
            in_between();
            Ok::<_, ()>(())
        });
        assert!(registered.unwrap().unwrap().is_none());
        socket.unregister(|_| in_between()).unwrap();
    }

    #[test]
    fn a_closed_socket_registers_nothing() {
        let (closed, one) = (socket(), connection(AppId::random(), "alice"));
        registered(&closed, &one).unwrap();
        assert_eq!(closed.close(Close::SessionEnded).unwrap().id, one.id);
        assert!(closed.close(Close::Left).is_none() && registered(&closed, &one).is_none());
        assert_eq!(closed.outbox.closed(), Some(Close::SessionEnded));
        // One whose outbox is closed will be, when its transport has seen it.
        let closing = socket();
        closing.outbox.close(Close::SlowConsumer);
        assert!(registered(&closing, &one).is_none());
    }

    #[test]
    fn a_socket_whose_connection_is_parked_registers_no_other() {
        let (local, app) = (Local::new(10, Duration::from_secs(60)), AppId::random());
        let (socket, one, other) = (socket(), connection(app, "alice"), connection(app, "alice"));
        local.connect(&socket, &one, Caps::default()).unwrap().unwrap();
        assert_eq!(socket.park(|connection| local.registry.park(connection)).unwrap().id, one.id);
        assert!(local.connect(&socket, &other, Caps::default()).is_none());
        assert_eq!(socket.outbox.closed(), Some(Close::GoingAway));
        assert_eq!(local.registry.counts().connections, 1);
        assert!(socket.park(|_| unreachable!()).is_none(), "it is parked once");
    }

    #[test]
    fn of_closing_and_registering_at_once_nothing_is_left_behind() {
        for _ in 0..2_000 {
            let (socket, one) = (socket(), connection(AppId::random(), "alice"));
            let (closed, registered) = std::thread::scope(|scope| {
                let closing = scope.spawn(|| socket.close(Close::SessionEnded));
                let registered = registered(&socket, &one).is_some();
                (closing.join().unwrap(), registered)
            });
            assert_eq!(closed.is_some(), registered, "what was registered is handed back to be taken leave of");
            assert!(socket.connection().is_none());
        }
    }

    #[test]
    fn silence_is_told_by_the_clock() {
        let socket = socket();
        assert_eq!((socket.silent_for_secs(0), socket.silent_for_secs(61)), (0, 61));
        socket.heard(60);
        assert_eq!((socket.silent_for_secs(61), socket.silent_for_secs(59)), (1, 0));
        // What is not listened to is not silent.
        socket.heard(u64::MAX);
        assert_eq!(socket.silent_for_secs(1_000), 0);
    }

    #[test]
    fn who_brings_and_never_fetches_is_overdue_later_than_who_is_silent() {
        let socket = socket();
        let overdue = |now| {
            let (why, at) = (socket.overdue(now, 60), socket.overdue_at(now, 60));
            assert!(why.is_some() || at > now);
            (why, at)
        };
        assert_eq!((overdue(60), overdue(61).0), ((None, 61), Some(Close::Silent)));
        socket.fetched(Some(10));
        for now in [60, 120, 180] {
            socket.heard(now);
        }
        assert_eq!(overdue(180), (None, 191));
        assert_eq!(overdue(191).0, Some(Close::SlowConsumer));
        socket.fetched(Some(191));
        assert_eq!(overdue(191), (None, 241));
        socket.fetched(None);
        socket.heard(1_000);
        assert_eq!(overdue(1_060), (None, 1_061), "who is written to has not to fetch");
    }

    pub(crate) fn app() -> Arc<App> {
        Arc::new(App {
            id: AppId::random(),
            account_id: AccountId::random(),
            settings: AppSettings::named("app".to_owned()),
            created_at: Timestamp::from_secs(0),
            updated_at: Timestamp::from_secs(0),
            marks: Marks::default(),
        })
    }

    #[test]
    fn a_backends_socket_stands_on_its_secret_its_app_and_whom_it_is_connected_as() {
        let (app, secret_id) = (app(), SecretId::random());
        let socket = opened_by(1, Caller::App { app: app.clone(), secret_id });
        let alice = EndpointId::parse("alice").unwrap();
        assert!(socket.concerns(&Change::App(app.id)) && socket.concerns(&Change::Secret(app.id, secret_id)));
        for other in [
            Change::App(AppId::random()),
            Change::Secret(app.id, SecretId::random()),
            Change::Endpoint(app.id, alice.clone()),
            Change::Role(app.id, RoleId::random()),
            Change::Session(1),
            Change::Admin(AdminId::random()),
        ] {
            assert!(!socket.concerns(&other), "{other:?}");
        }
        registered(&socket, &connection(app.id, "alice")).unwrap();
        assert!(socket.concerns(&Change::Endpoint(app.id, alice.clone())));
        assert!(!socket.concerns(&Change::Endpoint(AppId::random(), alice)));
        assert!(!socket.concerns(&Change::Endpoint(app.id, EndpointId::parse("bob").unwrap())));
    }

    #[test]
    fn an_admins_socket_stands_on_the_sign_in_and_on_the_app_it_is_connected_in() {
        let (admin_id, app) = (AdminId::random(), AppId::random());
        let socket = opened_by(1, admin(admin_id));
        assert!(socket.concerns(&Change::Admin(admin_id)) && !socket.concerns(&Change::Admin(AdminId::random())));
        assert!(!socket.concerns(&Change::App(app)));
        registered(&socket, &connection(app, "root")).unwrap();
        assert!(socket.concerns(&Change::App(app)) && !socket.concerns(&Change::App(AppId::random())));
    }
}
