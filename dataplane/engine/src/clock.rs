//! Where time comes from: the only place that reads clocks. Everything else is told.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_proto::time::Time;

/// The process's clock. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    pub(crate) fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// The time since the epoch.
    pub(crate) fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
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

/// Wall-clock milliseconds since 1970, for dates in playlists.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
