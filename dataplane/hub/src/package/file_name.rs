//! Names of headers, segments and parts, below a stream's URL. Beside [`super::window`] and [`super::archive`], which write and read them.
use std::fmt;

use millstream_proto::media::Track;

/// Where a track's files are, below the stream's URL.
pub fn directory(track: Track) -> &'static str {
    match track {
        Track::Video => "v",
        Track::Audio => "a",
    }
}

/// The track of a directory.
pub fn track_of(directory: &str) -> Option<Track> {
    [Track::Video, Track::Audio].into_iter().find(|track| self::directory(*track) == directory)
}

/// Where a track's files of a session are, below the stream's URL.
pub(crate) fn folder(session: &str, track: Track) -> String {
    format!("s/{session}/{}", directory(track))
}

/// A file's name in its track's directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// A header, by its number.
    Header(u64),
    /// A segment, by its media sequence number.
    Segment(u64),
    /// A part, by its number.
    Part(u64),
}

impl Name {
    /// Only as we write them: another spelling would be another file to a cache.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            return plain(number).map(Self::Header);
        }
        let stem = name.strip_suffix(".m4s")?;
        match stem.strip_prefix('p') {
            Some(number) => plain(number).map(Self::Part),
            None => plain(stem).map(Self::Segment),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(number) => write!(f, "init-{number}.mp4"),
            Self::Segment(msn) => write!(f, "{msn}.m4s"),
            Self::Part(number) => write!(f, "p{number}.m4s"),
        }
    }
}

fn plain(digits: &str) -> Option<u64> {
    let number = digits.parse().ok()?;
    (digits == u64::to_string(&number)).then_some(number)
}
