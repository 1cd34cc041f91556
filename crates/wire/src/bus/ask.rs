//! What is asked and answered.

use respoke_core::ports::{Answer, ConnectionFacts, Holder, Question};

use super::BusCodecError;
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
            Self::Presences { app_id, endpoint } => {
                (3_u8, *app_id).write(out);
                endpoint.write(out);
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
            3 => Self::Presences { app_id: Coded::read(from)?, endpoint: Coded::read(from)? },
            _ => return Err(BusCodecError::Invalid("kind of question")),
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
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::App,
            1 => Self::Endpoint(Coded::read(from)?),
            2 => Self::Group(Coded::read(from)?),
            _ => return Err(BusCodecError::Invalid("kind of holder")),
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
            Self::Presences(presences) => {
                2_u8.write(out);
                presences.write(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Connections(Coded::read(from)?),
            1 => Self::Groups(Coded::read(from)?),
            2 => Self::Presences(Coded::read(from)?),
            _ => return Err(BusCodecError::Invalid("kind of answer")),
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
