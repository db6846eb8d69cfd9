//! What an operator has renditions encoded with. Before it: the node's settings; after it: [`super::workers`].
use std::fmt;
use std::str::FromStr;

use millstream_hub::encodable::PictureCodec;
use millstream_worker::protocol::EncoderName;

const OPENH264: &str = "openh264";
const RAV1E: &str = "rav1e";
const OF_FFMPEG: &str = "ffmpeg:";

/// An encoder of renditions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EncoderChoice {
    /// H.264, built in.
    #[default]
    OpenH264,
    /// AV1, built in.
    Rav1e,
    /// H.264 by an `ffmpeg` that is installed.
    Ffmpeg(EncoderName),
}

/// A name that is none of them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no encoder of renditions; give one of {all}", all = EncoderChoice::names())]
pub struct NoEncoder(String);

impl EncoderChoice {
    /// What of `ffmpeg` encodes.
    pub const fn of_ffmpeg(self) -> Option<EncoderName> {
        match self {
            Self::Ffmpeg(name) => Some(name),
            Self::OpenH264 | Self::Rav1e => None,
        }
    }

    /// What it makes of pictures.
    pub const fn codec(self) -> PictureCodec {
        match self {
            Self::Rav1e => PictureCodec::Av1,
            Self::OpenH264 | Self::Ffmpeg(_) => PictureCodec::H264,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        [Self::OpenH264, Self::Rav1e].into_iter().chain(EncoderName::ALL.map(Self::Ffmpeg))
    }

    fn names() -> String {
        Self::all().map(|encoder| encoder.to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for EncoderChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenH264 => f.write_str(OPENH264),
            Self::Rav1e => f.write_str(RAV1E),
            Self::Ffmpeg(name) => write!(f, "{OF_FFMPEG}{name}"),
        }
    }
}

impl FromStr for EncoderChoice {
    type Err = NoEncoder;

    fn from_str(text: &str) -> Result<Self, NoEncoder> {
        Self::all().find(|encoder| encoder.to_string() == text).ok_or_else(|| NoEncoder(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for encoder in EncoderChoice::all() {
            assert_eq!(encoder.to_string().parse(), Ok(encoder));
        }
        let error = "libx264".parse::<EncoderChoice>().unwrap_err().to_string();
        assert!(
            error.ends_with("one of openh264, rav1e, ffmpeg:libx264, ffmpeg:libopenh264, ffmpeg:h264_nvenc"),
            "{error}"
        );
        assert_eq!(EncoderChoice::Rav1e.codec(), PictureCodec::Av1);
    }
}
