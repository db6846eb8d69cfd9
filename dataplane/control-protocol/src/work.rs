//! What workers of other machines and control say to each other: a worker asks whose it is ([`WorkPoll`]), and is told a node and the ticket for it
//! ([`WorkPush`]). Before it: `millstream worker --control-url`; after it: the worker connects to that node.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exchange::NodeId;

/// `POST /link/v1/work`: a worker tells how it does, and waits for another node than it has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkPoll {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Its name, unique among the workers of the fleet, and its run.
    pub worker: NodeId,
    /// How long it wants to be kept waiting, milliseconds.
    pub wait_ms: u32,
    /// The node that it was told last; empty: none.
    pub assigned: String,
    /// The node that it works for now; empty: none.
    pub serving: String,
    /// What it says of itself.
    pub status: WorkerStatus,
}

/// What a worker of another machine says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerStatus {
    /// The release that it runs.
    pub release: String,
    /// When its process started, Unix milliseconds.
    pub started_unix_ms: u64,
    /// Cores of its machine.
    pub cores: u32,
    /// As of a node's worker: codecs of streams that it decodes.
    pub decodes: Vec<String>,
    /// What it encodes renditions with: `openh264`, or `ffmpeg:` and the name of an encoder.
    pub encoder: String,
    /// Why no `ffmpeg` is used; empty: one is.
    pub no_ffmpeg: String,
    /// Why it does not work for the node that it was told; empty: it does, or was told none.
    pub trouble: String,
}

/// The answer to a [`WorkPoll`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkPush {
    /// [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Whose it is; `None`: no node wants one that has none. Who works for a node goes on all the same.
    pub assignment: Option<Assignment>,
}

/// A node that wants a worker.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Assignment {
    /// Its name.
    pub node: String,
    /// Where it takes workers: `tcp://HOST:PORT` or `tls://HOST:PORT`.
    pub url: String,
    /// How long the ticket is good.
    pub expires_unix_s: u64,
    /// What the worker proves itself with; a newer one comes with each answer.
    pub ticket: Ticket,
}

/// A secret of one worker and one node. Never printed.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ticket(pub String);

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
