//! Where time comes from: the only place that reads clocks. Everything else is told.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_proto::time::Time;

use crate::io::monotonic_ns;

/// The process's clock. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// The same moment, as the kernel counts it: asked for twice per send, so it is read without detours.
    epoch_ns: u64,
}

impl Clock {
    /// A clock whose epoch is now.
    pub(crate) fn start() -> Self {
        Self { epoch: Instant::now(), epoch_ns: monotonic_ns() }
    }

    /// The time since the epoch.
    pub(crate) fn now(&self) -> Time {
        Time::from_micros(monotonic_ns().saturating_sub(self.epoch_ns) / 1_000)
    }

    /// A point in time as the runtime's timer wants it.
    pub(crate) fn instant(&self, at: Time) -> Instant {
        self.epoch + Duration::from_micros(at.as_micros())
    }
}

/// Wall-clock seconds since 1970, for expiry.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Wall-clock milliseconds since 1970, for people and for what is kept.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
