//! What nodes count beside their sockets, and must know of each other: what was drawn from buckets that they have in common,
//! who guesses, figures, the log of requests, and second factors about to be taken up.

use std::net::IpAddr;

use super::node::Node;
use crate::app::Rate;
use crate::figures::Figures;
use crate::id::{AdminId, AppId};
use crate::request_log::{RequestsAsked, RequestsPiece};
use crate::secret::{Secret, SecretHash};
use crate::totp::SealedTotp;

/// What a node tells all others that it counted. It is told once, and nobody waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// So much was drawn there from buckets of apps since it told this last.
    Drawn(Vec<Drawn>),
    /// So much did apps cause there since then.
    Caused(Vec<Caused>),
    /// Tries to be let in there.
    Tried(Vec<Tried>),
    /// An admin begins anew to take up a second factor there: what was begun elsewhere is over.
    Enrols(AdminId),
}

/// What was drawn from one bucket of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Whose bucket.
    pub app_id: AppId,
    /// Which of them.
    pub of: AppBucket,
    /// Its rate. A node where the app has another by now passes over it.
    pub rate: Rate,
    /// How much.
    pub amount: u64,
}

/// Buckets of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppBucket {
    /// Of requests.
    Requests,
    /// Of sockets that are opened.
    Connects,
    /// Of what is said.
    Messages,
}

/// What an app made others receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caused {
    /// Which app.
    pub app_id: AppId,
    /// The rate of its frames, if it has one. A node where the app has other rates by now passes over it.
    pub frames_rate: Option<Rate>,
    /// The rate of its kilobytes, likewise.
    pub kilobytes_rate: Option<Rate>,
    /// How many frames.
    pub frames: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What is remembered of a user name, which may be a password typed into the wrong field, and of any length: a hash under a
/// key that nodes of one database have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameHash(pub u64);

/// Who has failed to be let in, or what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// Of a password, from an address.
    Password(IpAddr, NameHash),
    /// Of an account, from everywhere.
    Account(NameHash),
    /// Of an account's second factor, from an address that is known to it or from everywhere else.
    Code(NameHash, Option<IpAddr>),
    /// An address that shows credentials which are not valid.
    Credential(IpAddr),
}

/// What came of tries to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// So many failed, or are looked at and count as failed until it is known.
    Failed(Guesser, u32),
    /// One that was told as failed did not.
    TakenBack(Guesser),
    /// What it failed is forgotten.
    Forgiven(Guesser),
    /// An account's owner came in from an address, which is known to it from here on.
    CameIn(IpAddr, NameHash),
}

/// What another node is asked of its books.
#[derive(Clone, Debug)]
pub enum BooksQuestion {
    /// What it counted since its present minute began, and what is live there. Answered by [`BooksAnswer::Figures`].
    Figures {
        /// Of which app. None: of the whole node.
        app_id: Option<AppId>,
    },
    /// The requests that it answered last. Answered by [`BooksAnswer::Requests`].
    Requests(Box<RequestsAsked>),
    /// Whether an admin began there to take up a second factor, of which this is a code. Answered by
    /// [`BooksAnswer::Enrolment`].
    Enrolment {
        /// Which admin.
        admin_id: AdminId,
        /// What the admin typed.
        code: Secret,
    },
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum BooksAnswer {
    /// The figures.
    Figures(Box<Figures>),
    /// A piece of its log.
    Requests(RequestsPiece),
    /// What waits there of the admin.
    Enrolment(EnrolmentAnswer),
    /// This node has no books: it does not serve yet, or any more.
    None,
}

/// What is known of a second factor that an admin is about to take up.
#[derive(Clone, Debug)]
pub enum EnrolmentAnswer {
    /// None waits for a code.
    NoneWaits,
    /// One does, and the code is not of it.
    Wrong,
    /// The code is of this one.
    Right {
        /// The code's time step.
        step: u64,
        /// The secret as it is kept.
        sealed: SealedTotp,
        /// Which password sealed the secret: a hash of what it was hashed to, which no node tells another.
        password: SecretHash,
    },
}

/// What keeps a node's books.
pub trait Bookkeeper: Send + Sync {
    /// Takes what another node counted.
    ///
    /// It is called while nothing else comes from any node, so it waits for nothing.
    fn counted(&self, from: Node, counted: Counted);

    /// What was counted here since the present minute began, and what is live here.
    fn figures(&self, app_id: Option<AppId>) -> Figures;

    /// A piece of the log of the requests that were answered here, of bounded length, found in bounded time.
    fn requests(&self, asked: &RequestsAsked) -> RequestsPiece;

    /// Whether this node may go by what it knows. If not, others may have taken it for dead.
    fn stands(&self) -> bool;
}
