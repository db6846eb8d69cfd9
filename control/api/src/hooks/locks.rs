//! Who may change what of the hooks, now. Held by the changes in [`super`] and below it.
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, Semaphore, SemaphorePermit};

use crate::http::problem::{Answer, Problem};

/// Uploads at the same time: each is in memory as a whole.
const UPLOADS_MAX: usize = 2;

/// Versions that are tried out at the same time.
const TRIALS_MAX: usize = 2;

/// Who may change what, now.
#[derive(Debug)]
pub(crate) struct RecordLocks {
    uploads: Semaphore,
    trials: Semaphore,
    /// Held to read by uploads, from their first byte to their version; to write by the sweep.
    pub(super) bytes: RwLock<()>,
    records: Mutex<()>,
}

impl Default for RecordLocks {
    fn default() -> Self {
        let (uploads, trials) = (Semaphore::new(UPLOADS_MAX), Semaphore::new(TRIALS_MAX));
        Self { uploads, trials, bytes: RwLock::default(), records: Mutex::default() }
    }
}

impl RecordLocks {
    /// Excludes changes of hooks and bindings.
    pub(crate) async fn lock_records(&self) -> MutexGuard<'_, ()> {
        self.records.lock().await
    }

    /// To be held from before an upload's bytes are kept until a record names them: no sweep runs beside it.
    pub(crate) async fn uploading(&self) -> RwLockReadGuard<'_, ()> {
        self.bytes.read().await
    }

    /// A place for a trial.
    pub(super) fn trial(&self) -> Answer<SemaphorePermit<'_>> {
        self.trials.try_acquire().map_err(|_| {
            let detail = format!("{TRIALS_MAX} versions are being tried out, which is the most; try again in a moment");
            Problem::unavailable("busy", detail, 1)
        })
    }

    /// A place for an upload.
    pub(crate) fn place(&self) -> Answer<SemaphorePermit<'_>> {
        self.uploads.try_acquire().map_err(|_| {
            let detail = format!("{UPLOADS_MAX} files are being uploaded, which is the most; try again in a moment");
            Problem::unavailable("busy", detail, 1)
        })
    }
}
