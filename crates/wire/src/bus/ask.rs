//! Questions of one node to another, the answers, and what one tells another, as bytes.

use respoke_core::ports::{
    Answer, ConnectionFacts, ConnectionStateFacts, Deed, Done, Holder, Interest, Notice, ParkingClaim, ParkingGround,
    Present, Question,
};
use respoke_core::tail::Payloads;

use super::bounds::BusCodecError;
use super::bytes::{Coded, Reader};

impl Coded for Question {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connection { app_id, connection } => (0_u8, (*app_id, *connection)).write(out),
            Self::Connections { app_id, of, after, most } => {
                (1_u8, *app_id).write(out);
                of.write(out);
                (*after, *most).write(out);
            }
            Self::Groups { app_id, endpoint, after, most } => {
                (2_u8, *app_id).write(out);
                endpoint.write(out);
                after.write(out);
                most.write(out);
            }
            Self::States { app_id, endpoint, after } => {
                (3_u8, *app_id).write(out);
                endpoint.write(out);
                after.write(out);
            }
            Self::Count { app_id, of } => {
                (4_u8, *app_id).write(out);
                of.write(out);
            }
            Self::Sessions { numbers } => {
                8_u8.write(out);
                numbers.write(out);
            }
            Self::Snapshot { of, after } => {
                5_u8.write(out);
                of.write(out);
                after.write(out);
            }
            Self::Books(books) => {
                20_u8.write(out);
                books.write(out);
            }
            Self::Do { app_id, request_id, deed } => {
                (6_u8, (*app_id, *request_id)).write(out);
                deed.write(out);
            }
            Self::Client { which } => {
                7_u8.write(out);
                which.write(out);
            }
            Self::Parks => 9_u8.write(out),
            Self::Parked(claim) => {
                10_u8.write(out);
                claim.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Connection { app_id: Coded::read(from)?, connection: Coded::read(from)? },
            1 => Self::Connections {
                app_id: Coded::read(from)?,
                of: Coded::read(from)?,
                after: Coded::read(from)?,
                most: Coded::read(from)?,
            },
            2 => Self::Groups {
                app_id: Coded::read(from)?,
                endpoint: Coded::read(from)?,
                after: Coded::read(from)?,
                most: Coded::read(from)?,
            },
            3 => Self::States { app_id: Coded::read(from)?, endpoint: Coded::read(from)?, after: Coded::read(from)? },
            4 => Self::Count { app_id: Coded::read(from)?, of: Coded::read(from)? },
            5 => Self::Snapshot { of: Coded::read(from)?, after: Coded::read(from)? },
            20 => Self::Books(Coded::read(from)?),
            6 => Self::Do { app_id: Coded::read(from)?, request_id: Coded::read(from)?, deed: Coded::read(from)? },
            7 => Self::Client { which: Coded::read(from)? },
            8 => Self::Sessions { numbers: Coded::read(from)? },
            9 => Self::Parks,
            10 => Self::Parked(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of question")),
        })
    }
}

impl Coded for ParkingClaim {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { app_id, endpoint, role_id, client_type, address, ground } = self;
        app_id.write(out);
        endpoint.write(out);
        role_id.write(out);
        client_type.write(out);
        address.write(out);
        ground.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            app_id: Coded::read(from)?,
            endpoint: Coded::read(from)?,
            role_id: Coded::read(from)?,
            client_type: Coded::read(from)?,
            address: Coded::read(from)?,
            ground: Coded::read(from)?,
        })
    }
}

impl Coded for ParkingGround {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Session(number) => (0_u8, *number).write(out),
            Self::Secret(secret_id) => (1_u8, *secret_id).write(out),
            Self::SignIn(number) => (2_u8, *number).write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Session(Coded::read(from)?),
            1 => Self::Secret(Coded::read(from)?),
            2 => Self::SignIn(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("ground of a client")),
        })
    }
}

impl Coded for Notice {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Settled { request_id } => (0_u8, *request_id).write(out),
            Self::Follow { number } => (1_u8, *number).write(out),
            Self::Followed { number, epoch } => (2_u8, (*number, *epoch)).write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Settled { request_id: Coded::read(from)? },
            1 => Self::Follow { number: Coded::read(from)? },
            2 => Self::Followed { number: Coded::read(from)?, epoch: Coded::read(from)? },
            _ => return Err(BusCodecError::Unknown("kind of notice")),
        })
    }
}

impl Coded for Holder {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::App => 0_u8.write(out),
            Self::Endpoint(endpoint) => {
                1_u8.write(out);
                endpoint.write(out);
            }
            Self::Group(group) => {
                2_u8.write(out);
                group.write(out);
            }
            Self::Observers(endpoint) => {
                3_u8.write(out);
                endpoint.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::App,
            1 => Self::Endpoint(Coded::read(from)?),
            2 => Self::Group(Coded::read(from)?),
            3 => Self::Observers(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of holder")),
        })
    }
}

impl Coded for Answer {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connections(connections) => {
                0_u8.write(out);
                connections.write(out);
            }
            Self::Groups(groups) => {
                1_u8.write(out);
                groups.write(out);
            }
            Self::States { found, more } => {
                2_u8.write(out);
                found.write(out);
                more.write(out);
            }
            Self::Count(count) => (3_u8, *count).write(out),
            Self::Sessions(which) => {
                7_u8.write(out);
                which.write(out);
            }
            Self::Books(books) => {
                20_u8.write(out);
                books.write(out);
            }
            Self::Snapshot { found, more } => {
                4_u8.write(out);
                found.write(out);
                more.write(out);
            }
            Self::Done(done) => {
                5_u8.write(out);
                done.write(out);
            }
            Self::Client(client) => {
                6_u8.write(out);
                client.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Connections(Coded::read(from)?),
            1 => Self::Groups(Coded::read(from)?),
            2 => Self::States { found: Coded::read(from)?, more: Coded::read(from)? },
            3 => Self::Count(Coded::read(from)?),
            20 => Self::Books(Coded::read(from)?),
            4 => Self::Snapshot { found: Coded::read(from)?, more: Coded::read(from)? },
            5 => Self::Done(Coded::read(from)?),
            6 => Self::Client(Coded::read(from)?),
            7 => Self::Sessions(Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of answer")),
        })
    }
}

impl Coded for Interest {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Group(app_id, group) => {
                (0_u8, *app_id).write(out);
                group.write(out);
            }
            Self::Endpoint(app_id, endpoint) => {
                (1_u8, *app_id).write(out);
                endpoint.write(out);
            }
            Self::Observers(app_id, endpoint) => {
                (2_u8, *app_id).write(out);
                endpoint.write(out);
            }
            Self::Tails(app_id, endpoint) => {
                (3_u8, *app_id).write(out);
                endpoint.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Group(Coded::read(from)?, Coded::read(from)?),
            1 => Self::Endpoint(Coded::read(from)?, Coded::read(from)?),
            2 => Self::Observers(Coded::read(from)?, Coded::read(from)?),
            3 => Self::Tails(Coded::read(from)?, Coded::read(from)?),
            _ => return Err(BusCodecError::Unknown("kind of interest")),
        })
    }
}

impl Coded for Deed {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Join { connection, group, groups_max, members_max } => {
                (0_u8, *connection).write(out);
                group.write(out);
                (*groups_max, *members_max).write(out);
            }
            Self::Leave { connection, group } => {
                (1_u8, *connection).write(out);
                group.write(out);
            }
            Self::Say { connection, presence } => {
                (2_u8, *connection).write(out);
                presence.write(out);
            }
            Self::EndGroup { group } => {
                3_u8.write(out);
                group.write(out);
            }
            Self::Show { endpoint, payloads } => {
                4_u8.write(out);
                endpoint.write(out);
                (*payloads == Payloads::Shown).write(out);
            }
            Self::End { connection } => (5_u8, *connection).write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Join {
                connection: Coded::read(from)?,
                group: Coded::read(from)?,
                groups_max: Coded::read(from)?,
                members_max: Coded::read(from)?,
            },
            1 => Self::Leave { connection: Coded::read(from)?, group: Coded::read(from)? },
            2 => Self::Say { connection: Coded::read(from)?, presence: Coded::read(from)? },
            3 => Self::EndGroup { group: Coded::read(from)? },
            4 => Self::Show {
                endpoint: Coded::read(from)?,
                payloads: if bool::read(from)? { Payloads::Shown } else { Payloads::Redacted },
            },
            5 => Self::End { connection: Coded::read(from)? },
            _ => return Err(BusCodecError::Unknown("kind of deed")),
        })
    }
}

impl Coded for Done {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Now { told, settled } => (0_u8, (*told, *settled)).write(out),
            Self::Before { settled } => (1_u8, *settled).write(out),
            Self::Gone => 2_u8.write(out),
            Self::ConnectionFull => 3_u8.write(out),
            Self::GroupFull => 4_u8.write(out),
            Self::Overloaded => 5_u8.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Now { told: Coded::read(from)?, settled: Coded::read(from)? },
            1 => Self::Before { settled: Coded::read(from)? },
            2 => Self::Gone,
            3 => Self::ConnectionFull,
            4 => Self::GroupFull,
            5 => Self::Overloaded,
            _ => return Err(BusCodecError::Unknown("outcome of a deed")),
        })
    }
}

impl Coded for ConnectionStateFacts {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { connection, groups, presence } = self;
        connection.write(out);
        groups.write(out);
        presence.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self { connection: Coded::read(from)?, groups: Coded::read(from)?, presence: Coded::read(from)? })
    }
}

impl Coded for Present {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { of, endpoint, connection, presence } = self;
        of.write(out);
        endpoint.write(out);
        connection.write(out);
        presence.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            of: Coded::read(from)?,
            endpoint: Coded::read(from)?,
            connection: Coded::read(from)?,
            presence: Coded::read(from)?,
        })
    }
}

impl Coded for ConnectionFacts {
    fn write(&self, out: &mut Vec<u8>) {
        let Self { id, endpoint, role_id, client_type, address, trickle_ice, ice_final_candidates } = self;
        id.write(out);
        endpoint.write(out);
        role_id.write(out);
        client_type.write(out);
        address.write(out);
        (*trickle_ice, *ice_final_candidates).write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(Self {
            id: Coded::read(from)?,
            endpoint: Coded::read(from)?,
            role_id: Coded::read(from)?,
            client_type: Coded::read(from)?,
            address: Coded::read(from)?,
            trickle_ice: Coded::read(from)?,
            ice_final_candidates: Coded::read(from)?,
        })
    }
}
