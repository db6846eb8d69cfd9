//! The tracks of a stream, their codecs, and the kinds of tags that carry them. Used by all that reads or writes media.

/// Which of a stream's two tracks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Track {
    /// The picture.
    Video,
    /// The audio.
    Audio,
}

impl Track {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Video => Self::Audio,
            Self::Audio => Self::Video,
        }
    }

    /// Its name in the API, in metrics and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }

    /// Its place where something is kept of both tracks.
    pub const fn index(self) -> usize {
        match self {
            Self::Video => 0,
            Self::Audio => 1,
        }
    }
}

/// What the bytes of a track are coded with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Codec {
    /// H.264.
    Avc,
    /// H.265, by FourCC or by the legacy id 12.
    Hevc,
    /// AV1.
    Av1,
    /// VP9.
    Vp9,
    /// AAC.
    Aac,
    /// Opus.
    Opus,
    /// MP3 (legacy id 2): no configuration of its own.
    Mp3,
    /// AC-3.
    Ac3,
    /// E-AC-3.
    Eac3,
    /// FLAC.
    Flac,
}

/// The FourCCs of a track's codecs that are passed on, as Enhanced RTMP writes them.
pub const fn four_ccs(track: Track) -> &'static [(&'static str, Codec)] {
    match track {
        Track::Video => &[("avc1", Codec::Avc), ("hvc1", Codec::Hevc), ("av01", Codec::Av1), ("vp09", Codec::Vp9)],
        Track::Audio => &[
            ("mp4a", Codec::Aac),
            ("Opus", Codec::Opus),
            ("ac-3", Codec::Ac3),
            ("ec-3", Codec::Eac3),
            ("fLaC", Codec::Flac),
            (".mp3", Codec::Mp3),
        ],
    }
}

/// The three kinds of FLV tag and of RTMP media message; the values are those of both formats.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum TagKind {
    /// Type 8.
    Audio = 8,
    /// Type 9.
    Video = 9,
    /// Type 18: AMF0 data.
    Script = 18,
}

impl TagKind {
    /// The kind that this type byte names, if it is one of the three.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }
}
