//! What requests do that figures count by itself. The table of operations says it; of TURN credentials, which not every
//! answer holds, the handler does. Metrics and the tally listen.

/// What figures count by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A tokenId was minted.
    Minted,
    /// A tokenId was traded for a session.
    Redeemed,
    /// An endpoint was sent a message.
    Message,
    /// A group was told something.
    Publication,
    /// A signal was relayed.
    Signal,
    /// TURN credentials were handed out.
    TurnCredentials,
}

impl Deed {
    /// How many there are: as many as the last one says, and no other stands behind it.
    pub(crate) const KINDS: usize = match Self::Minted {
        Self::Minted | Self::Redeemed | Self::Message | Self::Publication | Self::Signal | Self::TurnCredentials => {
            Self::TurnCredentials as usize + 1
        }
    };
}
