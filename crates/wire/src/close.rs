//! Why a socket is closed by the server, and whether its client should come back.

/// A reason, as metrics, logs and the websocket's close frame name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client said goodbye or hung up.
    Left,
    /// What it was opened with is over: revoked, expired, banned, deleted.
    SessionEnded,
    /// It did not read what was sent to it.
    SlowConsumer,
    /// It was silent for the heartbeat timeout.
    Silent,
    /// It sent what is no frame of the protocol, or one that is too long.
    BadFrame,
    /// The server stops.
    GoingAway,
    /// The other nodes declared the one that it was connected to dead, and told so: what it was in is over.
    NodeLost,
}

impl Close {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::Left,
        Self::SessionEnded,
        Self::SlowConsumer,
        Self::Silent,
        Self::BadFrame,
        Self::GoingAway,
        Self::NodeLost,
    ];

    /// The code of the websocket's close frame.
    ///
    /// # Source
    ///
    /// RFC 6455 section 7.4; 4000 and above are for applications.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Left => 1000,
            Self::GoingAway => 1001,
            Self::BadFrame => 4000,
            Self::SessionEnded => 4001,
            Self::SlowConsumer => 4008,
            Self::Silent => 4010,
            Self::NodeLost => 4012,
        }
    }

    /// A stable word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::SessionEnded => "session_ended",
            Self::SlowConsumer => "slow_consumer",
            Self::Silent => "silent",
            Self::BadFrame => "bad_frame",
            Self::GoingAway => "going_away",
            Self::NodeLost => "node_lost",
        }
    }

    /// Whether the client should connect again by itself. One whose session ended needs a new token first.
    #[must_use]
    pub const fn come_back(self) -> bool {
        match self {
            Self::Left | Self::SessionEnded | Self::BadFrame => false,
            Self::SlowConsumer | Self::Silent | Self::GoingAway | Self::NodeLost => true,
        }
    }
}
