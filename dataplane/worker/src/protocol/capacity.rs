//! How much a worker can hold, measured at its start, in a unit that does not hang on the size of pictures. Before it: the worker's
//! measurement; after it: the node decides what it asks for.
use serde::{Deserialize, Serialize};

/// Pixels across a macroblock, and down: the unit of work of H.264.
const MACROBLOCK: u32 = 16;

/// What a worker can do, on one core and in all.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// Cores that it may use.
    pub cores: u32,
    /// Macroblocks decoded a second by one core.
    pub decode_mb_s: f32,
    /// Macroblocks scaled and encoded as H.264 a second by one core.
    pub encode_mb_s: f32,
    /// Macroblocks encoded as AV1 a second by one core; 0: not measured, which a worker does when AV1 is asked of it.
    pub av1_mb_s: f32,
}

impl Capacity {
    /// Cores that a decode of this size and frame rate takes.
    pub fn decode_cores(&self, (width, height): (u32, u32), fps: f32) -> f32 {
        cores(self.decode_mb_s, macroblocks(width, height), fps)
    }

    /// Cores that a rendition of this size and frame rate takes, beside the decode of its source.
    pub fn encode_cores(&self, (width, height): (u32, u32), fps: f32) -> f32 {
        cores(self.encode_mb_s, macroblocks(width, height), fps)
    }

    /// The same of one in AV1.
    pub fn av1_cores(&self, (width, height): (u32, u32), fps: f32) -> f32 {
        cores(self.av1_mb_s, macroblocks(width, height), fps)
    }
}

fn cores(mb_s: f32, macroblocks: u32, fps: f32) -> f32 {
    // Nothing was measured: nothing can be said, and nothing is refused for it.
    if mb_s > 0.0 { macroblocks as f32 * fps / mb_s } else { 0.0 }
}

/// Macroblocks of a picture.
pub const fn macroblocks(width: u32, height: u32) -> u32 {
    width.div_ceil(MACROBLOCK).saturating_mul(height.div_ceil(MACROBLOCK))
}
