//! Messages between shards, and from outside to a shard.
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use millstream_hub::address::Address;
use millstream_hub::stream_message::StreamMessage;
use millstream_policy::Step;
use millstream_proto::id::Id;
use millstream_proto::rtmp::ServerSession;
use millstream_proto::sign::grant::GrantSession;
use millstream_proto::time::Time;

use super::budget::OfConnection;
use super::grant_sessions::{Playing, Renewal};
use super::granted::Granted;
use super::grants::Viewer;
use crate::io::Descriptor;

/// Messages of one pair that may wait.
pub(crate) const MAILBOX_LEN_MAX: usize = 1024;

/// A publisher on its way to the shard that owns its stream, already admitted: descriptor, session, unread bytes.
pub(crate) struct Handoff {
    pub(crate) fd: Descriptor,
    pub(crate) rtmp: Box<ServerSession>,
    pub(crate) peer: SocketAddr,
    pub(crate) number: u64,
    pub(crate) id: Id,
    pub(crate) encoder: String,
    pub(crate) publishes: OfConnection,
    /// What it was admitted for.
    pub(crate) granted: Granted,
    /// Its connection is encrypted, by us or by a proxy.
    pub(crate) secure: bool,
}

/// What one shard tells another, or the outside tells a shard.
pub(crate) enum Mail {
    /// A publisher of a stream that the receiver owns, already admitted.
    Publisher(Box<Handoff>),
    /// Of a stream that the receiver owns or mirrors.
    Stream { id: Id, from: Address, message: StreamMessage },
    /// A pending policy step has decided.
    Answer { ticket: u64, step: Step },
    /// A viewer without a session is admitted up to that moment; `None`: for good.
    Granted { id: Id, viewer: Viewer, until: Option<Time> },
    /// A session that plays by grants is admitted up to that moment; `moved`: what it holds is at the sender now.
    Renewed { name: GrantSession, renewal: Renewal, until: Time, moved: bool, address: IpAddr },
    /// Connections that play by a grant at the sender.
    Playing { from: usize, playing: Playing },
    /// Something that the outside wants to know, or to have done.
    Work(Work),
    /// Begin to drain.
    Shutdown,
}

/// Something short that a shard does on its own thread: see [`super::state::work`], which makes it.
pub(crate) type Work = Box<dyn FnOnce(Rc<dyn Any>) + Send>;

impl Mail {
    /// Of mail that found no room, what it tells of a stream.
    pub(crate) fn into_stream_message(self) -> StreamMessage {
        match self {
            Self::Stream { message, .. } => message,
            // Nobody asks this of other mail.
            _ => StreamMessage::Unknown { subscription: 0 },
        }
    }
}

// By hand: what a handoff holds is nobody's to read.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Publisher(_) => "Publisher",
            Self::Stream { .. } => "Stream",
            Self::Answer { .. } => "Answer",
            Self::Granted { .. } => "Granted",
            Self::Renewed { .. } => "Renewed",
            Self::Playing { .. } => "Playing",
            Self::Work(_) => "Work",
            Self::Shutdown => "Shutdown",
        })
    }
}
