//! Whether a job keeps up: sans-IO. Before it: how long tags waited before they were decoded; after it: [`super::pipeline`] ends a rendition.
use std::time::{Duration, Instant};

/// How long is looked before a conclusion.
const WINDOW: Duration = Duration::from_secs(2);
/// Tags that wait so long, all through a window, are late.
const LATE: Duration = Duration::from_millis(700);
/// Windows in a row that are late, and not less late than the one before, until something has to go.
const LATE_WINDOWS: u32 = 2;

/// Watches the waits. A job that has just begun works off what its source began with, and is late and less late from window to window.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    least: Option<Duration>,
    before: Option<Duration>,
    late_windows: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, least: None, before: None, late_windows: 0 }
    }

    /// A tag that waited so long is decoded, or still waits. Whether the job has to do less.
    pub(super) fn is_too_slow(&mut self, now: Instant, waited: Duration) -> bool {
        let least = self.least.map_or(waited, |least| least.min(waited));
        self.least = Some(least);
        if now.duration_since(self.since) < WINDOW {
            return false;
        }
        let catches_up = self.before.is_none_or(|before| least * 10 < before * 9);
        self.late_windows = if least > LATE && !catches_up { self.late_windows + 1 } else { 0 };
        (self.since, self.before, self.least) = (now, Some(least), None);
        if self.late_windows < LATE_WINDOWS {
            return false;
        }
        // What goes makes a difference only after a while.
        *self = Self::new(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the job is too slow, in seconds, with waits as a function of time.
    fn run(waited_ms: impl Fn(u64) -> u64) -> Vec<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        let slow =
            (0..30_000).step_by(40).filter(|ms| pace.is_too_slow(at(*ms), Duration::from_millis(waited_ms(*ms))));
        slow.map(|ms| ms / 1000).collect()
    }

    #[test]
    fn who_falls_behind_and_who_catches_up() {
        assert_eq!(run(|_| 20), [0; 0]);
        // Spikes of a busy machine.
        assert_eq!(run(|ms| if ms % 1500 < 1000 { 900 } else { 30 }), [0; 0]);
        // A burst of ten seconds that is worked off at twice its rate.
        assert_eq!(run(|ms| 10_000_u64.saturating_sub(ms)), [0; 0]);
        // More and more, and as late as the queue is long.
        assert_eq!(run(|ms| ms / 3), [8, 14, 20, 26]);
        assert_eq!(run(|_| 3_000), [6, 12, 18, 24]);
    }
}
