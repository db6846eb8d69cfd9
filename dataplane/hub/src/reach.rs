//! How many different viewers asked within the last while, in bounded memory: a theta sketch over a window of time. For viewers that have no
//! session, as those of HLS and DASH. Fed by the engine's egress; read for the API and metrics.
//!
//! A viewer is a 64-bit hash, evenly spread. Kept are the smallest ones, each with when it was heard last. As long as all fit, the count is
//! exact; beyond that, those kept stand for the others: below a hash `theta` there are `theta / 2^64` of all. Sketches of several shards are
//! merged by their hashes, so a viewer that two shards heard counts once.
use std::collections::BTreeMap;
use std::time::Duration;

use millstream_proto::time::Time;

/// Hashes kept of a stream on a shard, 16 bytes each and the tree around them: exact up to here, beyond it within 3% (one standard error).
pub const REACH_KEPT_MAX: usize = 1_024;
/// Few are left of many: then more hashes are let in again.
const FEW: usize = REACH_KEPT_MAX / 2;

/// What was heard of one stream on one shard.
#[derive(Clone, Debug)]
pub struct Reach {
    heard: BTreeMap<u64, Time>,
    /// Hashes up to here are let in.
    lets_in: u64,
    /// Hashes up to here are counted: those above have not been let in for long enough that all who are there were heard.
    counts: u64,
    /// Since when hashes between the two are let in.
    since: Time,
}

impl Default for Reach {
    fn default() -> Self {
        Self { heard: BTreeMap::new(), lets_in: u64::MAX, counts: u64::MAX, since: Time::ZERO }
    }
}

impl Reach {
    /// A viewer asked.
    pub fn hear(&mut self, hash: u64, now: Time) {
        if hash > self.lets_in {
            return;
        }
        self.heard.insert(hash, now);
        if self.heard.len() > REACH_KEPT_MAX
            && let Some((largest, _)) = self.heard.pop_last()
        {
            self.lets_in = largest.saturating_sub(1);
            self.counts = self.counts.min(self.lets_in);
        }
    }

    /// Forgets who was not heard within `window`; true: nobody is left.
    pub fn forget(&mut self, window: Duration, now: Time) -> bool {
        self.heard.retain(|_, heard| now.since(*heard) <= window);
        if self.counts < self.lets_in && now.since(self.since) > window {
            self.counts = self.lets_in;
        } else if self.counts == self.lets_in && self.lets_in < u64::MAX && self.heard.len() < FEW {
            self.lets_in = self.lets_in.saturating_mul(2);
            self.since = now;
        }
        self.heard.is_empty()
    }

    /// Nobody was heard who is not forgotten yet.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// What is to be merged with other shards' and counted. Call [`Reach::forget`] before it.
    pub fn sample(&self) -> Sample {
        Sample { hashes: self.heard.range(..=self.counts).map(|(hash, _)| *hash).collect(), theta: self.counts }
    }
}

/// What a shard heard, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// In order.
    hashes: Vec<u64>,
    /// All that were heard up to here are among them.
    theta: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self { hashes: Vec::new(), theta: u64::MAX }
    }
}

impl Sample {
    /// Adds what another shard heard.
    pub fn merge(&mut self, other: &Self) {
        self.theta = self.theta.min(other.theta);
        self.hashes.extend_from_slice(&other.hashes);
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let theta = self.theta;
        self.hashes.retain(|hash| *hash <= theta);
    }

    /// How many viewers that are.
    pub fn count(&self) -> u64 {
        if self.theta == u64::MAX {
            return self.hashes.len() as u64;
        }
        (self.hashes.len() as f64 * (u64::MAX as f64 / self.theta.max(1) as f64)).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(6);

    /// Marsaglia's xorshift64, well mixed: hashes as a keyed hash gives them.
    fn hash(n: u64) -> u64 {
        let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn few_viewers_are_counted_exactly_and_forgotten_after_the_window() {
        let mut reach = Reach::default();
        for second in 0..10 {
            (0..1_000).for_each(|n| reach.hear(hash(n), at(second)));
        }
        assert!(!reach.forget(WINDOW, at(10)));
        assert_eq!(reach.sample().count(), 1_000, "however often they ask");
        (0..10).for_each(|n| reach.hear(hash(n), at(12)));
        assert!(!reach.forget(WINDOW, at(16)));
        assert_eq!(reach.sample().count(), 10);
        assert!(reach.forget(WINDOW, at(19)));
        assert_eq!(reach.sample().count(), 0);
    }

    #[test]
    fn many_viewers_are_estimated_in_bounded_memory() {
        for many in [2_000_u64, 20_000, 1_000_000] {
            let mut reach = Reach::default();
            (0..many).for_each(|n| reach.hear(hash(n), at(0)));
            assert!(reach.heard.len() <= REACH_KEPT_MAX);
            let count = reach.sample().count();
            assert!(count.abs_diff(many) < many / 8, "{count} of {many}");
        }
    }

    #[test]
    fn a_crowd_that_leaves_is_followed_down_and_counted_exactly_again() {
        let mut reach = Reach::default();
        (0..100_000).for_each(|n| reach.hear(hash(n), at(0)));
        let mut last = 0;
        for second in 1..120 {
            (0..500).for_each(|n| reach.hear(hash(n), at(second)));
            reach.forget(WINDOW, at(second));
            last = reach.sample().count();
            // While the crowd is being forgotten, it is somewhere between.
            assert!(second < 8 || last < 1_500, "{last} after {second} s");
        }
        assert_eq!(last, 500);
    }

    #[test]
    fn a_viewer_that_two_shards_heard_counts_once() {
        let (mut one, mut two) = (Reach::default(), Reach::default());
        (0..600).for_each(|n| one.hear(hash(n), at(0)));
        (400..900).for_each(|n| two.hear(hash(n), at(0)));
        let mut both = one.sample();
        both.merge(&two.sample());
        assert_eq!(both.count(), 900);
        // One of them heard too many to keep.
        (0..50_000).for_each(|n| two.hear(hash(n), at(0)));
        both = one.sample();
        both.merge(&two.sample());
        assert!(both.count().abs_diff(50_000) < 6_000, "{}", both.count());
        let mut other_way = two.sample();
        other_way.merge(&one.sample());
        assert_eq!(other_way, both);
    }
}
