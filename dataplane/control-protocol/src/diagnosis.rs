//! What is wrong with a stream, as its node has recognised it: which condition, since when, and the figures that it was judged by. Before it:
//! `millstream-diagnosis`, which judges; after it: [`crate::exchange::Report`], and control, which makes sentences of it.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The conditions of one stream on one node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Diagnosis {
    /// The stream's id.
    pub stream: String,
    /// Each kind once.
    pub conditions: Vec<Condition>,
}

/// A condition that a stream is in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Which, as `gop_too_long`: an open set.
    pub kind: String,
    /// Which form of it, where a kind has several, as `missing`; else empty. An open set.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub form: String,
    /// Since when, Unix milliseconds by the node's clock.
    pub since_unix_ms: u64,
    /// What it is about, where that is something with a name: a hook, an address, a recording, renditions. It may be a stranger's text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The reason that was given, where there was one. It may be a stranger's text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What it was judged by, each with its unit in its name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}
