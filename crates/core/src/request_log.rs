//! The log of the requests that a node answered last, as it is asked for and told.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::id::{AppId, EndpointId, RequestId};

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// Its place in its node's log.
    pub number: u64,
    /// When it was answered.
    pub at: Timestamp,
    /// Its id.
    pub request_id: RequestId,
    /// The app, as far as it is known.
    pub app_id: Option<AppId>,
    /// The endpoint that asked or that something was minted for.
    pub endpoint_id: Option<EndpointId>,
    /// What kind of caller it was.
    pub caller: Cow<'static, str>,
    /// The method.
    pub method: Cow<'static, str>,
    /// The template of the path.
    pub route: String,
    /// The status.
    pub status: u16,
    /// Of a refusal.
    pub code: Option<Cow<'static, str>>,
    /// How long answering took.
    pub took_micros: u64,
    /// From where.
    pub address: IpAddr,
    /// Whether it came over a socket.
    pub over_socket: bool,
}

/// Which requests are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    /// Of this app.
    pub app_id: Option<AppId>,
    /// Of this endpoint.
    pub endpoint_id: Option<String>,
    /// To this route.
    pub route: Option<String>,
    /// This one.
    pub request_id: Option<RequestId>,
    /// With this status.
    pub status: Option<StatusFilter>,
}

/// One status, or a hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// This one.
    Exactly(u16),
    /// Those that begin with this digit.
    Class(u16),
}

impl StatusFilter {
    /// Reads `404` or `4xx`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        match (class, text.parse()) {
            (Some(class), _) => class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class),
            (None, Ok(status)) if (100..600).contains(&status) => Some(Self::Exactly(status)),
            (None, _) => None,
        }
    }

    /// Whether it is one of these.
    #[must_use]
    pub const fn takes(self, status: u16) -> bool {
        match self {
            Self::Exactly(exactly) => status == exactly,
            Self::Class(class) => status / 100 == class,
        }
    }
}

/// A piece of a node's log that is asked for, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestsAsked {
    /// Which requests.
    pub filter: RequestFilter,
    /// Only those with smaller numbers.
    pub before: Option<u64>,
    /// At most so many.
    pub most: u16,
}

/// A piece of a node's log, newest first. It may hold fewer than were asked for, and none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestsPiece {
    /// The requests.
    pub found: Vec<LoggedRequest>,
    /// Where the log goes on: with smaller numbers than this one. None: that was its end.
    pub next: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_or_a_class() {
        assert_eq!(StatusFilter::parse("404"), Some(StatusFilter::Exactly(404)));
        assert_eq!(StatusFilter::parse("5XX"), Some(StatusFilter::Class(5)));
        for text in ["", "xx", "6xx", "0xx", "44xx", "99", "600", "-1", "4x"] {
            assert_eq!(StatusFilter::parse(text), None, "{text}");
        }
    }
}
