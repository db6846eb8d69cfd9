//! Publishers' sessions that have ended or are on air: what a stream's operator looks up afterwards.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long sessions are kept after they began, milliseconds.
pub const KEPT_MS: u64 = 90 * 24 * 3_600_000;

/// One session of a publisher.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Session {
    /// The stream's id.
    pub stream: String,
    /// The node that it was on.
    pub node: String,
    /// Its number there, as in the log.
    pub session: u64,
    /// Where it came from, address and port.
    pub peer: String,
    /// What the encoder called itself.
    pub encoder: String,
    /// When it was admitted, Unix milliseconds.
    pub since_unix_ms: u64,
    /// When it ended, Unix milliseconds; null while it is on air, or where its node was lost before it told.
    pub ended_unix_ms: Option<u64>,
    /// Why it ended; empty while it is on air.
    pub why: String,
    /// Media that it sent, bytes; null while it is on air (its session has the figure), or where its node was lost before it told.
    pub received_bytes: Option<u64>,
}

/// The key of a session: sessions of a stream are in the order of time, because runs and session numbers rise.
pub fn key(stream: &str, run: u64, session: u64) -> String {
    format!("{stream}/{run:020}-{session:020}")
}
