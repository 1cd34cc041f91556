//! Questions of one node to another, the answers, and what one tells another, as bytes.

use respoke_core::ports::{
    Answer, ConnectionFacts, ConnectionStateFacts, Deed, Done, Holder, Interest, Notice, ParkingClaim, ParkingGround,
    Present, Question,
};
use respoke_core::tail::Payloads;

use super::bounds::BusCodecError;
use super::bytes::{Coded, Reader};
use super::shapes::{coded_fields, coded_kinds};

coded_kinds! { Question, "kind of question" {
    0 => Connection { app_id, connection },
    1 => Connections { app_id, of, after, most },
    2 => Groups { app_id, endpoint, after, most },
    3 => States { app_id, endpoint, after },
    4 => Count { app_id, of },
    5 => Snapshot { of, after },
    6 => Do { app_id, request_id, deed },
    7 => Client { which },
    8 => Sessions { numbers },
    9 => Parks,
    10 => Parked(claim),
    20 => Books(books),
}}

coded_kinds! { Answer, "kind of answer" {
    0 => Connections(connections),
    1 => Groups(groups),
    2 => States { found, more },
    3 => Count(count),
    4 => Snapshot { found, more },
    5 => Done(done),
    6 => Client(client),
    7 => Sessions(which),
    20 => Books(books),
}}

coded_kinds! { ParkingGround, "ground of a client" {
    0 => Session(number),
    1 => Secret(secret_id),
    2 => SignIn(number),
    3 => NewSession(number),
}}

coded_kinds! { Notice, "kind of notice" {
    0 => Settled { request_id },
    1 => Follow { number },
    2 => Followed { number, epoch },
}}

coded_kinds! { Holder, "kind of holder" {
    0 => App,
    1 => Endpoint(endpoint),
    2 => Group(group),
    3 => Observers(endpoint),
}}

coded_kinds! { Interest, "kind of interest" {
    0 => Group(app_id, group),
    1 => Endpoint(app_id, endpoint),
    2 => Observers(app_id, endpoint),
    3 => Tails(app_id, endpoint),
}}

coded_kinds! { Deed, "kind of deed" {
    0 => Join { connection, group, groups_max, members_max },
    1 => Leave { connection, group },
    2 => Say { connection, presence },
    3 => EndGroup { group },
    4 => Show { endpoint, payloads },
    5 => End { connection },
}}

coded_kinds! { Done, "outcome of a deed" {
    0 => Now { told, settled },
    1 => Before { settled },
    2 => Gone,
    3 => ConnectionFull,
    4 => GroupFull,
    5 => Overloaded,
    6 => Moving,
}}

coded_fields! {
    ConnectionStateFacts { connection, groups, presence }
    Present { of, endpoint, connection, presence }
    ParkingClaim { app_id, endpoint, role_id, client_type, address, ground }
    ConnectionFacts { id, endpoint, role_id, client_type, address, trickle_ice, ice_final_candidates }
}

/// Whether they are shown.
impl Coded for Payloads {
    fn write(&self, out: &mut Vec<u8>) {
        (*self == Self::Shown).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(if bool::read(from)? { Self::Shown } else { Self::Redacted })
    }
}
