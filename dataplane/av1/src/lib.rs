//! An AV1 encoder: pictures in, and some pictures later their temporal units out, in the same order. Before it: the worker's scaler; after it: tags of
//! a rendition.
//!
//! rav1e at its fastest preset: Main profile, one tile, no reordering, a key frame where one is asked for and nowhere else. It is built without threads, so
//! that all of its work is done in the thread that calls it, and a rendition takes one core at most. Its look-ahead is as short as can be set, and still
//! holds four pictures back.
//!
//! A crate of its own because rav1e is generic over its samples: its code is made where it is used, which takes half a minute, and is slow unless it is
//! optimised, which tests are not.
#![forbid(unsafe_code)]
use std::sync::Arc;

use rav1e::color::{ColorDescription, ColorPrimaries, MatrixCoefficients, TransferCharacteristics};
use rav1e::prelude::{
    ChromaSampling, Config, Context, EncoderConfig, EncoderStatus, FrameParameters, FrameType, FrameTypeOverride,
    InvalidConfig, PixelRange, Rational, SceneDetectionSpeed, SpeedSettings, Tune,
};

/// The fastest preset.
const SPEED: u8 = 10;
/// Frame rates are told to the rate control in thousandths.
const FPS_SCALE: f32 = 1_000.0;
/// Seconds over which the rate control spends what it has, and the least pictures that it takes for that.
const RESERVOIR_S: f32 = 3.0;
const RESERVOIR_PICTURES_MIN: i32 = 12;

/// What an encoder is made for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Pixels across and down.
    pub size: (u32, u32),
    /// Bit rate.
    pub kbit_s: u32,
    /// Frames a second, for the rate control.
    pub fps: f32,
    /// `seq_level_idx`.
    pub level: u8,
    /// Colour primaries, transfer characteristics and matrix coefficients, as ISO/IEC 23091-2 numbers them. Where one of them is not known here, nothing is
    /// said.
    pub colour: [u8; 3],
    /// Luma uses 0 to 255 instead of 16 to 235.
    pub full_range: bool,
}

/// Why nothing is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that the encoder does not take.
    #[error("rav1e: {0}")]
    Settings(#[from] InvalidConfig),
    /// It fails.
    #[error("rav1e: {0}")]
    Failed(#[from] EncoderStatus),
}

/// A picture that is encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unit {
    /// A decoder can start here.
    pub key: bool,
    /// The temporal unit, with its delimiter.
    pub data: Vec<u8>,
}

/// One encoder of one size: 8 bits, 4:2:0.
#[derive(Debug)]
pub struct Encoder {
    context: Context<u8>,
}

impl Encoder {
    /// An encoder that waits for its first picture.
    ///
    /// # Errors
    /// See [`Error::Settings`].
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let Settings { size: (width, height), kbit_s, fps, level, colour, full_range } = settings;
        let mut speed_settings = SpeedSettings::from_preset(SPEED);
        speed_settings.rdo_lookahead_frames = 1;
        speed_settings.scene_detection_mode = SceneDetectionSpeed::None;
        let config = EncoderConfig {
            width: width as usize,
            height: height as usize,
            time_base: Rational { num: FPS_SCALE as u64, den: ((fps * FPS_SCALE) as u64).max(1) },
            chroma_sampling: ChromaSampling::Cs420,
            pixel_range: if full_range { PixelRange::Full } else { PixelRange::Limited },
            color_description: description(colour),
            level_idx: Some(level),
            low_latency: true,
            min_key_frame_interval: 0,
            // Without an end: key frames are those that are asked for.
            max_key_frame_interval: 0,
            reservoir_frame_delay: Some(((fps * RESERVOIR_S) as i32).max(RESERVOIR_PICTURES_MIN)),
            bitrate: i32::try_from(kbit_s.saturating_mul(1_000)).unwrap_or(i32::MAX),
            tune: Tune::Psnr,
            speed_settings,
            ..EncoderConfig::with_speed_preset(SPEED)
        };
        Ok(Self { context: Config::new().with_encoder_config(config).new_context()? })
    }

    /// Takes a picture of the encoder's size, Y, U and V without padding between rows, each with its samples across, and gives what is encoded by now.
    ///
    /// # Errors
    /// See [`Error::Failed`]. The encoder is of no use after it.
    pub fn encode(&mut self, planes: [(&[u8], usize); 3], key: bool) -> Result<Vec<Unit>, Error> {
        let mut frame = self.context.new_frame();
        for (plane, (samples, across)) in frame.planes.iter_mut().zip(planes) {
            plane.copy_from_raw_u8(samples, across, 1);
        }
        let frame_type_override = if key { FrameTypeOverride::Key } else { FrameTypeOverride::No };
        let parameters = FrameParameters { frame_type_override, ..FrameParameters::default() };
        self.context.send_frame((Arc::new(frame), parameters))?;
        self.take()
    }

    /// Nothing more comes: the rest.
    pub fn finish(mut self) -> Vec<Unit> {
        self.context.flush();
        self.take().unwrap_or_default()
    }

    fn take(&mut self) -> Result<Vec<Unit>, Error> {
        let mut made = Vec::new();
        loop {
            match self.context.receive_packet() {
                Ok(packet) => made.push(Unit { key: packet.frame_type == FrameType::KEY, data: packet.data }),
                // One was encoded that is not shown yet, which does not happen without reordering.
                Err(EncoderStatus::Encoded) => {}
                Err(EncoderStatus::NeedMoreData | EncoderStatus::LimitReached) => return Ok(made),
                Err(status) => return Err(status.into()),
            }
        }
    }
}

/// The colours in the encoder's own words; `None` where it has none for them.
fn description([primaries, transfer, matrix]: [u8; 3]) -> Option<ColorDescription> {
    let color_primaries = match primaries {
        1 => ColorPrimaries::BT709,
        4 => ColorPrimaries::BT470M,
        5 => ColorPrimaries::BT470BG,
        6 => ColorPrimaries::BT601,
        7 => ColorPrimaries::SMPTE240,
        9 => ColorPrimaries::BT2020,
        _ => return None,
    };
    let transfer_characteristics = match transfer {
        1 => TransferCharacteristics::BT709,
        4 => TransferCharacteristics::BT470M,
        5 => TransferCharacteristics::BT470BG,
        6 => TransferCharacteristics::BT601,
        7 => TransferCharacteristics::SMPTE240,
        8 => TransferCharacteristics::Linear,
        13 => TransferCharacteristics::SRGB,
        14 => TransferCharacteristics::BT2020_10Bit,
        16 => TransferCharacteristics::SMPTE2084,
        18 => TransferCharacteristics::HLG,
        _ => return None,
    };
    let matrix_coefficients = match matrix {
        1 => MatrixCoefficients::BT709,
        4 => MatrixCoefficients::FCC,
        5 => MatrixCoefficients::BT470BG,
        6 => MatrixCoefficients::BT601,
        7 => MatrixCoefficients::SMPTE240,
        9 => MatrixCoefficients::BT2020NCL,
        _ => return None,
    };
    Some(ColorDescription { color_primaries, transfer_characteristics, matrix_coefficients })
}
