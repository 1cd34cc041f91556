//! What a node's sockets are there for: by it the others know what concerns the node.

use crate::id::{AppId, EndpointId, GroupName};

/// What something on a node is there for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interest {
    /// What is for the members of a group.
    Group(AppId, GroupName),
    /// What is for an endpoint's connections.
    Endpoint(AppId, EndpointId),
    /// What is for those who observe an endpoint.
    Observers(AppId, EndpointId),
    /// What goes to and from an endpoint's connections, for whoever looks on.
    Tails(AppId, EndpointId),
}

impl Interest {
    /// In which app.
    #[must_use]
    pub const fn app_id(&self) -> AppId {
        match self {
            Self::Group(app_id, _)
            | Self::Endpoint(app_id, _)
            | Self::Observers(app_id, _)
            | Self::Tails(app_id, _) => *app_id,
        }
    }
}
