//! Every reason an operation can say no.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

use crate::code::Code;
use crate::grant::Lapse;
use crate::ports::StoreError;

/// Why an operation did not happen. Nothing was written, unless the variant says otherwise, as
/// [`StoreError::InDoubt`] does.
#[derive(Debug, Error)]
pub enum Refusal {
    /// No credential, or one that is unknown, revoked, expired or malformed; which, is not told.
    #[error("authentication required: the credential is missing or not valid")]
    Unauthenticated,
    /// The tokenId is unknown, spent, revoked or late; the caller is not told which. The lapse is for metrics.
    #[error("the tokenId is not valid: it is unknown, already used, revoked or expired")]
    TokenRefused(Option<Lapse>),
    /// The user name, the password, the second factor's code or the setup token is wrong.
    #[error("the user name, the password or the code is wrong")]
    BadLogin,
    /// The password was right, and the second factor's code was not. Callers are told what they are told of a wrong
    /// password.
    #[error("the user name, the password or the code is wrong")]
    WrongCode,
    /// The password is right, and the admin's second factor is asked for as well.
    #[error("the second factor is needed: send its code, or a recovery code, as \"code\"")]
    SecondFactorRequired,
    /// The endpoint is banned.
    #[error("this endpoint is suspended")]
    Banned {
        /// The reason given with the ban.
        reason: String,
    },
    /// The credential is genuine and does not permit this.
    #[error("not permitted: {0}")]
    Forbidden(&'static str),
    /// The endpoint has the name under which backends speak, or one that may be taken for it.
    #[error("the endpoint id __SYSTEM__ is the backends' own, in whatever case and with whatever around it")]
    EndpointReserved,
    /// The page's origin is not among the app's permitted domains.
    #[error("pages of this origin may not use the app")]
    OriginRefused,
    /// No such object, or none that the caller may know of.
    #[error("Object '{0}' not found.")]
    NotFound(&'static str),
    /// Fields are missing or wrong.
    #[error("Validation Error.")]
    Invalid(FieldErrors),
    /// The object is not in the state the operation needs.
    #[error("{0}")]
    Conflict(&'static str),
    /// The app, the endpoint or the address has its most connections.
    #[error("Connection limit exceeded")]
    ConnectionLimit,
    /// Something else has as many as it may have.
    #[error("limit reached: {0}")]
    LimitReached(&'static str),
    /// The app keeps as much of what its clients say as it may.
    #[error("the app keeps as much as it may")]
    QuotaExceeded,
    /// The operation needs a connection, and the request came without one.
    #[error("this needs a connection: POST /v1/connections on a socket comes first")]
    NotConnected,
    /// The target is a telephone, SIP address or conference, and no gateway is there to reach it.
    #[error("there is no gateway to targets of this type")]
    NoGateway,
    /// The `Idempotency-Key` was used for something else.
    #[error("this Idempotency-Key was already used for a different request")]
    IdempotencyKeyReused,
    /// What it would make others receive, or what the caller got back, is more than is left; nothing was done.
    #[error("Too Many Requests")]
    RateLimited {
        /// How long until there is enough.
        retry_after: Duration,
    },
    /// Too many failed attempts; nothing was checked.
    #[error("Too Many Requests")]
    Throttled {
        /// Seconds to wait.
        retry_after_secs: u64,
    },
    /// Too much of the same is under way; nothing was checked.
    #[error("temporarily unavailable")]
    Overloaded,
    /// This node has not reached the database for so long that it may be taken for dead, and goes by nothing that it knows.
    #[error("temporarily unavailable")]
    Isolated,
    /// Another node, which would have to be asked, does not answer.
    #[error("temporarily unavailable")]
    NodeSilent,
    /// Another node does not answer, which may have done it or not; or the node that answers may have been taken for dead when it did it.
    #[error("it is not known whether this was done")]
    NodeInDoubt,
    /// The store failed.
    #[error("the database failed")]
    Store(#[from] StoreError),
}

/// What is wrong, by field, in words for the caller.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

impl Refusal {
    /// One field that is wrong.
    #[must_use]
    pub fn field(name: &str, problem: &str) -> Self {
        Self::Invalid(FieldErrors::from([(name.to_owned(), vec![format!("{name} {problem}.")])]))
    }

    /// All fields of these that are missing.
    ///
    /// # Errors
    ///
    /// [`Self::Invalid`] naming each that is.
    pub fn require(fields: &[(&str, bool)]) -> Result<(), Self> {
        let missing: FieldErrors = fields
            .iter()
            .filter(|(_, present)| !present)
            .map(|(name, _)| ((*name).to_owned(), vec![format!("{name} is a missing required parameter.")]))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(Self::Invalid(missing)) }
    }

    /// One field that is missing.
    ///
    /// # Source
    ///
    /// The wording of the recorded validation error (section 1.4 of docs/protocol.md).
    #[must_use]
    pub fn missing(name: &str) -> Self {
        Self::field(name, "is a missing required parameter")
    }

    /// The stable word programs match on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.kind().word()
    }

    /// What it is about: its entry in the table of codes.
    #[must_use]
    pub const fn kind(&self) -> Code {
        match self {
            Self::Unauthenticated => Code::Unauthenticated,
            Self::TokenRefused(_) => Code::TokenRefused,
            Self::BadLogin | Self::WrongCode => Code::BadLogin,
            Self::SecondFactorRequired => Code::SecondFactorRequired,
            Self::Banned { .. } => Code::EndpointBanned,
            Self::Forbidden(_) => Code::Forbidden,
            Self::EndpointReserved => Code::EndpointReserved,
            Self::OriginRefused => Code::OriginRefused,
            Self::NotFound(_) => Code::NotFound,
            Self::Invalid(_) | Self::Store(StoreError::BadText(_)) => Code::Invalid,
            Self::Conflict(_) => Code::Conflict,
            Self::ConnectionLimit => Code::ConnectionLimit,
            Self::LimitReached(_) => Code::LimitReached,
            Self::QuotaExceeded => Code::QuotaExceeded,
            Self::NotConnected => Code::NotConnected,
            Self::NoGateway => Code::NoGateway,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::Throttled { .. } => Code::Throttled,
            Self::Overloaded | Self::Store(StoreError::Overloaded) => Code::Overloaded,
            Self::Isolated | Self::NodeSilent | Self::Store(StoreError::Unavailable(_)) => Code::Unavailable,
            Self::NodeInDoubt | Self::Store(StoreError::InDoubt(_)) => Code::InDoubt,
            Self::Store(StoreError::Corrupt(_)) => Code::Internal,
        }
    }
}
