//! One client's socket: what it was opened with, what waits for it, and the connection it registered.
//!
//! Invariant: a closed socket has no connection, and gets none. Closing and registering hold one lock.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use respoke_core::clock::Timestamp;
use respoke_core::ops::{Caller, Credential};
use respoke_core::ports::Change;
use respoke_wire::close::Close;

use crate::outbox::{Outbox, OutboxLimits};
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
    heard_at: AtomicU64,
    /// When what it was opened with ends by itself, in milliseconds since the epoch.
    expires_at: AtomicI64,
    /// Whether it waits to be looked at anew.
    pub(crate) suspect: AtomicBool,
    /// Whether it stays open though its session expired, as its app has it.
    kept: AtomicBool,
}

#[derive(Debug)]
enum Seat {
    Open(Option<Arc<Connection>>),
    Closed,
}

impl Socket {
    pub(crate) fn new(number: u64, opening: Opening, limits: OutboxLimits, now_secs: u64) -> Self {
        Self {
            number,
            opening,
            outbox: Arc::new(Outbox::new(limits)),
            seat: Mutex::new(Seat::Open(None)),
            heard_at: AtomicU64::new(now_secs),
            expires_at: AtomicI64::new(i64::MAX),
            suspect: AtomicBool::new(false),
            kept: AtomicBool::new(false),
        }
    }

    /// The connection it registered.
    #[must_use]
    pub fn connection(&self) -> Option<Arc<Connection>> {
        match &*self.seat.lock() {
            Seat::Open(connection) => connection.clone(),
            Seat::Closed => None,
        }
    }

    /// Puts `connection` in the place of the present one, which is handed back, if `register` succeeds and the socket is
    /// open. None: it is closed.
    pub(crate) fn register<E>(
        &self,
        connection: &Arc<Connection>,
        register: impl FnOnce() -> Result<(), E>,
    ) -> Option<Result<Option<Arc<Connection>>, E>> {
        match &mut *self.seat.lock() {
            Seat::Open(present) => Some(register().map(|()| present.replace(connection.clone()))),
            Seat::Closed => None,
        }
    }

    /// Takes the connection away; the socket stays open.
    pub(crate) fn unregister(&self) -> Option<Arc<Connection>> {
        match &mut *self.seat.lock() {
            Seat::Open(connection) => connection.take(),
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
        self.heard_at.store(now_secs, Ordering::Relaxed);
    }

    pub(crate) fn silent_for_secs(&self, now_secs: u64) -> u64 {
        now_secs.saturating_sub(self.heard_at.load(Ordering::Relaxed))
    }

    /// Notes when what it was opened with ends by itself.
    pub(crate) fn expires(&self, at: Option<Timestamp>) {
        self.expires_at.store(at.map_or(i64::MAX, Timestamp::millis), Ordering::Relaxed);
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        now.millis() >= self.expires_at.load(Ordering::Relaxed)
    }

    /// Lets it stay open after its session expired.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
        self.expires(None);
    }

    /// Whether it stays open though its session expired.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether what changed may be what the socket stands on.
    pub(crate) fn concerns(&self, change: &Change) -> bool {
        // A backend's connection stands on the app and endpoint it speaks for, too.
        let connected = match change {
            Change::App(app) => self.connection().is_some_and(|connection| connection.app_id == *app),
            Change::Endpoint(app, endpoint) => self
                .connection()
                .is_some_and(|connection| connection.app_id == *app && connection.endpoint == *endpoint),
            Change::Session(_) | Change::Role(..) | Change::Secret(..) | Change::Admin(_) => false,
        };
        connected || self.opened_on(change)
    }

    fn opened_on(&self, change: &Change) -> bool {
        match (&self.opening.caller, change) {
            (Caller::Endpoint { session, .. }, Change::Session(number)) => session.record.number == *number,
            (Caller::Endpoint { session, .. }, Change::Endpoint(app, endpoint)) => {
                session.record.grant.app_id == *app && session.record.grant.endpoint_id == *endpoint
            }
            (Caller::Endpoint { session, .. }, Change::Role(app, role)) => {
                session.record.grant.app_id == *app && session.record.grant.role_id == Some(*role)
            }
            (Caller::Endpoint { session, .. }, Change::Secret(app, secret)) => {
                session.record.grant.app_id == *app && session.record.grant.secret_id == Some(*secret)
            }
            (Caller::Endpoint { session, .. }, Change::App(app)) => session.record.grant.app_id == *app,
            (Caller::App { secret_id, .. }, Change::Secret(_, secret)) => secret_id == secret,
            (Caller::App { app, .. }, Change::App(id)) => app.id == *id,
            (Caller::Admin { admin_id, .. }, Change::Admin(id)) => admin_id == id,
            (Caller::Endpoint { .. }, Change::Admin(_))
            | (Caller::App { .. }, Change::Session(_) | Change::Endpoint(..) | Change::Role(..) | Change::Admin(_))
            | (
                Caller::Admin { .. },
                Change::Session(_) | Change::Endpoint(..) | Change::Role(..) | Change::Secret(..) | Change::App(_),
            )
            | (Caller::Anonymous, _) => false,
        }
    }
}
