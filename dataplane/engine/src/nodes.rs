//! The seam to other nodes: who owns a stream that this node does not have, and the way to that node. Shards tell each other
//! [`StreamMessage`]s; where one is at another node, what implements [`Nodes`] carries them there, as a rule in the form of
//! [`millstream_hub::wire`], and [`crate::Remote::deliver`] hands over what comes from there.
use std::fmt::Debug;
use std::sync::Arc;

use millstream_hub::address::{Address, NodeNumber};
use millstream_hub::stream_message::StreamMessage;
use millstream_proto::id::Id;

/// The other nodes, as a shard sees them. Called on shards: nothing in it may wait.
pub trait Nodes: Send + Sync + Debug {
    /// The node that owns that stream; `None`: this one, or nobody does.
    fn owner(&self, id: &Id) -> Option<NodeNumber>;

    /// Sends what shard `from` of this node has to tell `to`. Gives it back where there is no room: it is said again later. What goes to a stream's
    /// owner ([`StreamMessage::is_for_owner`]) is for whichever shard of that node owns it.
    fn send(&self, from: usize, to: Address, id: &Id, message: StreamMessage) -> Result<(), StreamMessage>;
}

/// The other nodes; none where this one is alone.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig(Option<Arc<dyn Nodes>>);

impl NodeConfig {
    /// Streams that this node does not own come by these.
    pub fn new(nodes: Arc<dyn Nodes>) -> Self {
        Self(Some(nodes))
    }

    pub(crate) fn owner(&self, id: &Id) -> Option<NodeNumber> {
        // A rendition is where its source is.
        self.0.as_ref()?.owner(&id.stream()).filter(|node| *node != NodeNumber::HERE)
    }

    pub(crate) fn send(&self, from: usize, to: Address, id: &Id, message: StreamMessage) -> Result<(), StreamMessage> {
        match &self.0 {
            Some(nodes) => nodes.send(from, to, id, message),
            None => Err(message),
        }
    }
}
