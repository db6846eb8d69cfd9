//! Where a shard is: at which node, and which of its shards. What shards tell each other of a stream goes from one of these to another, within a
//! process by mailbox, and between nodes in the form that [`crate::wire`] gives it.

/// A node, as this node numbers them: each node has numbers of its own for the others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct NodeNumber(pub u16);

impl NodeNumber {
    /// This node.
    pub const HERE: Self = Self(0);
}

/// A shard of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Address {
    /// The node.
    pub node: NodeNumber,
    /// Which of its shards, from 0.
    pub shard: usize,
}

impl Address {
    /// A shard of this node.
    pub const fn here(shard: usize) -> Self {
        Self { node: NodeNumber::HERE, shard }
    }

    /// Whether it is a shard of this node.
    pub fn is_here(self) -> bool {
        self.node == NodeNumber::HERE
    }
}
