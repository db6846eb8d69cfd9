//! A static manifest of a recording: byte ranges of files, period by period. Before it: a recording's segments; after it: players, which ask for it
//! once. "§" means a section of ISO/IEC 23009-1:2022.
//!
//! A `SegmentList` (§ 5.3.9.3), for files hold several segments and have no index of their own; with a `SegmentTimeline` (§ 5.3.9.6), so that each segment
//! is where it belongs. The timeline has an element for each segment, also where many in a row are equally long: of an element that repeats (`r`)
//! dash.js 5.2.1 fetches the first `SegmentURL` again and again, and stands still where those that it never fetched would play.
use std::fmt::Write as _;

use super::Duration;
use crate::codec::Shape;

/// Bytes of a segment's elements, about.
const SEGMENT_BYTES: usize = 88;

/// A track of a period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VodTrack<'a> {
    /// Its name, the same in each period.
    pub id: &'a str,
    /// A picture, or audio.
    pub is_video: bool,
    /// RFC 6381's name of its coding.
    pub codecs: &'a str,
    /// Highest rate of a segment, bits per second.
    pub bandwidth: u64,
    /// Size of its pictures, or rate of its samples.
    pub shape: Option<Shape>,
    /// Units per second of its times.
    pub timescale: u32,
    /// Time in its units that the period begins at.
    pub offset: u64,
    /// URI of its header.
    pub initialization: &'a str,
}

/// A segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VodSegment {
    /// Where it begins, in units of its track: not before the end of the one before.
    pub start: u64,
    /// Its length, in units of its track.
    pub duration: u64,
    /// The URI of its file.
    pub uri: String,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length there, bytes; more than 0.
    pub bytes: u64,
}

/// A manifest that is being written.
#[derive(Clone, Debug)]
pub struct VodManifest {
    out: String,
    /// A period is open.
    in_period: bool,
    /// The `SegmentURL`s of a track, which come behind its timeline.
    urls: String,
}

impl VodManifest {
    /// One of that length, with no segment longer than that, and about so many of them; milliseconds.
    pub fn new(duration_ms: u64, segment_max_ms: u64, segments: usize) -> Self {
        let mut out = String::with_capacity(512 + segments.saturating_mul(SEGMENT_BYTES));
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            out,
            "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:full:2011\" type=\"static\" \
             mediaPresentationDuration=\"{}\" maxSegmentDuration=\"{}\" minBufferTime=\"PT1S\">",
            Duration(duration_ms),
            Duration(segment_max_ms)
        );
        Self { out, in_period: false, urls: String::new() }
    }

    /// Begins a period: its name, and where it begins, milliseconds.
    pub fn period(&mut self, id: u64, start_ms: u64) {
        self.end_period();
        let _ = writeln!(self.out, "<Period id=\"{id}\" start=\"{}\">", Duration(start_ms));
        self.in_period = true;
    }

    /// Adds a track to the period, with its segments in order.
    pub fn track(&mut self, track: &VodTrack<'_>, segments: impl IntoIterator<Item = VodSegment>) {
        let _ = self.write_track(track, segments);
    }

    fn write_track(
        &mut self,
        track: &VodTrack<'_>,
        segments: impl IntoIterator<Item = VodSegment>,
    ) -> std::fmt::Result {
        let Self { out, urls, .. } = self;
        let VodTrack { id, is_video, codecs, bandwidth, shape, timescale, offset, initialization } = *track;
        let (kind, mime) = if is_video { ("video", "video/mp4") } else { ("audio", "audio/mp4") };
        writeln!(out, "<AdaptationSet contentType=\"{kind}\" mimeType=\"{mime}\" segmentAlignment=\"true\">")?;
        write!(out, "<Representation id=\"{id}\" codecs=\"{codecs}\" bandwidth=\"{bandwidth}\"")?;
        match shape {
            Some(Shape::Video { width, height }) => write!(out, " width=\"{width}\" height=\"{height}\"")?,
            Some(Shape::Audio { rate_hz, .. }) => write!(out, " audioSamplingRate=\"{rate_hz}\"")?,
            None => {}
        }
        writeln!(out, ">\n<SegmentList timescale=\"{timescale}\" presentationTimeOffset=\"{offset}\">")?;
        writeln!(out, "<Initialization sourceURL=\"{initialization}\"/>\n<SegmentTimeline>")?;
        urls.clear();
        let mut end = None;
        for VodSegment { start, duration, uri, offset, bytes } in segments {
            // Without a time it begins where the one before it ends.
            if end == Some(start) {
                writeln!(out, "<S d=\"{duration}\"/>")?;
            } else {
                writeln!(out, "<S t=\"{start}\" d=\"{duration}\"/>")?;
            }
            end = Some(start.saturating_add(duration));
            // § 5.3.9.3.3: the first and the last byte.
            let last = offset.saturating_add(bytes.saturating_sub(1));
            writeln!(urls, "<SegmentURL media=\"{uri}\" mediaRange=\"{offset}-{last}\"/>")?;
        }
        out.push_str("</SegmentTimeline>\n");
        out.push_str(urls);
        writeln!(out, "</SegmentList></Representation></AdaptationSet>")
    }

    fn end_period(&mut self) {
        if std::mem::take(&mut self.in_period) {
            self.out.push_str("</Period>\n");
        }
    }

    /// The text.
    pub fn finish(mut self) -> String {
        self.end_period();
        self.out.push_str("</MPD>\n");
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_two_periods() {
        let track = VodTrack {
            id: "video",
            is_video: true,
            codecs: "avc1.64001f",
            bandwidth: 1_600,
            shape: Some(Shape::Video { width: 320, height: 180 }),
            timescale: 1_000,
            offset: 500,
            initialization: "video/init-1.mp4",
        };
        let sound = VodTrack {
            id: "audio",
            is_video: false,
            codecs: "mp4a.40.2",
            shape: Some(Shape::Audio { rate_hz: 44_100, channels: 2 }),
            timescale: 44_100,
            offset: 0,
            initialization: "audio/init-2.mp4",
            ..track
        };
        let segment = |start, duration, uri: &str, offset| VodSegment {
            start,
            duration,
            uri: uri.to_owned(),
            offset,
            bytes: 400,
        };
        let mut manifest = VodManifest::new(10_040, 2_000, 5);
        manifest.period(0, 0);
        let segments = [
            segment(500, 2_000, "video/1.mp4", 0),
            segment(2_500, 2_000, "video/1.mp4", 400),
            // A hole.
            segment(6_500, 2_000, "video/2.mp4", 0),
            segment(8_500, 1_500, "video/2.mp4", 400),
        ];
        manifest.track(&track, segments);
        manifest.period(3, 9_500);
        manifest.track(&sound, [segment(0, 23_814, "audio/1.mp4", 7)]);
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:full:2011" type="static" mediaPresentationDuration="PT10.040S" maxSegmentDuration="PT2.000S" minBufferTime="PT1S">
<Period id="0" start="PT0.000S">
<AdaptationSet contentType="video" mimeType="video/mp4" segmentAlignment="true">
<Representation id="video" codecs="avc1.64001f" bandwidth="1600" width="320" height="180">
<SegmentList timescale="1000" presentationTimeOffset="500">
<Initialization sourceURL="video/init-1.mp4"/>
<SegmentTimeline>
<S t="500" d="2000"/>
<S d="2000"/>
<S t="6500" d="2000"/>
<S d="1500"/>
</SegmentTimeline>
<SegmentURL media="video/1.mp4" mediaRange="0-399"/>
<SegmentURL media="video/1.mp4" mediaRange="400-799"/>
<SegmentURL media="video/2.mp4" mediaRange="0-399"/>
<SegmentURL media="video/2.mp4" mediaRange="400-799"/>
</SegmentList></Representation></AdaptationSet>
</Period>
<Period id="3" start="PT9.500S">
<AdaptationSet contentType="audio" mimeType="audio/mp4" segmentAlignment="true">
<Representation id="audio" codecs="mp4a.40.2" bandwidth="1600" audioSamplingRate="44100">
<SegmentList timescale="44100" presentationTimeOffset="0">
<Initialization sourceURL="audio/init-2.mp4"/>
<SegmentTimeline>
<S t="0" d="23814"/>
</SegmentTimeline>
<SegmentURL media="audio/1.mp4" mediaRange="7-406"/>
</SegmentList></Representation></AdaptationSet>
</Period>
</MPD>
"#;
        assert_eq!(manifest.finish(), expected);
    }
}
