//! Turns a publisher's messages into configurations and frames. Before it in the pipeline: [`crate::rtmp`] or [`crate::flv::Reader`] hand
//! over one message at a time; after it: the hub's log.
//!
//! Nothing that a publisher sends ends its session here: what cannot be used is skipped with a reason, and the other track lives on.
use bytes::Bytes;

use super::event::{CodecConfig, Frame, MediaEvent};
use super::kinds::{Codec, TagKind, Track};
use super::packet::{self, Packet};
use super::timeline::Timeline;
use crate::codec::{self, RecordError};
use crate::cursor::Truncated;
use crate::limits::{METADATA_BYTES_MAX, MODEX_MAX};

/// Why a message was not passed on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Skipped {
    /// Ends within its own header.
    #[error("the message ends within its own header: {0}")]
    Truncated(#[from] Truncated),
    /// A frame with no data.
    #[error("a {0:?} frame without data")]
    Empty(Track),
    /// A legacy video id that is neither 7 nor 12.
    #[error("video codec {0} is not supported: H.264 (7), H.265 (12) and FourCC codecs are")]
    UnsupportedVideo(u8),
    /// A legacy audio id that is neither 2, 9 nor 10.
    #[error("audio codec {0} is not supported: MP3 (2), AAC (10) and FourCC codecs are")]
    UnsupportedAudio(u8),
    /// A FourCC that is not known.
    #[error("{0:?} codec {cc} is not supported", cc = .1.escape_ascii())]
    UnsupportedFourCc(Track, [u8; 4]),
    /// The configuration that is in force already.
    #[error("the {0:?} configuration that is in force already")]
    Repeated(Track),
    /// A configuration that is malformed. The one in force, if any, stays: some encoders send an empty one in between.
    #[error("a malformed {0:?} configuration: {1}")]
    BadConfig(Track, RecordError),
    /// A frame that cannot be decoded, since no configuration of its codec came before it.
    #[error("a {1:?} frame before any configuration of the {0:?}")]
    NoConfig(Track, Codec),
    /// Start codes with nothing between them, or so much that it fits into no message.
    #[error("a frame with start codes that cannot be converted")]
    AnnexB,
    /// A frame that is nothing but parameter sets, which have been taken out of it.
    #[error("a frame with parameter sets and no picture")]
    ParameterSets,
    /// AAC with an ADTS header that says too little, or is cut short.
    #[error("an ADTS frame that cannot be unwrapped")]
    Adts,
    /// The publisher says that the track ends here. What follows says so better.
    #[error("end of the {0:?} sequence")]
    EndOfSequence(Track),
    /// A command frame (frame type 5): it speaks to a player that seeks.
    #[error("a video command frame")]
    Command,
    /// Enhanced video metadata (colour information), which the bitstream carries as well.
    #[error("a video metadata packet")]
    VideoMetadata,
    /// AV1's start of sequence in the form that MPEG-TS has it.
    #[error("an AV1 configuration in MPEG-TS form")]
    TransportStreamConfig,
    /// The order of an audio track's channels, which its configuration says as well.
    #[error("an audio channel order packet")]
    Multichannel,
    /// A track beside the first of its kind; the id of the last one seen.
    #[error("track {0}: only the first video and the first audio track are taken")]
    ExtraTrack(u8),
    /// A layout of several tracks that is not known.
    #[error("multitrack layout {0} is not known")]
    Multitrack(u8),
    /// More than [`MODEX_MAX`] ModEx records.
    #[error("a packet with more than {MODEX_MAX} ModEx records")]
    ModEx,
    /// A packet type that is not known.
    #[error("{0:?} packet type {1} is not known")]
    PacketType(Track, u8),
    /// A data message that is not `onMetaData`.
    #[error("a data message other than onMetaData")]
    Data,
    /// An `onMetaData` that says nothing.
    #[error("an empty onMetaData")]
    MetadataEmpty,
    /// An `onMetaData` that is too long.
    #[error("an onMetaData of {0} bytes; at most {METADATA_BYTES_MAX} are kept")]
    MetadataLong(usize),
}

impl Skipped {
    /// The reason as a metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Truncated(_) => "truncated",
            Self::Empty(_) => "empty",
            Self::UnsupportedVideo(_) | Self::UnsupportedFourCc(Track::Video, _) => "unsupported_video",
            Self::UnsupportedAudio(_) | Self::UnsupportedFourCc(Track::Audio, _) => "unsupported_audio",
            Self::Repeated(_) => "repeated_config",
            Self::BadConfig(..) => "bad_config",
            Self::NoConfig(..) => "no_config",
            Self::AnnexB => "annex_b",
            Self::ParameterSets => "parameter_sets",
            Self::Adts => "adts",
            Self::EndOfSequence(_) => "end_of_sequence",
            Self::Command => "command_frame",
            Self::VideoMetadata => "video_metadata",
            Self::TransportStreamConfig => "mpeg2ts_config",
            Self::Multichannel => "multichannel_config",
            Self::ExtraTrack(_) => "extra_track",
            Self::Multitrack(_) => "multitrack_layout",
            Self::ModEx => "modex",
            Self::PacketType(..) => "packet_type",
            Self::Data => "data_message",
            Self::MetadataEmpty => "metadata_empty",
            Self::MetadataLong(_) => "metadata_long",
        }
    }
}

/// What is known of one publisher's stream: its clock, and each track's configuration in force. Bounded: two records and a number.
#[derive(Debug, Default)]
pub struct Unpacker {
    timeline: Timeline,
    video: Option<CodecConfig>,
    audio: Option<CodecConfig>,
}

impl Unpacker {
    /// At the start of a publisher's session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next message: its stamp in milliseconds modulo 2^32, and its body.
    pub fn push(&mut self, kind: TagKind, timestamp: u32, body: Bytes) -> Result<MediaEvent, Skipped> {
        let (track, (packet, body)) = match kind {
            TagKind::Script => return metadata(&body).map(MediaEvent::Metadata),
            TagKind::Video => (Track::Video, packet::video(body)?),
            TagKind::Audio => (Track::Audio, packet::audio(body)?),
        };
        self.take(track, packet, timestamp, body)
    }

    /// Takes a message whose header has been read.
    pub(super) fn take(
        &mut self,
        track: Track,
        packet: Packet,
        timestamp: u32,
        body: Bytes,
    ) -> Result<MediaEvent, Skipped> {
        match packet {
            Packet::Config { codec, record_at } => self.config(track, codec, record_at, &body),
            Packet::Frame { codec, cts_ms, keyframe, data_at } => {
                // Configurations and metadata do not move the clock: encoders stamp them 0 at any time.
                let dts_ms = self.timeline.unroll(timestamp);
                if body.len() <= data_at {
                    return Err(Skipped::Empty(track));
                }
                self.check_in_force(track, codec)?;
                Ok(MediaEvent::Frame(Frame { track, codec, dts_ms, cts_ms, keyframe, body, data_at }))
            }
        }
    }

    /// The configuration in force, if it is of that codec.
    pub(super) fn config_of(&self, track: Track, codec: Codec) -> Option<&CodecConfig> {
        let in_force = if track == Track::Video { &self.video } else { &self.audio };
        in_force.as_ref().filter(|config| config.codec == codec)
    }

    fn config(&mut self, track: Track, codec: Codec, record_at: usize, body: &Bytes) -> Result<MediaEvent, Skipped> {
        let in_force = self.in_force(track);
        if in_force.as_ref().is_some_and(|config| config.codec == codec && config.body == body) {
            return Err(Skipped::Repeated(track));
        }
        codec::check(codec, body.get(record_at..).unwrap_or_default()).map_err(|e| Skipped::BadConfig(track, e))?;
        // A copy: it outlives the buffer of the read that it came with, and must not hold that.
        let config = CodecConfig { track, codec, body: Bytes::copy_from_slice(body), record_at };
        *in_force = Some(config.clone());
        Ok(MediaEvent::Config(config))
    }

    /// Whether a frame of this codec can be decoded with what was sent so far.
    fn check_in_force(&mut self, track: Track, codec: Codec) -> Result<(), Skipped> {
        let in_force = self.in_force(track);
        if !codec::has_record(codec) {
            // The track changed to a codec that needs no record: an old one that comes back must be said again.
            *in_force = None;
            return Ok(());
        }
        match in_force {
            Some(config) if config.codec == codec => Ok(()),
            _ => Err(Skipped::NoConfig(track, codec)),
        }
    }

    fn in_force(&mut self, track: Track) -> &mut Option<CodecConfig> {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }
}

/// AMF0's string marker, 16-bit length and text.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
const ON_META_DATA: &[u8] = b"\x02\x00\x0aonMetaData";

/// `onMetaData` with no more than this says nothing: an object with one property is longer. It is not passed on, for ffmpeg takes script
/// tags of this length for subtitles, and shows players a third track.
const METADATA_EMPTY_BYTES_MAX: usize = ON_META_DATA.len() + 5;

pub(super) fn metadata(body: &Bytes) -> Result<Bytes, Skipped> {
    let values = body.strip_prefix(SET_DATA_FRAME).unwrap_or(body);
    if !values.starts_with(ON_META_DATA) {
        return Err(Skipped::Data);
    }
    if values.len() <= METADATA_EMPTY_BYTES_MAX {
        return Err(Skipped::MetadataEmpty);
    }
    if values.len() > METADATA_BYTES_MAX {
        return Err(Skipped::MetadataLong(values.len()));
    }
    Ok(Bytes::copy_from_slice(values))
}
