//! What is published over the bus, as bytes.

use respoke_core::event::{Content, Event, Presence, Signal};
use respoke_core::message::Place;
use respoke_core::ports::{Arrived, Audience, Change, Delivery, Departed, Moved};
use respoke_core::tail::{FrameKind, TailedFrame};

use super::bounds::BusCodecError;
use super::bytes::{Coded, Reader};
use super::shapes::{coded_fields, coded_kinds};

/// The kind of delivery that tells what was counted.
pub(super) const COUNTED: u8 = 7;

coded_kinds! { Delivery, "kind of delivery" {
    0 => Push { app_id, to, event },
    1 => Departed(departed),
    // 2 was something that no node sends.
    3 => Change(change),
    4 => Arrived(arrived),
    5 => GroupEnded { app_id, group, connections },
    6 => Tailed { app_id, endpoint, frame },
    COUNTED => Counted(counted),
    8 => Moved(moved),
}}

coded_kinds! { Audience, "kind of audience" {
    0 => Endpoint { endpoint, only, except },
    1 => Group { group, except },
    2 => Observers { endpoint, except },
}}

coded_kinds! { Change, "kind of change" {
    0 => Session(number),
    1 => Endpoint(app_id, endpoint),
    2 => Role(app_id, role_id),
    3 => Secret(app_id, secret_id),
    4 => App(app_id),
    5 => Admin(admin_id),
    6 => Nodes,
}}

coded_kinds! { FrameKind, "kind of frame" {
    0 => Event,
    1 => Request,
    2 => Answer,
}}

/// What was said in a group is of one kind where it passes, and of another where it is kept and has its place behind it.
impl Coded for Content {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message { message_id, to, to_original, body } => {
                (0_u8, *message_id).write(out);
                to.write(out);
                to_original.write(out);
                body.write(out);
            }
            Self::Published { message_id, group, message, place } => {
                (if place.is_none() { 1_u8 } else { 7 }, *message_id).write(out);
                group.write(out);
                message.write(out);
                if let Some(place) = place {
                    place.write(out);
                }
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
            kind @ (1 | 7) => Self::Published {
                message_id: Coded::read(from)?,
                group: Coded::read(from)?,
                message: Coded::read(from)?,
                place: if kind == 1 { None } else { Some(Coded::read(from)?) },
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

coded_fields! {
    Departed { app_id, endpoint, connection, groups }
    Place { epoch, offset }
    Arrived { app_id, endpoint, connection }
    Moved { app_id, endpoint, connection, from, groups, presence }
    Event { from, from_connection, at, request_id, content }
    Presence { kind, show, status }
    Signal { to, to_connection, to_original, from_type, to_type, body, spares_answerers_of }
    TailedFrame { at, connection_id, kind, name, request_id, from, status, bytes, payload, lost }
}
