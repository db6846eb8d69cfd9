//! How often a binding's hook was called within the last minute, and how often it failed by its own fault: what a rollback is decided by. Before it:
//! [`super::step`], which counts; after it: the node's reports.
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::blame::Blame;

/// What is looked at.
const WINDOW: Duration = Duration::from_mins(1);
/// Counts are noted no more often than this.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// Calls since a binding is what it is, and failures of late.
#[derive(Debug)]
pub struct Counted {
    calls: AtomicU64,
    /// What they were at earlier moments, oldest first; never empty.
    noted: Mutex<VecDeque<Note>>,
    blame: Mutex<Blame>,
}

#[derive(Clone, Copy, Debug)]
struct Note {
    at: Instant,
    calls: u64,
}

/// What a rollback is decided by.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lately {
    /// Calls.
    pub calls: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// Of those, the ones that no client's request brought about.
    pub by_nobody: u64,
    /// The addresses whose requests failed most often, the worst one first, with how often: rather more than less.
    pub worst: Vec<(IpAddr, u64)>,
}

impl Default for Counted {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counted {
    fn since(at: Instant) -> Self {
        let noted = VecDeque::from([Note { at, calls: 0 }]);
        Self { calls: AtomicU64::new(0), noted: Mutex::new(noted), blame: Mutex::default() }
    }

    /// The hook was called for a decision.
    pub fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// That call failed by the hook's fault, for a request from there.
    pub fn failed(&self, address: IpAddr) {
        self.failed_at(address, Instant::now());
    }

    /// That call failed by the hook's fault, and for no client's request.
    pub fn failed_for_nobody(&self) {
        self.failed_for_one_of(&[]);
    }

    /// That call failed by the hook's fault, for a request from one of these; for no client's, where there are none.
    pub fn failed_for_one_of(&self, addresses: &[IpAddr]) {
        locked(&self.blame).add_one_of(addresses, Instant::now());
    }

    fn failed_at(&self, address: IpAddr, now: Instant) {
        locked(&self.blame).add(address, now);
    }

    /// What came of the last minute, as exactly as this is asked: once a second. At most so many addresses.
    pub fn lately(&self, addresses: usize) -> Lately {
        self.lately_at(addresses, Instant::now())
    }

    fn lately_at(&self, addresses: usize, now: Instant) -> Lately {
        // Failures first: there are never more of them than calls.
        let mut blame = locked(&self.blame);
        let (failures, by_nobody) = (blame.failures(now), blame.by_nobody(now));
        let worst = blame.worst(addresses, now);
        drop(blame);
        let calls = self.calls.load(Relaxed);
        let mut noted = locked(&self.noted);
        while noted.get(1).is_some_and(|next| now.saturating_duration_since(next.at) >= WINDOW) {
            noted.pop_front();
        }
        if noted.back().is_some_and(|last| now.saturating_duration_since(last.at) >= NOTED_EVERY) {
            noted.push_back(Note { at: now, calls });
        }
        let calls = calls.saturating_sub(noted.front().map_or(0, |first| first.calls));
        let failures = failures.min(calls);
        Lately { calls, failures, by_nobody: by_nobody.min(failures), worst }
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
            let now = start + Duration::from_secs(second);
            // Ten calls a second, one of which fails; none from the third minute on.
            for _ in 0..if second < 180 { 10 } else { 0 } {
                calls.called();
            }
            if second < 180 {
                calls.failed_at([192, 0, 2, (second % 3) as u8].into(), now);
            }
            let Lately { calls, failures, by_nobody, worst } = calls.lately_at(2, now);
            assert_eq!(by_nobody, 0);
            assert!(worst.len() <= 2);
            at_second.push((calls, failures, worst.iter().map(|(_, failures)| failures).sum::<u64>()));
        }
        assert_eq!(at_second[0], (10, 1, 1));
        assert_eq!(at_second[30], (310, 31, 21));
        let (all, failures, of_two) = at_second[150];
        assert!((590..=610).contains(&all) && (59..=66).contains(&failures), "{at_second:?}");
        assert_eq!(of_two, (failures * 2).div_ceil(3));
        assert_eq!(at_second[299], (0, 0, 0));
        assert!(locked(&calls.noted).len() <= 62);
    }
}
