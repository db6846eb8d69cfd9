//! The H.264 encoder: a picture in, its NAL units out at once. Before it: [`super::scale`]; after it: [`crate::transcode`] makes tags of them.
//!
//! Constrained Baseline, one slice a picture, no look-ahead, no skipped pictures, and an IDR picture where one is asked for and nowhere else.
use openh264::encoder::{
    BitRate, ColorPrimaries, Complexity, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, MatrixCoefficients,
    Profile, QpRange, RateControlMode, SpsPpsStrategy, TransferCharacteristics, UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;
use openh264::{OpenH264API, Timestamp};

use crate::h264::nal;
use crate::picture::{Colour, Picture};

/// What an encoder is made for; another one is made where this changes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Settings {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) kbit_s: u32,
    /// Frames a second, for the rate control.
    pub(crate) fps: f32,
    pub(crate) colour: Colour,
}

/// An encoder that does not do as it should.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the encoder failed: {0}")]
pub struct EncodeError(pub(crate) String);

/// What became of a picture.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// A decoder can start here.
    pub(crate) idr: bool,
    /// Slices, each behind a length of four bytes, or the OBUs of AV1; empty where the rate control skipped the picture.
    pub(crate) frame: Vec<u8>,
    /// Parameter sets of H.264 that came with it.
    pub(crate) sps: Vec<u8>,
    pub(crate) pps: Vec<u8>,
    /// The whole record of another codec.
    pub(crate) record: Vec<u8>,
}

/// One encoder of one size.
pub(crate) struct Encoder {
    encoder: openh264::encoder::Encoder,
    begun: bool,
}

impl Encoder {
    pub(crate) fn new(settings: Settings) -> Result<Self, EncodeError> {
        let mut config = EncoderConfig::new()
            .profile(Profile::Baseline)
            .usage_type(UsageType::CameraVideoRealTime)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(settings.kbit_s.saturating_mul(1000)))
            .max_frame_rate(FrameRate::from_hz(settings.fps))
            .skip_frames(false)
            .scene_change_detect(false)
            // Half a decibel and more, of 3 % of the time.
            .background_detection(false)
            .complexity(Complexity::Medium)
            .qp(QpRange::new(10, 51))
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .intra_frame_period(IntraFramePeriod::auto())
            // Renditions are threads of their own.
            .num_threads(1);
        if let Some(vui) = vui(settings.colour) {
            config = config.vui(vui);
        }
        let encoder = openh264::encoder::Encoder::with_api_config(OpenH264API::from_source(), config);
        let mut encoder = encoder.map_err(|error| EncodeError(error.to_string()))?;
        silence(&mut encoder);
        Ok(Self { encoder, begun: false })
    }

    /// Encodes a picture of the encoder's size.
    pub(crate) fn encode(&mut self, picture: &Picture, pts_ms: i64, idr: bool) -> Result<Encoded, EncodeError> {
        if idr && self.begun {
            self.encoder.force_intra_frame();
        }
        self.begun = true;
        let [(y, (across, down)), (u, (half, _)), (v, _)] = picture.planes();
        let source = YUVSlices::new((y, u, v), (across, down), (across, half, half));
        let stamp = Timestamp::from_millis(u64::try_from(pts_ms).unwrap_or_default());
        let bits = self.encoder.encode_at(&source, stamp).map_err(|error| EncodeError(error.to_string()))?;
        let mut encoded = Encoded { idr: bits.frame_type() == FrameType::IDR, ..Encoded::default() };
        for layer in (0..bits.num_layers()).filter_map(|at| bits.layer(at)) {
            for unit in (0..layer.nal_count()).filter_map(|at| layer.nal_unit(at)) {
                let unit = nal::without_start_code(unit);
                match nal::kind(unit) {
                    nal::SPS => encoded.sps = unit.to_vec(),
                    nal::PPS => encoded.pps = unit.to_vec(),
                    nal::SLICE | nal::SLICE_IDR => nal::put_length(&mut encoded.frame, unit),
                    _ => {}
                }
            }
        }
        Ok(encoded)
    }
}

/// `ENCODER_OPTION_TRACE_LEVEL`, and nothing.
const TRACE_LEVEL: i32 = 25;
const TRACE_NOTHING: i32 = 0;

/// OpenH264 warns on standard error, with each encoder, that a rate cannot be kept without leaving pictures out. What is set by its own
/// bindings comes after that.
#[allow(unsafe_code)]
fn silence(encoder: &mut openh264::encoder::Encoder) {
    let mut level = TRACE_NOTHING;
    // SAFETY: the encoder is there, though nothing is initialised: this option needs no more (`CWelsH264SVCEncoder::SetOption`), and reads one
    // 32-bit number by the pointer before it returns.
    unsafe { encoder.raw_api().set_option(TRACE_LEVEL, (&raw mut level).cast()) };
}

/// The colours in the encoder's own words; `None` where it has none for them.
fn vui(colour: Colour) -> Option<VuiConfig> {
    let primaries = match colour.primaries {
        1 => ColorPrimaries::Bt709,
        4 => ColorPrimaries::Bt470M,
        5 => ColorPrimaries::Bt470BG,
        6 => ColorPrimaries::Smpte170M,
        7 => ColorPrimaries::Smpte240M,
        9 => ColorPrimaries::Bt2020,
        _ => return None,
    };
    let transfer = match colour.transfer {
        1 => TransferCharacteristics::Bt709,
        4 => TransferCharacteristics::Bt470M,
        5 => TransferCharacteristics::Bt470Bg,
        6 => TransferCharacteristics::Smpte170M,
        7 => TransferCharacteristics::Smpte240M,
        8 => TransferCharacteristics::Linear,
        13 => TransferCharacteristics::Srgb,
        14 => TransferCharacteristics::Bt2020_10,
        16 => TransferCharacteristics::Smpte2084,
        18 => TransferCharacteristics::Hlg,
        _ => return None,
    };
    let matrix = match colour.matrix {
        1 => MatrixCoefficients::Bt709,
        4 => MatrixCoefficients::Fcc,
        5 => MatrixCoefficients::Bt470Bg,
        6 => MatrixCoefficients::Smpte170M,
        7 => MatrixCoefficients::Smpte240M,
        9 => MatrixCoefficients::Bt2020Ncl,
        _ => return None,
    };
    let vui = VuiConfig::new().color_primaries(primaries).transfer_characteristics(transfer);
    Some(vui.matrix_coefficients(matrix).full_range(colour.full_range))
}
