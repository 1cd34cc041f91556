//! What is published over the bus, as bytes.

use respoke_core::event::{Content, Event, Presence, Signal};
use respoke_core::ports::{Arrived, Audience, Change, Delivery, Departed, Moved};
use respoke_core::tail::{FrameKind, TailedFrame};

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

coded_kinds! { Content, "kind of event" {
    0 => Message { message_id, to, to_original, body },
    1 => Published { message_id, group, message },
    2 => Joined { group, endpoint, connection },
    3 => Left { group, endpoint, connection },
    4 => Presence(presence),
    5 => Signal(signal),
    6 => Missed,
}}

coded_fields! {
    Departed { app_id, endpoint, connection, groups }
    Arrived { app_id, endpoint, connection }
    Moved { app_id, endpoint, connection, from, groups, presence }
    Event { from, from_connection, at, request_id, content }
    Presence { kind, show, status }
    Signal { to, to_connection, to_original, from_type, to_type, body, spares_answerers_of }
    TailedFrame { at, connection_id, kind, name, request_id, from, status, bytes, payload, lost }
}
