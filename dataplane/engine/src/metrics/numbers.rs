//! Numbers with one writer, the shard's thread, and a reader now and then: plain loads and stores, no locked instructions.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, change: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(change), Relaxed);
    }

    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Counts by reason. Reasons are literals of the program, so there is a fixed number of them. Locked: reasons are rare events.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    pub(crate) fn add(&self, reason: &'static str, count: u64) {
        if count > 0 {
            let mut reasons = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *reasons.entry(reason).or_default() += count;
        }
    }

    pub(crate) fn get(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

const BUCKETS_MAX: usize = 12;

#[derive(Debug, Default)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    counts: [Counter; BUCKETS_MAX],
    sum: AtomicU64,
}

impl Histogram {
    /// Buckets up to these bounds, and one above them.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() < BUCKETS_MAX);
        Self { bounds, ..Self::default() }
    }

    pub(crate) fn observe(&self, value: f64) {
        let bucket = self.bounds.iter().position(|&bound| value <= bound).unwrap_or(self.bounds.len());
        if let Some(counter) = self.counts.get(bucket) {
            counter.add(1);
        }
        self.sum.store((f64::from_bits(self.sum.load(Relaxed)) + value).to_bits(), Relaxed);
    }

    /// Sum, count, and counts per bucket by upper bound.
    pub(crate) fn get(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts.iter().map(Counter::get)).collect();
        (f64::from_bits(self.sum.load(Relaxed)), buckets.iter().map(|(_, count)| count).sum(), buckets)
    }
}
