//! How a stream plays at its viewers, as their players say (CMCD), added up at the node. Before it: the node's agent; after it:
//! [`crate::exchange::Answer::Quality`], and the API, which adds up what several nodes say.
use serde::{Deserialize, Serialize};

pub use crate::spread::Spread;

/// What is told is of so many minutes.
pub const MINUTES: u32 = 5;

/// Buckets of a histogram, with the one beyond the largest bound.
pub const BUCKETS: usize = 10;

/// The largest value of each bucket but the last, for how long starts take, milliseconds. Nodes' metrics have the same ones.
pub const START_UP_TO_MS: [u32; BUCKETS - 1] = [100, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000];
/// For how far pictures are behind, milliseconds.
pub const LATENCY_UP_TO_MS: [u32; BUCKETS - 1] = [500, 1_000, 2_000, 3_000, 5_000, 8_000, 15_000, 30_000, 60_000];
/// For how what is played is encoded, kbit/s.
pub const BITRATE_UP_TO_KBIT_S: [u32; BUCKETS - 1] = [250, 500, 1_000, 2_000, 3_000, 5_000, 8_000, 15_000, 30_000];
/// For what players hold, milliseconds.
pub const BUFFER_UP_TO_MS: [u32; BUCKETS - 1] = START_UP_TO_MS;

/// Of one stream's viewers by one protocol, within the last minutes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Quality {
    /// `http-flv`, `hls`, `dash`: an open set.
    pub protocol: String,
    /// Sessions that were heard within the last half minute.
    pub sessions: u64,
    /// From the wish to play to the first picture, milliseconds: once a session.
    pub start_ms: Spread,
    /// How far pictures are behind, milliseconds: of each session every ten seconds.
    pub latency_ms: Spread,
    /// How what is played is encoded, kbit/s: of each session every ten seconds.
    pub bitrate_kbit_s: Spread,
    /// What players hold, milliseconds: of each session every ten seconds.
    pub buffer_ms: Spread,
    /// How often players have run dry.
    pub stalls: u64,
    /// For how long they have stood still because of that, milliseconds, of players that say it.
    pub stalled_ms: u64,
    /// For how long they have played, with that, milliseconds.
    pub played_ms: u64,
}
