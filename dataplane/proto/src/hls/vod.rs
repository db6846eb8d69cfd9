//! A media playlist of a recording (§ 4.4): whole segments, as ranges of files. It grows (`EVENT`) or is final (`VOD`). Before it: a recording's segments,
//! one after the other, for there may be a hundred thousand; after it: players.
use std::fmt::Write as _;

use super::Millis;
use crate::time::rfc3339;

/// Bytes of a segment's lines, about.
const SEGMENT_BYTES: usize = 72;

/// What stands before the segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VodHead {
    /// Longest segment, seconds, rounded; constant.
    pub target_duration_s: u32,
    /// Nothing more comes.
    pub is_final: bool,
    /// Every segment begins with a keyframe: a promise that a playlist which grows could not take back.
    pub independent_segments: bool,
    /// Discontinuities before the first segment.
    pub discontinuity_sequence: u32,
}

/// A segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VodSegment<'a> {
    /// Discontinuities between the segment before and this one.
    pub discontinuities: u32,
    /// The URI of its header, where that is another one than that of the segment before.
    pub map: Option<&'a str>,
    /// When it was made, Unix milliseconds, where that does not follow from the segment before.
    pub date_unix_ms: Option<u64>,
    /// Its length, milliseconds.
    pub duration_ms: u32,
    /// Its bytes in the file and where they begin; `None`: there is nothing to fetch.
    pub range: Option<(u64, u64)>,
    /// The URI of its file.
    pub uri: &'a str,
}

/// A playlist that is being written.
#[derive(Clone, Debug)]
pub struct VodPlaylist {
    out: String,
    is_final: bool,
}

impl VodPlaylist {
    /// One with so many segments, about.
    pub fn new(head: VodHead, segments: usize) -> Self {
        let VodHead { target_duration_s, is_final, independent_segments, discontinuity_sequence } = head;
        let mut out = String::with_capacity(256 + segments * SEGMENT_BYTES);
        // § 8: EXT-X-MAP needs 6.
        out.push_str("#EXTM3U\n#EXT-X-VERSION:6\n");
        if independent_segments {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        let kind = if is_final { "VOD" } else { "EVENT" };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            out,
            "#EXT-X-TARGETDURATION:{target_duration_s}\n#EXT-X-PLAYLIST-TYPE:{kind}\n#EXT-X-MEDIA-SEQUENCE:0"
        );
        if discontinuity_sequence > 0 {
            let _ = writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}");
        }
        Self { out, is_final }
    }

    /// Adds the next segment.
    pub fn push(&mut self, segment: VodSegment<'_>) {
        let _ = self.write(segment);
    }

    fn write(&mut self, segment: VodSegment<'_>) -> std::fmt::Result {
        let VodSegment { discontinuities, map, date_unix_ms, duration_ms, range, uri } = segment;
        let out = &mut self.out;
        for _ in 0..discontinuities {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if let Some(uri) = map {
            writeln!(out, "#EXT-X-MAP:URI=\"{uri}\"")?;
        }
        if let Some(date) = date_unix_ms {
            writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", rfc3339(date))?;
        }
        if range.is_none() {
            out.push_str("#EXT-X-GAP\n");
        }
        writeln!(out, "#EXTINF:{},", Millis(u64::from(duration_ms)))?;
        if let Some((bytes, offset)) = range {
            writeln!(out, "#EXT-X-BYTERANGE:{bytes}@{offset}")?;
        }
        writeln!(out, "{uri}")
    }

    /// The text.
    pub fn finish(mut self) -> String {
        if self.is_final {
            self.out.push_str("#EXT-X-ENDLIST\n");
        }
        self.out
    }
}
