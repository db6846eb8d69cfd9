//! Names: of a recording, of its files in the spool, and of its objects in the store. They are made of nothing that came over the wire but ids.
use std::fmt;
use std::sync::Arc;

use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::recorded::{self, DatedKind, Day, RecordedFile, RecordedPath};

/// Both tracks, in the order in which they are told.
pub const TRACKS: [Track; 2] = [Track::Video, Track::Audio];

/// A track's place among [`TRACKS`].
pub(crate) const fn place(track: Track) -> usize {
    match track {
        Track::Video => 0,
        Track::Audio => 1,
    }
}

/// A recording's name ([`recorded::RecordingName`]) as text, never used twice. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingName(Arc<str>);

impl RecordingName {
    /// That start, in that session of the packager; `None` where the session is no name.
    pub fn new(start_unix_ms: u64, session: &str) -> Option<Self> {
        Self::parse(&format!("{start_unix_ms}-{session}"))
    }

    /// Reads a name: only as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        recorded::RecordingName::parse(text).map(|_| Self(text.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it began, Unix milliseconds.
    pub fn start_unix_ms(&self) -> u64 {
        recorded::RecordingName::parse(&self.0).map_or(0, |name| name.start_ms)
    }

    /// An object of it, below `<id>/rec/<recording>/`.
    pub fn key(&self, stream: &Id, object: &str) -> String {
        format!("{stream}/rec/{self}/{object}")
    }

    /// `<id>/vod-<start ms>.m3u8`.
    pub fn vod_key(&self, stream: &Id) -> String {
        let file = RecordedFile::Vod { start_ms: self.start_unix_ms() };
        RecordedPath { stream: stream.clone(), file }.to_string()
    }
}

impl fmt::Display for RecordingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RecordingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An MP4 file that begins then, below `<id>/`: `mp4/YYYY/M/D/<start ms>.mp4`.
pub fn movie_path(from_unix_ms: u64) -> String {
    RecordedFile::Dated { kind: DatedKind::Mp4, day: Day::of_unix_ms(from_unix_ms), at_ms: from_unix_ms }.to_string()
}

/// Its key.
pub fn movie_key(stream: &Id, from_unix_ms: u64) -> String {
    format!("{stream}/{}", movie_path(from_unix_ms))
}

/// A media object, below `<id>/rec/<recording>/`.
pub fn object_path(track: Track, number: u32) -> String {
    format!("{}/{number}.mp4", track.name())
}

/// A track's file header, below `<id>/rec/<recording>/`.
pub fn init_path(track: Track, number: u32) -> String {
    format!("{}/init-{number}.mp4", track.name())
}

/// The number in an [`object_path`] of that track.
pub(crate) fn parse_object_path(track: Track, path: &str) -> Option<u32> {
    let number = path.strip_prefix(track.name())?.strip_prefix('/')?.strip_suffix(".mp4")?.parse().ok()?;
    (object_path(track, number) == path).then_some(number)
}

/// The number in an [`init_path`] of that track.
pub(crate) fn parse_init_path(track: Track, path: &str) -> Option<u32> {
    let number = path.strip_prefix(track.name())?.strip_prefix("/init-")?.strip_suffix(".mp4")?.parse().ok()?;
    (init_path(track, number) == path).then_some(number)
}

/// A track's playlist, below `<id>/rec/<recording>/`.
pub const fn playlist_path(track: Track) -> &'static str {
    match track {
        Track::Video => "video.m3u8",
        Track::Audio => "audio.m3u8",
    }
}

/// A closed recording's manifest of DASH, below `<id>/rec/<recording>/`.
pub const MANIFEST_PATH: &str = "manifest.mpd";

/// The index of a recording in the spool.
pub const INDEX_FILE: &str = "index";

/// A media object as a file of the spool, with the very bytes of the object.
pub fn object_file(track: Track, number: u32) -> String {
    format!("{}-{number}.mp4", track.name())
}

/// What is behind the name of an object's file of which nothing is good: it is left for people to look at.
pub const DAMAGED: &str = ".damaged";

/// What a file of that name is.
pub fn parse_object_file(name: &str) -> Option<(Track, u32)> {
    let (track, rest) = name.split_once('-')?;
    let track = TRACKS.into_iter().find(|known| known.name() == track)?;
    let number = rest.strip_suffix(".mp4")?.parse().ok()?;
    (object_file(track, number) == name).then_some((track, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_only_as_they_are_written() {
        let name = RecordingName::new(1_795_531_265_000, "a-b_9").expect("a name");
        assert_eq!(name.as_str(), "1795531265000-a-b_9");
        assert_eq!(RecordingName::parse(name.as_str()), Some(name.clone()));
        assert_eq!(name.start_unix_ms(), 1_795_531_265_000);
        for other in ["", "-", "1-", "-a", "01-a", "1-a/b", "1-..", "+1-a", "lost+found", "99999999999999999999-a"] {
            assert_eq!(RecordingName::parse(other), None, "{other}");
        }
        let id = Id::new("cam").expect("an id");
        assert_eq!(name.key(&id, &object_path(Track::Audio, 7)), "cam/rec/1795531265000-a-b_9/audio/7.mp4");
        assert_eq!(name.vod_key(&id), "cam/vod-1795531265000.m3u8");
        assert_eq!(movie_key(&id, 1_795_531_265_250), "cam/mp4/2026/11/24/1795531265250.mp4");
        // What is stored is what is asked for.
        let objects = TRACKS
            .into_iter()
            .flat_map(|track| [object_path(track, 12), init_path(track, 1), playlist_path(track).to_owned()]);
        for object in objects.chain(["index.m3u8", MANIFEST_PATH, "recording.json"].map(str::to_owned)) {
            let key = name.key(&id, &object);
            let below: Vec<&str> = key.split('/').skip(1).collect();
            assert_eq!(RecordedPath::parse(id.clone(), &below).expect("a path").to_string(), key);
        }
    }

    #[test]
    fn files_of_objects_are_told_from_foreign_ones() {
        assert_eq!(parse_object_file("video-12.mp4"), Some((Track::Video, 12)));
        for other in ["video-012.mp4", "video-.mp4", "text-1.mp4", "video-1.mp4.damaged", "index", "audio-1"] {
            assert_eq!(parse_object_file(other), None, "{other}");
        }
    }
}
