//! Playlists as players read them, by the reader and the rules that all tests share.
use millstream_test_support::hls::history::History;
use millstream_test_support::hls::playlist::{self, Media, Part};

/// A segment as a player reads it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Segment {
    pub(super) msn: u64,
    /// Discontinuities before it, its own included.
    pub(super) discontinuities: u64,
    pub(super) discontinuity: bool,
    /// Empty where there is none.
    pub(super) map: String,
    pub(super) date_ms: i64,
    pub(super) gap: bool,
    pub(super) parts: Vec<Part>,
    /// Zero while it grows.
    pub(super) duration: f64,
    /// Empty while it grows.
    pub(super) uri: String,
}

impl From<playlist::Segment> for Segment {
    fn from(read: playlist::Segment) -> Self {
        Self {
            msn: read.msn,
            discontinuities: read.discontinuity_number,
            discontinuity: read.discontinuity,
            map: read.map.unwrap_or_default(),
            date_ms: read.date_ms.expect("every segment has a date"),
            gap: read.gap,
            parts: read.parts,
            duration: read.duration.unwrap_or_default(),
            uri: read.uri.unwrap_or_default(),
        }
    }
}

/// A playlist as a player reads it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Parsed {
    /// Segments begin with keyframes.
    pub(super) independent: bool,
    pub(super) target: u64,
    pub(super) part_target: f64,
    pub(super) part_hold_back: f64,
    pub(super) hold_back: f64,
    pub(super) can_skip_until: Option<f64>,
    pub(super) sequence: u64,
    pub(super) discontinuity_sequence: u64,
    pub(super) skipped: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) hint: Option<String>,
    pub(super) reports: Vec<(String, u64, u64)>,
    pub(super) ended: bool,
}

impl From<Media> for Parsed {
    fn from(read: Media) -> Self {
        let hint = read.hinted_part().map(str::to_owned);
        assert_eq!(hint.is_none(), read.ended, "what comes is hinted until nothing comes any more");
        let control = read.control.expect("promises");
        Self {
            independent: read.independent_segments,
            target: read.target_duration,
            part_target: read.part_target.expect("a target of parts"),
            part_hold_back: control.part_hold_back.expect("a distance for parts"),
            hold_back: control.hold_back.expect("a distance for segments"),
            can_skip_until: control.can_skip_until,
            sequence: read.media_sequence,
            discontinuity_sequence: read.discontinuity_sequence,
            skipped: read.skipped.unwrap_or_default(),
            segments: read.segments.into_iter().map(Segment::from).collect(),
            hint,
            reports: read.reports.into_iter().map(|of| (of.uri, of.last_msn, of.last_part.expect("a part"))).collect(),
            ended: read.ended,
        }
    }
}

impl Parsed {
    pub(super) fn read(text: &str) -> Self {
        Media::parse(text).unwrap_or_else(|error| panic!("{error:#}\n{text}")).into()
    }

    pub(super) fn whole(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| !segment.uri.is_empty())
    }
}

/// What was in earlier versions of a playlist, and is held against each new one.
#[derive(Debug, Default)]
pub(super) struct Rules(History);

impl Rules {
    /// Holds the next version against the rules.
    pub(super) fn check(&mut self, text: &str) {
        let media = Media::parse(text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
        let faults = self.0.take(&media);
        assert!(faults.is_empty(), "{faults:?}\n{text}");
        let _ = Parsed::from(media);
    }
}
