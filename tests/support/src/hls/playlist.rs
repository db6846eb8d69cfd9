//! A media playlist as text becomes a structure: strict about the syntax, silent about sense. After it: [`super::rules`] (one playlist) and
//! [`super::history`] (across reloads). Section numbers are those of RFC 8216bis.
use anyhow::{Context as _, Result, bail, ensure};

use super::attributes::{Attributes, decimal, integer};
use super::date;

/// What `EXT-X-SERVER-CONTROL` says (4.4.3.8).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Control {
    /// Whether requests for what is not there yet are held.
    pub can_block_reload: bool,
    /// How far from the end playlists may leave segments out, seconds.
    pub can_skip_until: Option<f64>,
    /// How far from the end players stay, seconds.
    pub hold_back: Option<f64>,
    /// How far from the end players stay that play parts, seconds.
    pub part_hold_back: Option<f64>,
}

/// A part of a segment (4.4.4.9).
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// As it is written.
    pub uri: String,
    /// Seconds.
    pub duration: f64,
    /// Begins with a frame that needs no other.
    pub independent: bool,
    /// There is nothing to fetch.
    pub gap: bool,
}

/// A segment; the last one of a playlist may be open: parts without a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segment {
    /// Media sequence number.
    pub msn: u64,
    /// As it is written; `None` while it is open.
    pub uri: Option<String>,
    /// Seconds, of `EXTINF`.
    pub duration: Option<f64>,
    /// `EXT-X-BYTERANGE` (4.4.4.2): where it begins in its file, and how many bytes it has.
    pub range: Option<(u64, u64)>,
    /// An `EXT-X-DISCONTINUITY` is before it.
    pub discontinuity: bool,
    /// Its discontinuity sequence number: that of the playlist, and one more for each tag up to here.
    pub discontinuity_number: u64,
    /// Wall-clock time of its first frame where the playlist says one, milliseconds since 1970.
    pub date_ms: Option<i64>,
    /// The initialisation that is in force.
    pub map: Option<String>,
    /// There is nothing to fetch.
    pub gap: bool,
    /// Its parts, where they are listed.
    pub parts: Vec<Part>,
}

impl Segment {
    /// Seconds: what `EXTINF` says, or the parts so far.
    pub fn seconds(&self) -> f64 {
        self.duration.unwrap_or_else(|| self.parts.iter().map(|p| p.duration).sum())
    }
}

/// `EXT-X-PRELOAD-HINT` (4.4.5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// `PART` or `MAP`.
    pub kind: String,
    /// As it is written.
    pub uri: String,
}

/// `EXT-X-RENDITION-REPORT` (4.4.5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub uri: String,
    /// Its newest segment, open or not.
    pub last_msn: u64,
    /// The newest part in that.
    pub last_part: Option<u64>,
}

/// `EXT-X-DATERANGE` (4.4.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateRange {
    pub id: String,
    /// Milliseconds since 1970.
    pub start_ms: i64,
    /// The tag's value, as it is written.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Media {
    /// `EXT-X-VERSION`; 1 where it is not said.
    pub version: u64,
    /// Seconds.
    pub target_duration: u64,
    /// Seconds.
    pub part_target: Option<f64>,
    /// What the server promises.
    pub control: Option<Control>,
    /// Number of the first segment, skipped ones included.
    pub media_sequence: u64,
    /// As it is written; 0 where it is not.
    pub discontinuity_sequence: u64,
    /// `EXT-X-SKIP`: segments that this delta update leaves out.
    pub skipped: Option<u64>,
    /// Segments that are listed, in order.
    pub segments: Vec<Segment>,
    /// What comes next.
    pub hints: Vec<Hint>,
    /// How far other renditions are.
    pub reports: Vec<Report>,
    /// What is told of moments, in the order of the lines.
    pub date_ranges: Vec<DateRange>,
    /// `EXT-X-ENDLIST`.
    pub ended: bool,
    /// `EXT-X-PLAYLIST-TYPE` (4.4.3.5).
    pub kind: Option<String>,
    /// `EXT-X-INDEPENDENT-SEGMENTS`.
    pub independent_segments: bool,
}

impl Media {
    /// Reads a playlist; the error says line and reason.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(!text.starts_with('\u{feff}'), "a byte order mark (4.1)");
        ensure!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\r'), "a control character (4.1)");
        ensure!(text.ends_with('\n'), "the last line has no end");
        let mut lines = text.lines().enumerate();
        ensure!(lines.next().is_some_and(|(_, line)| line == "#EXTM3U"), "the first line is not #EXTM3U (4.4.1.1)");
        let mut reader = Reader::default();
        for (at, line) in lines {
            reader.line(line).with_context(|| format!("line {}: {line}", at + 1))?;
        }
        reader.finish()
    }

    /// Number of the newest segment, open or not, and how many parts of it are listed; `None` without any.
    pub fn last(&self) -> Option<(u64, usize)> {
        self.segments.last().map(|s| (s.msn, s.parts.len()))
    }

    /// The newest segment's number and index of its newest part as a report says it.
    pub fn newest(&self) -> Option<(u64, Option<u64>)> {
        let last = self.segments.last()?;
        Some((last.msn, (last.parts.len() as u64).checked_sub(1)))
    }

    /// What a player asks for next: `_HLS_msn` and `_HLS_part`. Where parts are listed, that is the first one that is not.
    pub fn next(&self) -> Option<(u64, Option<u64>)> {
        let last = self.segments.last()?;
        Some(match (&last.uri, self.part_target) {
            (Some(_), Some(_)) => (last.msn + 1, Some(0)),
            (Some(_), None) => (last.msn + 1, None),
            (None, _) => (last.msn, Some(last.parts.len() as u64)),
        })
    }

    /// Seconds that are listed, parts of the open segment included.
    pub fn seconds(&self) -> f64 {
        self.segments.iter().map(Segment::seconds).sum()
    }

    pub fn hinted_part(&self) -> Option<&str> {
        self.hints.iter().find(|h| h.kind == "PART").map(|h| h.uri.as_str())
    }

    /// All URIs in it.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        let segments = self.segments.iter().flat_map(|s| {
            let own = s.uri.iter().chain(&s.map).map(String::as_str);
            own.chain(s.parts.iter().map(|p| p.uri.as_str()))
        });
        segments.chain(self.hints.iter().map(|h| h.uri.as_str())).chain(self.reports.iter().map(|r| r.uri.as_str()))
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reader {
    media: Media,
    /// Tags that were there, of those that may be there once.
    once: Vec<String>,
    /// The segment whose tags are being read.
    next: Segment,
    /// The discontinuity sequence number of the last segment.
    number: u64,
    map: Option<String>,
    extinf: Option<f64>,
    /// Discontinuities before the next segment: a track that had nothing in a run has two in a row.
    discontinuities: u64,
}

/// Tags of a media playlist that may be there once.
const ONCE: [&str; 10] = [
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-DISCONTINUITY-SEQUENCE",
    "#EXT-X-PART-INF",
    "#EXT-X-SERVER-CONTROL",
    "#EXT-X-SKIP",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-ENDLIST",
    "#EXT-X-PLAYLIST-TYPE",
];

impl Reader {
    fn line(&mut self, line: &str) -> Result<()> {
        if line.is_empty() || (line.starts_with('#') && !line.starts_with("#EXT")) {
            return Ok(());
        }
        if !line.starts_with('#') {
            return self.uri(line);
        }
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        if ONCE.contains(&tag) {
            ensure!(!self.once.iter().any(|t| t == tag), "a second {tag}");
            self.once.push(tag.to_owned());
        }
        let early = matches!(tag, "#EXT-X-MEDIA-SEQUENCE" | "#EXT-X-DISCONTINUITY-SEQUENCE" | "#EXT-X-SKIP");
        ensure!(!early || self.untouched(), "{tag} comes behind a segment");
        let media = &mut self.media;
        match tag {
            "#EXT-X-VERSION" => media.version = integer(value)?,
            "#EXT-X-TARGETDURATION" => media.target_duration = integer(value)?,
            "#EXT-X-MEDIA-SEQUENCE" => media.media_sequence = integer(value)?,
            "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                media.discontinuity_sequence = integer(value)?;
                self.number = media.discontinuity_sequence;
            }
            "#EXT-X-INDEPENDENT-SEGMENTS" => media.independent_segments = true,
            "#EXT-X-PART-INF" => media.part_target = Some(Attributes::parse(value)?.decimal("PART-TARGET")?),
            "#EXT-X-SERVER-CONTROL" => {
                let all = Attributes::parse(value)?;
                media.control = Some(Control {
                    can_block_reload: all.yes("CAN-BLOCK-RELOAD")?,
                    can_skip_until: all.maybe_decimal("CAN-SKIP-UNTIL")?,
                    hold_back: all.maybe_decimal("HOLD-BACK")?,
                    part_hold_back: all.maybe_decimal("PART-HOLD-BACK")?,
                });
            }
            "#EXT-X-SKIP" => media.skipped = Some(Attributes::parse(value)?.integer("SKIPPED-SEGMENTS")?),
            "#EXT-X-ENDLIST" => media.ended = true,
            "#EXT-X-PLAYLIST-TYPE" => media.kind = Some(value.to_owned()),
            "#EXT-X-PRELOAD-HINT" => {
                let all = Attributes::parse(value)?;
                media.hints.push(Hint { kind: all.word("TYPE")?.to_owned(), uri: all.quoted("URI")?.to_owned() });
            }
            "#EXT-X-DATERANGE" => {
                let all = Attributes::parse(value)?;
                media.date_ranges.push(DateRange {
                    id: all.quoted("ID")?.to_owned(),
                    start_ms: date::parse_ms(all.quoted("START-DATE")?)?,
                    text: value.to_owned(),
                });
            }
            "#EXT-X-RENDITION-REPORT" => {
                let all = Attributes::parse(value)?;
                media.reports.push(Report {
                    uri: all.quoted("URI")?.to_owned(),
                    last_msn: all.integer("LAST-MSN")?,
                    last_part: all.maybe_integer("LAST-PART")?,
                });
            }
            _ => return self.segment_tag(tag, value),
        }
        Ok(())
    }

    /// Whether nothing of a segment was read yet.
    fn untouched(&self) -> bool {
        self.media.segments.is_empty() && self.next == Segment::default() && self.extinf.is_none() && self.map.is_none()
    }

    fn segment_tag(&mut self, tag: &str, value: &str) -> Result<()> {
        match tag {
            "#EXTINF" => {
                ensure!(self.extinf.is_none(), "a second EXTINF for a segment");
                let (duration, _title) = value.split_once(',').context("no comma behind the duration (4.4.4.1)")?;
                self.extinf = Some(decimal(duration)?);
            }
            "#EXT-X-DISCONTINUITY" => {
                ensure!(self.next.parts.is_empty(), "a discontinuity inside a segment");
                self.next.discontinuity = true;
                self.discontinuities += 1;
            }
            "#EXT-X-PROGRAM-DATE-TIME" => {
                ensure!(self.next.parts.is_empty(), "a date inside a segment");
                self.next.date_ms = Some(date::parse_ms(value)?);
            }
            "#EXT-X-GAP" => self.next.gap = true,
            "#EXT-X-BYTERANGE" => {
                ensure!(self.next.range.is_none(), "a second byte range for a segment");
                let (bytes, offset) = value.split_once('@').context("no offset, though each range says its own")?;
                self.next.range = Some((integer(offset)?, integer(bytes)?));
            }
            "#EXT-X-MAP" => {
                ensure!(self.next.parts.is_empty(), "an initialisation inside a segment");
                let all = Attributes::parse(value)?;
                ensure!(!all.has("BYTERANGE"), "a byte range, though each track has an initialisation of its own");
                self.map = Some(all.quoted("URI")?.to_owned());
            }
            "#EXT-X-PART" => {
                let all = Attributes::parse(value)?;
                ensure!(!all.has("BYTERANGE"), "a byte range, though parts have names of their own");
                self.next.parts.push(Part {
                    uri: all.quoted("URI")?.to_owned(),
                    duration: all.decimal("DURATION")?,
                    independent: all.yes("INDEPENDENT")?,
                    gap: all.yes("GAP")?,
                });
            }
            _ => bail!("a tag that is not expected in these playlists"),
        }
        Ok(())
    }

    fn uri(&mut self, uri: &str) -> Result<()> {
        let duration = self.extinf.take().context("a URI without EXTINF")?;
        self.next.duration = Some(duration);
        self.next.uri = Some(uri.to_owned());
        self.push();
        Ok(())
    }

    fn push(&mut self) {
        let mut segment = std::mem::take(&mut self.next);
        let before = self.media.skipped.unwrap_or(0) + self.media.segments.len() as u64;
        segment.msn = self.media.media_sequence + before;
        self.number += std::mem::take(&mut self.discontinuities);
        segment.discontinuity_number = self.number;
        segment.map.clone_from(&self.map);
        self.media.segments.push(segment);
    }

    fn finish(mut self) -> Result<Media> {
        ensure!(self.extinf.is_none(), "EXTINF without a URI behind it");
        ensure!(self.once.iter().any(|t| t == "#EXT-X-TARGETDURATION"), "no EXT-X-TARGETDURATION (4.4.3.1)");
        if !self.next.parts.is_empty() {
            self.push();
        }
        self.media.version = self.media.version.max(1);
        Ok(self.media)
    }
}
