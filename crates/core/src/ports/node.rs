//! Nodes: the processes that serve together.

use std::fmt;

/// A node's number. One that was declared dead and comes back has the same, a process that is started another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Which of a node's lives: greater with each, so that what an earlier one said is known to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// One life of a node. What it held and promised ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Which node.
    pub id: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

impl Node {
    /// The node of a server that is alone.
    pub const ALONE: Self = Self { id: NodeId(0), incarnation: Incarnation(0) };
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id.0, self.incarnation.0)
    }
}
