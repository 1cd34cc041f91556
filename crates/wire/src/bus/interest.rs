//! What a node is there for, as others keep it: by hashes, for there may be a million.

use std::hash::Hasher as _;

use respoke_core::id::AppId;
use respoke_core::ports::Interest;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::bounds::BusCodecError;
use super::bytes::{Coded, Reader};
use super::shapes::coded_kinds;

/// Stands for an [`Interest`] of another node. Two that have the same cost a delivery that concerns nobody there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterestHash(pub u128);

impl From<&Interest> for InterestHash {
    fn from(interest: &Interest) -> Self {
        let (kind, name) = match interest {
            Interest::Group(_, group) => (0, group.as_str()),
            Interest::Endpoint(_, endpoint) => (1, endpoint.as_str()),
            Interest::Observers(_, endpoint) => (2, endpoint.as_str()),
            Interest::Tails(_, endpoint) => (3, endpoint.as_str()),
        };
        // Every node has to come to the same, so there is no key; whoever looks for two that meet gains nothing by it.
        let mut hasher = SipHasher13::new();
        hasher.write_u8(kind);
        hasher.write(interest.app_id().uuid().as_bytes());
        hasher.write(name.as_bytes());
        Self(hasher.finish128().as_u128())
    }
}

/// What a node is there for, or what changed in that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterestNews {
    /// It is there for this too.
    Held(AppId, InterestHash),
    /// It is there for this no more.
    Released(AppId, InterestHash),
    /// Of this app it is there for these and nothing else, whatever it said before.
    App(AppId, Vec<InterestHash>),
    /// It is there for so much of this app that it gets all of it.
    WholeApp(AppId),
    /// It has told everything, and everything was heard.
    Complete,
    /// Of these the receiver heard later than whoever is there for them could wait: what it published past them is wanted
    /// still.
    Late {
        /// In which app.
        app_id: AppId,
        /// Which. None: all that it is there for.
        of: Vec<InterestHash>,
        /// For how long somebody has been there for the first of them, in milliseconds.
        millis: u64,
    },
    /// It ends. Nobody is connected there any more, and nothing that it says from here on concerns anybody, but for what it makes
    /// up for. So whoever has this, and was heard in time, loses nothing with it.
    Farewell {
        /// Everything of the receiver's up to this number was heard by then, and made up for if it was late. It is said anew when
        /// that goes for more.
        known: u64,
    },
}

impl Coded for InterestHash {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, BusCodecError> {
        u128::read(from).map(Self)
    }
}

coded_kinds! { InterestNews, "kind of interest" {
    0 => Held(app_id, hash),
    1 => Released(app_id, hash),
    2 => App(app_id, hashes),
    3 => WholeApp(app_id),
    4 => Complete,
    5 => Late { app_id, of, millis },
    6 => Farewell { known },
}}
