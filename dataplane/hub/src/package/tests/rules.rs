//! A reader of media playlists that shares no code with their writer, and the rules of RFC 8216bis that hold within one and across reloads.
use std::collections::BTreeMap;

/// A segment as a player reads it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Segment {
    pub(super) msn: u64,
    /// Discontinuities before it, its own included.
    pub(super) discontinuities: u64,
    pub(super) discontinuity: bool,
    pub(super) map: String,
    pub(super) date: String,
    pub(super) gap: bool,
    pub(super) parts: Vec<Part>,
    pub(super) duration: f64,
    /// Empty while it grows.
    pub(super) uri: String,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Part {
    pub(super) duration: f64,
    pub(super) uri: String,
    pub(super) independent: bool,
}

/// A playlist as a player reads it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Parsed {
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
    pub(super) independent: bool,
}

fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(|value| value.trim_matches('"'))
}

impl Parsed {
    pub(super) fn read(text: &str) -> Self {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#EXTM3U"));
        let mut parsed = Self::default();
        let (mut next, mut map, mut discontinuities) = (Segment::default(), String::new(), None);
        for line in lines {
            assert!(!parsed.ended, "nothing follows EXT-X-ENDLIST");
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let number = || value.parse::<u64>().unwrap();
            match tag {
                "#EXT-X-VERSION" => assert!(matches!(value, "6" | "9")),
                "#EXT-X-INDEPENDENT-SEGMENTS" => parsed.independent = true,
                "#EXT-X-TARGETDURATION" => parsed.target = number(),
                "#EXT-X-SERVER-CONTROL" => {
                    assert_eq!(attribute(value, "CAN-BLOCK-RELOAD"), Some("YES"));
                    let seconds = |name| attribute(value, name).map(|text| text.parse::<f64>().unwrap());
                    parsed.part_hold_back = seconds("PART-HOLD-BACK").unwrap();
                    parsed.hold_back = seconds("HOLD-BACK").unwrap();
                    parsed.can_skip_until = seconds("CAN-SKIP-UNTIL");
                }
                "#EXT-X-PART-INF" => parsed.part_target = attribute(value, "PART-TARGET").unwrap().parse().unwrap(),
                "#EXT-X-MEDIA-SEQUENCE" => parsed.sequence = number(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => parsed.discontinuity_sequence = number(),
                "#EXT-X-SKIP" => parsed.skipped = attribute(value, "SKIPPED-SEGMENTS").unwrap().parse().unwrap(),
                "#EXT-X-DISCONTINUITY" => {
                    next.discontinuity = true;
                    *discontinuities.get_or_insert(parsed.discontinuity_sequence) += 1;
                }
                "#EXT-X-MAP" => map = attribute(value, "URI").unwrap().to_owned(),
                "#EXT-X-PROGRAM-DATE-TIME" => next.date = value.to_owned(),
                "#EXT-X-GAP" => next.gap = true,
                "#EXT-X-PART" => next.parts.push(Part {
                    duration: attribute(value, "DURATION").unwrap().parse().unwrap(),
                    uri: attribute(value, "URI").unwrap().to_owned(),
                    independent: attribute(value, "INDEPENDENT") == Some("YES"),
                }),
                "#EXTINF" => next.duration = value.trim_end_matches(',').parse().unwrap(),
                "#EXT-X-PRELOAD-HINT" => {
                    assert_eq!(attribute(value, "TYPE"), Some("PART"));
                    parsed.hint = attribute(value, "URI").map(str::to_owned);
                }
                "#EXT-X-RENDITION-REPORT" => {
                    let number = |name| attribute(value, name).unwrap().parse().unwrap();
                    let uri = attribute(value, "URI").unwrap().to_owned();
                    parsed.reports.push((uri, number("LAST-MSN"), number("LAST-PART")));
                }
                "#EXT-X-ENDLIST" => parsed.ended = true,
                uri => {
                    assert!(!uri.starts_with('#'), "{line}");
                    next.uri = uri.to_owned();
                    parsed.take(&mut next, &map, discontinuities);
                }
            }
        }
        if !next.parts.is_empty() {
            parsed.take(&mut next, &map, discontinuities);
        }
        parsed
    }

    fn take(&mut self, next: &mut Segment, map: &str, discontinuities: Option<u64>) {
        next.msn = self.sequence + self.skipped + self.segments.len() as u64;
        next.discontinuities = discontinuities.unwrap_or(self.discontinuity_sequence);
        map.clone_into(&mut next.map);
        self.segments.push(std::mem::take(next));
    }

    pub(super) fn whole(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| !segment.uri.is_empty())
    }
}

/// Milliseconds of a date within its month.
pub(super) fn date_ms(date: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| date[range].parse::<i64>().unwrap();
    (((number(8..10) * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19)) * 1_000 + number(20..23)
}

/// What was in earlier versions of a playlist, and is held against each new one.
#[derive(Debug, Default)]
pub(super) struct Rules {
    last: Option<Parsed>,
    segments: BTreeMap<u64, Segment>,
    parts: BTreeMap<String, (u64, usize)>,
}

impl Rules {
    /// Holds the next version against the rules.
    pub(super) fn check(&mut self, text: &str) -> Parsed {
        let parsed = Parsed::read(text);
        Self::within(&parsed);
        if let Some(last) = &self.last {
            assert!(!last.ended || last == &parsed, "an ended playlist does not change");
            assert!(parsed.sequence >= last.sequence, "media sequence never falls");
            assert!(parsed.discontinuity_sequence >= last.discontinuity_sequence);
            assert_eq!((parsed.target, parsed.part_target), (last.target, last.part_target), "constant for its life");
            let end = |parsed: &Parsed| parsed.segments.last().map(|last| (last.msn, last.parts.len()));
            assert!(end(&parsed) >= end(last), "a playlist grows at its end");
            let listed =
                parsed.segments.iter().flat_map(|segment| segment.parts.iter().map(move |part| (segment, part)));
            if let (Some(hint), Some((segment, part))) =
                (&last.hint, listed.clone().find(|(_, part)| !self.parts.contains_key(&part.uri)))
            {
                let before = last.segments.last().map_or(0, |last| last.discontinuities);
                assert!(
                    segment.discontinuities > before || part.uri == *hint,
                    "{} came where {hint} was promised",
                    part.uri
                );
            }
        }
        for segment in &parsed.segments {
            let before = self.segments.entry(segment.msn).or_insert_with(|| segment.clone());
            assert_eq!((before.discontinuities, &before.date), (segment.discontinuities, &segment.date), "{text}");
            assert!(segment.gap || before.map.is_empty() || before.map == segment.map);
            if !before.uri.is_empty() {
                assert_eq!((&before.uri, before.duration), (&segment.uri, segment.duration), "{text}");
            }
            if !segment.parts.is_empty() {
                assert!(segment.parts.starts_with(&before.parts), "parts never change once they are listed");
            }
            if let Some(first) = segment.parts.first() {
                assert!(
                    first.independent || !parsed.independent,
                    "segment {} does not begin with a keyframe",
                    segment.msn
                );
            }
            for (index, part) in segment.parts.iter().enumerate() {
                let place = *self.parts.entry(part.uri.clone()).or_insert((segment.msn, index));
                assert_eq!(place, (segment.msn, index), "a part's name is never used again");
            }
            if before.uri.is_empty() {
                *before = segment.clone();
            }
        }
        self.last = Some(parsed.clone());
        parsed
    }

    fn within(parsed: &Parsed) {
        assert!(parsed.part_target > 0.0 && parsed.part_target <= parsed.target as f64);
        assert!(parsed.part_hold_back >= 3.0 * parsed.part_target - 1e-9);
        assert!(parsed.hold_back >= 3.0 * parsed.target as f64);
        let (mut date, mut discontinuities) = (String::new(), parsed.discontinuity_sequence);
        for (at, segment) in parsed.segments.iter().enumerate() {
            assert!(segment.date > date, "dates rise: {} after {date}", segment.date);
            date.clone_from(&segment.date);
            assert_eq!(segment.discontinuities, discontinuities + u64::from(segment.discontinuity));
            discontinuities = segment.discontinuities;
            assert!(segment.gap || !segment.map.is_empty());
            assert!(!segment.map.starts_with('/') && !segment.uri.starts_with('/') && !segment.uri.contains("://"));
            if segment.uri.is_empty() {
                assert_eq!(at + 1, parsed.segments.len(), "only the last segment is open");
            } else {
                assert!(segment.duration.round() <= parsed.target as f64, "EXTINF {}", segment.duration);
                assert!(segment.duration > 0.0 || segment.gap);
            }
            if let Some(next) = parsed.segments.get(at + 1).filter(|next| !next.discontinuity) {
                let end_ms = date_ms(&segment.date) as f64 + segment.duration * 1e3;
                let off_ms = date_ms(&next.date) as f64 - end_ms;
                assert!(off_ms.abs() < 1e-4, "segment {} begins {off_ms} ms after {}: {next:?}", next.msn, segment.msn);
            }
            // Where a run ends, there is nothing that its last frames could go to.
            let goes_on = parsed.segments.get(at + 1).is_some_and(|next| !next.discontinuity);
            if let [.., before, last] = &segment.parts[..]
                && goes_on
            {
                assert!(
                    last.duration >= parsed.part_target / 2.0,
                    "a splinter of {} s after {before:?}",
                    last.duration
                );
            }
            for (index, part) in segment.parts.iter().enumerate() {
                assert!(part.duration <= parsed.part_target + 1e-9, "PART {} > {}", part.duration, parsed.part_target);
                let is_last = index + 1 == segment.parts.len();
                let shortest = if is_last { 0.0 } else { 0.85 * parsed.part_target };
                assert!(part.duration > shortest, "a part of {} s of {}", part.duration, parsed.part_target);
            }
            if !segment.uri.is_empty() && !segment.parts.is_empty() {
                let sum: f64 = segment.parts.iter().map(|part| part.duration).sum();
                assert!((sum - segment.duration).abs() < 1e-3, "{sum} {}", segment.duration);
            }
        }
        let mut behind = 0.0;
        for segment in parsed.segments.iter().rev() {
            for part in segment.parts.iter().rev() {
                assert!(behind <= 3.0 * parsed.target as f64 + 1e-3, "{} is {behind} s old", part.uri);
                behind += part.duration;
            }
            if segment.parts.is_empty() {
                behind += segment.duration;
            }
        }
        assert_eq!(parsed.hint.is_none(), parsed.ended);
    }
}
