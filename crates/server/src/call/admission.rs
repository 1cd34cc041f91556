//! What an operation asks of who calls it: which credentials it looks at, what a wrong one means, from which buckets it draws.
//!
//! These terms let nobody in. Whether a caller may, is asked by the operation: what an admin's role permits in
//! `core/src/ops/permit.rs`, what an endpoint's role does in `rights.rs` beside it, and of which app in `Broker::app_of`.

use std::marker::PhantomData;

use respoke_core::ops::Caller;

use super::shown::Kind;
use crate::limits::Demand;

/// What is asked.
#[derive(Debug)]
pub(super) struct Admission {
    /// The credentials that are looked at. Of several the first counts; others than these do not.
    pub(super) takes: &'static [Kind],
    pub(super) wrong: Wrong,
    pub(super) draws: Draws,
}

/// The terms of an operation. They are asked before its handler begins (`admit.rs`), and the handler is given what came of
/// it. Terms that give another type than the handler takes do not compile; which of those that give the same type a row has,
/// is for who writes it to get right.
pub(crate) struct Terms<Given> {
    pub(super) admission: Admission,
    given: PhantomData<fn() -> Given>,
}

/// Whoever mints, not yet proved: the handler reads for whom, and then calls `admit`.
#[must_use]
pub(crate) struct Minting(pub(super) &'static Admission);

/// An OAuth client, not yet proved: the handler reads what the client says of itself, and then calls `admit`.
#[must_use]
pub(crate) struct Client(pub(super) &'static Admission);

/// Whoever asks: nobody asked them.
pub(crate) struct Unasked;

/// What a credential means that is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The request is refused, and the failure counted for its address.
    Refused,
    /// Nothing: it counts as none.
    Ignored,
    /// The same, but a session that expired is valid as long as it speaks on its socket.
    IgnoredUnlessKept,
}

/// From which buckets a request draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draws {
    /// From those of requests.
    Request,
    /// From those of who says something to others, too. What others receive because of it, frames and bytes, is charged
    /// besides: `hub/src/reach.rs` asks `limits/accounts.rs`.
    Message,
    /// From those of requests; as long as long answers before it are not paid off, it is refused.
    LongAnswer,
}

impl Draws {
    pub(super) fn demand(self) -> Demand {
        match self {
            Self::Request | Self::LongAnswer => Demand::Request,
            Self::Message => Demand::Message,
        }
    }
}

impl<Given> Terms<Given> {
    const fn new(takes: &'static [Kind], wrong: Wrong, draws: Draws) -> Self {
        Self { admission: Admission { takes, wrong, draws }, given: PhantomData }
    }
}

/// Where the request itself says who asks: the handler is given them.
impl Terms<Caller> {
    /// Any credential is looked at. Who shows none comes as nobody, whom the operation refuses.
    pub(crate) const USUAL: Self = Self::new(Kind::ALL, Wrong::Refused, Draws::Request);
    /// The same for what may have a long answer: lists, histories and the like.
    pub(crate) const READING: Self = Self::new(Kind::ALL, Wrong::Refused, Draws::LongAnswer);
    /// The same for saying something to others.
    pub(crate) const SPEAKING: Self = Self::new(Kind::ALL, Wrong::Refused, Draws::Message);
    /// For opening a session: only an App-Token is looked at, and one that is not valid counts as none.
    pub(crate) const OPENING: Self = Self::new(&[Kind::AppToken], Wrong::Ignored, Draws::Request);
    /// For closing a session, which one that expired needs as long as it speaks on its socket.
    pub(crate) const LEAVING: Self = Self::new(&[Kind::AppToken], Wrong::IgnoredUnlessKept, Draws::Request);
    /// For signing out: only an Admin-Token is looked at.
    pub(crate) const SIGNING_OUT: Self = Self::new(&[Kind::AdminToken], Wrong::Refused, Draws::Request);
    /// For signing in: no credential is looked at.
    pub(crate) const ANONYMOUS: Self = Self::new(&[], Wrong::Refused, Draws::Request);
}

impl Terms<Minting> {
    /// For minting a token: an App-Token is not looked at. respoke-admin sends one beside its App-Secret, and respoke.js a
    /// stale one in development mode.
    pub(crate) const MINTING: Self = Self::new(&[Kind::AppSecret, Kind::AdminToken], Wrong::Refused, Draws::Request);
}

impl Terms<Client> {
    /// For OAuth, whose clients have ways of their own to show an App-Secret.
    pub(crate) const OAUTH: Self = Self::new(&[Kind::AppSecret, Kind::AdminToken], Wrong::Refused, Draws::Request);
}

impl Terms<Unasked> {
    /// For what asks nobody who they are: probes and figures, which the door counts for their address.
    pub(crate) const UNASKED: Self = Self::new(&[], Wrong::Refused, Draws::Request);
}
