//! One lock for the changes of each stream, and how many streams there may be. Used by the changes in [`super`].
use tokio::sync::{Mutex, MutexGuard};

/// Streams that the store may have: all of them are told to nodes that are new.
pub const STREAMS_MAX: u64 = 200_000;

/// One lock for the changes of each stream; streams that share one wait for each other and no more.
#[derive(Debug)]
pub(crate) struct Locks {
    streams: [Mutex<()>; 64],
    /// Held by changes of paths, which lead to one stream each.
    pub(super) paths: Mutex<()>,
}

impl Default for Locks {
    fn default() -> Self {
        Self { streams: std::array::from_fn(|_| Mutex::new(())), paths: Mutex::default() }
    }
}

impl Locks {
    pub(crate) async fn lock(&self, id: &str) -> MutexGuard<'_, ()> {
        let hash = id.bytes().fold(5_381_usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte));
        self.streams[hash % self.streams.len()].lock().await
    }
}
