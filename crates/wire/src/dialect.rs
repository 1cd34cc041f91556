//! In which protocol a socket speaks.

use bytes::Bytes;
use respoke_core::event::Event;

use crate::{event, frame, respoke1};

/// A protocol of sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// That of the original clients.
    #[default]
    SocketIo,
    /// `respoke.1`.
    Respoke1,
}

impl Dialect {
    /// How many there are.
    pub const COUNT: usize = 2;

    /// Its place among all.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::SocketIo => 0,
            Self::Respoke1 => 1,
        }
    }

    /// What a socket that speaks it is sent of an event.
    #[must_use]
    pub fn event(self, event: &Event) -> Bytes {
        match self {
            Self::SocketIo => frame::event(event::name(event), event::object(event).get().as_bytes()),
            Self::Respoke1 => respoke1::event::object(event),
        }
    }
}
