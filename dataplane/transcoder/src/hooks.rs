//! Motion hooks, as far as who keeps a worker knows of them: which one looks at which stream, and what a worker is given of it. Whoever runs hooks on the node
//! says so. Before it: the node's bindings; after it: [`super::watches`], and the worker.
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::id::Id;
use millstream_worker::protocol::{HookKey, HookSpec, HookTally};

/// Says which hook looks at a stream. Called often: it may not wait.
pub trait MotionHooks: Send + Sync {
    /// The hook that is to look at it in place of the built-in detector. The same one each time until something changes: it is compared by its address.
    fn of(&self, stream: &Id) -> Option<Arc<MotionHook>>;

    /// The hook that looks beside whoever looks, and is compared with that. The same holds for it.
    fn beside(&self, stream: &Id) -> Option<Arc<MotionHook>>;
}

/// The hooks of one stream.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Looks {
    /// In place of the built-in detector.
    pub(crate) hook: Option<Arc<MotionHook>>,
    /// Beside whoever looks.
    pub(crate) shadow: Option<Arc<MotionHook>>,
}

impl Looks {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<MotionHook>> {
        self.hook.iter().chain(&self.shadow)
    }
}

/// Gives the compiled module, authenticated by the worker's key; `None`: it is not there.
pub type Sealer = Box<dyn Fn(&HookKey) -> Option<Bytes> + Send + Sync>;

/// Is told what calls of a hook came to.
pub type TallyTaker = Box<dyn Fn(&HookTally) + Send + Sync>;

/// A motion hook that is bound.
pub struct MotionHook {
    /// What it is.
    pub spec: HookSpec,
    /// Its module for a worker. Called beside the shards; it may read a file.
    pub sealed: Sealer,
    /// Who counts its calls.
    pub told: TallyTaker,
}

impl PartialEq for MotionHook {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl fmt::Debug for MotionHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MotionHook").field(&self.spec.name).field(&self.spec.version).finish()
    }
}
