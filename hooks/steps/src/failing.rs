//! How often a binding's hook was called within the last minute, and how often it failed by its own fault: what a rollback is decided by. Before it:
//! [`super::step`], which counts; after it: the node's reports.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is looked at.
const WINDOW: Duration = Duration::from_mins(1);
/// Counts are noted no more often than this.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// Calls and failures since a binding is what it is.
#[derive(Debug)]
pub struct Counted {
    calls: AtomicU64,
    failures: AtomicU64,
    /// What they were at earlier moments, oldest first; never empty.
    noted: Mutex<VecDeque<Note>>,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    at: Instant,
    calls: u64,
    failures: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Counted {
    fn since(at: Instant) -> Self {
        let noted = VecDeque::from([Note { at, calls: 0, failures: 0 }]);
        Self { calls: AtomicU64::new(0), failures: AtomicU64::new(0), noted: Mutex::new(noted) }
    }

    /// The hook was called for a decision.
    pub fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// That call failed by the hook's fault.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Calls and failures of the last minute, as exactly as this is asked: once a second.
    pub fn lately(&self) -> (u64, u64) {
        self.lately_at(Instant::now())
    }

    fn lately_at(&self, now: Instant) -> (u64, u64) {
        // Failures first: there are never more of them than calls.
        let failures = self.failures.load(Relaxed);
        let calls = self.calls.load(Relaxed);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        while noted.get(1).is_some_and(|next| now.saturating_duration_since(next.at) >= WINDOW) {
            noted.pop_front();
        }
        if noted.back().is_some_and(|last| now.saturating_duration_since(last.at) >= NOTED_EVERY) {
            noted.push_back(Note { at: now, calls, failures });
        }
        let before = noted.front().map_or((0, 0), |first| (first.calls, first.failures));
        (calls.saturating_sub(before.0), failures.saturating_sub(before.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_looked_at() {
        let start = Instant::now();
        let calls = Counted::since(start);
        let mut at_second = Vec::new();
        for second in 0..300 {
            // Ten calls a second, one of which fails; none from the third minute on.
            for _ in 0..if second < 180 { 10 } else { 0 } {
                calls.called();
            }
            if second < 180 {
                calls.failed();
            }
            at_second.push(calls.lately_at(start + Duration::from_secs(second)));
        }
        assert_eq!(at_second[0], (10, 1));
        assert_eq!(at_second[30], (310, 31));
        assert!((590..=610).contains(&at_second[150].0) && (59..=61).contains(&at_second[150].1), "{at_second:?}");
        assert_eq!(at_second[299], (0, 0));
        assert!(calls.noted.lock().unwrap().len() <= 62);
    }
}
