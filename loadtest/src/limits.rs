//! Every maximum of the harness, in one place, each with its unit: a mistyped number must not take the machine along.
use std::time::Duration;

/// Viewers at the same time.
pub const VIEWERS_MAX: usize = 100_000;
/// Publishers at the same time.
pub const PUBLISHERS_MAX: usize = 10_000;
/// Viewers that parse all they get.
pub const SAMPLE_MAX: usize = 1_000;
/// Longest run.
pub const DURATION_MAX: Duration = Duration::from_hours(24);
/// Viewer sessions of one run, those that churn included.
pub const SESSIONS_MAX: usize = 2_000_000;
/// Bit rate of one synthetic track, kbit/s.
pub const KBIT_MAX: u32 = 200_000;
/// Frames per second of a synthetic stream.
pub const FPS_MAX: u32 = 240;
/// Bytes of a clip file.
pub const CLIP_BYTES_MAX: u64 = 256 << 20;
/// Bytes of a plan file.
pub const PLAN_BYTES_MAX: u64 = 64 << 10;
/// Bytes of the head of an HTTP answer.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines of an HTTP answer.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Frames of one track that are remembered for matching: two minutes of 60 frames a second.
pub const LEDGER_FRAMES_MAX: usize = 8_192;
/// Bytes read at once, and bytes that one drained viewer may give up in one call.
pub const READ_BYTES: usize = 256 << 10;
/// Bytes that a viewer without a picture reads at once.
pub const JOINING_READ_BYTES: usize = 4 << 10;
/// Bytes that wait for one viewer's socket to take them: requests and acknowledgements.
pub const VIEWER_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Bytes that wait for one publisher's socket to take them.
pub const PUBLISHER_OUTPUT_BYTES_MAX: usize = 8 << 20;
/// Bytes of a playlist.
pub const PLAYLIST_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a part or segment that is looked into.
pub const PART_BYTES_MAX: u64 = 64 << 20;
/// Samples of one part or segment.
pub const FRAGMENT_SAMPLES_MAX: usize = 16_384;
/// Answers in a row that are of no use to an HLS viewer, before it gives up.
pub const HLS_REFUSALS_MAX: u32 = 20;
/// Descriptors beside those of the connections: files, polls, standard streams.
pub const DESCRIPTORS_SPARE: u64 = 64;
/// Different kinds of trouble that are told apart; more are told as one.
pub const TROUBLES_MAX: usize = 64;
/// Bytes of an answer of `/metrics`.
pub const METRICS_BYTES_MAX: usize = 4 << 20;
/// Largest delay that is told apart, microseconds.
pub const DELAY_MAX_US: u64 = 3_600_000_000;
/// Handshakes a second.
pub const HANDSHAKES_PER_SECOND_MAX: u32 = 20_000;
/// Connections that shake hands at the same time.
pub const HANDSHAKES_OPEN_MAX: usize = 16_384;
/// Attempts to connect that one turn of the loop makes, so that a burst does not hold up what already runs.
pub const CONNECTS_PER_TURN_MAX: usize = 64;

const _: () = assert!(SAMPLE_MAX <= VIEWERS_MAX && VIEWERS_MAX <= SESSIONS_MAX);
