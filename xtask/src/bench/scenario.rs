//! The kinds of load, and what a client has to know of a server to put them on it.

use std::fmt;
use std::sync::Arc;

use super::token::{Chance, TokenText};

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// `POST /v1/tokens` with an App-Secret.
    Mint,
    /// `POST /v1/session-tokens`, each with a fresh tokenId.
    Redeem,
    /// Mint and redeem in turn on each connection; both are counted.
    MintRedeem,
    /// `GET /v1/session-tokens` with an App-Token.
    SessionCheck,
    /// `POST /oauth/introspect` of an App-Token.
    Introspect,
    /// `POST /v1/session-tokens` with well-formed tokenIds that nobody minted.
    Refused,
}

impl Scenario {
    /// All of them, in the order in which they are reported.
    pub(crate) const ALL: [Self; 6] =
        [Self::Mint, Self::Redeem, Self::MintRedeem, Self::SessionCheck, Self::Introspect, Self::Refused];
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mint => "mint",
            Self::Redeem => "redeem",
            Self::MintRedeem => "mint and redeem in turn",
            Self::SessionCheck => "session check",
            Self::Introspect => "introspect",
            Self::Refused => "refused token",
        })
    }
}

/// What a client has to know of a server to drive it.
#[derive(Clone)]
pub(crate) struct Site {
    /// The app, and the role its tokens get.
    pub(crate) app_id: String,
    pub(crate) role_id: String,
    /// Shown once when the app was made.
    pub(crate) app_secret: String,
    /// App-Tokens of live sessions.
    pub(crate) sessions: Arc<[TokenText]>,
}

impl Site {
    /// One of the usual sizes that no server knows, for a ceiling alone.
    pub(crate) fn made_up() -> Self {
        let mut chance = Chance::new(0);
        Self {
            app_id: TokenText::random(&mut chance).to_string().to_lowercase(),
            role_id: TokenText::random(&mut chance).to_string(),
            app_secret: format!("rsp_{}", TokenText::random(&mut chance)),
            sessions: std::iter::repeat_with(|| TokenText::random(&mut chance)).take(256).collect(),
        }
    }
}
