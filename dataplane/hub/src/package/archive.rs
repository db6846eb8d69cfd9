//! What a recording has of a stream's segments, as text: the older part of playlists that reach back beyond the window. Before it: the recorder, which
//! knows what it has written; after it: [`super::window`], whose own segments follow on.
//!
//! A segment has the same lines here as in the window: of what was listed nothing may change (RFC 8216bis 6.2.1), its address least of all. The text
//! is made once per [`Chunk`], and shared by all shards and viewers.
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use millstream_proto::hls::media;
use millstream_proto::media::Track;

use super::file_name::folder;

/// A chunk ends before each media sequence number that is a multiple of this: wherever its text is made, it is the same one.
pub const CHUNK_SEGMENTS: u64 = 64;

/// What is recorded of a session of the packager, up to a moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Archive {
    /// Rises with each one of a process.
    pub version: u64,
    /// The packager's session.
    pub session: String,
    /// How far from the live edge playlists reach back, milliseconds. A chunk more may be listed.
    pub reach_ms: u64,
    /// Video and audio; `None` where nothing of it has been recorded.
    pub tracks: [Option<ArchivedTrack>; 2],
}

/// What whoever records a stream on air says of its archive.
#[derive(Clone, Debug)]
pub enum Archived {
    /// It is not recorded.
    NotRecorded,
    /// It is being looked up: ask again in some milliseconds.
    Soon,
    /// This, or more by now.
    Ready(Arc<Archive>),
}

/// A track of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchivedTrack {
    /// The first segment: of the first chunk, where there is one.
    pub first_msn: u64,
    /// In order, without a hole between them. The last one may be [partial](Chunk::is_whole).
    pub chunks: Vec<Arc<Chunk>>,
}

/// Lines of some segments in a row, all of which need the same header. A discontinuity is only before the first.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first segment.
    pub first_msn: u64,
    /// How many there are.
    pub segments: u64,
    /// More will not come to it.
    pub is_whole: bool,
    /// Number of their header.
    pub header: u32,
    /// The text begins with that header.
    pub begins_with_map: bool,
    /// Discontinuities of the session before it, without its own.
    pub discontinuities: u64,
    /// Each begins with a frame that can be decoded by itself.
    pub independent: bool,
    /// Where it ends, Unix milliseconds.
    pub end_unix_ms: u64,
    /// Its length, microseconds.
    pub duration_us: u64,
    /// The lines.
    pub text: Bytes,
    /// The same, compressed.
    pub packed: Packed,
}

/// Blocks of a deflate stream that end at a byte and refer to nothing before them: they can stand in any gzip file.
#[derive(Clone, PartialEq, Eq)]
pub struct Packed {
    /// The blocks, none of them the last one of a file.
    pub blocks: Bytes,
    /// CRC-32 of what they hold.
    pub crc32: u32,
}

/// Packs a text.
pub fn pack(plain: &[u8]) -> Packed {
    Packed { blocks: deflated(plain, FlushCompress::Sync).into(), crc32: crc32fast::hash(plain) }
}

/// A gzip file of packed texts, in pieces: what stands before them, and behind them with a last text. `packed`: CRC-32 and length of each, in order.
pub fn gzip_around(packed: impl Iterator<Item = (u32, u64)>, last: &[u8]) -> [Bytes; 2] {
    // Without a name or a time: the same bytes on every node.
    const HEAD: &[u8] = &[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    let (mut sum, mut bytes) = (crc32fast::Hasher::new(), 0_u64);
    for (crc32, length) in packed.chain([(crc32fast::hash(last), last.len() as u64)]) {
        sum.combine(&crc32fast::Hasher::new_with_initial_len(crc32, length));
        bytes += length;
    }
    let mut end = deflated(last, FlushCompress::Finish);
    end.extend_from_slice(&sum.finalize().to_le_bytes());
    // Modulo 2^32, as RFC 1952 has it.
    end.extend_from_slice(&(bytes as u32).to_le_bytes());
    [Bytes::from_static(HEAD), end.into()]
}

/// Deflate blocks that begin anew, up to that end.
fn deflated(plain: &[u8], end: FlushCompress) -> Vec<u8> {
    const ROOM: usize = 256;
    let mut deflate = Compress::new(Compression::default(), false);
    let mut out = Vec::with_capacity(plain.len() / 4 + ROOM);
    loop {
        let rest = plain.get(deflate.total_in() as usize..).unwrap_or_default();
        // It fails for no input of one call after another.
        let status = deflate.compress_vec(rest, &mut out, end);
        let is_all_in = deflate.total_in() as usize == plain.len();
        let is_done = match end {
            FlushCompress::Finish => matches!(status, Ok(Status::StreamEnd) | Err(_)),
            // With room left, all of it is out.
            _ => is_all_in && out.len() < out.capacity(),
        };
        if is_done {
            return out;
        }
        out.reserve(ROOM);
    }
}

/// A segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArchivedSegment {
    /// Its media sequence number.
    pub msn: u64,
    /// Its date, Unix milliseconds.
    pub date_unix_ms: u64,
    /// Its length, milliseconds.
    pub duration_ms: u32,
    /// Number of its header.
    pub header: u32,
    /// A discontinuity is before it.
    pub discontinuity: bool,
    /// Discontinuities of the session so far, with its own.
    pub discontinuities: u64,
    /// It begins with a frame that can be decoded by itself.
    pub independent: bool,
    /// There is nothing to fetch.
    pub gap: bool,
}

impl Archive {
    /// A track of it.
    pub fn track(&self, track: Track) -> Option<&ArchivedTrack> {
        match track {
            Track::Video => self.tracks[0].as_ref(),
            Track::Audio => self.tracks[1].as_ref(),
        }
    }
}

impl ArchivedTrack {
    /// The number behind the last segment.
    pub fn end_msn(&self) -> u64 {
        self.chunks.last().map_or(self.first_msn, |last| last.end_msn())
    }

    /// Those that get no more segments.
    pub(crate) fn whole(&self) -> &[Arc<Chunk>] {
        match self.chunks.split_last() {
            Some((last, before)) if !last.is_whole => before,
            _ => &self.chunks,
        }
    }
}

impl Chunk {
    /// The number behind its last segment.
    pub fn end_msn(&self) -> u64 {
        self.first_msn + self.segments
    }

    /// The lines of its first segments.
    pub(crate) fn prefix(&self, segments: u64) -> &str {
        // Made of text.
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        let is_uri = |line: &&str| !line.starts_with('#');
        let (mut left, mut end) = (segments, 0);
        for line in text.split_inclusive('\n') {
            if left == 0 {
                break;
            }
            end += line.len();
            left -= u64::from(is_uri(&line));
        }
        text.get(..end).unwrap_or_default()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first_msn, segments, is_whole, .. } = self;
        write!(f, "Chunk({first_msn}, {segments} segments, whole: {is_whole})")
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.blocks.len())
    }
}

/// A chunk that is being written.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    folder: String,
    text: String,
    /// Header and discontinuities so far; `None` before the first segment.
    before: Option<(u32, u64)>,
    first: Option<ArchivedSegment>,
    begins_with_map: bool,
    segments: u64,
    independent: bool,
    end_unix_ms: u64,
    duration_ms: u64,
}

/// Bytes of a segment's lines, about.
const SEGMENT_BYTES: u64 = 104;

impl ChunkWriter {
    /// One behind segments with that header.
    pub fn new(session: &str, track: Track, header_before: Option<u32>) -> Self {
        Self {
            folder: folder(session, track),
            text: String::with_capacity((CHUNK_SEGMENTS * SEGMENT_BYTES) as usize),
            before: header_before.map(|header| (header, 0)),
            first: None,
            begins_with_map: false,
            segments: 0,
            independent: true,
            end_unix_ms: 0,
            duration_ms: 0,
        }
    }

    /// Whether a segment belongs to it; else it is whole.
    pub fn takes(&self, segment: &ArchivedSegment) -> bool {
        self.first.is_none_or(|first| {
            let same_run = first.header == segment.header && !segment.discontinuity;
            same_run && first.msn / CHUNK_SEGMENTS == segment.msn / CHUNK_SEGMENTS
        })
    }

    /// Adds the next one.
    pub fn push(&mut self, segment: ArchivedSegment) {
        let ArchivedSegment { msn, date_unix_ms, duration_ms, header, discontinuity, .. } = segment;
        let map = (self.before.map(|(header, _)| header) != Some(header))
            .then(|| format!("{}/init-{header}.mp4", self.folder));
        if self.first.is_none() {
            self.first = Some(segment);
            self.begins_with_map = map.is_some();
        }
        self.before = Some((header, segment.discontinuities));
        let lines = media::Segment {
            discontinuity,
            map,
            date_unix_ms,
            gap: segment.gap,
            parts: Vec::new(),
            whole: Some((u64::from(duration_ms) * 1_000, format!("{}/{msn}.m4s", self.folder).into())),
            date_ranges: Vec::new(),
        };
        lines.push_to(&mut self.text);
        self.segments += 1;
        self.independent &= segment.independent || segment.gap;
        self.end_unix_ms = date_unix_ms + u64::from(duration_ms);
        self.duration_ms += u64::from(duration_ms);
    }

    /// Whether the next segment, in order, belongs to another one.
    pub fn is_full(&self) -> bool {
        self.first.is_some_and(|first| (first.msn + self.segments).is_multiple_of(CHUNK_SEGMENTS))
    }

    /// The chunk; `None` where nothing is in it.
    pub fn finish(self, is_whole: bool) -> Option<Chunk> {
        let first = self.first?;
        let packed = pack(self.text.as_bytes());
        Some(Chunk {
            first_msn: first.msn,
            segments: self.segments,
            is_whole,
            header: first.header,
            begins_with_map: self.begins_with_map,
            discontinuities: first.discontinuities - u64::from(first.discontinuity),
            independent: self.independent,
            end_unix_ms: self.end_unix_ms,
            duration_us: self.duration_ms * 1_000,
            text: self.text.into(),
            packed,
        })
    }
}
