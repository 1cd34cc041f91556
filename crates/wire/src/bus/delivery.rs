//! What is published over the bus, as bytes.

use std::sync::Arc;

use respoke_core::event::{Content, Event, Presence, Signal};
use respoke_core::ports::{Arrived, Audience, Change, Delivery, Departed, Moved};
use respoke_core::tail::{FrameKind, TailedFrame};

use super::bounds::BusCodecError;
use super::bytes::{Coded, Reader};

/// The kind of delivery that tells what was counted.
pub(super) const COUNTED: u8 = 7;

impl Coded for Delivery {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Push { app_id, to, event } => {
                (0_u8, *app_id).write(out);
                to.write(out);
                event.write(out);
            }
            Self::Departed(Departed { app_id, endpoint, connection, groups }) => {
                (1_u8, *app_id).write(out);
                endpoint.write(out);
                connection.write(out);
                groups.write(out);
            }
            Self::Change(change) => {
                3_u8.write(out);
                change.write(out);
            }
            Self::Arrived(Arrived { app_id, endpoint, connection }) => {
                (4_u8, *app_id).write(out);
                endpoint.write(out);
                connection.write(out);
            }
            Self::GroupEnded { app_id, group, connections } => {
                (5_u8, *app_id).write(out);
                group.write(out);
                connections.write(out);
            }
            Self::Counted(counted) => {
                COUNTED.write(out);
                counted.write(out);
            }
            Self::Tailed { app_id, endpoint, frame } => {
                (6_u8, *app_id).write(out);
                endpoint.write(out);
                frame.write(out);
            }
            Self::Moved(moved) => {
                8_u8.write(out);
                moved.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Push { app_id: Coded::read(from)?, to: Coded::read(from)?, event: Arc::new(Coded::read(from)?) },
            1 => Self::Departed(Departed {
                app_id: Coded::read(from)?,
                endpoint: Coded::read(from)?,
                connection: Coded::read(from)?,
                groups: Coded::read(from)?,
            }),
            // 2 was something that no node sends.
            3 => Self::Change(Coded::read(from)?),
            4 => Self::Arrived(Arrived {
                app_id: Coded::read(from)?,
                endpoint: Coded::read(from)?,
                connection: Coded::read(from)?,
            }),
            5 => Self::GroupEnded {
                app_id: Coded::read(from)?,
                group: Coded::read(from)?,
                connections: Coded::read(from)?,
            },
            6 => Self::Tailed {
                app_id: Coded::read(from)?,
                endpoint: Coded::read(from)?,
                frame: Box::new(Coded::read(from)?),
            },
            COUNTED => Self::Counted(Coded::read(from)?),
            8 => Self::Moved(Box::new(Coded::read(from)?)),
            _ => return Err(BusCodecError::Unknown("kind of delivery")),
        })
    }
}

impl Coded for Moved {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { app_id, endpoint, connection, from, groups, presence } = self;
        app_id.write(out);
        endpoint.write(out);
        connection.write(out);
        from.write(out);
        groups.write(out);
        presence.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            app_id: Coded::read(from)?,
            endpoint: Coded::read(from)?,
            connection: Coded::read(from)?,
            from: Coded::read(from)?,
            groups: Coded::read(from)?,
            presence: Coded::read(from)?,
        })
    }
}

impl Coded for Audience {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Endpoint { endpoint, only, except } => {
                0_u8.write(out);
                endpoint.write(out);
                only.write(out);
                except.write(out);
            }
            Self::Group { group, except } => {
                1_u8.write(out);
                group.write(out);
                except.write(out);
            }
            Self::Observers { endpoint, except } => {
                2_u8.write(out);
                endpoint.write(out);
                except.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Endpoint { endpoint: Coded::read(from)?, only: Coded::read(from)?, except: Coded::read(from)? },
            1 => Self::Group { group: Coded::read(from)?, except: Coded::read(from)? },
            2 => Self::Observers { endpoint: Coded::read(from)?, except: Coded::read(from)? },
            _ => return Err(BusCodecError::Unknown("kind of audience")),
        })
    }
}

impl Coded for Change {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Session(number) => (0_u8, *number).write(out),
            Self::Endpoint(app_id, endpoint) => {
                (1_u8, *app_id).write(out);
                endpoint.write(out);
            }
            Self::Role(app_id, role_id) => (2_u8, (*app_id, *role_id)).write(out),
            Self::Secret(app_id, secret_id) => (3_u8, (*app_id, *secret_id)).write(out),
            Self::App(app_id) => (4_u8, *app_id).write(out),
            Self::Admin(admin_id) => (5_u8, *admin_id).write(out),
            Self::Nodes => 6_u8.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Session(Coded::read(from)?),
            1 => Self::Endpoint(Coded::read(from)?, Coded::read(from)?),
            2 => Self::Role(Coded::read(from)?, Coded::read(from)?),
            3 => Self::Secret(Coded::read(from)?, Coded::read(from)?),
            4 => Self::App(Coded::read(from)?),
            5 => Self::Admin(Coded::read(from)?),
            6 => Self::Nodes,
            _ => return Err(BusCodecError::Unknown("kind of change")),
        })
    }
}

impl Coded for TailedFrame {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { at, connection_id, kind, name, request_id, from, status, bytes, payload, lost } = self;
        at.write(out);
        connection_id.write(out);
        kind.write(out);
        name.write(out);
        request_id.write(out);
        from.write(out);
        status.write(out);
        bytes.write(out);
        payload.write(out);
        lost.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            at: Coded::read(from)?,
            connection_id: Coded::read(from)?,
            kind: Coded::read(from)?,
            name: Coded::read(from)?,
            request_id: Coded::read(from)?,
            from: Coded::read(from)?,
            status: Coded::read(from)?,
            bytes: Coded::read(from)?,
            payload: Coded::read(from)?,
            lost: Coded::read(from)?,
        })
    }
}

impl Coded for FrameKind {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Event => 0_u8.write(out),
            Self::Request => 1_u8.write(out),
            Self::Answer => 2_u8.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Event,
            1 => Self::Request,
            2 => Self::Answer,
            _ => return Err(BusCodecError::Unknown("kind of frame")),
        })
    }
}

impl Coded for Event {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { from, from_connection, at, request_id, content } = self;
        from.write(out);
        from_connection.write(out);
        at.write(out);
        request_id.write(out);
        content.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            from: Coded::read(from)?,
            from_connection: Coded::read(from)?,
            at: Coded::read(from)?,
            request_id: Coded::read(from)?,
            content: Coded::read(from)?,
        })
    }
}

impl Coded for Content {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message { message_id, to, to_original, body } => {
                (0_u8, *message_id).write(out);
                to.write(out);
                to_original.write(out);
                body.write(out);
            }
            Self::Published { message_id, group, message } => {
                (1_u8, *message_id).write(out);
                group.write(out);
                message.write(out);
            }
            Self::Joined { group, endpoint, connection } => {
                2_u8.write(out);
                group.write(out);
                endpoint.write(out);
                connection.write(out);
            }
            Self::Left { group, endpoint, connection } => {
                3_u8.write(out);
                group.write(out);
                endpoint.write(out);
                connection.write(out);
            }
            Self::Presence(presence) => {
                4_u8.write(out);
                presence.write(out);
            }
            Self::Signal(signal) => {
                5_u8.write(out);
                signal.write(out);
            }
            Self::Missed => 6_u8.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Message {
                message_id: Coded::read(from)?,
                to: Coded::read(from)?,
                to_original: Coded::read(from)?,
                body: Coded::read(from)?,
            },
            1 => Self::Published {
                message_id: Coded::read(from)?,
                group: Coded::read(from)?,
                message: Coded::read(from)?,
            },
            2 => {
                Self::Joined { group: Coded::read(from)?, endpoint: Coded::read(from)?, connection: Coded::read(from)? }
            }
            3 => Self::Left { group: Coded::read(from)?, endpoint: Coded::read(from)?, connection: Coded::read(from)? },
            4 => Self::Presence(Coded::read(from)?),
            5 => Self::Signal(Coded::read(from)?),
            6 => Self::Missed,
            _ => return Err(BusCodecError::Unknown("kind of event")),
        })
    }
}

impl Coded for Presence {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { kind, show, status } = self;
        kind.write(out);
        show.write(out);
        status.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self { kind: Coded::read(from)?, show: Coded::read(from)?, status: Coded::read(from)? })
    }
}

impl Coded for Signal {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { to, to_connection, to_original, from_type, to_type, body, spares_answerers_of } = self;
        to.write(out);
        to_connection.write(out);
        to_original.write(out);
        from_type.write(out);
        to_type.write(out);
        body.write(out);
        spares_answerers_of.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            to: Coded::read(from)?,
            to_connection: Coded::read(from)?,
            to_original: Coded::read(from)?,
            from_type: Coded::read(from)?,
            to_type: Coded::read(from)?,
            body: Coded::read(from)?,
            spares_answerers_of: Coded::read(from)?,
        })
    }
}
