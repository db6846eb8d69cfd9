//! A media playlist with low-latency parts (§ 4.4). Before it: the hub's window; after it: players, which may ignore what they do not know.
use std::fmt::Write as _;

use super::{Millis, Seconds};
use crate::time::rfc3339;

/// The whole of a playlist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaPlaylist<'a> {
    /// Longest segment, seconds, rounded; constant.
    pub target_duration_s: u32,
    /// Longest part, milliseconds; constant.
    pub part_target_ms: u32,
    /// Distance from the end that a player which knows parts keeps, milliseconds (§ 4.4.3.8: at least two part targets, should be three).
    pub part_hold_back_ms: u64,
    /// Every listed segment begins with a keyframe.
    pub independent_segments: bool,
    /// How far back delta updates reach, milliseconds, where they are offered.
    pub can_skip_until_ms: Option<u64>,
    /// Number of the first segment.
    pub media_sequence: u64,
    /// Discontinuities before the first segment.
    pub discontinuity_sequence: u64,
    /// Segments that a delta update leaves out at the start of `segments`; 0 writes them all.
    pub skipped: usize,
    /// The segments, the open one last.
    pub segments: Vec<Segment<'a>>,
    /// The URI of the part that comes next.
    pub preload_hint: Option<String>,
    /// Where the other playlists of the stream are.
    pub reports: Vec<Report<'a>>,
    /// Nothing more comes.
    pub ended: bool,
}

/// A segment of a playlist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// What comes before it is of another timeline or coding.
    pub discontinuity: bool,
    /// The URI of its header, where that is another one than that of the segment before.
    pub map: Option<String>,
    /// When it was made, Unix milliseconds.
    pub date_unix_ms: u64,
    /// There is nothing to fetch.
    pub gap: bool,
    /// Its parts; none where they are no longer listed.
    pub parts: Vec<Part>,
    /// Its length in microseconds and its URI; `None` while it grows.
    pub whole: Option<(u64, std::borrow::Cow<'a, str>)>,
    /// What was told while it grew, in order, and how many of its parts were there before.
    pub date_ranges: Vec<(usize, DateRange)>,
}

/// Something that happened at a moment (§ 4.4.5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DateRange {
    /// No other one of the presentation has it.
    pub id: String,
    /// What kind of thing it is.
    pub class: &'static str,
    /// When, Unix milliseconds, as segments are dated.
    pub start_unix_ms: u64,
    /// Names and values as they are written: [`crate::marker::attributes`].
    pub attributes: Vec<(String, String)>,
}

/// A part of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its length, microseconds.
    pub duration_us: u64,
    /// Its URI.
    pub uri: String,
    /// A player can start in it.
    pub independent: bool,
}

/// The newest segment and part of another playlist (§ 4.4.5.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// Its URI.
    pub uri: std::borrow::Cow<'a, str>,
    /// Number of its last segment.
    pub last_msn: u64,
    /// Index of that segment's last part.
    pub last_part: u64,
}

/// Distance from the end that a player which knows no parts keeps, in target durations (§ 4.4.3.8: at least three).
const HOLD_BACK_TARGETS: u64 = 3;
/// Bytes of a line, about: what is reserved for the text.
const LINE_BYTES: usize = 96;

impl MediaPlaylist<'_> {
    /// The playlist as text.
    pub fn to_text(&self) -> String {
        let lines: usize = self.segments.iter().map(|segment| segment.parts.len() + 3).sum();
        let mut out = String::with_capacity((lines + 8) * LINE_BYTES);
        // Writing to a string cannot fail, here and below.
        let _ = self.write_head(&mut out).and_then(|()| self.write_rest(&mut out));
        out
    }

    /// The same as what stands before the segments, and the rest: others may stand between them.
    pub fn to_head_and_rest(&self) -> (String, String) {
        let lines: usize = self.segments.iter().map(|segment| segment.parts.len() + 3).sum();
        let mut head = String::with_capacity(8 * LINE_BYTES);
        let mut rest = String::with_capacity(lines * LINE_BYTES);
        let _ = self.write_head(&mut head);
        let _ = self.write_rest(&mut rest);
        (head, rest)
    }

    fn write_head(&self, out: &mut String) -> std::fmt::Result {
        // § 8: EXT-X-MAP needs 6, EXT-X-SKIP 9.
        let version = if self.can_skip_until_ms.is_some() { 9 } else { 6 };
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{version}")?;
        if self.independent_segments {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        writeln!(out, "#EXT-X-TARGETDURATION:{}", self.target_duration_s)?;
        let hold_back_ms = u64::from(self.target_duration_s) * HOLD_BACK_TARGETS * 1_000;
        write!(out, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={}", Millis(self.part_hold_back_ms))?;
        write!(out, ",HOLD-BACK={}", Millis(hold_back_ms))?;
        match self.can_skip_until_ms {
            Some(ms) => writeln!(out, ",CAN-SKIP-UNTIL={}", Millis(ms))?,
            None => writeln!(out)?,
        }
        writeln!(out, "#EXT-X-PART-INF:PART-TARGET={}", Millis(u64::from(self.part_target_ms)))?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", self.media_sequence)?;
        if self.discontinuity_sequence > 0 {
            writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence)?;
        }
        if self.skipped > 0 {
            writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={}", self.skipped)?;
        }
        Ok(())
    }

    fn write_rest(&self, out: &mut String) -> std::fmt::Result {
        // A delta update leaves out segments, and not what happened in them (§ 4.4.5.2).
        for (_, range) in self.segments.iter().take(self.skipped).flat_map(|segment| &segment.date_ranges) {
            range.write(out)?;
        }
        for segment in self.segments.iter().skip(self.skipped) {
            segment.write(out)?;
        }
        if self.ended {
            return writeln!(out, "#EXT-X-ENDLIST");
        }
        if let Some(uri) = &self.preload_hint {
            writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{uri}\"")?;
        }
        for Report { uri, last_msn, last_part } in &self.reports {
            writeln!(out, "#EXT-X-RENDITION-REPORT:URI=\"{uri}\",LAST-MSN={last_msn},LAST-PART={last_part}")?;
        }
        Ok(())
    }
}

impl Segment<'_> {
    /// Adds its lines to a text.
    pub fn push_to(&self, out: &mut String) {
        let _ = self.write(out);
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        if self.discontinuity {
            writeln!(out, "#EXT-X-DISCONTINUITY")?;
        }
        if let Some(uri) = &self.map {
            writeln!(out, "#EXT-X-MAP:URI=\"{uri}\"")?;
        }
        writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", rfc3339(self.date_unix_ms))?;
        if self.gap {
            writeln!(out, "#EXT-X-GAP")?;
        }
        let mut ranges = self.date_ranges.iter().peekable();
        for (n, Part { duration_us, uri, independent }) in self.parts.iter().enumerate() {
            // What is new stands behind what was there: a playlist grows at its end.
            while let Some((_, range)) = ranges.next_if(|(before, _)| *before <= n) {
                range.write(out)?;
            }
            let independent = if *independent { ",INDEPENDENT=YES" } else { "" };
            writeln!(out, "#EXT-X-PART:DURATION={},URI=\"{uri}\"{independent}", Seconds(*duration_us))?;
        }
        for (_, range) in ranges {
            range.write(out)?;
        }
        if let Some((duration_us, uri)) = &self.whole {
            writeln!(out, "#EXTINF:{},\n{uri}", Seconds(*duration_us))?;
        }
        Ok(())
    }
}

impl DateRange {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { id, class, start_unix_ms, attributes } = self;
        write!(out, "#EXT-X-DATERANGE:ID=\"{id}\",CLASS=\"{class}\",START-DATE=\"{}\"", rfc3339(*start_unix_ms))?;
        for (name, value) in attributes {
            write!(out, ",{name}=\"{value}\"")?;
        }
        writeln!(out)
    }
}
