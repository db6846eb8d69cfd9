//! The process's clock, and wall-clock time: the only place that asks [`crate::io`] for it. Everything else is told.
use std::time::{Duration, Instant};

use millstream_proto::time::Time;

use crate::io::{monotonic_instant, monotonic_ns, since_1970};

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
        Self { epoch: monotonic_instant(), epoch_ns: monotonic_ns() }
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
    since_1970().as_secs()
}

/// Wall-clock milliseconds since 1970, for people and for what is kept.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}
