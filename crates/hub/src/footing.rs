//! What a socket stands on: what it was opened with, and whom it is connected as.
//!
//! The rule which sockets a change concerns is here and nowhere else. `sockets.rs` finds them by it.

use respoke_core::id::{AdminId, AppId, EndpointId, RoleId, SecretId};
use respoke_core::ops::Caller;
use respoke_core::ports::Change;

use crate::registry::Connection;

/// One thing that a socket stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Footing<'a> {
    Session(u64),
    Endpoint(AppId, &'a EndpointId),
    Role(AppId, RoleId),
    Secret(AppId, SecretId),
    App(AppId),
    Admin(AdminId),
    /// No socket does.
    Nodes,
}

impl<'a> Footing<'a> {
    /// What changed.
    pub(crate) fn of_change(change: &'a Change) -> Self {
        match change {
            Change::Session(number) => Self::Session(*number),
            Change::Endpoint(app, endpoint) => Self::Endpoint(*app, endpoint),
            Change::Role(app, role) => Self::Role(*app, *role),
            Change::Secret(app, secret) => Self::Secret(*app, *secret),
            Change::App(app) => Self::App(*app),
            Change::Admin(admin) => Self::Admin(*admin),
            Change::Nodes => Self::Nodes,
        }
    }

    /// What every socket stands on that `caller` opened.
    pub(crate) fn of_caller(caller: &'a Caller) -> impl Iterator<Item = Self> {
        let found = match caller {
            Caller::Endpoint { session, .. } => {
                let (number, grant) = (session.record.number, &session.record.grant);
                let app = grant.app_id;
                [
                    Some(Self::Session(number)),
                    Some(Self::Endpoint(app, &grant.endpoint_id)),
                    grant.role_id.map(|role| Self::Role(app, role)),
                    grant.secret_id.map(|secret| Self::Secret(app, secret)),
                    Some(Self::App(app)),
                ]
            }
            Caller::App { app, secret_id } => {
                [Some(Self::Secret(app.id, *secret_id)), Some(Self::App(app.id)), None, None, None]
            }
            Caller::Admin { admin_id, .. } => [Some(Self::Admin(*admin_id)), None, None, None, None],
            Caller::Anonymous => [None; 5],
        };
        found.into_iter().flatten()
    }

    /// What a socket stands on as well that is registered as `connection`: a backend's, on the app and the endpoint that
    /// it speaks for.
    pub(crate) fn of_connection(connection: &'a Connection) -> [Self; 2] {
        [Self::App(connection.app_id), Self::Endpoint(connection.app_id, &connection.endpoint)]
    }
}
