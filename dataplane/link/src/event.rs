//! What has just happened on a node. Before it: the engine's shards, which never wait for it to be heard; after it:
//! [`crate::exchange::Report`], then the API's event stream, session history and webhooks.
use serde::{Deserialize, Serialize};

use crate::live::ViewerCount;

/// One event of one node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Rises by one with each event of a node's run; a hole means that events were lost to a full queue. An event may come twice, with
    /// the same number.
    pub seq: u64,
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// The stream that it is about.
    pub stream: String,
    /// The session that it is about, as in the log; 0 where it is about none.
    pub session: u64,
    /// The session's address and port.
    pub peer: String,
    /// `rtmp`, `http-flv`, `ws-flv`: an open set.
    pub protocol: String,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum What {
    /// A publisher was admitted and has the stream's place.
    Publish {
        /// What the encoder calls itself; may be empty.
        #[serde(default)]
        encoder: String,
    },
    /// A publisher that was admitted is gone.
    Unpublish {
        /// Why, as in `millstream_closed_total`.
        #[serde(default)]
        why: String,
        /// How long it was on air, milliseconds.
        #[serde(default)]
        lasted_ms: u64,
        /// Bytes that came from it.
        #[serde(default)]
        received_bytes: u64,
        /// Viewers on its node by protocol, as they were counted last, up to some seconds before. Empty where nobody watched, or where it was
        /// not on air for long enough to be counted.
        #[serde(default)]
        viewers: Vec<ViewerCount>,
    },
    /// Viewers of a stream without a publisher get its slate from now on. It is nobody's session.
    SlateStarted {},
    /// They do no more.
    SlateEnded {
        /// `publisher`: one is back; `end`: the stream is over; `off`: it is to have none: an open set.
        #[serde(default)]
        why: String,
        /// How long it was shown, milliseconds.
        #[serde(default)]
        lasted_ms: u64,
    },
    /// Somebody was not let in.
    Refused {
        /// `publish`, `play`, or `connect` where it was kept out before it could say: an open set.
        #[serde(default)]
        action: String,
        /// The class, as in `millstream_refused_total`.
        #[serde(default)]
        why: String,
        /// What the peer was told.
        #[serde(default)]
        reason: String,
        /// How many refusals of this address and class this stands for: at most one a second is told.
        #[serde(default = "one")]
        count: u64,
    },
    /// So many events of this stream were left out, because they came faster than one stream's share allows. Control's own word; of its
    /// refusals it is told apart from its other events.
    LeftOut {
        /// How many since this was told last.
        #[serde(default = "one")]
        count: u64,
    },
    /// Something that a later version knows.
    #[default]
    #[serde(other)]
    Unknown,
}

const fn one() -> u64 {
    1
}

impl What {
    /// The word for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Unpublish { .. } => "unpublish",
            Self::SlateStarted {} => "slate_started",
            Self::SlateEnded { .. } => "slate_ended",
            Self::Refused { .. } => "refused",
            Self::LeftOut { .. } => "left_out",
            Self::Unknown => "unknown",
        }
    }
}
