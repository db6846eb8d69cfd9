//! The H.264 decoder: an access unit in, its picture out, at once and in the order of decoding. Before it: [`crate::h264`]; after it:
//! [`crate::transcode`] puts pictures into the order of showing, by their stamps.
//!
//! OpenH264's own order of showing is passed by: see `h264/sps`, without which pictures come late or not at all.
use openh264::OpenH264API;
use openh264::decoder::{DecodeOptions, DecodedYUV, DecoderConfig, Flush};
use openh264::formats::YUVSource as _;

use crate::picture::{Picture, Plane};

/// A frame that cannot be decoded. The decoder is of no use after it: what it refers to is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the frame cannot be decoded")]
pub(crate) struct Lost;

/// One decoder, for one sequence of pictures.
pub(crate) struct Decoder {
    decoder: openh264::decoder::Decoder,
}

impl Decoder {
    pub(crate) fn new() -> Result<Self, Lost> {
        // No concealment: a wrong picture is worse than none, and less code sees what is broken.
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let decoder = openh264::decoder::Decoder::with_api_config(OpenH264API::from_source(), config);
        decoder.map(|decoder| Self { decoder }).map_err(|_| Lost)
    }

    /// Decodes one access unit, with start codes; parameter sets may stand before it.
    pub(crate) fn decode(&mut self, access_unit: &[u8]) -> Result<Picture, Lost> {
        let decoded = self.decoded(access_unit)?;
        let (width, height) = decoded.dimensions();
        let (y, u, v) = decoded.strides();
        let planes = [
            Plane { samples: decoded.y(), stride: y },
            Plane { samples: decoded.u(), stride: u },
            Plane { samples: decoded.v(), stride: v },
        ];
        Picture::copy(width as u32, height as u32, planes).ok_or(Lost)
    }

    /// Decodes one that others refer to and whose own picture nobody wants.
    pub(crate) fn pass(&mut self, access_unit: &[u8]) -> Result<(), Lost> {
        self.decoded(access_unit).map(drop)
    }

    fn decoded(&mut self, access_unit: &[u8]) -> Result<DecodedYUV<'_>, Lost> {
        let options = DecodeOptions::new().flush_after_decode(Flush::NoFlush);
        self.decoder.decode_with_options(access_unit, options).map_err(|_| Lost)?.ok_or(Lost)
    }
}
