//! What one node asks others, because only they know it.
//!
//! What a node holds is its own sockets'. Nobody keeps a copy that could be stale: whoever needs a list asks the owners.

use std::net::IpAddr;

use crate::event::Presence;
use crate::id::{AppId, ConnectionId, EndpointId, GroupName, RoleId};
use crate::ports::Node;

/// Who is asked. Never the node that asks: it knows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Every other node.
    Others,
    /// This one.
    One(Node),
}

/// What is asked. Lists are asked for in pieces, so that every answer has an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A connection by its id. Answered by [`Answer::Connections`] with one or none.
    Connection {
        /// In which app.
        app_id: AppId,
        /// Which.
        connection: ConnectionId,
    },
    /// Connections, in the order of their ids. Answered by [`Answer::Connections`].
    Connections {
        /// In which app.
        app_id: AppId,
        /// Whose.
        of: Holder,
        /// Only what comes after this one.
        after: Option<ConnectionId>,
        /// At most so many.
        most: u16,
    },
    /// Groups that have members, in the order of their names. Answered by [`Answer::Groups`].
    Groups {
        /// In which app.
        app_id: AppId,
        /// Only those that this endpoint's connections are in.
        endpoint: Option<EndpointId>,
        /// Only what comes after this one.
        after: Option<GroupName>,
        /// At most so many.
        most: u16,
    },
    /// What each connection of an endpoint says of its availability. Answered by [`Answer::Presences`].
    Presences {
        /// In which app.
        app_id: AppId,
        /// Whose.
        endpoint: EndpointId,
    },
}

/// Whose connections are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// All of the app.
    App,
    /// Those of an endpoint.
    Endpoint(EndpointId),
    /// The members of a group.
    Group(GroupName),
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Connections of the node that answers.
    Connections(Vec<ConnectionFacts>),
    /// Groups that it has members of.
    Groups(Vec<GroupName>),
    /// What its connections of the endpoint say; none said nothing yet.
    Presences(Vec<(ConnectionId, Option<Presence>)>),
}

/// A connection as other nodes may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub endpoint: EndpointId,
    /// The role it acts with.
    pub role_id: Option<RoleId>,
    /// What the client calls itself, in capitals.
    pub client_type: String,
    /// From where.
    pub address: IpAddr,
    /// Whether it takes ICE candidates one by one.
    pub trickle_ice: bool,
    /// Whether it wants the final list of ICE candidates.
    pub ice_final_candidates: bool,
}

/// What came of asking.
#[derive(Debug, Default)]
pub struct Answers {
    /// What was answered in time.
    pub given: Vec<Given>,
    /// Who did not answer: too late, gone, or never reached. Whoever shows a list says that it is not whole.
    pub silent: Vec<Node>,
}

/// One node's answer.
#[derive(Debug)]
pub struct Given {
    /// Whose.
    pub node: Node,
    /// How far in what it sends: it knew of everything that it sent to the asker up to this number, and may have known of
    /// what came after. So whoever keeps what deliveries tell lays the answer beneath those with a greater number.
    pub number: u64,
    /// What.
    pub answer: Answer,
}
