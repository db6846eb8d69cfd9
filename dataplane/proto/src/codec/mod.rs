//! Decoder configuration records: what a publisher says about its bitstream before the first frame. Before it in the pipeline:
//! [`crate::media::Unpacker`] asks [`check`] whether a record can be used; after it: metadata, the API and playlists show a
//! [`Summary`].
//!
//! The parsers read what is shown and what decides whether a decoder has a chance; they do not judge the bitstream.
pub mod aac;
pub mod av1;
pub mod avc;
pub mod bits;
pub(crate) mod error;
pub mod flac;
pub mod hevc;
pub mod opus;
#[cfg(test)]
mod tests;
pub mod vp9;

use crate::limits::CODEC_CONFIG_BYTES_MAX;
use crate::media::kinds::Codec;
pub use error::RecordError;

/// What a record says, for people and playlists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// The codec as RFC 6381 and browsers' `MediaSource.isTypeSupported` write it: `avc1.64001f`, `mp4a.40.2`.
    pub codec: String,
    /// Size or rate, where the record says it in a way that is understood.
    pub shape: Option<Shape>,
    /// What of an H.264 picture only some decoders take, in words: `interlaced`, `10 bits a sample`, `sampled 4:2:2`.
    pub unusual: Option<&'static str>,
}

/// The measures of a track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A picture.
    Video {
        /// Pixels across, after cropping.
        width: u32,
        /// Pixels down, after cropping.
        height: u32,
    },
    /// Audio.
    Audio {
        /// Samples per second.
        rate_hz: u32,
        /// Channels.
        channels: u8,
    },
}

impl Shape {
    /// The size of a picture, pixels.
    pub const fn picture(self) -> Option<(u32, u32)> {
        match self {
            Self::Video { width, height } => Some((width, height)),
            Self::Audio { .. } => None,
        }
    }
}

/// Whether frames of this codec need a record before them.
pub const fn has_record(codec: Codec) -> bool {
    !matches!(codec, Codec::Mp3 | Codec::Ac3 | Codec::Eac3)
}

/// Whether a record is one that decoders can be given.
pub fn check(codec: Codec, record: &[u8]) -> Result<(), RecordError> {
    read(codec, record).map(|_| ())
}

/// What a record says; `None` where it is malformed or the codec has none.
pub fn summary(codec: Codec, record: &[u8]) -> Option<Summary> {
    let parsed = read(codec, record).ok()?;
    Some(match parsed {
        Parsed::Avc(config) => {
            Summary { codec: config.codec_string(), shape: config.picture().map(picture), unusual: config.unusual() }
        }
        Parsed::Hevc(config) => plain(config.codec_string(), config.picture().map(picture)),
        Parsed::Av1(config) => plain(config.codec_string(), config.picture().map(picture)),
        // The record of VP9 has no size: it is in the frames.
        Parsed::Vp9(config) => plain(config.codec_string(), None),
        Parsed::Aac(config) => {
            let shape = config.channels.map(|channels| Shape::Audio { rate_hz: config.rate_hz, channels });
            plain(config.codec_string(), shape)
        }
        Parsed::Opus(config) => {
            plain("opus".into(), Some(Shape::Audio { rate_hz: opus::RATE_HZ, channels: config.channels }))
        }
        Parsed::Flac(config) => {
            plain("flac".into(), Some(Shape::Audio { rate_hz: config.rate_hz, channels: config.channels }))
        }
    })
}

fn plain(codec: String, shape: Option<Shape>) -> Summary {
    Summary { codec, shape, unusual: None }
}

fn picture((width, height): (u32, u32)) -> Shape {
    Shape::Video { width, height }
}

enum Parsed<'a> {
    Avc(avc::AvcConfig<'a>),
    Hevc(hevc::HevcConfig<'a>),
    Av1(av1::Av1Config<'a>),
    Vp9(vp9::Vp9Config),
    Aac(aac::AacConfig),
    Opus(opus::OpusConfig),
    Flac(flac::FlacConfig),
}

fn read(codec: Codec, record: &[u8]) -> Result<Parsed<'_>, RecordError> {
    if record.len() > CODEC_CONFIG_BYTES_MAX {
        return Err(RecordError::Long(record.len()));
    }
    match codec {
        Codec::Avc => avc::AvcConfig::parse(record).map(Parsed::Avc),
        Codec::Hevc => hevc::HevcConfig::parse(record).map(Parsed::Hevc),
        Codec::Av1 => av1::Av1Config::parse(record).map(Parsed::Av1),
        Codec::Vp9 => vp9::Vp9Config::parse(record).map(Parsed::Vp9),
        Codec::Aac => aac::AacConfig::parse(record).map(Parsed::Aac),
        Codec::Opus => opus::OpusConfig::parse(record).map(Parsed::Opus),
        Codec::Flac => flac::FlacConfig::parse(record).map(Parsed::Flac),
        Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => Err(RecordError::None),
    }
}
