//! What an operation asks of who calls it: which credentials it looks at, what a wrong one means, from which buckets it draws.
//!
//! These terms let nobody in. Whether a caller may, is asked by the operation: what an admin's role permits in
//! `core/src/ops/permit.rs`, what an endpoint's role does in `rights.rs` beside it, and of which app in `Broker::app_of`.

use super::shown::Kind;
use crate::limits::Demand;

/// The terms of an operation.
#[derive(Debug)]
pub(crate) struct Admission {
    /// The credentials that are looked at. Of several the first counts; others than these do not.
    pub(super) takes: &'static [Kind],
    pub(super) wrong: Wrong,
    pub(super) draws: Draws,
}

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

impl Admission {
    /// Any credential is looked at. Who shows none comes as nobody, whom the operation refuses.
    pub(crate) const USUAL: Self = Self { takes: Kind::ALL, wrong: Wrong::Refused, draws: Draws::Request };
    /// The same for what may have a long answer: lists, histories and the like.
    pub(crate) const READING: Self = Self { draws: Draws::LongAnswer, ..Self::USUAL };
    /// The same for saying something to others.
    pub(crate) const SPEAKING: Self = Self { draws: Draws::Message, ..Self::USUAL };
    /// For minting a token: an App-Token is not looked at. respoke-admin sends one beside its App-Secret, and respoke.js a
    /// stale one in development mode.
    pub(crate) const MINTING: Self = Self { takes: &[Kind::AppSecret, Kind::AdminToken], ..Self::USUAL };
    /// For OAuth, whose clients have ways of their own to show an App-Secret.
    pub(crate) const OAUTH: Self = Self { takes: &[Kind::AppSecret, Kind::AdminToken], ..Self::USUAL };
    /// For opening a session: only an App-Token is looked at, and one that is not valid counts as none.
    pub(crate) const OPENING: Self = Self { takes: &[Kind::AppToken], wrong: Wrong::Ignored, draws: Draws::Request };
    /// For closing a session, which one that expired needs as long as it speaks on its socket.
    pub(crate) const LEAVING: Self = Self { wrong: Wrong::IgnoredUnlessKept, ..Self::OPENING };
    /// For signing out: only an Admin-Token is looked at.
    pub(crate) const SIGNING_OUT: Self = Self { takes: &[Kind::AdminToken], ..Self::USUAL };
    /// For signing in: no credential is looked at.
    pub(crate) const ANONYMOUS: Self = Self { takes: &[], ..Self::USUAL };
    /// For what asks nobody who they are: probes and figures, which the door counts for their address, and pages.
    pub(crate) const UNASKED: Self = Self::ANONYMOUS;
}
