//! What one node asks others: who is connected to them, and to do something with a connection of theirs.
//!
//! Only the node that holds a connection knows of it for sure. So whoever needs a list asks the nodes, and what they
//! answer is true when they answer.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

use crate::event::Presence;
use crate::id::{AppId, ConnectionId, EndpointId, GroupName, RequestId, RoleId};
use crate::ports::{BooksAnswer, BooksQuestion, Interest, Node, ParkingClaim};
use crate::tail::Payloads;

/// Who is asked. Never the node that asks: it knows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// Every other node that did not take leave.
    Others,
    /// This one.
    One(Node),
}

/// What is asked. Lists are asked for in pieces, so that every answer has an end.
#[derive(Clone, Debug)]
pub enum Question {
    /// A connection by its id. Answered by [`Answer::Connections`] with one or none, or by [`Done::Moving`].
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
    /// The connections of an endpoint with what each is in and says, in the order of their ids. Answered by
    /// [`Answer::States`].
    States {
        /// In which app.
        app_id: AppId,
        /// Whose.
        endpoint: EndpointId,
        /// Only what comes after this one.
        after: Option<ConnectionId>,
    },
    /// How many connections there are. Answered by [`Answer::Count`].
    Count {
        /// In which app.
        app_id: AppId,
        /// Whose.
        of: Holder,
    },
    /// Which of these sessions have a socket open. Answered by [`Answer::Sessions`].
    Sessions {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// Who is there that what is there for these things is told of: a group's members, an observed endpoint's
    /// connections. Answered by [`Answer::Snapshot`], in this order and by ids.
    Snapshot {
        /// Of what.
        of: Vec<Interest>,
        /// Only what comes after this connection of the thing with this number, counted from 0.
        after: Option<(u32, ConnectionId)>,
    },
    /// What the node counts beside its sockets. Answered by [`Answer::Books`].
    Books(BooksQuestion),
    /// Asks for something to be done with connections of the node that is asked. Answered by [`Answer::Done`].
    Do {
        /// In which app.
        app_id: AppId,
        /// In which request.
        request_id: RequestId,
        /// What.
        deed: Deed,
    },
    /// A client that shook hands with the asked node came to this one: it is to be handed over, once, which makes it this
    /// node's. Answered by [`Answer::Client`].
    Client {
        /// Which, for the door there to read.
        which: Sealed,
    },
    /// The node that asks is about to end. From here on it parks connections: it keeps those whose sockets it closes for
    /// clients that come back, and the other is to ask for them. Answered by [`Answer::Done`].
    Parks,
    /// A client came that may come back: a connection that the asked node parked for it is to be given up, once, which makes
    /// it this node's. Answered by [`Answer::States`] with one or none, or [`Done::Gone`] by who parks nothing any more and is
    /// not to be asked again.
    Parked(ParkingClaim),
}

impl Question {
    /// Whether what it asks for is looked for, which takes a thousand times as long as what is known. So nothing else
    /// waits for the answer: it has no place among what is published.
    #[must_use]
    pub const fn takes_long(&self) -> bool {
        match self {
            Self::Books(BooksQuestion::Requests(_)) => true,
            Self::Books(BooksQuestion::Figures { .. } | BooksQuestion::Enrolment { .. })
            | Self::Connection { .. }
            | Self::Connections { .. }
            | Self::Groups { .. }
            | Self::States { .. }
            | Self::Count { .. }
            | Self::Sessions { .. }
            | Self::Snapshot { .. }
            | Self::Parks
            | Self::Parked(_)
            | Self::Do { .. }
            | Self::Client { .. } => false,
        }
    }
}

/// What doors of nodes tell each other, and nobody between them can read.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Bytes);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// What one node tells another, without asking anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// What the other wanted done in that request, and was answered to be under way, is done by now. Once for each such
    /// answer.
    Settled {
        /// In which request.
        request_id: RequestId,
    },
    /// The feed has something new. The other is to say when it has followed it to the end that it has from now on.
    Follow {
        /// Greater with each that this node tells.
        number: u64,
    },
    /// This node has followed the feed since it was told so, and what it was told before.
    Followed {
        /// The number of what it was told last.
        number: u64,
        /// Which history the feed is in.
        epoch: u64,
    },
}

/// What one node does for another. It is asked for by whoever may, which was looked at before.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A connection is to join a group.
    Join {
        /// Which connection.
        connection: ConnectionId,
        /// Which group.
        group: GroupName,
        /// The most groups of one connection.
        groups_max: Option<u32>,
        /// The most members of that node.
        members_max: Option<u32>,
    },
    /// A connection is to leave a group.
    Leave {
        /// Which connection.
        connection: ConnectionId,
        /// Which group.
        group: GroupName,
    },
    /// A connection's availability is to be this.
    Say {
        /// Which connection.
        connection: ConnectionId,
        /// What.
        presence: Presence,
    },
    /// All members of a group are to leave it.
    EndGroup {
        /// Which group.
        group: GroupName,
    },
    /// Frames of an endpoint's connections are to be shown from now on, for a while, to the nodes where somebody looks on
    /// ([`Interest::Tails`]). Asked again, it goes on.
    Show {
        /// Whose.
        endpoint: EndpointId,
        /// With what they say, or without.
        payloads: Payloads,
    },
    /// A connection is to end, and its socket with it.
    End {
        /// Which connection.
        connection: ConnectionId,
    },
}

/// Whose connections are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// All of the app.
    App,
    /// Those of an endpoint.
    Endpoint(EndpointId),
    /// The members of a group.
    Group(GroupName),
    /// Who observes an endpoint.
    Observers(EndpointId),
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Connections of the node that answers.
    Connections(Vec<ConnectionFacts>),
    /// Groups that it has members of.
    Groups(Vec<GroupName>),
    /// Connections with what they are in and say.
    States {
        /// Which.
        found: Vec<ConnectionStateFacts>,
        /// Whether there are more behind them.
        more: bool,
    },
    /// How many.
    Count(u64),
    /// Which of the sessions that were asked for, counted from 0.
    Sessions(Vec<u32>),
    /// Who is there.
    Snapshot {
        /// Who.
        found: Vec<Present>,
        /// Whether there are more behind them.
        more: bool,
    },
    /// What is counted there.
    Books(BooksAnswer),
    /// What came of what was to be done.
    Done(Done),
    /// A client that is the asker's from here on. None: there is none that can be handed over.
    Client(Option<Sealed>),
}

/// What came of a [`Deed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done.
    Now {
        /// How many of the node's members were told of it.
        told: u32,
        /// Whether nothing of it is under way any more, and every other node knows what the group is for there. If not, that
        /// is told later ([`Notice::Settled`]).
        settled: bool,
    },
    /// There was nothing to do.
    Before {
        /// As above.
        settled: bool,
    },
    /// The connection is not there.
    Gone,
    /// It is in as many groups as it may be.
    ConnectionFull,
    /// The group has as many members as it may have.
    GroupFull,
    /// Too much of the same waits to be done. Nothing is.
    Overloaded,
    /// The connection is on its way to another node, or has just gone there ([`Question::Parked`]). Nothing is done.
    Moving,
}

/// A connection, what it is in and says.
#[derive(Clone, Debug)]
pub struct ConnectionStateFacts {
    /// Which.
    pub connection: ConnectionFacts,
    /// Its groups, by name.
    pub groups: Vec<GroupName>,
    /// What it says, if it said something.
    pub presence: Option<Presence>,
}

/// A connection in a [`Question::Snapshot`].
#[derive(Clone, Debug)]
pub struct Present {
    /// Because of which thing, counted from 0.
    pub of: u32,
    /// Whose connection.
    pub endpoint: EndpointId,
    /// Which.
    pub connection: ConnectionId,
    /// Of an observed endpoint: what it says, if it said something.
    pub presence: Option<Presence>,
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
