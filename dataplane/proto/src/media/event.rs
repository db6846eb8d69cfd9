//! What a publisher's messages turn out to be: configurations and frames. Made by [`super::Unpacker`] and [`super::Intake`]; after it: the hub's log.
use bytes::Bytes;

use super::finding::{LeftOut, Repair};
use super::kinds::{Codec, Track};
use crate::codec::{self, Summary};

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
