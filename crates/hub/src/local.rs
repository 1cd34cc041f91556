//! What is this node's own: the sockets that are open here, and the connections that they registered.
//!
//! Whoever asks here asks who is connected *here*: to put something into outboxes, or to change what a connection is in.
//! `roster.rs` tells whether somebody is connected at all.
//!
//! The order of locks, from the first that is taken to the last:
//!
//! - `Connection::telling`, held from before something is done with a connection until that is told
//! - a socket's own (`socket.rs`)
//! - either that of its app's connections (`registry.rs`) or that of the books of sockets (`sockets.rs`)
//! - an outbox's own (`outbox.rs`), which is taken under any of them, and nothing under it
//!
//! Who holds the lock of an app's connections, or of the books of sockets, takes no other lock but an outbox's. What is
//! found under it is collected, and looked at once the lock is given back.

use std::sync::Arc;
use std::time::Duration;

use respoke_wire::close::Close;

use crate::departures::Departures;
use crate::registry::{Caps, Connection, Full, Gone, Registry};
use crate::socket::Socket;
use crate::sockets::Sockets;

/// What is this node's own.
#[derive(Debug)]
pub(crate) struct Local {
    /// The open sockets.
    pub(crate) sockets: Sockets,
    /// Their connections, and what those are in.
    pub(crate) registry: Registry,
    /// Connections that ended, of this node and of others, until those who are here are told.
    pub(crate) departures: Departures,
}

impl Local {
    /// Nothing, of at most `sockets_max` sockets, whose clients may be silent for `patience`.
    pub(crate) fn new(sockets_max: usize, patience: Duration) -> Self {
        Self {
            sockets: Sockets::new(sockets_max, patience),
            registry: Registry::default(),
            departures: Departures::default(),
        }
    }

    /// Registers a socket's connection, and hands back the departure of the one that it takes the place of. None: the
    /// socket is closed.
    pub(crate) fn connect(
        &self,
        socket: &Socket,
        connection: &Arc<Connection>,
        caps: Caps,
    ) -> Option<Result<Option<Gone>, Full>> {
        let registered =
            self.sockets.register(socket, connection, |present| self.registry.add(connection, present, caps))?;
        Some(registered.map(|replaced| self.depart(&*replaced?)))
    }

    /// Ends a socket's connection; the socket stays open. None: it had none, or that was gone already.
    pub(crate) fn disconnect(&self, socket: &Socket) -> Option<Gone> {
        self.depart(&*self.sockets.unregister(socket)?)
    }

    /// Closes a socket, with its connection; it stays on the books.
    pub(crate) fn close(&self, socket: &Socket, why: Close) -> Option<Gone> {
        self.depart(&*self.sockets.close(socket, why)?)
    }

    /// Takes a connection out of everything, because it goes on elsewhere. None: it was gone already.
    pub(crate) fn give_up(&self, connection: &Connection) -> Option<Gone> {
        self.registry.remove(connection.app_id, connection.id)
    }

    /// Takes a connection out of everything. None: it was gone already.
    ///
    /// That it is to be told of is known before it is gone: whoever counts connections and then departures misses none.
    pub(crate) fn depart(&self, connection: &Connection) -> Option<Gone> {
        let Connection { app_id, endpoint, id, .. } = connection;
        self.departures.expect(*app_id, endpoint);
        let gone = self.registry.remove(*app_id, *id);
        if gone.is_none() {
            self.departures.told(*app_id, endpoint);
        }
        gone
    }
}
