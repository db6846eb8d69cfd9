//! The run's clock: microseconds since it began, and how a kernel's or a peer's wall-clock stamp falls on it. Everything else in this
//! crate is told the time; only this file and the event loop read it.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_proto::time::Time;

/// Stamps that claim to be older than this are not believed: the wall clock was set meanwhile.
const AGE_MAX: Duration = Duration::from_mins(1);

/// A monotonic clock with an epoch of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }

    /// Microseconds since 1970.
    pub(crate) fn wall_us() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }

    /// Where on this clock a wall-clock stamp (microseconds since 1970) of the recent past falls. A stamp that cannot be one is `now`.
    pub(crate) fn place(now: Time, now_wall_us: u64, stamp_us: u64) -> Time {
        match now_wall_us.checked_sub(stamp_us).map(Duration::from_micros) {
            Some(age) if age <= AGE_MAX => now - age,
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_fall_on_the_clock() {
        let now = Time::from_millis(90_000);
        assert_eq!(Clock::place(now, 1_000_000, 997_000), Time::from_millis(89_997));
        assert_eq!(Clock::place(now, 1_000_000, 1_000_500), now, "from the future");
        assert_eq!(Clock::place(now, 100_000_000, 0), now, "from long ago");
    }
}
