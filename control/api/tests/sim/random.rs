//! Numbers from a seed, for all who take part in a world.
use std::cell::Cell;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::trace::Trace;

/// SplitMix64, and what was done with it; clones draw from the same row.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    row: Arc<AtomicU64>,
    trace: Trace,
}

impl Random {
    pub(crate) fn new(seed: u64, trace: &Trace) -> Self {
        let row = AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678);
        Self { row: Arc::new(row), trace: trace.clone() }
    }

    /// Something happened.
    pub(crate) fn say(&self, what: impl Display) {
        self.trace.say(self.row.load(Ordering::Relaxed), what);
    }

    pub(crate) fn next(&self) -> u64 {
        let mut z = self.row.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `most`.
    pub(crate) fn below(&self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Most often short, seldom long.
    pub(crate) fn context(&self, most_ms: u64) -> Duration {
        let most_ms = if self.percent(80) { most_ms / 8 + 1 } else { most_ms };
        Duration::from_micros(self.below(most_ms * 1_000))
    }
}

/// A number that everybody in a world may raise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Rc<Cell<u64>>);

impl Count {
    pub(crate) fn one(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}
