//! What pictures of renditions are encoded as on this machine. Before it: the operator's settings, and what of `ffmpeg` is found; after it: [`crate::package::window`],
//! which says it in playlists, and the transcoder, which has it made.
use std::sync::atomic::{AtomicU8, Ordering};

/// A coding of pictures that renditions are made in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PictureCodec {
    /// H.264.
    #[default]
    H264,
    /// AV1.
    Av1,
    /// H.265.
    Hevc,
}

impl PictureCodec {
    /// As settings, hooks and workers name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Av1 => "av1",
            Self::Hevc => "hevc",
        }
    }
}

/// Why a rendition is not encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "it is to be H.265, and no ffmpeg with libx265 is found where renditions are made; install one there, or let the stream's codec be libx264"
)]
pub struct Unencodable;

/// What this machine encodes. It is the same for all streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Encodable {
    /// Renditions that say nothing are made in this.
    pub usual: PictureCodec,
    /// There is an encoder of AV1.
    pub av1: bool,
    /// There is one of H.265.
    pub hevc: bool,
}

const USUAL_AV1: u8 = 1;
const AV1: u8 = 2;
const HEVC: u8 = 4;

static ENCODABLE: AtomicU8 = AtomicU8::new(0);

impl Encodable {
    /// From here on renditions are made so.
    pub fn set(self) {
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        let bits = bit(self.usual == PictureCodec::Av1, USUAL_AV1) | bit(self.av1, AV1) | bit(self.hevc, HEVC);
        ENCODABLE.store(bits, Ordering::Relaxed);
    }

    /// From here on there is an encoder of H.265, or none: another worker may have another `ffmpeg`.
    pub fn set_hevc(has: bool) {
        if has {
            ENCODABLE.fetch_or(HEVC, Ordering::Relaxed);
        } else {
            ENCODABLE.fetch_and(!HEVC, Ordering::Relaxed);
        }
    }

    /// What was set; H.264 alone before that.
    pub fn get() -> Self {
        let bits = ENCODABLE.load(Ordering::Relaxed);
        let usual = if bits & USUAL_AV1 == 0 { PictureCodec::H264 } else { PictureCodec::Av1 };
        Self { usual, av1: bits & AV1 != 0, hevc: bits & HEVC != 0 }
    }

    /// What [`PictureCodec::word`] names. `None`: this program does not encode it, whatever is installed.
    pub fn named(self, word: &str) -> Option<PictureCodec> {
        match word {
            "h264" => Some(PictureCodec::H264),
            "hevc" => Some(PictureCodec::Hevc),
            "av1" if self.av1 => Some(PictureCodec::Av1),
            _ => None,
        }
    }

    /// Why nothing is encoded so at the moment.
    pub fn refusal(self, codec: PictureCodec) -> Option<Unencodable> {
        (codec == PictureCodec::Hevc && !self.hevc).then_some(Unencodable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_encoder_is_refused() {
        let without = Encodable::default();
        assert_eq!(["h264", "av1"].map(|word| without.named(word)), [Some(PictureCodec::H264), None]);
        let with = Encodable { usual: PictureCodec::Av1, av1: true, hevc: true };
        for codec in [PictureCodec::H264, PictureCodec::Av1, PictureCodec::Hevc] {
            assert_eq!((with.named(codec.word()), with.refusal(codec)), (Some(codec), None));
        }
        assert_eq!((with.named("vp9"), without.refusal(PictureCodec::H264)), (None, None));
        assert_eq!(without.refusal(PictureCodec::Hevc), Some(Unencodable));
    }

    #[test]
    fn an_encoder_comes_and_goes_and_changes_nothing_else() {
        let begun = Encodable { usual: PictureCodec::Av1, av1: true, hevc: false };
        begun.set();
        Encodable::set_hevc(true);
        assert_eq!(Encodable::get(), Encodable { hevc: true, ..begun });
        Encodable::set_hevc(false);
        assert_eq!(Encodable::get(), begun);
        Encodable::default().set();
    }
}
