//! The AV1 encoder: pictures in, and some pictures later their temporal units out, in the same order. Before it: [`super::scale`]; after it:
//! [`crate::transcode`] makes tags of them.
//!
//! rav1e at its fastest preset: Main profile, one tile, no reordering, a key frame where one is asked for and nowhere else. It is built without threads, so
//! that all of its work is done in the thread that calls it, and a rendition takes one core at most. Its look-ahead is as short as can be set, and still
//! holds four pictures back.
use std::sync::Arc;

use millstream_proto::codec::av1::{self, OBU_SEQUENCE_HEADER, OBU_TEMPORAL_DELIMITER, obus};
use rav1e::color::{ColorDescription, ColorPrimaries, MatrixCoefficients, TransferCharacteristics};
use rav1e::prelude::{
    ChromaSampling, Config, Context, EncoderConfig, EncoderStatus, FrameParameters, FrameType, FrameTypeOverride,
    PixelRange, Rational, SceneDetectionSpeed, SpeedSettings, Tune,
};

use super::encode::{EncodeError, Encoded, Settings};
use crate::picture::{Colour, Picture};

/// The fastest preset.
const SPEED: u8 = 10;
/// Frame rates are told to the rate control in thousandths.
const FPS_SCALE: f32 = 1_000.0;
/// Seconds over which the rate control spends what it has, and the least pictures that it takes for that.
const RESERVOIR_S: f32 = 3.0;
const RESERVOIR_PICTURES_MIN: i32 = 12;

/// One encoder of one size.
pub(crate) struct Av1Encoder {
    context: Context<u8>,
}

impl Av1Encoder {
    pub(crate) fn new(settings: Settings) -> Result<Self, EncodeError> {
        let Settings { width, height, kbit_s, fps, colour } = settings;
        let mut speed_settings = SpeedSettings::from_preset(SPEED);
        speed_settings.rdo_lookahead_frames = 1;
        speed_settings.scene_detection_mode = SceneDetectionSpeed::None;
        let config = EncoderConfig {
            width: width as usize,
            height: height as usize,
            time_base: Rational { num: FPS_SCALE as u64, den: ((fps * FPS_SCALE) as u64).max(1) },
            chroma_sampling: ChromaSampling::Cs420,
            pixel_range: if colour.full_range { PixelRange::Full } else { PixelRange::Limited },
            color_description: description(colour),
            level_idx: Some(av1::level(width, height)),
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
        let context = Config::new().with_encoder_config(config).new_context();
        Ok(Self { context: context.map_err(|error| EncodeError(error.to_string()))? })
    }

    /// Takes a picture of the encoder's size, and gives what is encoded by now.
    pub(crate) fn encode(&mut self, picture: &Picture, key: bool) -> Result<Vec<Encoded>, EncodeError> {
        let mut frame = self.context.new_frame();
        for (plane, (samples, (across, _))) in frame.planes.iter_mut().zip(picture.planes()) {
            plane.copy_from_raw_u8(samples, across, 1);
        }
        let frame_type_override = if key { FrameTypeOverride::Key } else { FrameTypeOverride::No };
        let parameters = FrameParameters { frame_type_override, ..FrameParameters::default() };
        self.context.send_frame((Arc::new(frame), parameters)).map_err(failed)?;
        self.take()
    }

    /// Nothing more comes: the rest.
    pub(crate) fn finish(mut self) -> Vec<Encoded> {
        self.context.flush();
        self.take().unwrap_or_default()
    }

    fn take(&mut self) -> Result<Vec<Encoded>, EncodeError> {
        let mut made = Vec::new();
        loop {
            match self.context.receive_packet() {
                Ok(packet) => made.push(encoded(&packet.data, packet.frame_type == FrameType::KEY)),
                // One was encoded that is not shown yet, which does not happen without reordering.
                Err(EncoderStatus::Encoded) => {}
                Err(EncoderStatus::NeedMoreData | EncoderStatus::LimitReached) => return Ok(made),
                Err(status) => return Err(failed(status)),
            }
        }
    }
}

fn failed(status: EncoderStatus) -> EncodeError {
    EncodeError(format!("rav1e: {status}"))
}

/// A temporal unit as files and RTMP have it: without its delimiter.
fn encoded(unit: &[u8], key: bool) -> Encoded {
    let mut encoded = Encoded { idr: key, ..Encoded::default() };
    for obu in obus(unit).filter(|obu| obu.kind != OBU_TEMPORAL_DELIMITER) {
        if obu.kind == OBU_SEQUENCE_HEADER {
            encoded.record = av1::record(&obu).unwrap_or_default();
        }
        encoded.frame.extend_from_slice(obu.whole);
    }
    encoded
}

/// The colours in the encoder's own words; `None` where it has none for them.
fn description(colour: Colour) -> Option<ColorDescription> {
    let color_primaries = match colour.primaries {
        1 => ColorPrimaries::BT709,
        4 => ColorPrimaries::BT470M,
        5 => ColorPrimaries::BT470BG,
        6 => ColorPrimaries::BT601,
        7 => ColorPrimaries::SMPTE240,
        9 => ColorPrimaries::BT2020,
        _ => return None,
    };
    let transfer_characteristics = match colour.transfer {
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
    let matrix_coefficients = match colour.matrix {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_comes_four_pictures_later_and_is_a_key_frame_where_that_was_asked_for() {
        let (width, height) = (64, 48);
        let settings = Settings { width, height, kbit_s: 100, fps: 15.0, colour: Colour::assumed(width, height) };
        let mut encoder = Av1Encoder::new(settings).unwrap();
        let mut keys = Vec::new();
        for n in 0..30_usize {
            let made = encoder.encode(&Picture::grey(width, height).unwrap(), [0, 7, 8, 25].contains(&n)).unwrap();
            assert_eq!(made.len(), usize::from(n >= 4), "{n}");
            keys.extend(made.iter().map(|encoded| encoded.idr));
        }
        keys.extend(encoder.finish().iter().map(|encoded| encoded.idr));
        let at: Vec<usize> = keys.iter().enumerate().filter(|(_, key)| **key).map(|(n, _)| n).collect();
        assert_eq!((keys.len(), at), (30, vec![0, 7, 8, 25]));
    }
}
