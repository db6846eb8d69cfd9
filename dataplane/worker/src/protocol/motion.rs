//! Motion as node and worker speak of it: what is looked for, and what was seen. Before it: the record of a stream; after it: the detector
//! (`crate::motion`), and what it tells.
use millstream_proto::zones::Zones;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What counts as motion, how long an event lasts, and what is decoded for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MotionSettings {
    /// The part of the picture's pixels that has to change, percent, 1 to 100. An event that has begun goes on with half of it.
    pub percent: u8,
    /// How much a pixel has to change, grey levels, 1 to 255.
    pub diff: u8,
    /// An event lasts so long after the newest motion, milliseconds.
    pub duration_ms: u32,
    /// And so long in all at most.
    pub timeout_ms: u32,
    /// Between two pictures that are looked at, milliseconds.
    #[serde(default = "every_ms")]
    pub every_ms: u32,
    /// Keyframes alone are decoded.
    #[serde(default)]
    pub keyframes_only: bool,
    /// Where it counts; a hook sees the whole picture.
    #[serde(
        default,
        skip_serializing_if = "Zones::is_whole",
        serialize_with = "write_zones",
        deserialize_with = "read_zones"
    )]
    pub zones: Zones,
}

fn write_zones<S: Serializer>(zones: &Zones, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(zones)
}

fn read_zones<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zones, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

const fn every_ms() -> u32 {
    MotionSettings::EVERY_MS
}

impl MotionSettings {
    /// Between two pictures where nothing is said, milliseconds.
    pub const EVERY_MS: u32 = 200;
}

/// Where something moves: parts of the picture, 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Region {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// Across.
    pub width: f64,
    /// Down.
    pub height: f64,
    /// The part of its pixels that has changed.
    pub score: f64,
}

/// What has changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Motion begins. The picture of the moment comes with it.
    Started {
        /// When it was seen first, milliseconds of the stream's timeline.
        pts_ms: i64,
        /// When it ends if nothing more moves.
        until_ms: i64,
        /// The part of the picture that moves, 0 to 1.
        score: f64,
        /// Where, the largest first.
        regions: Vec<Region>,
        /// What a hook calls it; empty without one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        label: String,
    },
    /// It goes on: told once a second at most.
    Extended {
        /// When it ends if nothing more moves.
        until_ms: i64,
        /// The largest part of the picture that has moved so far.
        score: f64,
    },
    /// It is over.
    Ended {
        /// When, milliseconds of the stream's timeline.
        pts_ms: i64,
        /// The largest part of the picture that has moved.
        score: f64,
        /// Why.
        why: WhyEnded,
    },
    /// What a newer version knows.
    #[serde(other)]
    Unknown,
}

/// Why an event is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhyEnded {
    /// Nothing has moved for a while.
    Still,
    /// It lasted as long as it may. What still moves is another one.
    Timeout,
    /// The stream's pictures, or their stamps, do not go on.
    #[serde(other)]
    Interrupted,
}
