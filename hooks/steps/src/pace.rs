//! Whether hooks may run on a shard: at most a twentieth of its time, and only those that are quick. Others run on [`super::threads`], so that
//! viewers do not wait for them. Before it: what calls have cost; after it: [`super::step`].
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A shard's time is looked at in pieces of this length.
const WINDOW: Duration = Duration::from_millis(100);
/// Of each of them hooks may use this much.
const IN_WINDOW_MAX: Duration = Duration::from_millis(5);
/// A call that costs more is a slow one.
const SLOW: Duration = Duration::from_micros(200);
/// A hook is judged by this many calls.
const JUDGED_BY: u32 = 256;
/// It is quick when at most one in this many of them is slow.
const SLOW_ONE_IN: u32 = 100;

/// What hooks use of one shard's time.
#[derive(Debug)]
pub struct ShardTime {
    begun: Instant,
    /// Which piece of time it is.
    window: AtomicU64,
    used_ns: AtomicU64,
}

impl Default for ShardTime {
    fn default() -> Self {
        Self { begun: Instant::now(), window: AtomicU64::new(0), used_ns: AtomicU64::new(0) }
    }
}

impl ShardTime {
    fn at(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.begun).as_millis() / WINDOW.as_millis()) as u64
    }

    /// Whether a hook may run now.
    pub fn has_room(&self, now: Instant) -> bool {
        self.window.load(Relaxed) != self.at(now) || self.used_ns.load(Relaxed) < IN_WINDOW_MAX.as_nanos() as u64
    }

    /// A hook has run for so long. Only the shard's own thread says so.
    pub fn used(&self, cpu: Duration, now: Instant) {
        let window = self.at(now);
        if self.window.swap(window, Relaxed) != window {
            self.used_ns.store(0, Relaxed);
        }
        self.used_ns.fetch_add(cpu.as_nanos() as u64, Relaxed);
    }
}

/// How quick a hook is, on all shards.
#[derive(Debug, Default)]
pub struct Pace {
    calls: AtomicU32,
    slow: AtomicU32,
    is_slow: AtomicBool,
}

impl Pace {
    /// A call has cost so much. Shards that say so at the same time may lose a call of the count, which does no harm.
    pub fn took(&self, cpu: Duration) {
        let slow = self.slow.fetch_add(u32::from(cpu > SLOW), Relaxed) + u32::from(cpu > SLOW);
        let calls = self.calls.fetch_add(1, Relaxed) + 1;
        // Many slow ones are enough; to be quick takes all of them.
        let too_many = JUDGED_BY / SLOW_ONE_IN;
        if slow > too_many {
            self.is_slow.store(true, Relaxed);
        }
        if calls >= JUDGED_BY {
            self.is_slow.store(slow > too_many, Relaxed);
            self.calls.store(0, Relaxed);
            self.slow.store(0, Relaxed);
        }
    }

    /// Whether it is too slow for shards.
    pub fn is_slow(&self) -> bool {
        self.is_slow.load(Relaxed)
    }
}
