//! What the recorder is told: already checked, in units. The binary makes it from its configuration and the records of streams.
use std::time::Duration;

/// Of the whole recorder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Bytes that the spool may hold: beyond it new recordings are refused and running ones pause.
    pub spool_max_bytes: u64,
    /// How long a recording that a crash cut off waits for its publisher before it is closed.
    pub publisher_wait: Duration,
    /// A recording that is longer is closed, and the next one begins with the same segment: a list of segments cannot grow for ever.
    pub recording_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spool_max_bytes: 20 << 30,
            publisher_wait: Duration::from_secs(10),
            recording_max: Duration::from_hours(12),
        }
    }
}

/// Of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamSettings {
    /// `isOnDemand`: its HLS is kept whenever it is on air.
    pub is_on_demand: bool,
    /// `ondemand_time`: seconds that an object holds.
    pub ondemand_time_s: u32,
    /// `isVideo`: MP4 files are made of it whenever it is on air.
    pub is_video: bool,
    /// `video_time`: seconds that such a file holds.
    pub video_time_s: u32,
    /// `retention_days`: told in `recording.json`, for who removes what is old; 0 keeps it for ever.
    pub retention_days: u32,
    /// `dvr_window_s`: how far viewers may go back from the live edge, seconds; 0: not at all.
    pub dvr_window_s: u32,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            is_on_demand: false,
            ondemand_time_s: 60,
            is_video: false,
            video_time_s: 60,
            retention_days: 0,
            dvr_window_s: 4 * 3_600,
        }
    }
}

impl StreamSettings {
    /// Whether it is recorded whenever it is on air.
    pub const fn is_recorded(&self) -> bool {
        self.is_on_demand || self.is_video
    }

    /// Whether the recording itself is kept: one that somebody begins by hand is, too.
    pub const fn keeps_hls(&self) -> bool {
        self.is_on_demand || !self.is_video
    }
}
