//! What a stream is made of: configurations and frames on one 64-bit timeline. Before it in the pipeline: [`crate::rtmp`] (and
//! [`crate::flv`]'s reader) hand over tag bodies to the [`Unpacker`], for publishers by way of the [`Intake`], which repairs; after it: the hub's log.
mod announced;
mod clip;
mod clip_mp4;
mod finding;
mod intake;
#[cfg(test)]
mod intake_tests;
mod packet;
mod repair;
#[cfg(test)]
mod tests;
mod timeline;
mod unpack;

use bytes::Bytes;

use crate::codec::{self, Summary};
pub use announced::Announced;
pub use clip::{Clip, ClipError};
pub use clip_mp4::Mp4Error;
pub use finding::{LeftOut, Repair, Unwanted};
pub use intake::Intake;
pub use unpack::{Skipped, Unpacker};

/// Which of a stream's two tracks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Track {
    /// The picture.
    Video,
    /// The audio.
    Audio,
}

impl Track {
    /// Its name in the API, in metrics and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }

    /// Its place where something is kept of both tracks.
    pub const fn index(self) -> usize {
        match self {
            Self::Video => 0,
            Self::Audio => 1,
        }
    }
}

/// What the bytes of a track are coded with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Codec {
    /// H.264.
    Avc,
    /// H.265, by FourCC or by the legacy id 12.
    Hevc,
    /// AV1.
    Av1,
    /// VP9.
    Vp9,
    /// AAC.
    Aac,
    /// Opus.
    Opus,
    /// MP3 (legacy id 2): no configuration of its own.
    Mp3,
    /// AC-3.
    Ac3,
    /// E-AC-3.
    Eac3,
    /// FLAC.
    Flac,
}

/// The FourCCs of a track's codecs that are passed on, as Enhanced RTMP writes them.
pub const fn four_ccs(track: Track) -> &'static [(&'static str, Codec)] {
    match track {
        Track::Video => &[("avc1", Codec::Avc), ("hvc1", Codec::Hevc), ("av01", Codec::Av1), ("vp09", Codec::Vp9)],
        Track::Audio => &[
            ("mp4a", Codec::Aac),
            ("Opus", Codec::Opus),
            ("ac-3", Codec::Ac3),
            ("ec-3", Codec::Eac3),
            ("fLaC", Codec::Flac),
            (".mp3", Codec::Mp3),
        ],
    }
}

/// One coded picture or one packet of audio.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The track it belongs to.
    pub track: Track,
    /// Its coding.
    pub codec: Codec,
    /// Decode time, milliseconds on the publisher's timeline, unrolled from its 32-bit stamps.
    pub dts_ms: i64,
    /// Presentation time minus decode time, milliseconds; may be negative.
    pub cts_ms: i32,
    /// A decoder can start here. True of every audio frame.
    pub keyframe: bool,
    /// The whole FLV tag body (RTMP message payload) as the publisher sent it.
    pub body: Bytes,
    /// Where in `body` the coded data starts.
    pub data_at: usize,
}

/// A codec configuration (decoder configuration record) that is in force from here on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CodecConfig {
    /// The track it belongs to.
    pub track: Track,
    /// Its coding.
    pub codec: Codec,
    /// The whole FLV tag body as the publisher sent it.
    pub body: Bytes,
    /// Where in `body` the record (avcC, hvcC, av1C, AudioSpecificConfig, OpusHead) starts.
    pub record_at: usize,
}

impl CodecConfig {
    /// The decoder configuration record itself.
    pub fn record(&self) -> &[u8] {
        self.body.get(self.record_at..).unwrap_or_default()
    }

    /// What the record says, for metadata and the API; `None` where it is malformed or has nothing to say.
    pub fn summary(&self) -> Option<Summary> {
        codec::summary(self.codec, self.record())
    }
}

impl Frame {
    /// The coded data, without the tag's own header.
    pub fn data(&self) -> &[u8] {
        self.body.get(self.data_at..).unwrap_or_default()
    }
}

/// What a publisher's message turned out to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MediaEvent {
    /// A configuration: always before the first frame that needs it.
    Config(CodecConfig),
    /// A frame.
    Frame(Frame),
    /// `onMetaData`: the AMF0 values after the name `@setDataFrame`, starting with the string `onMetaData`.
    Metadata(Bytes),
    /// The configuration or the frame that follows was repaired.
    Repaired(Track, Repair),
    /// A track is in no output: said when its first message comes.
    LeftOut(LeftOut),
    /// Frames of this codec come without a configuration: said when the first does, and again when one does after a configuration.
    Unconfigured(Track, Codec),
}

/// The three kinds of FLV tag and of RTMP media message; the values are those of both formats.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum TagKind {
    /// Type 8.
    Audio = 8,
    /// Type 9.
    Video = 9,
    /// Type 18: AMF0 data.
    Script = 18,
}

impl TagKind {
    /// The kind that this type byte names, if it is one of the three.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }
}
