//! What the parameter sets of a stream say, and whether it is one that can be decoded here. Before it: an `avcC` record; after it: the decoder
//! is made, or the job ends with a reason.
use h264_reader::nal::sps::{ChromaFormat, FrameMbsFlags, SeqParameterSet, VuiParameters};
use h264_reader::nal::{Nal as _, RefNal};
use millstream_proto::codec;
use millstream_proto::codec::avc::AvcConfig;
use millstream_proto::limits::PARAMETER_SET_PARSED_BYTES_MAX;
use millstream_proto::media::Codec;

use super::{nal, sps};
use crate::picture::{Colour, is_aspect};
use crate::protocol::{SOURCE_HEIGHT_MAX, SOURCE_WIDTH_MAX, Why, macroblocks};

/// Rates that a parameter set may claim.
const FPS: std::ops::RangeInclusive<f64> = 1.0..=240.0;

/// Why a stream is not decoded here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Not H.264, or a kind of it that is not decoded.
    #[error("{0} is not decoded here")]
    Unsupported(String),
    /// A picture with more samples than are decoded.
    #[error("a picture of {0}x{1}; at most {SOURCE_WIDTH_MAX}x{SOURCE_HEIGHT_MAX} is decoded")]
    TooLarge(u32, u32),
    /// Parameter sets that cannot be read.
    #[error("the parameter sets of the video cannot be read")]
    Malformed,
    /// What decodes it fails again and again.
    #[error("it cannot be decoded: {0}")]
    Failed(String),
}

impl Unfit {
    /// The same in a report.
    pub(crate) fn why(&self) -> Why {
        match self {
            Self::TooLarge(..) => Why::TooLarge,
            Self::Unsupported(_) | Self::Malformed => Why::Unsupported,
            Self::Failed(_) => Why::Failed,
        }
    }
}

/// What comes in frames that `ffmpeg` decodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    H264,
    Hevc,
    Av1,
}

impl Kind {
    pub(crate) const fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::Avc => Some(Self::H264),
            Codec::Hevc => Some(Self::Hevc),
            Codec::Av1 => Some(Self::Av1),
            _ => None,
        }
    }
}

/// What the parameter sets say.
#[derive(Clone, PartialEq, Debug)]
pub struct Params {
    /// Pixels across, after cropping.
    pub width: u32,
    /// Pixels down, after cropping.
    pub height: u32,
    /// Width of a sample by its height.
    pub aspect: (u32, u32),
    /// What the samples mean.
    pub colour: Colour,
    /// Frames a second, where they are said.
    pub fps: Option<f64>,
    /// Bytes of the length before each NAL unit.
    pub(crate) nal_length_bytes: usize,
    /// The sets, without start codes.
    pub(crate) sets: Vec<Vec<u8>>,
    /// The same as the decoder is to see them.
    pub(crate) decoder_sets: Vec<Vec<u8>>,
    /// What `ffmpeg` decodes; `None`: it is decoded here.
    pub(crate) late: Option<Kind>,
    /// The codec's record, where `ffmpeg` decodes.
    pub(crate) record: Vec<u8>,
    /// Its pictures may be of two fields.
    pub(crate) interlaced: bool,
}

impl Params {
    /// Reads a record.
    pub(crate) fn read(record: &[u8]) -> Result<Self, Unfit> {
        let config = AvcConfig::parse(record).map_err(|_| Unfit::Malformed)?;
        if config.pps.is_empty() {
            return Err(Unfit::Malformed);
        }
        let mut first = None;
        for set in &config.sps {
            let read = check(set)?;
            first.get_or_insert(read);
        }
        let (width, height, sps) = first.ok_or(Unfit::Malformed)?;
        let vui = sps.vui_parameters.as_ref();
        let sets: Vec<Vec<u8>> = config.sps.iter().chain(&config.pps).map(|set| set.to_vec()).collect();
        let for_decoder = |set: &Vec<u8>| match nal::kind(set) {
            nal::SPS => sps::for_decoder(set, false),
            _ => Some(set.clone()),
        };
        let decoder_sets = sets.iter().map(for_decoder).collect::<Option<_>>().ok_or(Unfit::Malformed)?;
        Ok(Self {
            width,
            height,
            aspect: aspect(&sps),
            colour: vui.map_or(Colour::assumed(width, height), |vui| colour(vui, width, height)),
            fps: sps.fps().filter(|fps| FPS.contains(fps)),
            nal_length_bytes: config.nal_length_bytes.into(),
            sets,
            decoder_sets,
            late: None,
            record: Vec::new(),
            interlaced: false,
        })
    }

    /// Of a stream that `ffmpeg` decodes. What its record does not say is assumed, and pictures come out as the record says they are.
    pub(crate) fn late(kind: Kind, codec: Codec, record: &[u8]) -> Result<Self, Unfit> {
        let shape = codec::summary(codec, record).and_then(|summary| summary.shape);
        let (width, height) = shape.and_then(codec::Shape::picture).ok_or(Unfit::Malformed)?;
        if width.max(height) > SOURCE_WIDTH_MAX
            || macroblocks(width, height) > macroblocks(SOURCE_WIDTH_MAX, SOURCE_HEIGHT_MAX)
        {
            return Err(Unfit::TooLarge(width, height));
        }
        // An odd line or column is scaled away.
        let (width, height) = (width & !1, height & !1);
        if width < 16 || height < 16 {
            return Err(Unfit::Malformed);
        }
        // Of H.264 it is known before its first picture comes.
        let config = AvcConfig::parse(record).ok().filter(|_| kind == Kind::H264);
        let sps = config.and_then(|config| parse(config.sps.first()?));
        let is_of_fields = |sps: &SeqParameterSet| matches!(sps.frame_mbs_flags, FrameMbsFlags::Fields { .. });
        Ok(Self {
            width,
            height,
            aspect: sps.as_ref().map_or((1, 1), aspect),
            colour: Colour::assumed(width, height),
            fps: None,
            nal_length_bytes: 4,
            sets: Vec::new(),
            decoder_sets: Vec::new(),
            late: Some(kind),
            record: record.to_vec(),
            interlaced: sps.as_ref().is_some_and(is_of_fields),
        })
    }
}

/// Reads an SPS, if what it announces can be decoded.
fn check(sps: &[u8]) -> Result<(u32, u32, SeqParameterSet), Unfit> {
    let parsed = parse(sps).ok_or(Unfit::Malformed)?;
    let unsupported = |what: &str| Err(Unfit::Unsupported(format!("H.264 {what}")));
    let chroma = &parsed.chroma_info;
    if chroma.bit_depth_luma_minus8 != 0 || chroma.bit_depth_chroma_minus8 != 0 {
        return unsupported(&format!(
            "of {} bits",
            8 + chroma.bit_depth_luma_minus8.max(chroma.bit_depth_chroma_minus8)
        ));
    }
    match chroma.chroma_format {
        ChromaFormat::YUV420 => {}
        ChromaFormat::Monochrome => return unsupported("without colour"),
        ChromaFormat::YUV422 => return unsupported("4:2:2"),
        _ => return unsupported("4:4:4"),
    }
    if matches!(parsed.frame_mbs_flags, FrameMbsFlags::Fields { .. }) {
        return unsupported("interlaced");
    }
    let (width, height) = parsed.pixel_dimensions().map_err(|_| Unfit::Malformed)?;
    // What is coded is decoded, whatever is cropped of it.
    let coded = (parsed.pic_width_in_mbs().saturating_mul(16), parsed.pic_height_in_map_units().saturating_mul(16));
    let most = macroblocks(SOURCE_WIDTH_MAX, SOURCE_HEIGHT_MAX);
    if coded.0.max(coded.1) > SOURCE_WIDTH_MAX || macroblocks(coded.0, coded.1) > most {
        return Err(Unfit::TooLarge(width, height));
    }
    if width < 16 || height < 16 || !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        return Err(Unfit::Malformed);
    }
    Ok((width, height, parsed))
}

/// An SPS that h264-reader can take.
pub(super) fn parse(sps: &[u8]) -> Option<SeqParameterSet> {
    // An empty one makes `RefNal::new` panic.
    if sps.len() > PARAMETER_SET_PARSED_BYTES_MAX || nal::kind(sps) != nal::SPS {
        return None;
    }
    SeqParameterSet::from_bits(RefNal::new(sps, &[], true).rbsp_bits()).ok()
}

/// Width of a sample by its height.
fn aspect(sps: &SeqParameterSet) -> (u32, u32) {
    let said = sps.vui_parameters.as_ref().and_then(|vui| vui.aspect_ratio_info.as_ref()?.get());
    said.map(|(across, down)| (across.into(), down.into())).filter(|aspect| is_aspect(*aspect)).unwrap_or((1, 1))
}

fn colour(vui: &VuiParameters, width: u32, height: u32) -> Colour {
    let mut colour = Colour::assumed(width, height);
    let Some(signal) = &vui.video_signal_type else { return colour };
    colour.full_range = signal.video_full_range_flag;
    if let Some(said) = &signal.colour_description {
        // 2 is "unspecified".
        let known = |said: u8, assumed: u8| if said == 2 || said == 0 { assumed } else { said };
        colour.primaries = known(said.colour_primaries, colour.primaries);
        colour.transfer = known(said.transfer_characteristics, colour.transfer);
        colour.matrix = known(said.matrix_coefficients, colour.matrix);
    }
    colour
}
