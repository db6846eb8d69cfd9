//! What encoders send: tag bodies of several codecs, each frame with a mark that no other frame of the walk has.
use bytes::Bytes;
use millstream_proto::media::TagKind;
use millstream_test_support::random::Random;

/// A record of H.264 with an SPS and a PPS; what tells several apart follows behind it.
const AVC_RECORD: [u8; 16] = [1, 100, 0, 31, 0xFF, 0xE1, 0, 4, 0x67, 100, 0, 31, 1, 0, 1, 0x68];

/// Set in what stands in a frame for its mark: small numbers are start codes, and lengths of NAL units.
pub(crate) const MARK_BIT: u32 = 1 << 30;

/// How a track is coded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    Avc,
    Vp9,
    Av1,
    Aac,
    Opus,
    /// Has no configuration.
    Mp3,
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Config,
    Frame { key: bool, mark: u32 },
    Script,
}

impl Coding {
    pub(crate) fn tag_kind(self) -> TagKind {
        match self {
            Self::Avc | Self::Vp9 | Self::Av1 => TagKind::Video,
            Self::Aac | Self::Opus | Self::Mp3 => TagKind::Audio,
        }
    }

    /// A configuration; `number` tells several apart.
    pub(crate) fn config(self, number: u8) -> Option<Bytes> {
        let body = match self {
            Self::Avc => [b"\x17\0\0\0\0".as_slice(), &AVC_RECORD, &[number]].concat(),
            Self::Vp9 => [b"\x90vp09".as_slice(), &[1, 0, 0, 0, number % 4, 10, 0x80, 0]].concat(),
            Self::Av1 => [b"\x90av01".as_slice(), &[0x81, number % 32, 0, 0]].concat(),
            Self::Aac => [b"\xAF\0".as_slice(), &[0x12, [0x08, 0x10, 0x18][number as usize % 3]]].concat(),
            Self::Opus => {
                [b"\x90OpusOpusHead\x01".as_slice(), &[1 + number % 2, 0, 0, 0x80, 0xBB, 0, 0, number, 0, 0]].concat()
            }
            Self::Mp3 => return None,
        };
        Some(body.into())
    }

    /// A frame: its mark, and bytes that follow from it.
    pub(crate) fn frame(self, key: bool, mark: u32, bytes: usize) -> Bytes {
        let head: &[u8] = match (self, key) {
            (Self::Avc, true) => b"\x17\x01\0\0\0",
            (Self::Avc, false) => b"\x27\x01\0\0\0",
            (Self::Vp9, true) => b"\x91vp09",
            (Self::Vp9, false) => b"\xA1vp09",
            (Self::Av1, true) => b"\x91av01",
            (Self::Av1, false) => b"\xA1av01",
            (Self::Aac, _) => b"\xAF\x01",
            (Self::Opus, _) => b"\x91Opus",
            (Self::Mp3, _) => b"\x2F",
        };
        let mut body = Vec::with_capacity(head.len() + 4 + bytes);
        body.extend_from_slice(head);
        body.extend_from_slice(&(mark | MARK_BIT).to_be_bytes());
        body.extend((0..bytes).map(|n| (mark as usize * 31 + n * 7) as u8));
        body.into()
    }
}

/// Reads a body: not with the product's reader, so that both are checked.
pub(crate) fn kind(kind: TagKind, body: &[u8]) -> Kind {
    let (config, key, data_at) = match (kind, body) {
        (TagKind::Script, _) => return Kind::Script,
        (TagKind::Video, [first, ..]) if first & 0x80 != 0 => (first % 16 == 0, first >> 4 & 7 == 1, 5),
        (TagKind::Video, [first, second, ..]) => (*second == 0, first >> 4 == 1, 5),
        (TagKind::Audio, [0x2F, ..]) => (false, true, 1),
        (TagKind::Audio, [first, ..]) if first >> 4 == 9 => (first % 16 == 0, true, 5),
        (TagKind::Audio, [_, second, ..]) => (*second == 0, true, 2),
        _ => panic!("a {kind:?} body of {} bytes", body.len()),
    };
    if config {
        return Kind::Config;
    }
    let mark = body.get(data_at..).and_then(|data| data.first_chunk()).expect("a frame has a mark");
    Kind::Frame { key, mark: u32::from_be_bytes(*mark) & !MARK_BIT }
}

/// The codings of one encoder: picture, audio; at least one.
pub(crate) fn codings(random: &mut Random) -> (Option<Coding>, Option<Coding>) {
    let video = random.pick(&[Coding::Avc, Coding::Avc, Coding::Vp9, Coding::Av1]);
    let audio = random.pick(&[Coding::Aac, Coding::Aac, Coding::Opus, Coding::Mp3]);
    match random.below(10) {
        0 => (Some(video), None),
        1 => (None, Some(audio)),
        _ => (Some(video), Some(audio)),
    }
}
