//! What shards tell each other of one stream: the one that owns it, and those that mirror it for their viewers. Before it: [`crate::mirror`] and
//! [`crate::package`], which make it; after it: a mailbox, or [`crate::wire`] where the other shard is at another node.
use millstream_proto::time::Time;

use crate::mirror::FeedMessage;
use crate::package::change::Change;

/// One message. `subscription` is the mirror's own number for what it asked for: what comes for an earlier one is out of date.
#[derive(Clone, Debug)]
pub enum StreamMessage {
    /// To the owner: the sender has viewers.
    Subscribe {
        /// The mirror's number.
        subscription: u64,
    },
    /// To the owner: it has none any more.
    Unsubscribe {
        /// The mirror's number.
        subscription: u64,
    },
    /// To a mirror: news of the stream.
    Feed {
        /// The mirror's number.
        subscription: u64,
        /// The news.
        message: FeedMessage,
    },
    /// To the owner: the sender, a mirror, wants its playlists as well.
    Package {
        /// The mirror's number.
        subscription: u64,
    },
    /// To a mirror: news of the playlists.
    Packaged {
        /// The mirror's number.
        subscription: u64,
        /// The news, in order.
        changes: Vec<Change>,
    },
    /// To a mirror: the stream is over, and this is what can still be fetched of it.
    Over {
        /// The mirror's number.
        subscription: u64,
        /// All that can be fetched.
        changes: Vec<Change>,
        /// Until when.
        listed_until: Time,
    },
    /// To a mirror: what can still be fetched of an earlier life of the stream.
    OfEnded {
        /// All that can be fetched.
        changes: Vec<Change>,
        /// Until when.
        listed_until: Time,
    },
    /// To a mirror: there is no such stream.
    Unknown {
        /// The mirror's number.
        subscription: u64,
    },
}

impl StreamMessage {
    /// Whether it is for the shard that owns the stream, not for one that mirrors it.
    pub const fn is_for_owner(&self) -> bool {
        matches!(self, Self::Subscribe { .. } | Self::Unsubscribe { .. } | Self::Package { .. })
    }
}
