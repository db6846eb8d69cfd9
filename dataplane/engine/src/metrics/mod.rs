//! What each shard counts, and how it is shown. A shard writes only its own numbers; `/metrics` reads all of them.
mod expose;
mod numbers;

pub(crate) use expose::render;
pub(crate) use numbers::{Counter, Gauge, Histogram, Reasons};

use crate::output::{Formats, OutputFormat};

/// Numbers of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardStats {
    pub(crate) streams: Gauge,
    pub(crate) publishers: Gauge,
    pub(crate) slates: Gauge,
    /// By output format. Of those whose viewers have no session: of the whole process, estimated; the first shard tells it.
    viewers: Vec<(&'static OutputFormat, Gauge)>,
    pub(crate) connections: Gauge,
    /// Of the whole process; the first shard tells it.
    pub(crate) resident_bytes: Gauge,
    pub(crate) mirrors: Gauge,
    pub(crate) pending: Gauge,
    pub(crate) sends_in_flight: Gauge,
    pub(crate) log_bytes: Gauge,
    pub(crate) log_blocks: Gauge,
    pub(crate) hls_blocked: Gauge,
    pub(crate) hls_bytes: Gauge,
    pub(crate) hls_parts: Counter,
    pub(crate) hls_segments: Counter,
    pub(crate) hls_realigned: Counter,
    pub(crate) hls_playlists: Counter,
    pub(crate) hls_files: Counter,
    pub(crate) players_unheard: Counter,
    pub(crate) recorded_answers: Gauge,
    pub(crate) recorded_requests: Counter,
    pub(crate) recorded_bytes: Counter,
    /// Requests for recorded files that got none, by reason.
    pub(crate) recorded_refused: Reasons,
    pub(crate) packaging_micros: Counter,
    pub(crate) connections_total: Counter,
    pub(crate) tls_handshakes: Counter,
    pub(crate) http2_connections: Counter,
    pub(crate) http2_requests: Counter,
    pub(crate) publishes_total: Counter,
    pub(crate) publishes_slowed: Counter,
    pub(crate) plays_total: Counter,
    pub(crate) slates_total: Counter,
    pub(crate) handovers_total: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) frames_video: Counter,
    pub(crate) frames_audio: Counter,
    pub(crate) sends: Counter,
    pub(crate) skips: Counter,
    pub(crate) mirror_jumps: Counter,
    pub(crate) mailbox_full: Counter,
    pub(crate) panics: Counter,
    pub(crate) c2_mismatches: Counter,
    pub(crate) timestamp_jumps: Counter,
    pub(crate) events_lost: Counter,
    pub(crate) cpu_micros: Counter,
    /// Frames and messages that did not reach a viewer, by reason.
    pub(crate) dropped: Reasons,
    /// Sessions that ended, by reason.
    pub(crate) closed: Reasons,
    /// Requests that were refused, by reason.
    pub(crate) refused: Reasons,
    pub(crate) flush_bytes: Histogram,
    pub(crate) added_delay: Histogram,
    pub(crate) first_frame: Histogram,
    pub(crate) part_delay: Histogram,
}

impl ShardStats {
    pub(crate) fn new(formats: &Formats) -> Self {
        Self {
            viewers: formats.iter().map(|format| (format, Gauge::default())).collect(),
            flush_bytes: Histogram::new(&[1e3, 4e3, 16e3, 64e3, 256e3, 1e6]),
            added_delay: Histogram::new(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
            first_frame: Histogram::new(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]),
            part_delay: Histogram::new(&[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]),
            ..Self::default()
        }
    }

    /// How many view each format.
    pub(crate) fn viewers(&self) -> impl Iterator<Item = (&'static OutputFormat, &Gauge)> {
        self.viewers.iter().map(|(format, gauge)| (*format, gauge))
    }

    /// How many view this format; `None`: it is not in the table.
    pub(crate) fn viewers_of(&self, protocol: &str) -> Option<&Gauge> {
        self.viewers().find(|(format, _)| format.protocol == protocol).map(|(_, gauge)| gauge)
    }
}
