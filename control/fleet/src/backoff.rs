//! How long to wait before the next try: twice as long each time up to a limit, and never the same for two nodes, so that a fleet does
//! not come back to control, or to a server that it relays to, in step.
use std::time::Duration;

/// The next wait after a failure.
#[derive(Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    tries: u32,
    state: u64,
}

impl Backoff {
    /// From `least` to `most`; `seed` makes it this node's own.
    pub fn new(least: Duration, most: Duration, seed: u64) -> Self {
        Self { least, most, tries: 0, state: seed }
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// It failed once more: how long to wait, between a half and the whole of the doubled time.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.least.saturating_mul(1_u32 << self.tries.min(20)).min(self.most);
        self.tries = self.tries.saturating_add(1);
        // SplitMix64: for spreading, not for secrets.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let share = ((mixed ^ (mixed >> 27)) >> 40) as f64 / (1_u64 << 24) as f64;
        whole.mul_f64(0.5 + share / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_differ_between_nodes() {
        let waits = |seed| {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), seed);
            (0..40).map(|_| backoff.next_wait().as_millis() as u64).collect::<Vec<_>>()
        };
        let (one, other) = (waits(1), waits(2));
        for (n, wait) in one.iter().enumerate() {
            let whole = (100_u64 << n.min(10)).min(2000);
            assert!((whole / 2..=whole).contains(wait), "{n}: {wait}");
        }
        assert_ne!(one, other);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), 1);
        for _ in 0..9 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
