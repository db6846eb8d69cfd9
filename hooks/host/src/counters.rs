//! Counters that a hook makes for itself.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Counters of one hook.
pub const MAX_COUNTERS: usize = 32;
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The counters of one hook on this node.
#[derive(Default)]
pub struct Counters {
    values: RwLock<BTreeMap<String, AtomicU64>>,
    dropped: AtomicU64,
}

impl Counters {
    /// Names and values.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        values.iter().map(|(name, value)| (name.clone(), value.load(Ordering::Relaxed))).collect()
    }

    /// Additions that were dropped, because the name is not one or there are too many.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, name: &str, delta: u64) {
        let valid = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(valid) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(value) = self.values.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            // Wraps after 2^64: readers of counters take that for a restart.
            value.fetch_add(delta, Ordering::Relaxed);
            return;
        }
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        if values.len() >= MAX_COUNTERS && !values.contains_key(name) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        values.entry(name.to_owned()).or_default().fetch_add(delta, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_number_are_bounded() {
        let counters = Counters::default();
        for n in 0..100 {
            counters.add(&format!("c{n:02}"), 2);
        }
        counters.add("c00", 3);
        for name in ["", "Upper", "a-b", "a b", "é", &"x".repeat(65)] {
            counters.add(name, 1);
        }
        let snapshot = counters.snapshot();
        assert_eq!((snapshot.len(), snapshot["c00"], snapshot["c31"]), (32, 5, 2));
        assert_eq!(counters.dropped(), 68 + 6);
    }
}
