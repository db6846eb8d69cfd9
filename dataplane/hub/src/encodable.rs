//! What pictures of renditions are encoded as on this machine. Before it: the operator's settings; after it: [`crate::package::window`], which says it in
//! playlists, and the transcoder, which has it made.
use std::sync::atomic::{AtomicU8, Ordering};

/// A coding of pictures that renditions are made in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PictureCodec {
    /// H.264.
    #[default]
    H264,
    /// AV1.
    Av1,
}

impl PictureCodec {
    /// As settings, hooks and workers name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Av1 => "av1",
        }
    }
}

/// What this machine encodes. It is the same for all streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Encodable {
    /// Renditions that say nothing are made in this.
    pub usual: PictureCodec,
    /// There is an encoder of AV1.
    pub av1: bool,
}

static ENCODABLE: AtomicU8 = AtomicU8::new(0);

impl Encodable {
    /// From here on renditions are made so.
    pub fn set(self) {
        let usual = u8::from(self.usual == PictureCodec::Av1);
        ENCODABLE.store(usual | u8::from(self.av1) << 1, Ordering::Relaxed);
    }

    /// What was set; H.264 alone before that.
    pub fn get() -> Self {
        let bits = ENCODABLE.load(Ordering::Relaxed);
        let usual = if bits & 1 == 0 { PictureCodec::H264 } else { PictureCodec::Av1 };
        Self { usual, av1: bits & 2 != 0 }
    }

    /// What [`PictureCodec::word`] names. `None`: it is not encoded here.
    pub fn named(self, word: &str) -> Option<PictureCodec> {
        match word {
            "h264" => Some(PictureCodec::H264),
            "av1" if self.av1 => Some(PictureCodec::Av1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_encoder_is_none() {
        let without = Encodable::default();
        assert_eq!(["h264", "av1"].map(|word| without.named(word)), [Some(PictureCodec::H264), None]);
        let with = Encodable { usual: PictureCodec::Av1, av1: true };
        for codec in [PictureCodec::H264, PictureCodec::Av1] {
            assert_eq!(with.named(codec.word()), Some(codec));
        }
        assert_eq!(with.named("hevc"), None);
    }
}
