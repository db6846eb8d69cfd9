//! Which streams there are, and what the data plane obeys of their settings. Before it: the records of a store or a configuration
//! file; after it: [`crate::exchange::Push`] carries it, and a node keeps it on disk.
//!
//! No secret is in here: a stream's secret is derived from the master key, which every node has a copy of.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which state: of two with the same epoch the one with the higher number is newer; states of different epochs cannot be compared,
/// and the one that control sends counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Chosen when control starts: Unix microseconds.
    pub epoch: u64,
    /// Rises by one with each change.
    pub number: u64,
}

/// All streams at one moment: what a node keeps on disk.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// [`crate::PROTOCOL`] of who wrote it.
    pub protocol: u32,
    /// Which one.
    pub version: Version,
    /// Tells whether two processes have the same master key without telling the key; empty where it is not known.
    pub key_check: String,
    /// Every stream that may be published or played, in the order of their ids.
    pub streams: Vec<Stream>,
}

/// One stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// Its id: `[A-Za-z0-9_-]{1,64}`. A node leaves out a stream whose id it cannot take, and says so.
    pub id: String,
    /// The generation of its secret that is in force; starts at 1.
    pub generation: u64,
    /// Generations before it that still admit, each up to its time.
    pub previous: Vec<Previous>,
    /// When its frames go out; `None`: as the node's configuration says.
    pub flush: Option<Flush>,
    /// Which outputs it has.
    pub outputs: Outputs,
    /// The operator's own words about it, for hooks: the data plane carries them and does not read them.
    pub labels: BTreeMap<String, String>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            id: String::new(),
            generation: 1,
            previous: Vec::new(),
            flush: None,
            outputs: Outputs::default(),
            labels: BTreeMap::new(),
        }
    }
}

/// A generation that has been rotated away, and admits until its grace is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Previous {
    /// Which generation.
    pub generation: u64,
    /// It admits up to, and not including, this second of Unix time.
    pub until_unix_s: u64,
}

/// When frames go out to viewers: the words of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Flush {
    /// At once.
    Low,
    /// With a video frame.
    Balanced,
    /// Every 100 ms.
    Dense,
    /// A word of a later version: as if none were set.
    #[serde(other)]
    Unknown,
}

/// Which outputs exist; one that is off is not found. What is not said is on, so that a stream is never lost by an upgrade.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Outputs {
    /// HTTP-FLV and its page.
    pub flv: bool,
    /// HLS and its page.
    pub hls: bool,
    /// DASH over CMAF and its page.
    pub cmaf: bool,
}

impl Default for Outputs {
    fn default() -> Self {
        Self { flv: true, hls: true, cmaf: true }
    }
}
