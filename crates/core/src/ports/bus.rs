//! The bus: how what happens here reaches whoever it concerns, on this node and on any other.

use std::sync::Arc;

use crate::event::Event;
use crate::id::{AdminId, AppId, ConnectionId, EndpointId, GroupName, RoleId, SecretId};

/// The way from one node to all.
///
/// At most once, in order per publisher, gaps possible: whoever must not miss something asks the store.
pub trait Bus: Send + Sync {
    /// Hands `delivery` to every node, this one included. On this node it was received when this returns.
    fn publish(&self, delivery: Delivery);
}

/// What a node does with what comes over the bus.
pub trait Receiver: Send + Sync {
    /// Takes a delivery. It is called from within operations, so it never waits.
    fn receive(&self, delivery: Delivery);
}

/// What goes over the bus.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Something for connections.
    Push {
        /// In which app. Nothing crosses its border.
        app_id: AppId,
        /// For whom.
        to: Audience,
        /// What.
        event: Arc<Event>,
    },
    /// Something ended or changed.
    Change(Change),
}

/// For whom a push is.
#[derive(Clone, Debug)]
pub enum Audience {
    /// An endpoint's connections.
    Endpoint {
        /// Which endpoint.
        endpoint: EndpointId,
        /// Only this connection of it.
        only: Option<ConnectionId>,
        /// Not this connection.
        except: Option<ConnectionId>,
    },
    /// The members of a group.
    Group {
        /// Which group.
        group: GroupName,
        /// Not this connection.
        except: Option<ConnectionId>,
    },
    /// Who observes an endpoint's presence.
    Observers {
        /// Whose presence.
        endpoint: EndpointId,
        /// Not this connection.
        except: Option<ConnectionId>,
    },
}

/// What may have ended or changed: everything that stands on it has to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One session, by its number.
    Session(u64),
    /// What an endpoint has.
    Endpoint(AppId, EndpointId),
    /// What stands on a role.
    Role(AppId, RoleId),
    /// What stands on a secret.
    Secret(AppId, SecretId),
    /// What stands on an app.
    App(AppId),
    /// What an admin has.
    Admin(AdminId),
}
