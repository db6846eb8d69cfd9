//! Paths of what was recorded, below the path of its stream. Before it: a request's segments, decoded once; after it: the engine asks whoever has
//! the files. A path is taken apart into parts that are each checked, so that nothing of a request becomes part of a file's name
//! but what this module has let through.
use std::fmt;

use crate::id::Id;
use crate::limits::{RECORDED_FILE_CHARS_MAX, RECORDED_MS_DIGITS_MAX};
use crate::media::Track;
use crate::time::civil;

/// A file of what was recorded of a stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RecordedPath {
    /// Of which stream.
    pub stream: Id,
    /// Which file.
    pub file: RecordedFile,
}

/// Which file below the path of a stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RecordedFile {
    /// `rec/<recording>/...`
    Recording(RecordingName, RecordingFile),
    /// `vod-<start ms>.m3u8`: the multivariant playlist of the recording that began then.
    Vod {
        /// Unix milliseconds.
        start_ms: u64,
    },
    /// `mp4/YYYY/M/D/<ms>.mp4` and others by their day.
    Dated {
        /// What it is.
        kind: DatedKind,
        /// The directory that it is in.
        day: Day,
        /// When it begins, or was taken: Unix milliseconds.
        at_ms: u64,
    },
}

/// A recording's name: when it began, and the session that it began with. It is never used twice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RecordingName {
    /// Unix milliseconds.
    pub start_ms: u64,
    /// The session's name.
    pub session: Id,
}

/// A file of a recording.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RecordingFile {
    /// `index.m3u8`, the multivariant playlist.
    Multivariant,
    /// `video.m3u8`, `audio.m3u8`.
    Playlist(Track),
    /// `manifest.mpd`, of DASH.
    Manifest,
    /// `recording.json`: what it is, as text.
    Description,
    /// `{video,audio}/<name>`: a header, or an object of segments.
    Media(Track, MediaName),
    /// `clips/<name>.mp4`: a part of it as a file of its own.
    Clip(MediaName),
    /// `thumbnails.vtt`: which part of which sprite shows a moment.
    Thumbnails,
    /// `thumbnails/<n>.jpg`: a sprite, many small pictures in one.
    Sprite(u32),
}

/// The name of a track's file: letters, digits, `-` and `_`, and `.mp4` or `.m4s`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MediaName(Box<str>);

/// What is kept by its day.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DatedKind {
    /// `mp4/`
    Mp4,
    /// `images/`
    Image,
    /// `motion/mp4/`
    MotionMp4,
    /// `motion/images/`
    MotionImage,
}

/// A day, UTC, as the directories `YYYY/M/D` say it: without zeros in front.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Day {
    /// 1970 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31; that its month has so many is not looked at.
    pub day: u8,
}

/// A path that names nothing that can be recorded. Never repeats what the path said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordedPathError {
    /// No path of this kind at all.
    #[error("this is no path of a recording")]
    Other,
    /// Not `<start ms>-<session>`.
    #[error(
        "a recording is named by the Unix time of its start in milliseconds, '-' and its session: rec/1795531265250-ab12/index.m3u8"
    )]
    Recording,
    /// No file that a recording has.
    #[error(
        "a recording has index.m3u8, video.m3u8, audio.m3u8, manifest.mpd, recording.json, thumbnails.vtt, and files named .mp4 and .m4s below video and audio, .mp4 below clips, and numbers with .jpg below thumbnails"
    )]
    File,
    /// Not `vod-<ms>.m3u8`.
    #[error("a recording's playlist is named by the Unix time of its start in milliseconds: vod-1795531265250.m3u8")]
    Vod,
    /// Not `YYYY/M/D/<ms>` with the right ending.
    #[error(
        "files are below their day (UTC) and named by their Unix time in milliseconds: mp4/2026/11/24/1795531265250.mp4, images/2026/11/24/1795531265250.jpg"
    )]
    Dated,
}

impl RecordedPath {
    /// Whether a path below that of a stream is meant to be one of these: it is no other path's.
    pub fn is_meant<S: AsRef<str>>(below: &[S]) -> bool {
        match below {
            [first, _, ..] => matches!(first.as_ref(), "rec" | "mp4" | "images" | "motion"),
            [name] => name.as_ref().strip_prefix("vod-").and_then(|rest| rest.strip_suffix(".m3u8")).is_some(),
            [] => false,
        }
    }

    /// Reads the segments of a path below that of the stream.
    pub fn parse<S: AsRef<str>>(stream: Id, below: &[S]) -> Result<Self, RecordedPathError> {
        // None is longer.
        const SEGMENTS_MAX: usize = 6;
        let mut segments = [""; SEGMENTS_MAX];
        for (index, segment) in below.iter().enumerate() {
            *segments.get_mut(index).ok_or(RecordedPathError::Other)? = segment.as_ref();
        }
        let file = match segments.get(..below.len()).unwrap_or_default() {
            ["rec", recording, file @ ..] => {
                let recording = RecordingName::parse(recording).ok_or(RecordedPathError::Recording)?;
                RecordedFile::Recording(recording, RecordingFile::parse(file).ok_or(RecordedPathError::File)?)
            }
            [name] if name.starts_with("vod-") => {
                let moment = name.strip_prefix("vod-").and_then(|rest| rest.strip_suffix(".m3u8"));
                RecordedFile::Vod { start_ms: moment.and_then(moment_ms).ok_or(RecordedPathError::Vod)? }
            }
            ["mp4", rest @ ..] => dated(DatedKind::Mp4, rest)?,
            ["images", rest @ ..] => dated(DatedKind::Image, rest)?,
            ["motion", "mp4", rest @ ..] => dated(DatedKind::MotionMp4, rest)?,
            ["motion", "images", rest @ ..] => dated(DatedKind::MotionImage, rest)?,
            ["motion", ..] => return Err(RecordedPathError::Dated),
            _ => return Err(RecordedPathError::Other),
        };
        Ok(Self { stream, file })
    }
}

/// As it stands behind the server's address, and as files and objects are named: made of parts that were checked.
impl fmt::Display for RecordedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.file)
    }
}

impl fmt::Display for RecordedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recording(recording, file) => write!(f, "rec/{recording}/{file}"),
            Self::Vod { start_ms } => write!(f, "vod-{start_ms}.m3u8"),
            Self::Dated { kind, day, at_ms } => {
                let (directory, extension) = kind.place();
                write!(f, "{directory}/{day}/{at_ms}.{extension}")
            }
        }
    }
}

impl RecordingName {
    /// Reads one.
    pub fn parse(name: &str) -> Option<Self> {
        let (start, session) = name.split_once('-')?;
        Some(Self { start_ms: moment_ms(start)?, session: Id::new(session).ok()? })
    }
}

impl fmt::Display for RecordingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start_ms, self.session)
    }
}

impl RecordingFile {
    fn parse(below: &[&str]) -> Option<Self> {
        Some(match *below {
            ["index.m3u8"] => Self::Multivariant,
            ["video.m3u8"] => Self::Playlist(Track::Video),
            ["audio.m3u8"] => Self::Playlist(Track::Audio),
            ["manifest.mpd"] => Self::Manifest,
            ["recording.json"] => Self::Description,
            ["video", name] => Self::Media(Track::Video, MediaName::parse(name)?),
            ["audio", name] => Self::Media(Track::Audio, MediaName::parse(name)?),
            ["thumbnails.vtt"] => Self::Thumbnails,
            ["thumbnails", name] => {
                Self::Sprite(number(name.strip_suffix(".jpg")?, SPRITE_DIGITS_MAX)?.try_into().ok()?)
            }
            ["clips", name] if name.strip_suffix(".mp4").is_some() => Self::Clip(MediaName::parse(name)?),
            _ => return None,
        })
    }
}

impl fmt::Display for RecordingFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Multivariant => f.write_str("index.m3u8"),
            Self::Playlist(track) => write!(f, "{}.m3u8", track.name()),
            Self::Manifest => f.write_str("manifest.mpd"),
            Self::Description => f.write_str("recording.json"),
            Self::Media(track, name) => write!(f, "{}/{name}", track.name()),
            Self::Clip(name) => write!(f, "clips/{name}"),
            Self::Thumbnails => f.write_str("thumbnails.vtt"),
            Self::Sprite(number) => write!(f, "thumbnails/{number}.jpg"),
        }
    }
}

impl MediaName {
    /// Reads one.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, extension) = name.split_once('.')?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let right = (1..=RECORDED_FILE_CHARS_MAX).contains(&stem.len())
            && stem.bytes().all(is_plain)
            && matches!(extension, "mp4" | "m4s");
        right.then(|| Self(name.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DatedKind {
    /// The directory that it is below, and the ending of its names.
    const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Mp4 => ("mp4", "mp4"),
            Self::Image => ("images", "jpg"),
            Self::MotionMp4 => ("motion/mp4", "mp4"),
            Self::MotionImage => ("motion/images", "jpg"),
        }
    }

    /// Whether it is a picture; else it is a film.
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Image | Self::MotionImage)
    }
}

impl Day {
    /// The day of a moment; of one behind the year 9999 the last day that a path can say.
    pub fn of_unix_ms(unix_ms: u64) -> Self {
        const LAST: (u64, u64, u64) = (9_999, 12, 31);
        let (year, month, day) = civil(unix_ms / 86_400_000).min(LAST);
        Self { year: year as u16, month: month as u8, day: day as u8 }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.year, self.month, self.day)
    }
}

fn dated(kind: DatedKind, below: &[&str]) -> Result<RecordedFile, RecordedPathError> {
    let read = || {
        let [year, month, day, name] = *below else { return None };
        let number = |text: &str, digits_max: usize| number(text, digits_max)?.try_into().ok();
        let year = number(year, 4).filter(|year| (1970..=9999).contains(year))?;
        let month = number(month, 2).filter(|month| (1..=12).contains(month))? as u8;
        let day = number(day, 2).filter(|day| (1..=31).contains(day))? as u8;
        let at_ms = name.strip_suffix(kind.place().1)?.strip_suffix('.').and_then(moment_ms)?;
        Some(RecordedFile::Dated { kind, day: Day { year, month, day }, at_ms })
    };
    read().ok_or(RecordedPathError::Dated)
}

/// Digits of a sprite's number.
const SPRITE_DIGITS_MAX: usize = 4;

fn moment_ms(text: &str) -> Option<u64> {
    number(text, RECORDED_MS_DIGITS_MAX)
}

/// A number that is written in one way only.
fn number(text: &str, digits_max: usize) -> Option<u64> {
    let plain = (1..=digits_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let once = text == "0" || !text.starts_with('0');
    (plain && once).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
