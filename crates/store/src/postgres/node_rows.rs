//! Rows of nodes, and what they are looked at for.

use std::ops::RangeInclusive;

use respoke_core::clock::Timestamp;
use respoke_core::ports::{
    CarrierKind, Incarnation, JoinRefusal, Load, NODES_MAX, Newcomer, Node, NodeId, NodeRecord, NodeState,
};

use super::failure::Failure;
use super::rows::Columns;
use crate::codes;

/// The present of the database, in milliseconds.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// What [`record`] reads.
macro_rules! record_columns {
    () => {
        "n.id, n.incarnation, n.name, n.address, n.version, n.codec_min, n.codec_max, n.since, n.beat_at, n.state, \
         n.is_to_drain, n.sockets, n.connections, n.lag_millis, n.skew_millis, n.feed_age_millis"
    };
}
pub(super) use {now, record_columns};

pub(super) fn record(columns: &mut Columns<'_>) -> Result<NodeRecord, Failure> {
    Ok(NodeRecord {
        node: node(columns)?,
        name: columns.next()?,
        address: columns.next()?,
        version: columns.next()?,
        codec: codec(columns)?,
        since: columns.time()?,
        beat_at: columns.time()?,
        state: state(columns)?,
        is_to_drain: columns.next()?,
        load: Load {
            sockets: columns.number()?,
            connections: columns.number()?,
            lag_millis: columns.number()?,
            skew_millis: columns.next()?,
            feed_age_millis: columns.number()?,
        },
    })
}

pub(super) fn read_time(columns: &mut Columns<'_>) -> Result<Timestamp, Failure> {
    columns.time()
}

/// An id and an incarnation.
pub(super) fn node(columns: &mut Columns<'_>) -> Result<Node, Failure> {
    let id = u32::try_from(columns.next::<i64>()?).map_err(|_| Failure::Row("a node's id is none"))?;
    Ok(Node { id: NodeId(id), incarnation: Incarnation(columns.number()?) })
}

fn codec(columns: &mut Columns<'_>) -> Result<RangeInclusive<u8>, Failure> {
    let mut version =
        || u8::try_from(columns.next::<i64>()?).map_err(|_| Failure::Row("a version of what nodes tell is none"));
    Ok(version()?..=version()?)
}

fn state(columns: &mut Columns<'_>) -> Result<NodeState, Failure> {
    codes::node_state_of(columns.next()?).ok_or(Failure::Row("a node's state is none"))
}

/// A node that lives, as a newcomer looks at it.
pub(super) struct Other {
    pub(super) id: i64,
    name: String,
    version: String,
    carrier: CarrierKind,
    codec: RangeInclusive<u8>,
}

impl Other {
    /// What [`Self::read`] reads.
    pub(super) const COLUMNS: &str = "id, name, version, carrier, codec_min, codec_max";

    pub(super) fn read(columns: &mut Columns<'_>) -> Result<Self, Failure> {
        Ok(Self {
            id: columns.next()?,
            name: columns.next()?,
            version: columns.next()?,
            carrier: codes::carrier_of(columns.next()?).ok_or(Failure::Row("what a node talks by is nothing"))?,
            codec: codec(columns)?,
        })
    }

    fn understands(&self, newcomer: &Newcomer) -> bool {
        self.codec.start() <= newcomer.codec.end() && newcomer.codec.start() <= self.codec.end()
    }

    /// Why the newcomer cannot live beside it.
    fn refuses(&self, newcomer: &Newcomer) -> Option<JoinRefusal> {
        if self.carrier != newcomer.carrier {
            Some(JoinRefusal::Carrier { theirs: self.carrier, name: self.name.clone() })
        } else if self.understands(newcomer) {
            None
        } else {
            Some(JoinRefusal::Codec { name: self.name.clone(), version: self.version.clone() })
        }
    }
}

/// Why a newcomer cannot live beside those who do.
pub(super) fn refused(newcomer: &Newcomer, others: &[Other]) -> Option<JoinRefusal> {
    let too_many = || (others.len() >= NODES_MAX).then_some(JoinRefusal::TooMany);
    others.iter().find_map(|other| other.refuses(newcomer)).or_else(too_many)
}

/// Those who are in a newcomer's way.
pub(super) fn in_the_way(newcomer: &Newcomer, others: &[Other]) -> Vec<i64> {
    let too_many = others.len() >= NODES_MAX;
    others.iter().filter(|other| too_many || other.refuses(newcomer).is_some()).map(|other| other.id).collect()
}
