//! The conditions that are recognised: their words, how bad they are, and for how long each has to last until it is told and until it is over.

/// A condition of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Keyframes are far apart.
    GopTooLong,
    /// Stamps of the encoder jumped.
    TimestampsJump,
    /// Media arrives more slowly than it is stamped.
    UplinkStarves,
    /// B-frames, while viewers play with low latency.
    BFrames,
    /// Audio is announced and does not come, has stopped, or is stamped apart from the picture.
    Audio,
    /// Most viewers cannot receive as much as the stream has.
    BitrateAboveViewers,
    /// The encoder loses its connection and comes back.
    EncoderReconnects,
    /// Another publisher took the stream's place.
    PublisherReplaced,
    /// A hook turns people away, or fails.
    Hook,
    /// A recording does not grow.
    RecordingPaused,
    /// The worker is too slow for some renditions.
    WorkerSheds,
    /// Viewers are behind.
    ViewersLag,
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// Something to know.
    Notice,
    /// Viewers may see it.
    Warning,
    /// Something that is wanted does not happen.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// For how long it has to be so, milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// Until it is told.
    pub raise_ms: u64,
    /// Not so, until it is over.
    pub clear_ms: u64,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::UplinkStarves,
        Self::Audio,
        Self::RecordingPaused,
        Self::Hook,
        Self::EncoderReconnects,
        Self::PublisherReplaced,
        Self::TimestampsJump,
        Self::GopTooLong,
        Self::BitrateAboveViewers,
        Self::ViewersLag,
        Self::WorkerSheds,
        Self::BFrames,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::GopTooLong => "gop_too_long",
            Self::TimestampsJump => "timestamps_jump",
            Self::UplinkStarves => "uplink_starves",
            Self::BFrames => "b_frames",
            Self::Audio => "audio",
            Self::BitrateAboveViewers => "bitrate_above_viewers",
            Self::EncoderReconnects => "encoder_reconnects",
            Self::PublisherReplaced => "publisher_replaced",
            Self::Hook => "hook",
            Self::RecordingPaused => "recording_paused",
            Self::WorkerSheds => "worker_sheds",
            Self::ViewersLag => "viewers_lag",
        }
    }

    /// By its word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// How bad it is, in this form of it.
    pub fn severity(self, form: &str) -> Severity {
        match (self, form) {
            (Self::BFrames, _) | (Self::Hook, "denies_play") => Severity::Notice,
            (Self::UplinkStarves | Self::RecordingPaused, _)
            | (Self::Hook, "fails" | "not_ready" | "late" | "overloaded") => Severity::Error,
            _ => Severity::Warning,
        }
    }

    /// Its hysteresis. What is judged by a window of time, or by events that count for a while, has waited already.
    pub(crate) const fn times(self) -> Times {
        let (raise_ms, clear_ms) = match self {
            Self::GopTooLong | Self::Audio => (0, 2_000),
            Self::UplinkStarves => (0, 5_000),
            Self::BFrames | Self::BitrateAboveViewers => (1_000, 10_000),
            Self::ViewersLag => (2_000, 10_000),
            Self::TimestampsJump
            | Self::EncoderReconnects
            | Self::PublisherReplaced
            | Self::Hook
            | Self::RecordingPaused => (0, 0),
            // It is tried again, and fails again after some seconds.
            Self::WorkerSheds => (0, 15_000),
        };
        Times { raise_ms, clear_ms }
    }
}
