//! Motion hooks, as far as the worker knows of them: whoever starts the worker says what runs them. Before it: [`crate::run`] has a hook of the node;
//! after it: [`crate::motion::hooked`] gives it pictures.
//!
//! Invariants: what runs a hook bounds each of its calls in CPU time and memory, and never waits; a hook that fails is dropped as a whole.
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::{HookKey, HookSpec, HookUse, Region};

/// Runs hooks.
pub trait Eyes: Send + Sync {
    /// Makes a hook ready that the node has compiled; `sealed` is authenticated by the key. An error is for people.
    fn load(&self, key: &HookKey, spec: &HookSpec, sealed: &Bytes) -> Result<Arc<dyn Sight>, String>;
}

/// A hook that is ready.
pub trait Sight: Send + Sync {
    /// An instance for one stream, whose picture has this size, and how often it wants to see one, milliseconds.
    fn open(&self, of: &HookUse, size: (u32, u32), calls: &mut dyn FnMut(Call)) -> Result<(Box<dyn Eye>, u32), Blind>;
}

/// An instance, which keeps what it has seen.
pub trait Eye: Send {
    /// Looks at a picture: `width` x `height` bytes of brightness. After an error it is of no more use.
    fn look(
        &mut self,
        luma: &[u8],
        size: (u32, u32),
        pts_ms: u64,
        calls: &mut dyn FnMut(Call),
    ) -> Result<Option<Seen>, Blind>;
}

/// What a hook says when something begins, changes or ends.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Seen {
    /// Something moves from here on, or nothing does any more.
    pub active: bool,
    /// 0 to 1.
    pub score: f64,
    /// Where.
    pub regions: Vec<Region>,
    /// What, in a word.
    pub label: String,
}

/// A call that was made, for those who count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call<'a> {
    /// What it took of CPU time, microseconds.
    Took(u64),
    /// A line that it wrote: how important, and what.
    Wrote(&'a str, &'a str),
}

/// Why a hook sees nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Blind {
    /// It failed: the cause as a word, and for people.
    Failed(&'static str, String),
    /// It does not want this stream.
    Unwilling(String),
}

/// What runs hooks, if something does.
#[derive(Clone, Default)]
pub(crate) struct Seeing(pub(crate) Option<Arc<dyn Eyes>>);

impl fmt::Debug for Seeing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Seeing" } else { "SeeingNone" })
    }
}
