//! What is on air, as a node sees it at one moment: measured, never configured. Before it: the engine's shards; after it:
//! [`crate::exchange::Report`], and the API, which shows these shapes as they are.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state;

// What `skip_serializing_if` calls gets a reference.
#[expect(clippy::trivially_copy_pass_by_ref)]
fn is_none_yet(n: &u64) -> bool {
    *n == 0
}

/// A stream on its node: on air, or waiting for its publisher with viewers who stay.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Live {
    /// The stream's id.
    pub id: String,
    /// Who publishes; `None` while its place is empty.
    pub publisher: Option<Publisher>,
    /// Since when viewers get its slate, because nobody publishes or who does has fallen silent, Unix milliseconds; `None` where they do not.
    pub slate_since_unix_ms: Option<u64>,
    /// Viewers by protocol, most viewers first.
    pub viewers: Vec<ViewerCount>,
    /// Where it is pushed on to, and how that goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<Relay>,
    /// How motion is looked for in it; `None`: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion: Option<Motion>,
    /// The renditions that a policy hook has chosen for it; `None`: none was asked, and it has those of its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Ladder>,
    /// Its renditions, the smallest first, whether or not they are made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renditions: Vec<Rendition>,
}

/// Renditions of a stream by a policy hook.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ladder {
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
    /// The binding's id.
    pub binding: String,
    /// Why the hook has chosen none, so that the stream has the renditions of its record; `None`: it has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What it has chosen, the smallest first.
    pub renditions: Vec<state::Rendition>,
    /// What it has chosen and cannot be made, and why not, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A rendition of a stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rendition {
    /// Its name, and its path below the stream's: `360p`.
    pub name: String,
    /// `idle`: nobody asks for it; `starting`: somebody does; `running`: it is made; `unavailable`: it cannot be. An open set.
    pub state: String,
    /// Why it is unavailable, in one word: `codec`, `not_smaller`, `too_slow`, `full`, `crashed`, `worker_away`, `failed`: an open set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its viewers, those of HLS estimated. They count as viewers of the stream, too; those of DASH as these alone.
    pub viewers: u64,
    /// Pixels across: of what is made, or would be; `None` where the stream's size is not known.
    pub width: Option<u32>,
    /// Pixels down.
    pub height: Option<u32>,
    /// Since when it is made, Unix milliseconds; `None` where it is not.
    pub since_unix_ms: Option<u64>,
    /// Frames of its picture since then.
    pub frames: u64,
    /// Frames per second.
    pub fps: f64,
    /// Its picture and sound, bits per second.
    pub bitrate_bps: u64,
}

/// How motion is looked for in a stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Motion {
    /// Its pictures are looked at.
    pub watched: bool,
    /// How many a second.
    pub pictures_s: f64,
    /// Since when something moves, Unix milliseconds; `None` where nothing does.
    pub since_unix_ms: Option<u64>,
    /// The largest part of the picture that has moved since then, 0 to 1.
    pub score: f64,
    /// Why nothing is looked at; `None` where it is, or has not begun.
    pub why: Option<String>,
}

/// A server that a stream is pushed on to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Relay {
    /// Its address without the stream key.
    pub target: String,
    /// `connecting`, `on_air`, or `waiting` for the next try: an open set.
    pub state: String,
    /// Since when it is in this state, Unix milliseconds.
    pub since_unix_ms: u64,
    /// Connections that were tried.
    pub tries: u64,
    /// Why the last one failed or ended; `None` before that.
    pub last_error: Option<String>,
    /// Media that was sent, bytes.
    pub sent_bytes: u64,
    /// How often it was too slow and went on at a later keyframe.
    pub skips: u64,
}

/// A publisher's session. Rates are those of its last second or two.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Publisher {
    /// The session's number on its node, as in the log.
    pub session: u64,
    /// `rtmp`: an open set.
    pub protocol: String,
    /// Its address and port.
    pub peer: String,
    /// What the encoder calls itself; may be empty.
    pub encoder: String,
    /// What a policy calls it, and the stream while it publishes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was admitted, Unix milliseconds.
    pub since_unix_ms: u64,
    /// The picture, where there is one.
    pub video: Option<Video>,
    /// The audio, where there is one.
    pub audio: Option<Audio>,
    /// Media received per second, bits.
    pub bitrate_bps: u64,
    /// Media received since it was admitted, bytes.
    pub received_bytes: u64,
    /// Milliseconds since it was last heard.
    pub heard_ago_ms: u64,
    /// How much the arrival of frames strays from their timestamps, milliseconds (RFC 3550, 6.4.1, on decode times).
    pub jitter_ms: f64,
    /// How often nothing arrived for a second or longer.
    pub gaps: u64,
    /// The longest time between two arrivals, milliseconds.
    pub longest_gap_ms: u64,
    /// How often its timestamps jumped and were smoothed.
    pub timestamp_jumps: u64,
    /// How far the newest frame's arrival is behind its stamp, milliseconds from anywhere: it rises while media arrives more slowly than it is stamped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival_lag_ms: Option<i64>,
    /// How much further audio is stamped than video that arrives at the same time, milliseconds; negative: less far. `None` without both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_ahead_ms: Option<i64>,
    /// Its metadata says that there is audio.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub announces_audio: bool,
    /// What was repaired of what it sends: viewers notice nothing of it, and the encoder is better mended.
    pub repairs: Vec<Repair>,
    /// Tracks that are not in every output.
    pub dropped_tracks: Vec<DroppedTrack>,
}

/// Something that was repaired.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Repair {
    /// `in_band_parameter_sets`, `annex_b`, `adts`: an open set.
    pub kind: String,
    /// `video` or `audio`.
    pub track: String,
    /// How many frames and configurations.
    pub count: u64,
    /// When it was first, Unix milliseconds.
    pub since_unix_ms: u64,
    /// What is wrong, and how to mend the encoder.
    pub advice: String,
}

/// A track that is not in every output.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroppedTrack {
    /// `video` or `audio`.
    pub track: String,
    /// What it is coded with, as people call it: `G.711 A-law`, `MP3`.
    pub codec: String,
    /// Which outputs leave it out: `hls`, `dash`, or `all`. An open set.
    pub outputs: Vec<String>,
    /// Why, and what to do.
    pub reason: String,
}

/// A publisher's picture.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Video {
    /// As RFC 6381 writes it, `avc1.64001f`; the codec's FourCC where it has not said more.
    pub codec: String,
    /// Pixels across; `None` where it has not said.
    pub width: Option<u32>,
    /// Pixels down.
    pub height: Option<u32>,
    /// Frames per second.
    pub fps: f64,
    /// Between the last two keyframes, milliseconds; `None` before the second one.
    pub keyframe_interval_ms: Option<u64>,
    /// Frames received.
    pub frames: u64,
    /// Length of the GOP that is open, or of the last whole one where that was longer, milliseconds; `None` before the first keyframe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gop_ms: Option<u64>,
    /// Frames that are shown before one that came earlier: B-frames.
    #[serde(skip_serializing_if = "is_none_yet")]
    pub reordered_frames: u64,
}

/// A publisher's audio.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Audio {
    /// As RFC 6381 writes it, `mp4a.40.2`.
    pub codec: String,
    /// Samples per second; `None` where it has not said.
    pub rate_hz: Option<u32>,
    /// Channels.
    pub channels: Option<u32>,
    /// Packets received.
    pub frames: u64,
}

/// Viewers of one protocol.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ViewerCount {
    /// `http-flv`, `ws-flv`, `rtmp`, `hls`, `dash`: an open set.
    pub protocol: String,
    /// How many.
    pub count: u64,
    /// They have no session, as those of HLS and DASH: counted are the addresses and players, or the sessions that players name (CMCD `sid`), that
    /// asked for a playlist within three target durations. Behind a CDN those are its requests. Exact up to about 1,000 a stream, within some
    /// percent beyond; viewers that ask several nodes count at each.
    pub estimated: bool,
}

/// A viewer's session.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Viewer {
    /// The session's number on its node, as in the log.
    pub session: u64,
    /// `http-flv`, `ws-flv`, `rtmp`: an open set.
    pub protocol: String,
    /// Its address and port.
    pub peer: String,
    /// What a policy calls it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it began to play, Unix milliseconds.
    pub since_unix_ms: u64,
    /// Bytes that the kernel took for it.
    pub sent_bytes: u64,
    /// How often it fell behind and jumped to a newer keyframe.
    pub skips: u64,
}

/// How one viewer with a session keeps up, at one moment: for who judges a stream on its node, and not told to control.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watching {
    /// The session's number.
    pub session: u64,
    /// For how long it has played, milliseconds.
    pub played_ms: u64,
    /// Bytes that the kernel took for it.
    pub sent_bytes: u64,
    /// How often it fell behind and jumped to a newer keyframe.
    pub skips: u64,
    /// Media that waits for it, milliseconds.
    pub behind_ms: u64,
}

/// Some of a stream's viewers on one node, in the order of their session numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewerPage {
    /// At most as many as were asked for.
    pub viewers: Vec<Viewer>,
    /// There are more, after this session number.
    pub next_after: Option<u64>,
}
