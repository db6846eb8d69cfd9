//! A rendition as the source's multivariant playlist offers it, whether or not it is being made. Beside [`super::text`].
use millstream_proto::codec::av1;
use millstream_proto::dash::mpd::Representation;
use millstream_proto::hls::multivariant::Variant;
use millstream_proto::id::RenditionName;
use millstream_proto::media::Track;

use crate::config::Rendition;
use crate::encodable::PictureCodec;
use crate::package::file_name::Name;

/// A segment may be this much above the rate that an encoder is set to, percent.
const PEAK_PERCENT: u64 = 150;
/// Levels of H.264, hexadecimal as RFC 6381 names them, and the largest pictures for which a worker's encoder says so at 30 frames a second,
/// pixels (ITU-T H.264, table A-1).
const LEVELS: [(&str, u64); 4] = [("1E", 414_720), ("1F", 921_600), ("28", 2_097_152), ("33", u64::MAX)];

/// The same of H.265: thirty times the level (ITU-T H.265, table A.8).
const HEVC_LEVELS: [(u32, u64); 6] =
    [(60, 122_880), (63, 245_760), (90, 552_960), (93, 983_040), (120, 2_228_224), (150, u64::MAX)];

/// What is said of a rendition.
pub(super) struct Offer {
    name: RenditionName,
    uri: String,
    codec: String,
    size: (u32, u32),
    video_bps: u64,
}

impl Offer {
    /// Of a source with a picture of that size; `None`: it is smaller than the rendition would be.
    pub(super) fn of(rendition: &Rendition, source: (u32, u32), name: fn(Track) -> &'static str) -> Option<Self> {
        let size = rendition.size_of(source)?;
        Some(Self {
            name: rendition.name.clone(),
            uri: format!("{}/{}", rendition.name, name(Track::Video)),
            codec: codec(rendition.codec(), size),
            size,
            video_bps: u64::from(rendition.video_kbit_s) * 1_000,
        })
    }

    /// Beside audio of this codec, whose highest and mean rates are these.
    pub(super) fn variant<'a>(
        &'a self,
        sound: Option<&'a str>,
        (highest, mean): (u64, u64),
        frame_rate: Option<f64>,
    ) -> Variant<'a> {
        Variant {
            uri: &self.uri,
            bandwidth: self.video_bps * PEAK_PERCENT / 100 + highest,
            average_bandwidth: self.video_bps + mean,
            codecs: [Some(self.codec.as_str()), sound].into_iter().flatten().collect(),
            resolution: Some(self.size),
            frame_rate,
        }
    }

    /// Beside the source's representation in that run; its files are below the rendition's path, in a folder of the source's session.
    pub(super) fn representation(self, folder: &str, run: u64) -> Representation {
        let base = format!("{}/{folder}", self.name);
        Representation {
            id: self.name.to_string(),
            codecs: self.codec,
            bandwidth: self.video_bps * PEAK_PERCENT / 100,
            resolution: Some(self.size),
            rate_hz: None,
            initialization: format!("{base}/{}", Name::Header(run)),
            media: format!("{base}/$Number$.m4s"),
        }
    }
}

/// How RFC 6381 names what a worker makes of a picture of this size.
fn codec(codec: PictureCodec, (width, height): (u32, u32)) -> String {
    match codec {
        PictureCodec::H264 => {
            let pixels = u64::from(width) * u64::from(height);
            let level = LEVELS.iter().find(|(_, most)| pixels <= *most).map_or("33", |(level, _)| level);
            format!("avc1.42C0{level}")
        }
        PictureCodec::Av1 => av1::main_codec_string(av1::level(width, height)),
        PictureCodec::Hevc => {
            let pixels = u64::from(width) * u64::from(height);
            let level = HEVC_LEVELS.iter().find(|(_, most)| pixels <= *most).map_or(150, |(level, _)| *level);
            // Main profile and tier; progressive, and frames alone.
            format!("hvc1.1.6.L{level}.90")
        }
    }
}
