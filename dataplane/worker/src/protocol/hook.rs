//! Motion hooks as node and worker speak of them: which there are, for which streams, and what their calls come to. The compiled module itself is the payload
//! of [`super::Order::Hook`]. Before it: the node's bindings; after it: whoever runs hooks in the worker (`crate::eyes`).
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What compiled modules of this worker are authenticated with. Never printed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookKey(pub [u8; 32]);

impl fmt::Debug for HookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookKey")
    }
}

/// A hook as its binding has it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookSpec {
    /// The hook's name.
    pub name: String,
    /// Which version of it.
    pub version: u64,
    /// SHA-256 of its module, hexadecimal.
    pub sha256: String,
    /// What it reads as its configuration.
    pub config: BTreeMap<String, String>,
}

/// A hook at work on a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookUse {
    /// The number of its [`super::Order::Hook`].
    pub hook: u64,
    /// The application that the stream is below.
    pub app: String,
    /// The stream.
    pub stream: String,
}

/// What calls of a hook came to since this was told last.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookTally {
    /// Calls.
    pub calls: u64,
    /// CPU time of each, microseconds: how many within each of [`HookTally::CPU_US`], and above.
    pub cpu: Vec<u64>,
    /// CPU time of all of them, microseconds.
    pub spent_us: u64,
    /// Those that failed, by cause.
    pub failures: BTreeMap<String, u64>,
    /// Instances that were made in place of one that failed.
    pub restarts: u64,
    /// Of a hook that looks beside another one, or beside the built-in detector: pictures at which both saw motion, or neither did.
    pub agreed: u64,
    /// Those at which one of them did.
    pub disagreed: u64,
    /// How the last one failed; empty where none did.
    pub error: String,
    /// What it wrote to its log: how important (`debug`, `info`, `warn`, `error`) and what.
    pub lines: Vec<(String, String)>,
}

impl HookTally {
    /// Upper bounds of the classes of CPU time, microseconds: those of `/metrics`.
    pub const CPU_US: [u64; 10] = [10, 25, 50, 100, 200, 500, 1_000, 2_000, 5_000, 20_000];
    /// Lines of one tally.
    pub const LINES_MAX: usize = 16;

    /// A call took so long.
    pub fn took(&mut self, cpu_us: u64) {
        let class = Self::CPU_US.iter().position(|bound| cpu_us <= *bound).unwrap_or(Self::CPU_US.len());
        self.cpu.resize(Self::CPU_US.len() + 1, 0);
        if let Some(count) = self.cpu.get_mut(class) {
            *count += 1;
        }
        self.spent_us = self.spent_us.saturating_add(cpu_us);
        self.calls += 1;
    }

    /// Whether there is anything to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
