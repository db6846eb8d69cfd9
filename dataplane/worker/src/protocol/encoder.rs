//! What renditions are encoded as, and encoders of an `ffmpeg` that a worker uses, by name. Before it: the operator's setting; after it: the arguments of a child (`crate::ffmpeg`).
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the picture of a rendition is encoded as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PictureCodec {
    /// H.264.
    #[default]
    H264,
    /// AV1.
    Av1,
    /// H.265.
    Hevc,
    /// A newer one than this version knows.
    #[serde(other)]
    Unknown,
}

/// An encoder of `ffmpeg` that works picture by picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EncoderName {
    /// x264.
    Libx264,
    /// OpenH264, as `ffmpeg` has it.
    Libopenh264,
    /// The encoder of NVIDIA's graphics cards.
    H264Nvenc,
    /// x265: for what is to be H.265, and for nothing else.
    Libx265,
}

/// A name that is none of them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no encoder of ffmpeg that is used here; give one of libx264, libopenh264, h264_nvenc")]
pub struct NoEncoder(String);

impl EncoderName {
    /// Those that make H.264, which an operator may choose from.
    pub const ALL: [Self; 3] = [Self::Libx264, Self::Libopenh264, Self::H264Nvenc];

    /// As `ffmpeg -encoders` lists it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Libx264 => "libx264",
            Self::Libopenh264 => "libopenh264",
            Self::H264Nvenc => "h264_nvenc",
            Self::Libx265 => "libx265",
        }
    }
}

impl fmt::Display for EncoderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EncoderName {
    type Err = NoEncoder;

    fn from_str(text: &str) -> Result<Self, NoEncoder> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| NoEncoder(text.to_owned()))
    }
}
