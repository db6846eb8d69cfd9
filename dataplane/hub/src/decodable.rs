//! Whether renditions can be made of a picture, as far as its configuration says: what the playlists list, and what the API and viewers are told.
//! Before it: the publisher's configuration; after it: [`crate::package::window`], and the engine, which begins renditions.
use std::sync::atomic::{AtomicU8, Ordering};

use millstream_proto::codec::Shape;

/// The largest picture that a worker decodes, pixels.
pub const DECODED_MAX: (u32, u32) = (4_096, 2_304);

/// What a worker of this machine decodes beside progressive H.264 with 8 bits and 4:2:0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beside {
    /// All other kinds of H.264.
    pub h264: bool,
    /// H.265.
    pub hevc: bool,
    /// AV1.
    pub av1: bool,
}

/// [`Beside`] of this process: it is the machine's, and the same for all streams.
static BESIDE: AtomicU8 = AtomicU8::new(0);

impl Beside {
    /// From here on streams of these kinds have renditions.
    pub fn set(self) {
        BESIDE.store(u8::from(self.h264) | u8::from(self.hevc) << 1 | u8::from(self.av1) << 2, Ordering::Relaxed);
    }

    /// What was set.
    pub fn get() -> Self {
        let bits = BESIDE.load(Ordering::Relaxed);
        Self { h264: bits & 1 != 0, hevc: bits & 2 != 0, av1: bits & 4 != 0 }
    }

    fn has(self, codec: &str) -> bool {
        match codec.get(..4) {
            Some("hvc1" | "hev1") => self.hevc,
            Some("av01") => self.av1,
            _ => false,
        }
    }
}

/// Why no rendition can be made of a picture, as a sentence's end; `None`: nothing is against it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Undecodable {
    /// Another codec than the one that is decoded.
    #[error(
        "the stream is {0}, which this server does not decode; let the encoder send H.264, or install an ffmpeg on the server that decodes it"
    )]
    Codec(String),
    /// H.264 in a form that is not decoded.
    #[error(
        "the stream's H.264 is {0}, and this server decodes progressive H.264 with 8 bits and 4:2:0 alone; set the encoder so, or install ffmpeg on the server"
    )]
    Form(&'static str),
    /// More pixels than are decoded.
    #[error(
        "the stream has {width}x{height} pixels, and this server makes renditions of at most {}x{}",
        DECODED_MAX.0,
        DECODED_MAX.1
    )]
    Large {
        /// Across.
        width: u32,
        /// Down.
        height: u32,
    },
}

impl Undecodable {
    /// Of a picture with this codec, as RFC 6381 or its FourCC names it, this size and these peculiarities: see `Summary::unusual`.
    pub fn of(codec: &str, shape: Option<Shape>, unusual: Option<&'static str>) -> Option<Self> {
        let beside = Beside::get();
        if !codec.starts_with("avc1") && !beside.has(codec) {
            return Some(Self::Codec(name(codec).to_owned()));
        }
        if let Some(unusual) = unusual.filter(|_| !beside.h264) {
            return Some(Self::Form(unusual));
        }
        match shape {
            // A picture that is higher than wide is decoded, too, within the same lengths.
            Some(Shape::Video { width, height }) if width > DECODED_MAX.0 || height > DECODED_MAX.1 => {
                Some(Self::Large { width, height })
            }
            _ => None,
        }
    }
}

/// A codec as people call it.
fn name(codec: &str) -> &str {
    match codec.get(..4) {
        Some("hvc1" | "hev1") => "H.265 (HEVC)",
        Some("av01") => "AV1",
        Some("vp09") => "VP9",
        _ => codec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_decoded_is_named() {
        let of = |codec: &str, size: Option<(u32, u32)>, unusual| {
            let shape = size.map(|(width, height)| Shape::Video { width, height });
            Undecodable::of(codec, shape, unusual).map(|why| why.to_string()).unwrap_or_default()
        };
        assert_eq!(of("avc1.64001f", Some((1_280, 720)), None), "");
        assert_eq!(of("avc1", None, None), "", "what is not known is tried");
        assert!(of("hvc1.1.6.L93.B0", Some((1_280, 720)), None).starts_with("the stream is H.265 (HEVC), which"));
        assert!(of("av01.0.04M.08", None, None).starts_with("the stream is AV1, which"));
        assert!(
            of("avc1.6e0028", None, Some("10 bits a sample"))
                .starts_with("the stream's H.264 is 10 bits a sample, and")
        );
        assert!(
            of("avc1.640033", Some((5_120, 2_880)), None)
                .ends_with("has 5120x2880 pixels, and this server makes renditions of at most 4096x2304")
        );
        // What ffmpeg decodes.
        Beside { h264: true, hevc: true, av1: false }.set();
        assert_eq!(of("hvc1.1.6.L93.B0", Some((1_280, 720)), None), "");
        assert_eq!(of("avc1.6e0028", None, Some("10 bits a sample")), "");
        assert!(of("av01.0.04M.08", None, None).starts_with("the stream is AV1, which"));
        assert!(!of("hvc1.1.6.L93.B0", Some((5_120, 2_880)), None).is_empty());
    }
}
