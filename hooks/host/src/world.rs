//! The four kinds of hooks, and what a call of each may use.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a hook decides: the world of the contract that its module exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Who may publish and play.
    Auth,
    /// Which renditions a stream has.
    Policy,
    /// What is seen in the picture.
    Motion,
    /// What is done about events.
    Events,
}

impl World {
    /// All worlds.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Policy, Self::Motion, Self::Events];

    /// The word for it in the API, in files and in metrics; also the name of the interface that a module exports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Policy => "policy",
            Self::Motion => "motion",
            Self::Events => "events",
        }
    }

    /// Its name in `worlds.wit`.
    pub const fn wit_world(self) -> &'static str {
        match self {
            Self::Auth => "auth-hook",
            Self::Policy => "policy-hook",
            Self::Motion => "motion-hook",
            Self::Events => "event-hook",
        }
    }

    /// What a call may use unless a binding says otherwise.
    pub const fn limits(self) -> Limits {
        let (cpu, memory_mib, hostcall_kib) = match self {
            Self::Auth => (Duration::from_millis(2), 8, 64),
            Self::Policy => (Duration::from_millis(20), 16, 64),
            Self::Motion => (Duration::from_millis(5), 16, 64),
            Self::Events => (Duration::from_millis(50), 16, 256),
        };
        Limits { cpu, memory_bytes: memory_mib << 20, hostcall_bytes: hostcall_kib << 10 }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for World {
    type Err = UnknownWorld;

    fn from_str(word: &str) -> Result<Self, UnknownWorld> {
        Self::ALL.into_iter().find(|world| world.as_str() == word).ok_or_else(|| UnknownWorld(word.to_owned()))
    }
}

/// A word that names no world.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no kind of hook: one of auth, policy, motion, events")]
pub struct UnknownWorld(String);

/// What one call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time of the thread, the making of the instance included. Looked at about every millisecond.
    pub cpu: Duration,
    /// Linear memory; at most [`MAX_MEMORY_BYTES`].
    pub memory_bytes: usize,
    /// What the guest may hand to the host in one call of a function, or in its answer.
    pub hostcall_bytes: usize,
}

/// The most memory that any hook may have: a bulk fill of it cannot be interrupted, so it bounds how long a shard can be held up.
pub const MAX_MEMORY_BYTES: usize = 16 << 20;
/// The most memories of a component, one for each of its parts: what interpreters are built of has two. Together they have no more bytes.
pub(crate) const MAX_MEMORIES: u32 = 2;
/// The most stack that a hook may use, of the thread that calls it.
pub(crate) const MAX_STACK_BYTES: usize = 256 << 10;
/// The most elements that a table of a hook may have.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 10_000;
/// The most bytes that a module may have.
pub const MAX_MODULE_BYTES: usize = 20 << 20;
