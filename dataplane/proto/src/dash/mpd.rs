//! A live manifest with a `SegmentTimeline` per track. Before it: the hub's window; after it: players, which ask for it again and again.
//! "§" means a section of ISO/IEC 23009-1:2022.
use std::fmt::Write as _;

use super::Duration;
use crate::time::rfc3339;

/// The whole of a manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct Mpd<'a> {
    /// Unix milliseconds that time 0 of the first period's tracks stands for.
    pub availability_start_unix_ms: u64,
    /// Unix milliseconds of this text.
    pub publish_unix_ms: u64,
    /// How far back segments reach, milliseconds.
    pub time_shift_ms: u64,
    /// Longest segment, milliseconds.
    pub segment_max_ms: u64,
    /// How often it is to be asked for, milliseconds.
    pub update_ms: u64,
    /// How far behind the newest segment's end players should be, milliseconds.
    pub delay_ms: u64,
    /// URL of the server's time.
    pub time_url: &'a str,
    /// Periods: one after each discontinuity.
    pub periods: Vec<Period>,
    /// Nothing more comes: the length of the presentation, milliseconds.
    pub ended_after_ms: Option<u64>,
}

/// A run without a discontinuity.
#[derive(Clone, PartialEq, Debug)]
pub struct Period {
    /// Its name, the same in each version of the manifest.
    pub id: u64,
    /// Where it begins, milliseconds since the manifest's time 0.
    pub start_ms: u64,
    /// Its tracks.
    pub tracks: Vec<Track>,
    /// What happened in it.
    pub events: Vec<Event>,
}

/// Something that happened at a moment (§ 5.10.2).
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// No other one of the presentation has it.
    pub id: u32,
    /// When, milliseconds since the period's beginning.
    pub at_ms: u64,
    /// What, without markup: [`crate::marker::json`].
    pub data: String,
}

/// What events of the manifest are: markers, as [`crate::marker::json`] writes them.
const MARKERS: &str = "urn:millstream:marker:2026";

/// An adaptation set. All of its representations have the same segments.
#[derive(Clone, PartialEq, Debug)]
pub struct Track {
    /// A picture, or audio.
    pub video: bool,
    /// Which it is of several sets of one kind that players may switch between, each in a coding of its own; `None`: it is the only one.
    pub of: Option<SwitchingSet>,
    /// Its forms: one at least, the best first.
    pub representations: Vec<Representation>,
    /// Units per second of its times.
    pub timescale: u32,
    /// Time in its units that the period begins at.
    pub offset: u64,
    /// Number of the first segment.
    pub first_number: u64,
    /// Start and length of each segment, in its units.
    pub segments: Vec<(u64, u64)>,
}

/// The number of a set, from 0 on, of so many. Players without a reason of their own begin with the first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwitchingSet {
    /// Which it is.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

/// What says to which sets a player may switch (DASH-IF IOP part 4).
const SWITCHING: &str = "urn:mpeg:dash:adaptation-set-switching:2016";

/// One form of a track.
#[derive(Clone, PartialEq, Debug)]
pub struct Representation {
    /// Its name, the same in each version of the manifest.
    pub id: String,
    /// RFC 6381's name of its coding.
    pub codecs: String,
    /// Bits per second.
    pub bandwidth: u64,
    /// Width and height, pixels.
    pub resolution: Option<(u32, u32)>,
    /// Samples per second.
    pub rate_hz: Option<u32>,
    /// URI of its header.
    pub initialization: String,
    /// URI of a segment, with `$Number$`.
    pub media: String,
}

impl Mpd<'_> {
    /// The manifest as text.
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(4 << 10);
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        write!(out, "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"")?;
        let Self { time_shift_ms, segment_max_ms, update_ms, delay_ms, .. } = *self;
        if let Some(ms) = self.ended_after_ms {
            // § 5.3.1.2: without an update period a player does not ask again.
            write!(out, " type=\"static\" mediaPresentationDuration=\"{}\"", Duration(ms))?;
        } else {
            write!(out, " type=\"dynamic\" minimumUpdatePeriod=\"{}\"", Duration(update_ms))?;
            write!(out, " suggestedPresentationDelay=\"{}\"", Duration(delay_ms))?;
            write!(out, " availabilityStartTime=\"{}\"", rfc3339(self.availability_start_unix_ms))?;
            write!(out, " timeShiftBufferDepth=\"{}\"", Duration(time_shift_ms))?;
        }
        write!(out, " publishTime=\"{}\"", rfc3339(self.publish_unix_ms))?;
        writeln!(out, " minBufferTime=\"PT1S\" maxSegmentDuration=\"{}\">", Duration(segment_max_ms))?;
        for period in &self.periods {
            period.write(out)?;
        }
        if self.ended_after_ms.is_none() {
            writeln!(out, "<UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"{}\"/>", self.time_url)?;
        }
        writeln!(out, "</MPD>")
    }
}

impl Period {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "<Period id=\"{}\" start=\"{}\">", self.id, Duration(self.start_ms))?;
        if !self.events.is_empty() {
            writeln!(out, "<EventStream schemeIdUri=\"{MARKERS}\" timescale=\"1000\">")?;
            for Event { id, at_ms, data } in &self.events {
                writeln!(out, "<Event id=\"{id}\" presentationTime=\"{at_ms}\">{data}</Event>")?;
            }
            writeln!(out, "</EventStream>")?;
        }
        for track in &self.tracks {
            track.write(out)?;
        }
        writeln!(out, "</Period>")
    }
}

impl Track {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (kind, mime) = if self.video { ("video", "video/mp4") } else { ("audio", "audio/mp4") };
        write!(out, "<AdaptationSet contentType=\"{kind}\" mimeType=\"{mime}\" segmentAlignment=\"true\"")?;
        match self.of {
            None => writeln!(out, ">")?,
            Some(SwitchingSet { number, count }) => {
                writeln!(out, " id=\"{number}\" selectionPriority=\"{}\">", count - number)?;
                let others = (0..count).filter(|other| *other != number).map(|other| other.to_string());
                let others = others.collect::<Vec<_>>().join(",");
                writeln!(out, "<SupplementalProperty schemeIdUri=\"{SWITCHING}\" value=\"{others}\"/>")?;
            }
        }
        for representation in &self.representations {
            self.write_representation(representation, out)?;
        }
        writeln!(out, "</AdaptationSet>")
    }

    fn write_representation(&self, of: &Representation, out: &mut String) -> std::fmt::Result {
        write!(out, "<Representation id=\"{}\" codecs=\"{}\" bandwidth=\"{}\"", of.id, of.codecs, of.bandwidth)?;
        if let Some((width, height)) = of.resolution {
            write!(out, " width=\"{width}\" height=\"{height}\"")?;
        }
        if let Some(rate_hz) = of.rate_hz {
            write!(out, " audioSamplingRate=\"{rate_hz}\"")?;
        }
        writeln!(out, ">")?;
        write!(out, "<SegmentTemplate timescale=\"{}\" initialization=\"{}\"", self.timescale, of.initialization)?;
        write!(out, " media=\"{}\" startNumber=\"{}\"", of.media, self.first_number)?;
        writeln!(out, " presentationTimeOffset=\"{}\">", self.offset)?;
        writeln!(out, "<SegmentTimeline>")?;
        for (start, length) in &self.segments {
            writeln!(out, "<S t=\"{start}\" d=\"{length}\"/>")?;
        }
        writeln!(out, "</SegmentTimeline></SegmentTemplate></Representation>")
    }
}
