//! What a node is there for, as others keep it: by hashes, for there may be a million.

use std::hash::Hasher as _;

use respoke_core::id::AppId;
use respoke_core::ports::Interest;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::BusCodecError;
use super::bytes::{Coded, Reader};

/// Stands for an [`Interest`] of another node. Two that have the same cost a delivery that concerns nobody there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterestHash(pub u128);

impl From<&Interest> for InterestHash {
    fn from(interest: &Interest) -> Self {
        let (kind, name) = match interest {
            Interest::Group(_, group) => (0, group.as_str()),
            Interest::Endpoint(_, endpoint) => (1, endpoint.as_str()),
            Interest::Observers(_, endpoint) => (2, endpoint.as_str()),
        };
        // Every node has to come to the same, so there is no key; whoever looks for two that meet gains nothing by it.
        let mut hasher = SipHasher13::new();
        hasher.write_u8(kind);
        hasher.write(interest.app_id().uuid().as_bytes());
        hasher.write(name.as_bytes());
        Self(hasher.finish128().as_u128())
    }
}

/// What changed in what a node is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterestNews {
    /// Forget all of it; what it is there for follows.
    Anew,
    /// It is there for these too.
    Held(Vec<InterestHash>),
    /// It is there for these no more.
    Released(Vec<InterestHash>),
    /// It is there for so much of this app that it gets all of it.
    WholeApp(AppId),
    /// Only what it said one by one of this app.
    PartOfApp(AppId),
    /// That was all, up to here.
    Complete,
    /// Of this interest, or of all of this app, the receiver heard later than whoever is there for it could wait: what it
    /// published past them is wanted still.
    Late(AppId, Option<InterestHash>),
}

impl Coded for InterestHash {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        u128::read(from).map(Self)
    }
}

impl Coded for InterestNews {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Anew => 0_u8.write(out),
            Self::Held(hashes) => {
                1_u8.write(out);
                hashes.write(out);
            }
            Self::Released(hashes) => {
                2_u8.write(out);
                hashes.write(out);
            }
            Self::WholeApp(app_id) => (3_u8, *app_id).write(out),
            Self::PartOfApp(app_id) => (4_u8, *app_id).write(out),
            Self::Complete => 5_u8.write(out),
            Self::Late(app_id, hash) => (6_u8, (*app_id, *hash)).write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        Ok(match u8::read(from)? {
            0 => Self::Anew,
            1 => Self::Held(Coded::read(from)?),
            2 => Self::Released(Coded::read(from)?),
            3 => Self::WholeApp(Coded::read(from)?),
            4 => Self::PartOfApp(Coded::read(from)?),
            5 => Self::Complete,
            6 => Self::Late(Coded::read(from)?, Coded::read(from)?),
            _ => return Err(BusCodecError::Invalid("kind of interest")),
        })
    }
}
