//! That a request with an `Idempotency-Key` is being carried out, and that it has taken effect. Made by [`super::once`]; the [`Mark`] is written with
//! the change.
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_store::item::{Change, Expect};
use serde::{Deserialize, Serialize};

use crate::model::{self, ONCE};

/// How long an answer is kept, milliseconds.
const KEPT_MS: u64 = 24 * 3_600_000;

/// That a request has taken effect, and the answer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Once {
    /// Of method, path, condition and body: another request with the same key is a mistake.
    pub(super) request: String,
    pub(super) begun_ms: u64,
    pub(super) expires_ms: u64,
    /// It has changed what it was to change. One that says neither this nor an answer was left by a release that reserved keys, and by a
    /// process that ended before it did anything.
    pub(super) done: bool,
    pub(super) answer: Option<Kept>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

tokio::task_local! {
    pub(super) static MARK: Arc<Mark>;
}

/// What is to be written with the change that this task makes, where its request has a key.
pub(crate) fn mark() -> Option<Arc<Mark>> {
    MARK.try_with(Arc::clone).ok()
}

/// The item that says of a key that its request has taken effect.
pub(crate) struct Mark {
    pub(super) slot: String,
    pub(super) request: String,
    pub(super) now_ms: u64,
    /// What is there before the request is carried out: nothing, or what has expired.
    pub(super) before: Expect,
    /// The version that this request has written; 0: none.
    pub(super) version: AtomicU64,
}

impl Mark {
    /// The write that belongs to the change.
    pub(crate) fn to_put(&self) -> Change {
        self.put(None)
    }

    pub(super) fn put(&self, answer: Option<Kept>) -> Change {
        let expires_ms = self.now_ms + KEPT_MS;
        let once = Once { request: self.request.clone(), begun_ms: self.now_ms, expires_ms, done: true, answer };
        let expect = match self.version.load(Ordering::Relaxed) {
            0 => self.before,
            version => Expect::Version(version),
        };
        model::to_put((ONCE, &self.slot), expect, Some(expires_ms), &once)
    }

    /// It was written.
    ///
    /// `kept_answers`: how many there are.
    pub(crate) fn written(&self, kept_answers: &AtomicU64, version: u64) {
        if self.version.swap(version, Ordering::Relaxed) == 0 && self.before == Expect::Absent {
            kept_answers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Keys whose requests are being carried out by this process: no more than it has connections.
#[derive(Debug, Default)]
pub(crate) struct Running(Arc<Mutex<HashSet<String>>>);

/// A key's request is being carried out until this is dropped.
pub(super) struct Runs {
    of: Arc<Mutex<HashSet<String>>>,
    slot: String,
}

impl Running {
    pub(super) fn begin(&self, slot: &str) -> Option<Runs> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(slot.to_owned());
        new.then(|| Runs { of: Arc::clone(&self.0), slot: slot.to_owned() })
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.slot);
    }
}
