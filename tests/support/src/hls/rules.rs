//! What RFC 8216bis demands of one media playlist, as assertions. Before it: [`super::playlist`]; after it: [`super::history`] for what
//! holds across reloads.
use super::playlist::{Hint, Media, Part, Segment};
use super::{Fault, Faults, relative};

/// Numbers are written with a few digits: so much may two sums of them differ, seconds.
const ROUNDING: f64 = 0.002;
/// A length has three decimals, in binary.
const DATE_ROUNDING_MS: f64 = 0.001;
/// The last part of a segment that has others is at least this share of the target: players stumble over splinters (hls.js 1.5 and 1.6
/// stand still for 0.1 to 0.2 s).
const LAST_PART_SHARE_MIN: f64 = 0.5;
/// Parts are at least this share of the target, except the last of a segment (4.4.3.7).
const PART_SHARE_MIN: f64 = 0.85;

/// Every rule that does not hold.
pub fn check(media: &Media) -> Vec<Fault> {
    let mut faults = Faults::default();
    let needed = match () {
        () if media.skipped.is_some() => 9,
        () if media.segments.iter().any(|s| s.map.is_some()) => 6,
        () if media.segments.iter().any(|s| s.range.is_some()) => 4,
        () => 3,
    };
    faults.demand(media.version >= needed, "version", || format!("{} where {needed} is needed (7)", media.version));
    faults.demand(media.target_duration > 0, "target duration", || "0".to_owned());
    if let Some(uri) = media.uris().find(|uri| !relative(uri)) {
        faults.demand(false, "relative URIs", || uri.to_owned());
    }
    for segment in &media.segments {
        check_segment(media, segment, &mut faults);
    }
    check_dates(media, &mut faults);
    check_date_ranges(media, &mut faults);
    check_parts(media, &mut faults);
    check_control(media, &mut faults);
    check_end(media, &mut faults);
    check_files(media, &mut faults);
    faults.done()
}

/// Playlists that grow or are final (4.4.3.5), and segments that share a file (4.4.4.2).
fn check_files(media: &Media, faults: &mut Faults) {
    if let Some(kind) = &media.kind {
        faults.demand(kind == "EVENT" || kind == "VOD", "playlist type", || kind.clone());
        faults.demand(kind != "VOD" || media.ended, "playlist type", || "VOD without an end".to_owned());
    }
    for pair in media.segments.windows(2) {
        let (Some((offset, bytes)), Some((next, _))) = (pair[0].range, pair[1].range) else { continue };
        faults.demand(pair[0].uri != pair[1].uri || next >= offset + bytes, "byte range", || {
            format!("segment {} begins at {next}, within the one before it", pair[1].msn)
        });
    }
    for segment in &media.segments {
        faults.demand(segment.range.is_none_or(|(_, bytes)| bytes > 0), "byte range", || {
            format!("segment {} has no bytes", segment.msn)
        });
    }
}

fn check_segment(media: &Media, segment: &Segment, faults: &mut Faults) {
    let Segment { msn, .. } = segment;
    if let Some(duration) = segment.duration {
        faults.demand(duration.round() as u64 <= media.target_duration, "EXTINF", || {
            format!("segment {msn} lasts {duration} s, the target is {} s (4.4.3.1)", media.target_duration)
        });
        faults.demand(duration > 0.0, "EXTINF", || format!("segment {msn} lasts nothing"));
    }
    // An open segment will be one of that length at least.
    faults.demand(segment.seconds().round() as u64 <= media.target_duration, "EXTINF", || {
        format!("the parts of segment {msn} last {} s already", segment.seconds())
    });
    // A delta update leaves it out with the segment that it was before, and of a gap there is nothing to fetch.
    faults.demand(segment.map.is_some() || segment.gap || media.skipped.is_some(), "map", || {
        format!("segment {msn} has no initialisation (3.1.2)")
    });
    faults.demand(!segment.gap || segment.uri.is_some(), "gap", || format!("open segment {msn} has a gap"));
}

fn check_dates(media: &Media, faults: &mut Faults) {
    let dated =
        media.segments.is_empty() || media.skipped.is_some() || media.segments.iter().any(|s| s.date_ms.is_some());
    faults.demand(dated || media.part_target.is_none(), "date", || "no segment has a date (B.1)".to_owned());
    for pair in media.segments.windows(2) {
        let (Some(a), Some(b)) = (pair[0].date_ms, pair[1].date_ms) else { continue };
        let off_ms = (b - a) as f64 - pair[0].seconds() * 1000.0;
        // Behind a discontinuity time may jump, but not back; within a run a date is the one before it and a length, as they are written:
        // Shaka takes anything else for a new offset.
        let holds = if pair[1].discontinuity { b > a } else { off_ms.abs() < DATE_ROUNDING_MS };
        faults.demand(holds, "date", || {
            format!("segment {} begins {off_ms} ms after the end of the one before it", pair[1].msn)
        });
    }
}

/// They are dated as segments are, and told apart by their ids (4.4.5.1).
fn check_date_ranges(media: &Media, faults: &mut Faults) {
    let dated = media.date_ranges.is_empty() || media.segments.iter().any(|s| s.date_ms.is_some());
    faults.demand(dated, "date range", || "no segment has a date".to_owned());
    for (at, range) in media.date_ranges.iter().enumerate() {
        let is_twice = media.date_ranges.iter().skip(at + 1).any(|other| other.id == range.id);
        faults.demand(!is_twice, "date range", || format!("{} is there twice", range.id));
    }
}

fn check_parts(media: &Media, faults: &mut Faults) {
    let mut all = media.segments.iter().flat_map(|s| &s.parts).peekable();
    let Some(target) = media.part_target else {
        faults.demand(all.peek().is_none(), "part target", || "parts without EXT-X-PART-INF (4.4.3.7)".to_owned());
        return;
    };
    faults.demand(target > 0.0, "part target", || "0".to_owned());
    for (at, segment) in media.segments.iter().enumerate() {
        // Where a run ends, there is nothing that its last frames could go to.
        let goes_on = media.segments.get(at + 1).is_some_and(|next| !next.discontinuity);
        if let [.., before, last] = &segment.parts[..] {
            let least = target * LAST_PART_SHARE_MIN;
            faults.demand(!goes_on || last.gap || last.duration >= least, "splinter", || {
                format!(
                    "segment {} ends with a part of {} s behind one of {} s",
                    segment.msn, last.duration, before.duration
                )
            });
        }
        let independent = segment.parts.first().is_none_or(|first| first.independent);
        faults.demand(independent || !media.independent_segments, "independent", || {
            format!("segment {} does not begin with a keyframe (4.4.2.1)", segment.msn)
        });
        for (n, part) in segment.parts.iter().enumerate() {
            let (msn, Part { duration, gap, .. }) = (segment.msn, part);
            faults.demand(*duration > 0.0 && *duration <= target + 1e-9, "part length", || {
                format!("part {msn}.{n} lasts {duration} s, the target is {target} s")
            });
            // Of an open segment nobody knows yet whether its newest part is its last.
            let last = n + 1 == segment.parts.len();
            faults.demand(last || *gap || *duration >= target * PART_SHARE_MIN, "short part", || {
                format!("part {msn}.{n} lasts {duration} s of {target} s and is not the last of its segment")
            });
        }
        if let (Some(duration), false) = (segment.duration, segment.parts.is_empty()) {
            let sum: f64 = segment.parts.iter().map(|p| p.duration).sum();
            faults.demand((sum - duration).abs() <= ROUNDING * segment.parts.len() as f64, "sum of parts", || {
                format!("the parts of segment {} last {sum} s, the segment {duration} s", segment.msn)
            });
        }
    }
    // They serve nobody more than three target durations from the end, and a playlist that keeps them grows (4.4.4.9).
    let mut from_end = 0.0;
    let far = 3.0 * media.target_duration as f64 + ROUNDING;
    for segment in media.segments.iter().rev() {
        // The oldest one counts.
        let oldest_end = from_end + segment.parts.iter().skip(1).map(|part| part.duration).sum::<f64>();
        faults.demand(oldest_end <= far || segment.parts.is_empty() || segment.uri.is_none(), "old parts", || {
            format!("segment {} lists a part that ends {oldest_end} s before the end", segment.msn)
        });
        // And those who follow closely need them that far back.
        let needed = from_end + segment.seconds() <= media.part_target.unwrap_or(0.0) * 3.0;
        faults.demand(
            !needed || segment.gap || segment.uri.is_none() || !segment.parts.is_empty(),
            "missing parts",
            || format!("segment {} is at the live edge and lists no parts", segment.msn),
        );
        from_end += segment.seconds();
    }
}

fn check_control(media: &Media, faults: &mut Faults) {
    let target = media.target_duration as f64;
    let control = media.control.clone().unwrap_or_default();
    if let Some(part_target) = media.part_target {
        let hold = control.part_hold_back.unwrap_or(0.0);
        faults.demand(hold >= part_target * 2.0, "part hold back", || {
            format!(
                "{hold} s, with a part target of {part_target} s (4.4.3.8 demands twice that, and advises three times)"
            )
        });
        // Not demanded, but advised, and what players sit on.
        faults.demand(hold >= part_target * 3.0 - 1e-9, "part hold back", || {
            format!("{hold} s is less than three part targets")
        });
        faults.demand(control.can_block_reload, "block reload", || "parts without CAN-BLOCK-RELOAD (B.1)".to_owned());
    }
    if let Some(hold) = control.hold_back {
        faults.demand(hold >= target * 3.0, "hold back", || format!("{hold} s, with a target of {target} s (4.4.3.8)"));
    }
    if let Some(skip) = control.can_skip_until {
        faults.demand(skip >= target * 6.0, "skip", || format!("CAN-SKIP-UNTIL is {skip} s (4.4.3.8)"));
    }
    faults.demand(media.skipped.is_none() || control.can_skip_until.is_some(), "skip", || {
        "a delta update without CAN-SKIP-UNTIL".to_owned()
    });
    if let (Some(_), Some(skip)) = (media.skipped, control.can_skip_until) {
        // What is left out must all be older than the boundary, so what is listed reaches back to it (6.2.5.1).
        let listed = media.seconds();
        faults.demand(listed >= skip - target - ROUNDING, "skip", || {
            format!("only {listed} s are listed, the boundary is {skip} s from the end")
        });
    }
}

fn check_end(media: &Media, faults: &mut Faults) {
    let open = media.segments.iter().filter(|s| s.uri.is_none()).count();
    faults.demand(open <= 1, "open segment", || format!("{open} of them"));
    if media.ended {
        faults.demand(media.hints.is_empty(), "end", || "a hint behind the end (4.4.5.3)".to_owned());
        faults.demand(open == 0, "end", || "an open segment behind the end".to_owned());
        return;
    }
    for kind in ["PART", "MAP"] {
        let hints: Vec<&Hint> = media.hints.iter().filter(|h| h.kind == kind).collect();
        faults.demand(hints.len() <= 1, "hint", || format!("{} of type {kind} (4.4.5.3)", hints.len()));
    }
    faults.demand(media.hints.iter().all(|h| h.kind == "PART" || h.kind == "MAP"), "hint", || "its type".to_owned());
    if media.part_target.is_some() && !media.segments.is_empty() {
        faults.demand(media.hinted_part().is_some(), "hint", || "no part is hinted (6.2.2)".to_owned());
    }
    if let Some(hint) = media.hinted_part() {
        let listed = media.segments.iter().flat_map(|s| &s.parts).any(|p| p.uri == hint);
        faults.demand(!listed, "hint", || format!("{hint} is listed already"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a good server says, with names that are short.
    pub(crate) const GOOD: &str = "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.005,HOLD-BACK=6
#EXT-X-PART-INF:PART-TARGET=0.335
#EXT-X-MEDIA-SEQUENCE:100
#EXT-X-DISCONTINUITY-SEQUENCE:3
#EXT-X-MAP:URI=\"s/1/v/init-1.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-11-24T10:00:00.000Z
#EXTINF:2.000,
s/1/v/100.m4s
#EXTINF:2.000,
s/1/v/101.m4s
#EXTINF:2.000,
s/1/v/102.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI=\"s/1/v/init-2.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2026-11-24T10:00:09.000Z
#EXT-X-PART:DURATION=0.333,URI=\"s/1/v/103.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.334,URI=\"s/1/v/103.1.m4s\"
#EXT-X-PART:DURATION=0.200,URI=\"s/1/v/103.2.m4s\"
#EXTINF:0.867,
s/1/v/103.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-24T10:00:09.867Z
#EXT-X-PART:DURATION=0.333,URI=\"s/1/v/104.0.m4s\",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s/1/v/104.1.m4s\"
#EXT-X-RENDITION-REPORT:URI=\"audio.m3u8\",LAST-MSN=104,LAST-PART=0
";

    /// The rules that do not hold once some text of the good playlist is another.
    fn with(old: &str, new: &str) -> Vec<&'static str> {
        assert!(GOOD.contains(old), "{old:?}");
        let media = Media::parse(&GOOD.replacen(old, new, 1)).unwrap_or_else(|e| panic!("{old:?} {new:?}: {e:#}"));
        let mut rules: Vec<_> = check(&media).into_iter().map(|f| f.rule).collect();
        rules.dedup();
        rules
    }

    #[test]
    fn a_good_playlist_is_read_whole_and_passes() {
        let media = Media::parse(GOOD).unwrap();
        assert_eq!(check(&media), []);
        let msns: Vec<_> = media.segments.iter().map(|s| (s.msn, s.discontinuity_number, s.parts.len())).collect();
        assert_eq!(msns, [(100, 3, 0), (101, 3, 0), (102, 3, 0), (103, 4, 3), (104, 4, 1)]);
        assert_eq!((media.next(), media.newest()), (Some((104, Some(1))), Some((104, Some(0)))));
        assert_eq!(media.segments[0].map.as_deref(), Some("s/1/v/init-1.mp4"));
        assert_eq!(media.segments[4].map.as_deref(), Some("s/1/v/init-2.mp4"));
        assert!((media.seconds() - 7.2).abs() < 1e-9);
    }

    #[test]
    fn each_rule_catches_what_breaks_it() {
        for (old, new, rule) in [
            ("VERSION:9", "VERSION:5", "version"),
            ("#EXTINF:2.000,\ns/1/v/101", "#EXTINF:2.500,\ns/1/v/101", "EXTINF"),
            ("#EXTINF:2.000,\ns/1/v/101", "#EXTINF:0,\ns/1/v/101", "EXTINF"),
            ("s/1/v/101.m4s", "/cam/s/1/v/101.m4s", "relative URIs"),
            ("s/1/v/101.m4s", "http://a/101.m4s", "relative URIs"),
            ("s/1/v/101.m4s", "s/1/v/101.m4s?token=7", "relative URIs"),
            ("#EXT-X-MAP:URI=\"s/1/v/init-1.mp4\"\n", "", "map"),
            ("T10:00:09.867Z", "T10:00:09.868Z", "date"),
            ("T10:00:09.867Z", "T10:00:09.865Z", "date"),
            ("T10:00:09.000Z", "T09:00:09.000Z", "date"),
            ("#EXT-X-PART-INF:PART-TARGET=0.335\n", "", "part target"),
            ("DURATION=0.334", "DURATION=0.336", "part length"),
            ("DURATION=0.334", "DURATION=0.280", "short part"),
            ("DURATION=0.200", "DURATION=0.167", "splinter"),
            ("#EXTINF:0.867", "#EXTINF:1.100", "sum of parts"),
            (
                "#EXTINF:2.000,\ns/1/v/100",
                "#EXT-X-PART:DURATION=0.335,URI=\"s/1/v/100.0.m4s\"\n#EXT-X-PART:DURATION=0.335,URI=\"s/1/v/100.1.m4s\"\n\
                 #EXT-X-PART:DURATION=0.335,URI=\"s/1/v/100.2.m4s\"\n#EXT-X-PART:DURATION=0.335,URI=\"s/1/v/100.3.m4s\"\n\
                 #EXTINF:1.34,\ns/1/v/100",
                "old parts",
            ),
            (
                "#EXTINF:2.000,\ns/1/v/100",
                "#EXT-X-PART:DURATION=0.3,URI=\"s/1/v/99.0.m4s\"\n#EXTINF:0.3,\ns/1/v/99.m4s\n#EXTINF:2.000,\ns/1/v/100",
                "old parts",
            ),
            (
                "#EXT-X-PRELOAD",
                "#EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2026-11-24T10:00:10.000Z\"\n\
                 #EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2026-11-24T10:00:10.000Z\"\n#EXT-X-PRELOAD",
                "date range",
            ),
            ("PART-HOLD-BACK=1.005,", "", "part hold back"),
            ("PART-HOLD-BACK=1.005", "PART-HOLD-BACK=0.7", "part hold back"),
            ("CAN-BLOCK-RELOAD=YES,", "", "block reload"),
            (",HOLD-BACK=6", ",HOLD-BACK=5", "hold back"),
            ("HOLD-BACK=6", "HOLD-BACK=6,CAN-SKIP-UNTIL=11", "skip"),
            ("#EXT-X-MEDIA-SEQUENCE:100\n", "#EXT-X-MEDIA-SEQUENCE:90\n#EXT-X-SKIP:SKIPPED-SEGMENTS=10\n", "skip"),
            ("#EXT-X-RENDITION", "#EXT-X-ENDLIST\n#EXT-X-RENDITION", "end"),
            ("#EXT-X-RENDITION", "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s/1/v/105.0.m4s\"\n#EXT-X-RENDITION", "hint"),
            ("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s/1/v/104.1.m4s\"\n", "", "hint"),
            ("HINT:TYPE=PART,URI=\"s/1/v/104.1.m4s\"", "HINT:TYPE=PART,URI=\"s/1/v/104.0.m4s\"", "hint"),
        ] {
            let found = with(old, new);
            assert!(found.contains(&rule), "{old:?} -> {new:?}: expected {rule:?}, found {found:?}");
        }
    }

    #[test]
    fn a_playlist_whose_live_edge_has_no_parts_is_caught() {
        let parts = "#EXT-X-PART:DURATION=0.333,URI=\"s/1/v/103.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.334,URI=\"s/1/v/103.1.m4s\"
#EXT-X-PART:DURATION=0.200,URI=\"s/1/v/103.2.m4s\"
#EXTINF:0.867,";
        assert_eq!(with(parts, "#EXTINF:0.600,")[..], ["date", "missing parts"]);
    }

    #[test]
    fn a_segment_without_a_keyframe_that_is_called_independent_is_caught() {
        let (version, promise) = ("#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        assert_eq!(with(version, promise), [""; 0]);
        let promised = GOOD.replacen(version, promise, 1).replacen(",INDEPENDENT=YES", "", 1);
        let faults = check(&Media::parse(&promised).expect("a playlist"));
        assert_eq!(faults.iter().map(|fault| fault.rule).collect::<Vec<_>>(), ["independent"]);
    }

    #[test]
    fn what_is_no_playlist_is_refused_with_its_line() {
        let refused = |old: &str, new: &str, words: &str| {
            assert!(GOOD.contains(old), "{old:?}");
            let error = format!("{:#}", Media::parse(&GOOD.replacen(old, new, 1)).expect_err(new));
            assert!(error.contains(words), "{error}");
        };
        refused("#EXTM3U", "#EXTM3U8", "first line");
        refused("#EXTM3U", "\u{feff}#EXTM3U", "byte order mark");
        refused("#EXT-X-TARGETDURATION:2\n", "", "no EXT-X-TARGETDURATION");
        refused("TARGETDURATION:2", "TARGETDURATION:2.0", "line 3");
        refused("#EXT-X-TARGETDURATION:2", "#EXT-X-TARGETDURATION:2\n#EXT-X-TARGETDURATION:2", "a second");
        refused("#EXTINF:2.000,\n", "", "without EXTINF");
        refused("#EXTINF:2.000,", "#EXTINF:2.000", "no comma");
        refused("#EXTINF:2.000,", "#EXTINF:-2.000,", "no decimal number");
        refused("URI=\"s/1/v/103.0.m4s\"", "URI=s/1/v/103.0.m4s", "not a quoted string");
        refused("DURATION=0.333,URI=\"s/1/v/103.0", "URI=\"s/1/v/103.0", "no DURATION");
        refused("10:00:09.867Z", "10:00:09.767", "no time zone");
        refused("LAST-MSN=104,", "", "no LAST-MSN");
        refused("#EXT-X-PRELOAD", "#EXT-X-DATERANGE:ID=\"a\"\n#EXT-X-PRELOAD", "no START-DATE");
        refused("s/1/v/101.m4s\n", "s/1/v/101.m4s\n#EXT-X-MEDIA-SEQUENCE:7\n", "a second");
        refused("#EXT-X-VERSION:9", "#EXT-X-VERSJON:9", "not expected");
        let late = GOOD.replace("#EXT-X-MEDIA-SEQUENCE:100\n", "") + "#EXT-X-MEDIA-SEQUENCE:100\n";
        assert!(format!("{:#}", Media::parse(&late).unwrap_err()).contains("behind a segment"));
        assert!(Media::parse(GOOD.trim_end()).is_err(), "the last line is cut off");
    }

    #[test]
    fn a_recording_of_byte_ranges_is_read_and_what_breaks_it_is_caught() {
        let good = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MEDIA-SEQUENCE:0\n\
             #EXT-X-MAP:URI=\"video/init-1.mp4\"\n#EXTINF:2.0,\n#EXT-X-BYTERANGE:10@0\nvideo/1.mp4\n\
             #EXTINF:2.0,\n#EXT-X-BYTERANGE:20@10\nvideo/1.mp4\n#EXT-X-DISCONTINUITY\n#EXT-X-DISCONTINUITY\n\
             #EXTINF:2.0,\n#EXT-X-BYTERANGE:5@0\nvideo/2.mp4\n#EXT-X-ENDLIST\n";
        let media = Media::parse(good).unwrap();
        assert_eq!(check(&media), []);
        let ranges: Vec<_> = media.segments.iter().map(|s| (s.range, s.discontinuity_number)).collect();
        assert_eq!(ranges, [(Some((0, 10)), 0), (Some((10, 20)), 0), (Some((0, 5)), 2)]);
        for (old, new, rule) in [
            ("20@10", "20@9", "byte range"),
            ("20@10", "0@10", "byte range"),
            ("#EXT-X-ENDLIST\n", "", "playlist type"),
            ("TYPE:VOD", "TYPE:LIVE", "playlist type"),
        ] {
            assert!(good.contains(old));
            let found = check(&Media::parse(&good.replacen(old, new, 1)).unwrap());
            assert!(found.iter().any(|fault| fault.rule == rule), "{old} -> {new}: {found:?}");
        }
        assert!(Media::parse(&good.replace("20@10", "20")).is_err());
    }

    #[test]
    fn a_delta_update_counts_what_it_skips() {
        let text = GOOD
            .replace("HOLD-BACK=6", "HOLD-BACK=6,CAN-SKIP-UNTIL=12")
            .replace("SEQUENCE:100\n", "SEQUENCE:90\n#EXT-X-SKIP:SKIPPED-SEGMENTS=7\n");
        let media = Media::parse(&text).unwrap();
        assert_eq!((media.segments[0].msn, media.last()), (97, Some((101, 1))));
    }
}
