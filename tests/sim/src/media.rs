//! What encoders send: tag bodies of several codecs, each frame with a mark that no other frame of the walk has.
use bytes::{Bytes, BytesMut};
use millstream_proto::flv::write_tag;
use millstream_proto::media::TagKind;
use millstream_test_support::random::Random;

/// A record of H.264: an SPS of 1280x720, and the beginning of a PPS; what tells several apart follows behind it.
const AVC_RECORD: &[u8] = b"\x01\x64\x00\x1F\xFF\xE1\x00\x1A\x67\x64\x00\x1F\xAC\xD9\x40\x50\x05\xBB\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\xC0\
    \xF1\x83\x19\x60\x01\x00\x06\x68\xEB\xE3\xCB";
/// Marks of one encoder; those of the next one begin behind them.
pub(crate) const MARKS: u32 = 1 << 20;
/// The encoder that made the slate.
const SLATE: u32 = 999;
/// Frames of the slate, and milliseconds from one to the next.
const SLATE_FRAMES: u32 = 10;
const SLATE_FRAME_MS: u32 = 40;

/// Set in what stands in a frame for its mark: small numbers are start codes, and lengths of NAL units.
const MARK_BIT: u32 = 1 << 30;

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
    Frame {
        key: bool,
        mark: u32,
    },
    /// Of the slate: its number; what is silent there has none.
    Slate {
        key: bool,
        number: Option<u32>,
    },
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
            Self::Avc => [b"\x17\0\0\0\0".as_slice(), AVC_RECORD, &[number, 0xC0]].concat(),
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
    match body.get(data_at..).and_then(mark) {
        Some(mark) if mark / MARKS != SLATE => Kind::Frame { key, mark },
        mark => Kind::Slate { key, number: mark.map(|mark| mark % MARKS) },
    }
}

/// The mark at the beginning of a frame; what is silent in a slate has none.
pub(crate) fn mark(data: &[u8]) -> Option<u32> {
    let mark = u32::from_be_bytes(*data.first_chunk()?);
    (mark >> 30 == 1).then_some(mark & !MARK_BIT)
}

/// Whether a mark is one of the slate.
pub(crate) fn is_slate(mark: u32) -> bool {
    mark / MARKS == SLATE
}

/// A frame of the slate.
pub(crate) fn slate_frame(number: u32) -> Bytes {
    Coding::Avc.frame(number == 0, SLATE * MARKS + number, 50)
}

/// The slate's configuration.
pub(crate) fn slate_config() -> Bytes {
    Coding::Avc.config(250).expect("it has one")
}

/// The slate as a file.
pub(crate) fn slate_file() -> BytesMut {
    let mut file = BytesMut::from(&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..]);
    let frames = (0..SLATE_FRAMES).map(|number| (number * SLATE_FRAME_MS, slate_frame(number)));
    for (stamp_ms, body) in [(0, slate_config())].into_iter().chain(frames) {
        write_tag(&mut file, TagKind::Video, stamp_ms, &body).expect("it fits");
    }
    file
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
