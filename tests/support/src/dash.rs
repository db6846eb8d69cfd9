//! Static manifests of DASH with lists of byte ranges, as recordings have them: read, and what they must say. Before it: the text that was served; after
//! it: players choose. "§" means a section of ISO/IEC 23009-1:2022.
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

/// Of what was rounded to milliseconds this much is not looked at, milliseconds.
const SLACK_MS: f64 = 2.0;

/// A whole manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub duration_ms: f64,
    pub segment_max_ms: f64,
    pub periods: Vec<Period>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Period {
    pub id: String,
    pub start_ms: f64,
    pub tracks: Vec<Track>,
}

/// An adaptation set with its representation.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// `video` or `audio`.
    pub kind: String,
    pub codecs: String,
    pub bandwidth: u64,
    /// Width and height.
    pub size: Option<(u32, u32)>,
    /// Units per second.
    pub timescale: u64,
    /// The period's beginning, units.
    pub offset: u64,
    pub init: String,
    pub segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, units.
    pub start: u64,
    /// Units.
    pub duration: u64,
    pub uri: String,
    /// Where it begins in its file, and its length there.
    pub range: (u64, u64),
}

/// An element's name and attributes; `/` before the name of one that ends.
type Tag<'a> = (&'a str, BTreeMap<&'a str, &'a str>);

fn tags(text: &str) -> Result<Vec<Tag<'_>>> {
    let mut found = Vec::new();
    for part in text.split('<').skip(1) {
        let (tag, behind) = part.split_once('>').context("a tag without an end")?;
        ensure!(behind.trim().is_empty(), "text between elements: {behind:.80}");
        let tag = tag.trim_end_matches(['/', '?']);
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = BTreeMap::new();
        while !rest.trim().is_empty() {
            let (key, value) = rest.trim_start().split_once("=\"").with_context(|| format!("no attribute: {rest}"))?;
            let (value, after) = value.split_once('"').context("a value without an end")?;
            ensure!(attributes.insert(key, value).is_none(), "{key} twice");
            rest = after;
        }
        found.push((name, attributes));
    }
    Ok(found)
}

fn text<'a>(tag: &Tag<'a>, name: &str) -> Result<&'a str> {
    tag.1.get(name).copied().with_context(|| format!("{} without {name}", tag.0))
}

fn number(tag: &Tag<'_>, name: &str) -> Result<u64> {
    let value = text(tag, name)?;
    value.parse().with_context(|| format!("{name}=\"{value}\""))
}

fn duration_ms(tag: &Tag<'_>, name: &str) -> Result<f64> {
    let value = text(tag, name)?;
    let seconds = value.strip_prefix("PT").and_then(|value| value.strip_suffix('S')).context("not of the form PTnS")?;
    let seconds: f64 = seconds.parse().with_context(|| format!("{name}=\"{value}\""))?;
    Ok((seconds * 1e6).round() / 1e3)
}

impl Manifest {
    /// Reads one.
    pub fn parse(manifest: &str) -> Result<Self> {
        let all = tags(manifest)?;
        let mpd = all.iter().find(|(name, _)| *name == "MPD").context("no MPD")?;
        ensure!(text(mpd, "type")? == "static", "it may change");
        let mut whole = Self {
            duration_ms: duration_ms(mpd, "mediaPresentationDuration")?,
            segment_max_ms: duration_ms(mpd, "maxSegmentDuration")?,
            periods: Vec::new(),
        };
        ensure!(text(mpd, "xmlns")? == "urn:mpeg:dash:schema:mpd:2011", "another name space");
        duration_ms(mpd, "minBufferTime")?;
        text(mpd, "profiles")?;
        let mut times: Vec<(u64, u64)> = Vec::new();
        for tag in &all {
            if tag.0 == "Period" {
                let (id, start_ms) = (text(tag, "id")?.to_owned(), duration_ms(tag, "start")?);
                whole.periods.push(Period { id, start_ms, tracks: Vec::new() });
                continue;
            }
            let period = || whole.periods.last().with_context(|| format!("{} outside of a period", tag.0));
            let track = || period()?.tracks.last().with_context(|| format!("{} outside of a track", tag.0));
            match tag.0 {
                "?xml" | "MPD" | "/MPD" | "/Period" | "/AdaptationSet" | "/Representation" | "SegmentTimeline" => {}
                "AdaptationSet" => {
                    let kind = text(tag, "contentType")?.to_owned();
                    ensure!(text(tag, "mimeType")? == format!("{kind}/mp4"), "another type than that of {kind}");
                    period()?;
                    let track = Track {
                        kind,
                        codecs: String::new(),
                        bandwidth: 0,
                        size: None,
                        timescale: 1,
                        offset: 0,
                        init: String::new(),
                        segments: Vec::new(),
                    };
                    whole.periods.last_mut().context("a period")?.tracks.push(track);
                }
                "Representation" | "SegmentList" | "Initialization" | "SegmentURL" | "S" | "/SegmentTimeline"
                | "/SegmentList" => {
                    track()?;
                    let track = whole.periods.last_mut().and_then(|period| period.tracks.last_mut()).context("one")?;
                    match tag.0 {
                        "Representation" => {
                            ensure!(track.codecs.is_empty(), "a second representation");
                            text(tag, "codecs")?.clone_into(&mut track.codecs);
                            track.bandwidth = number(tag, "bandwidth")?;
                            if tag.1.contains_key("width") {
                                track.size = Some((number(tag, "width")? as u32, number(tag, "height")? as u32));
                            }
                        }
                        "SegmentList" => {
                            track.timescale = number(tag, "timescale")?;
                            track.offset = number(tag, "presentationTimeOffset")?;
                        }
                        "Initialization" => text(tag, "sourceURL")?.clone_into(&mut track.init),
                        "S" => {
                            ensure!(
                                !tag.1.contains_key("r"),
                                "of an element that repeats dash.js 5.2.1 takes the first URL alone"
                            );
                            let end = times.last().map(|(start, duration)| start + duration);
                            let start = match end.filter(|_| !tag.1.contains_key("t")) {
                                Some(end) => end,
                                None => number(tag, "t")?,
                            };
                            times.push((start, number(tag, "d")?));
                        }
                        "SegmentURL" => {
                            let at = track.segments.len();
                            let (start, duration) = *times.get(at).context("more URLs than times")?;
                            let range = text(tag, "mediaRange")?;
                            let (first, last) = range.split_once('-').context("a range")?;
                            let (first, last): (u64, u64) = (first.parse()?, last.parse()?);
                            ensure!(first <= last, "an empty range: {range}");
                            let uri = text(tag, "media")?.to_owned();
                            track.segments.push(Segment { start, duration, uri, range: (first, last - first + 1) });
                        }
                        "/SegmentList" => {
                            ensure!(times.len() == track.segments.len(), "more times than URLs (§ 5.3.9.6)");
                            times.clear();
                        }
                        _ => {}
                    }
                }
                other => bail!("an element that is not known: {other}"),
            }
        }
        Ok(whole)
    }

    /// What is wrong with it.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push(text);
        if self.periods.is_empty() {
            fault("no period".to_owned());
        }
        let ends = self.periods.iter().skip(1).map(|next| next.start_ms).chain([self.duration_ms]);
        for (period, end_ms) in self.periods.iter().zip(ends) {
            let Period { id, start_ms, tracks } = period;
            if self.periods.iter().filter(|other| other.id == *id).count() > 1 {
                fault(format!("two periods {id}"));
            }
            if *start_ms >= end_ms {
                fault(format!("period {id} begins at {start_ms} ms and ends at {end_ms} ms"));
            }
            if tracks.is_empty() {
                fault(format!("period {id} has no track"));
            }
            let mut latest_ms = f64::MIN;
            for track in tracks {
                let at = |units: u64| start_ms + (units as f64 - track.offset as f64) * 1e3 / track.timescale as f64;
                let name = format!("period {id}, {}", track.kind);
                if track.codecs.is_empty() || track.init.is_empty() || track.bandwidth == 0 || track.segments.is_empty()
                {
                    fault(format!("{name}: {track:?}"));
                }
                for pair in track.segments.windows(2) {
                    if pair[0].start + pair[0].duration > pair[1].start {
                        fault(format!("{name}: {:?} begins within {:?}", pair[1], pair[0]));
                    }
                    if pair[0].uri == pair[1].uri && pair[0].range.0 + pair[0].range.1 > pair[1].range.0 {
                        fault(format!("{name}: {:?} has bytes of {:?}", pair[1], pair[0]));
                    }
                }
                for segment in &track.segments {
                    let (begins, ends) = (at(segment.start), at(segment.start + segment.duration));
                    latest_ms = latest_ms.max(ends);
                    if begins < start_ms - SLACK_MS || ends > end_ms + SLACK_MS {
                        fault(format!("{name}: {segment:?} is from {begins} to {ends} ms"));
                    }
                    if ends - begins > self.segment_max_ms + SLACK_MS {
                        fault(format!("{name}: {segment:?} is longer than the longest"));
                    }
                }
            }
            if (latest_ms - end_ms).abs() > SLACK_MS {
                fault(format!("period {id} ends at {end_ms} ms, and what is in it at {latest_ms} ms"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:full:2011" type="static" mediaPresentationDuration="PT5.000S" maxSegmentDuration="PT2.000S" minBufferTime="PT1S">
<Period id="0" start="PT0.000S">
<AdaptationSet contentType="video" mimeType="video/mp4" segmentAlignment="true">
<Representation id="video" codecs="avc1.64001f" bandwidth="1600" width="320" height="180">
<SegmentList timescale="1000" presentationTimeOffset="500">
<Initialization sourceURL="video/init-1.mp4"/>
<SegmentTimeline>
<S t="500" d="2000"/>
<S d="2000"/>
<S d="1000"/>
</SegmentTimeline>
<SegmentURL media="video/1.mp4" mediaRange="0-399"/>
<SegmentURL media="video/1.mp4" mediaRange="400-799"/>
<SegmentURL media="video/2.mp4" mediaRange="0-399"/>
</SegmentList></Representation></AdaptationSet>
</Period>
</MPD>
"#;

    #[test]
    fn each_rule_has_a_manifest_that_breaks_it() {
        assert_eq!(Manifest::parse(RIGHT).expect("a manifest").check(), Vec::<String>::new());
        for (from, to) in [
            ("PT5.000S", "PT6.000S"),
            ("PT5.000S", "PT4.000S"),
            ("maxSegmentDuration=\"PT2.000S\"", "maxSegmentDuration=\"PT1.000S\""),
            ("start=\"PT0.000S\"", "start=\"PT1.000S\""),
            ("<S d=\"1000\"", "<S t=\"4400\" d=\"1000\""),
            ("presentationTimeOffset=\"500\"", "presentationTimeOffset=\"600\""),
            ("mediaRange=\"400-799\"", "mediaRange=\"399-799\""),
            ("bandwidth=\"1600\"", "bandwidth=\"0\""),
        ] {
            let wrong = RIGHT.replace(from, to);
            assert_ne!(wrong, RIGHT);
            assert!(!Manifest::parse(&wrong).expect("a manifest").check().is_empty(), "{to}");
        }
        for (from, to) in [
            ("type=\"static\"", "type=\"dynamic\""),
            ("<S d=\"1000\"/>", ""),
            ("<S d=\"1000\"/>", "<S d=\"1000\"/><S d=\"1000\"/>"),
            ("<S t=\"500\"", "<S"),
            ("<S d=\"2000\"", "<S d=\"2000\" r=\"1\""),
            ("mediaRange=\"0-399\"", "mediaRange=\"9-8\""),
            ("<SegmentTimeline>", "<EventStream>"),
            (" codecs=\"avc1.64001f\"", ""),
        ] {
            let wrong = RIGHT.replacen(from, to, 1);
            assert_ne!(wrong, RIGHT);
            assert!(Manifest::parse(&wrong).is_err(), "{to}");
        }
    }
}
