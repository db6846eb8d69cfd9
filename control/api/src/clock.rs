//! What time it is, as the API is told; and stamps that never repeat or fall back, whatever the clock does.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Gives Unix milliseconds, and milliseconds that only ever pass.
#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    steady: Arc<dyn Fn() -> u64 + Send + Sync>,
    trust: Arc<Mutex<Option<Trust>>>,
}

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        let begun = Instant::now();
        Self::of_both(
            || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            move || begun.elapsed().as_millis() as u64,
        )
    }

    /// Another one, whose time passes as it says: tests set it.
    pub fn of(now_ms: impl Fn() -> u64 + Clone + Send + Sync + 'static) -> Self {
        Self::of_both(now_ms.clone(), now_ms)
    }

    /// Another one, which may be set to another time than has passed.
    pub fn of_both(
        wall_ms: impl Fn() -> u64 + Send + Sync + 'static,
        steady_ms: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { wall: Arc::new(wall_ms), steady: Arc::new(steady_ms), trust: Arc::default() }
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        (self.wall)()
    }

    /// Unix seconds.
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1_000
    }

    /// What is older than this may be removed or given up for its age, Unix milliseconds: the time, as far as the clock is believed. 0, so that
    /// nothing is old, until it is known when the store was used last.
    pub fn believed_ms(&self) -> u64 {
        self.trust().as_mut().map_or(0, |trust| trust.purge_until(self))
    }

    /// The store was used last then; `None`: never.
    pub fn store_was_used(&self, seen_ms: Option<u64>) {
        let trust = Trust::begin(self, seen_ms);
        *self.trust() = Some(trust);
    }

    fn trust(&self) -> MutexGuard<'_, Option<Trust>> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now_ms())
    }
}

/// Up to when things may be removed because they have expired, or given up because they are old. A clock that is set to another year says that everything has; so a leap of it
/// counts only once it has stood for a day. Until then time passes as it did before. Who is let in is decided by the clock as it is.
#[derive(Debug)]
pub(crate) struct Trust {
    /// Wall and steady milliseconds that belong together.
    believed: (u64, u64),
    /// The same of a leap that is not believed yet.
    doubted: Option<(u64, u64)>,
}

/// What clocks are corrected by, and processes are held up for.
const LEAP_MS: u64 = 3_600_000;
/// For how long a server may be off without its clock being doubted.
const OFF_MS: u64 = 31 * 24 * 3_600_000;
/// After this time the clock is believed whatever it says.
const STANDS_MS: u64 = 24 * 3_600_000;

impl Trust {
    /// Of a process that begins; `seen_ms`: when its store was used last.
    pub(crate) fn begin(clock: &Clock, seen_ms: Option<u64>) -> Self {
        let (wall_ms, steady_ms) = (clock.now_ms(), (clock.steady)());
        let is_long = seen_ms.is_some_and(|seen_ms| wall_ms.saturating_sub(seen_ms) > OFF_MS);
        let base_ms = if is_long { seen_ms.unwrap_or(wall_ms) } else { wall_ms };
        Self { believed: (base_ms, steady_ms), doubted: None }
    }

    /// What expired up to here may be removed, Unix milliseconds.
    pub(crate) fn purge_until(&mut self, clock: &Clock) -> u64 {
        let (wall_ms, steady_ms) = (clock.now_ms(), (clock.steady)());
        let passed = |(wall, steady): (u64, u64)| wall.saturating_add(steady_ms.saturating_sub(steady));
        let expected_ms = passed(self.believed);
        // Set back: less has expired than was thought, which harms nothing.
        if wall_ms <= expected_ms.saturating_add(LEAP_MS) {
            (self.believed, self.doubted) = ((wall_ms, steady_ms), None);
            return wall_ms;
        }
        let doubted = self.doubted.filter(|doubted| wall_ms.abs_diff(passed(*doubted)) <= LEAP_MS);
        match doubted {
            Some((_, since)) if steady_ms.saturating_sub(since) >= STANDS_MS => {
                (self.believed, self.doubted) = ((wall_ms, steady_ms), None);
                wall_ms
            }
            Some(_) => expected_ms,
            None => {
                let ahead_hours = (wall_ms - expected_ms) / 3_600_000;
                tracing::error!(
                    ahead_hours,
                    "the clock is far ahead of where it was: what has expired by it is kept for a day, so that it can be set right"
                );
                self.doubted = Some((wall_ms, steady_ms));
                expected_ms
            }
        }
    }
}

/// Keys in the order of time: 13 digits of Unix milliseconds, and 6 that count within one. They rise even when the clock is set back.
#[derive(Debug)]
pub struct Stamps(Mutex<(u64, u32)>);

/// What a stamp counts to within one millisecond.
const COUNT_MAX: u32 = 999_999;

impl Stamps {
    /// Stamps behind this one, the last that was used; `None`: none was.
    pub fn after(last: Option<&str>) -> Self {
        let parse = |text: &str| {
            let (ms, count) = text.split_once('-')?;
            Some((ms.parse().ok()?, count.parse().ok()?))
        };
        Self(Mutex::new(last.and_then(parse).unwrap_or_default()))
    }

    /// The next one.
    pub fn next(&self, now_ms: u64) -> String {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = match *last {
            (ms, _) if now_ms > ms => (now_ms, 0),
            (ms, count) if count < COUNT_MAX => (ms, count + 1),
            (ms, _) => (ms + 1, 0),
        };
        format!("{:013}-{:06}", last.0, last.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_of_the_clock_counts_only_once_it_has_stood_for_a_day() {
        use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
        const HOUR: u64 = 3_600_000;
        const YEAR: u64 = 365 * 24 * HOUR;
        let times: Arc<[AtomicU64; 2]> = Arc::new([AtomicU64::new(100 * YEAR), AtomicU64::new(0)]);
        let (wall, steady) = (Arc::clone(&times), Arc::clone(&times));
        let clock = Clock::of_both(move || wall[0].load(Relaxed), move || steady[1].load(Relaxed));
        let pass = |ms| {
            for time in &*times {
                time.fetch_add(ms, Relaxed);
            }
        };
        let mut trust = Trust::begin(&clock, None);
        pass(HOUR);
        assert_eq!(trust.purge_until(&clock), 100 * YEAR + HOUR);
        // Ten years ahead, and back after ten hours.
        times[0].fetch_add(10 * YEAR, Relaxed);
        for hours in 1..=10 {
            pass(HOUR);
            assert_eq!(trust.purge_until(&clock), 100 * YEAR + HOUR + hours * HOUR);
        }
        times[0].fetch_sub(10 * YEAR, Relaxed);
        pass(HOUR);
        assert_eq!(trust.purge_until(&clock), 100 * YEAR + 12 * HOUR);
        // Ahead, and it stays so: after a day that is the time. A leap from there on begins anew.
        times[0].fetch_add(10 * YEAR, Relaxed);
        trust.purge_until(&clock);
        pass(23 * HOUR);
        assert_eq!(trust.purge_until(&clock), 100 * YEAR + 35 * HOUR);
        pass(HOUR);
        assert_eq!(trust.purge_until(&clock), 110 * YEAR + 36 * HOUR);
        // Set back by years: nothing is removed that was not before.
        times[0].store(YEAR, Relaxed);
        assert_eq!(trust.purge_until(&clock), YEAR);
        // A start long after the store was used last, and one soon after.
        let now = clock.now_ms();
        assert_eq!(Trust::begin(&clock, Some(now - 40 * 24 * HOUR)).purge_until(&clock), now - 40 * 24 * HOUR);
        assert_eq!(Trust::begin(&clock, Some(now - 30 * 24 * HOUR)).purge_until(&clock), now);
        assert_eq!(Trust::begin(&clock, Some(now + YEAR)).purge_until(&clock), now);
    }

    #[test]
    fn stamps_rise_whatever_the_clock_does() {
        let stamps = Stamps::after(None);
        let mut made = vec![stamps.next(1_000), stamps.next(1_000), stamps.next(900), stamps.next(1_001)];
        let again = Stamps::after(made.last().map(String::as_str));
        made.extend([again.next(5), again.next(2_000)]);
        assert_eq!(made[0], "0000000001000-000000");
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
        let full = Stamps::after(Some("0000000000007-999999"));
        assert_eq!(full.next(3), "0000000000008-000000");
    }
}
