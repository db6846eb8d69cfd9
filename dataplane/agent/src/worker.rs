//! The process that makes renditions and looks for motion, as the agent sees it. Before it: the binary, which keeps it; after it: what is said of this node, and
//! what is wrong with its streams.
use std::fmt;
use std::sync::Arc;

use millstream_control_protocol::exchange::WorkerLoad;

/// Who knows how it does.
pub trait Worker: Send + Sync {
    /// Renditions of a stream that are asked for, and that the machine is too slow to make.
    fn shed(&self, stream: &str) -> Vec<String>;
    /// All that it does.
    fn load(&self) -> WorkerLoad;
}

/// Who knows, if this node has a worker.
#[derive(Clone, Default)]
pub(super) struct KnownWorker(pub(super) Option<Arc<dyn Worker>>);

impl KnownWorker {
    /// See [`Worker::shed`].
    pub(super) fn shed(&self, stream: &str) -> Vec<String> {
        self.0.as_ref().map(|worker| worker.shed(stream)).unwrap_or_default()
    }

    /// See [`Worker::load`].
    pub(super) fn load(&self) -> Option<WorkerLoad> {
        self.0.as_ref().map(|worker| worker.load())
    }
}

impl fmt::Debug for KnownWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "KnownWorker" } else { "KnownWorkerNone" })
    }
}
