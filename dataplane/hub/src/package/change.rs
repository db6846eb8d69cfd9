//! What a packager tells the windows of a stream, in order: the same on the owner's shard and, by mailbox, on others. Between
//! [`super::packager`] and [`super::window`].
use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::codec::Summary;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::marker::Marker;

/// What stays the same for the life of a playlist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// In the path of everything that can be fetched: no other session of the stream has it, across restarts of the server as well.
    pub name: String,
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target_duration_s: u32,
    /// Segments of a playlist.
    pub window: usize,
    /// See [`crate::config::HlsConfig::bytes_max`].
    pub bytes_max: usize,
    /// Unix milliseconds that 0 on the stream's timeline stands for, as far as was known at the start.
    pub zero_unix_ms: u64,
    /// Of a rendition: what it is cut by.
    pub guide: Option<Guide>,
}

/// The source of a rendition, as its packager had it when the rendition began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guide {
    /// The name of its session: segments of both have the same numbers for as long as that lasts.
    pub session: String,
    /// The size of its picture, pixels, where that is known.
    pub picture: Option<(u32, u32)>,
}

/// A track's file header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its number in the session, from 1: each configuration has its own.
    pub number: u32,
    /// The bytes.
    pub bytes: Bytes,
    /// Units per second of the track's times.
    pub timescale: u32,
    /// Coding, size or rate.
    pub summary: Summary,
}

/// The beginning of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// Media sequence number: one more than that of the segment before.
    pub msn: u64,
    /// What comes before it is of another publisher or coding.
    pub discontinuity: bool,
    /// Discontinuities of the session so far, with its own.
    pub discontinuities: u64,
    /// Where on the stream's timeline the run without discontinuity begins, milliseconds.
    pub run_start_ms: u64,
    /// Unix milliseconds that 0 on the stream's timeline stands for in this run.
    pub run_zero_unix_ms: i64,
    /// Number of its file header.
    pub header: u32,
    /// Decode time of its first sample, in units of the track.
    pub start: u64,
    /// The same on the stream's timeline, microseconds.
    pub start_us: u64,
    /// When it was made, Unix milliseconds: within a run, the date of the segment before it and that one's length.
    pub date_unix_ms: u64,
}

/// A part of the open segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its number in the session, from 0: part names do not hang on segments, so that the next one is known before it is known whether
    /// its segment goes on.
    pub number: u64,
    /// Its length, in units of the track.
    pub duration: u64,
    /// The same as playlists tell it, microseconds: whole milliseconds, so that the lengths of parts, those of segments and dates add up.
    pub duration_us: u64,
    /// A player can start in it.
    pub independent: bool,
    /// Frames in it.
    pub frames: u32,
    /// When its last frame arrived.
    pub arrived: Time,
    /// One fragment.
    pub bytes: Bytes,
}

/// What a track's playlist says of its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartPromise {
    /// `PART-TARGET`, milliseconds.
    pub target_ms: u32,
    /// `PART-HOLD-BACK`, milliseconds.
    pub hold_back_ms: u64,
}

/// One step of a playlist's life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The first: a new playlist.
    Began(Arc<Session>),
    /// A track has this header from its next segment on.
    Header(Track, Arc<Header>),
    /// How long the track's parts are: once, before its first part.
    Parts(Track, PartPromise),
    /// A segment begins.
    Opened(Track, Opened),
    /// It has one more part.
    Part(Track, Part),
    /// It is whole.
    Closed(Track),
    /// The open segment gets no part, or none behind those that it has; that stands for this long, microseconds.
    Gap(Track, u64),
    /// The next part has this number: those between are never made.
    Skipped(Track, u64),
    /// This is told at the moment up to which the track has come.
    Marked(Track, Arc<Marker>),
    /// Nothing more comes.
    Ended,
}
