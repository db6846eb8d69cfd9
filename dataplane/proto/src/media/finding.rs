//! What is found in a publisher's bitstream that its operator should know: what was repaired, and what was left out. Before it:
//! [`super::Intake`]; after it: the hub keeps it per publisher, and the log and the API say it.
use super::kinds::{Codec, Track};

/// What was repaired.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Repair {
    /// The parameter sets were taken from the frames, because the sequence header had none, or others.
    InBandParameterSets,
    /// Start codes were replaced by lengths.
    AnnexB,
    /// ADTS headers were taken off.
    Adts,
    /// Nothing could be repaired: key frames are far apart.
    SparseKeyframes,
}

impl Repair {
    /// The name, as the API has it: an open set.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InBandParameterSets => "in_band_parameter_sets",
            Self::AnnexB => "annex_b",
            Self::Adts => "adts",
            Self::SparseKeyframes => "sparse_keyframes",
        }
    }

    /// What is wrong, and how the operator mends the encoder.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::InBandParameterSets => {
                "the sequence header has no parameter sets, or not those of the key frames; they are taken from the key frames. Have the \
                 encoder write SPS and PPS (H.265: VPS, too) into the sequence header, and send a new one when they change (ffmpeg: \
                 -flags +global_header)"
            }
            Self::AnnexB => {
                "the video has start codes (Annex B) where RTMP wants lengths; they are replaced. Have the encoder write the form of MP4 \
                 and FLV (AVCC, HVCC), not that of MPEG-TS"
            }
            Self::Adts => {
                "the AAC has ADTS headers; they are taken off. Have the encoder send raw AAC with an AudioSpecificConfig (ffmpeg: -bsf:a \
                 aac_adtstoasc)"
            }
            Self::SparseKeyframes => {
                "key frames are more than 5 s apart: viewers wait so long for a picture, and those of HLS and DASH are that much further behind. \
                 Set the encoder's keyframe interval to 2 s (OBS: Keyframe Interval 2; ffmpeg: -g with twice the frames of a second)"
            }
        }
    }
}

/// What kind of track is left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Unwanted {
    /// A codec by its number in the legacy header.
    Number(u8),
    /// A codec by its FourCC.
    FourCc([u8; 4]),
    /// A track beside the first of its kind, by its id.
    Extra(u8),
    /// A codec that is taken, in packets that nothing can be made of.
    Framing,
}

/// A track that is in no output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeftOut {
    /// Picture or audio.
    pub track: Track,
    /// Which.
    pub what: Unwanted,
}

impl LeftOut {
    /// What it is coded with, as people call it.
    pub fn codec(&self) -> String {
        match (self.track, self.what) {
            (Track::Audio, Unwanted::Number(number)) => match number {
                0 | 3 => "PCM".into(),
                1 => "ADPCM".into(),
                4..=6 => "Nellymoser".into(),
                7 => "G.711 A-law".into(),
                8 => "G.711 mu-law".into(),
                11 => "Speex".into(),
                14 => "MP3 at 8 kHz".into(),
                other => format!("audio codec {other}"),
            },
            (Track::Video, Unwanted::Number(number)) => match number {
                2 => "Sorenson H.263".into(),
                3 | 6 => "Screen Video".into(),
                4 | 5 => "VP6".into(),
                other => format!("video codec {other}"),
            },
            (_, Unwanted::FourCc(four_cc)) => four_cc.escape_ascii().to_string(),
            (_, Unwanted::Extra(id)) => format!("track {id}"),
            (Track::Audio, Unwanted::Framing) => "AAC in ADTS".into(),
            (Track::Video, Unwanted::Framing) => "video with start codes".into(),
        }
    }

    /// Why, and what the operator can do.
    pub const fn reason(&self) -> &'static str {
        match (self.what, self.track) {
            (Unwanted::Extra(_), _) => {
                "only the first video and the first audio track are taken; have the encoder send one of each"
            }
            (Unwanted::Framing, Track::Audio) => FRAMING_OF_AUDIO,
            (Unwanted::Framing, Track::Video) => FRAMING_OF_VIDEO,
            (_, track) => wanted(track),
        }
    }
}

/// Of packets that nothing can be made of: until one comes that plays.
const FRAMING_OF_AUDIO: &str = "its ADTS frames say no channels, hold several blocks, or are cut short: nothing plays of them; have the encoder send raw AAC \
     with a sequence header (ffmpeg: -bsf:a aac_adtstoasc)";
const FRAMING_OF_VIDEO: &str = "its NAL units cannot be told apart: nothing plays of them; have the encoder send them with lengths, as FLV demands";

/// Which codecs play everywhere.
const fn wanted(track: Track) -> &'static str {
    match track {
        Track::Video => "this codec is not taken; have the encoder send H.264, H.265 or AV1",
        Track::Audio => "this codec is not taken; have the encoder send AAC or Opus",
    }
}

impl Codec {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avc => "H.264",
            Self::Hevc => "H.265",
            Self::Av1 => "AV1",
            Self::Vp9 => "VP9",
            Self::Aac => "AAC",
            Self::Opus => "Opus",
            Self::Mp3 => "MP3",
            Self::Ac3 => "AC-3",
            Self::Eac3 => "E-AC-3",
            Self::Flac => "FLAC",
        }
    }
}
