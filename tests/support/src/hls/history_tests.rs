//! Reloads, good and bad: each rule has a server that breaks it.
use std::fmt::Write as _;

use super::super::playlist::DateRange;
use super::*;

/// A window of whole segments from `first` on, the last of them followed by `parts` parts of an open one; all last 2 s.
fn playlist(first: u64, count: u64, parts: u64) -> Media {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,PART-HOLD-BACK=1.5\n\
         #EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"init.mp4\"\n"
    );
    let part = |msn, n| format!("#EXT-X-PART:DURATION=0.5,URI=\"{msn}.{n}.m4s\"\n");
    for msn in first..=first + count {
        let date = format!("#EXT-X-PROGRAM-DATE-TIME:2026-11-24T10:{:02}:{:02}.000Z\n", msn * 2 / 60, msn * 2 % 60);
        if msn == first + count {
            if parts > 0 {
                text += &date;
                (0..parts).for_each(|n| text += &part(msn, n));
            }
            continue;
        }
        text += &date;
        if msn + 2 >= first + count {
            (0..4).for_each(|n| text += &part(msn, n));
        }
        let _ = writeln!(text, "#EXTINF:2.0,\n{msn}.m4s");
    }
    let (msn, n) = (first + count, parts);
    let _ = writeln!(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{msn}.{n}.m4s\"");
    Media::parse(&text).unwrap_or_else(|e| panic!("{e:#}\n{text}"))
}

/// Takes all; the rules that do not hold for the last one.
fn after(playlists: &[Media]) -> Vec<&'static str> {
    let mut history = History::new();
    let (last, before) = playlists.split_last().expect("some");
    for media in before {
        assert_eq!(history.take(media), [], "only the last one is bad");
    }
    history.take(last).into_iter().map(|f| f.rule).collect()
}

fn changed(mut media: Media, change: impl FnOnce(&mut Media)) -> Media {
    change(&mut media);
    media
}

/// The delta update that the server should send for a playlist.
fn delta(mut media: Media, count: usize) -> Media {
    media.segments.drain(..count);
    media.skipped = Some(count as u64);
    // The tag of the initialisation was before the first segment.
    media.segments.iter_mut().for_each(|s| s.map = None);
    media
}

#[test]
fn good_reloads_pass() {
    let all = [
        playlist(10, 6, 0),
        playlist(10, 6, 1),
        playlist(10, 6, 3),
        playlist(11, 6, 0),
        playlist(11, 6, 0),
        playlist(14, 6, 2),
    ];
    let mut history = History::new();
    for media in &all {
        assert_eq!(history.take(media), []);
    }
    assert_eq!((history.taken(), history.segments().len()), ((6, 0), 11));
}

#[test]
fn numbers_that_fall_are_caught() {
    assert!(after(&[playlist(11, 6, 1), playlist(10, 6, 1)]).contains(&"media sequence"));
    assert!(after(&[playlist(10, 6, 2), playlist(10, 6, 1)]).contains(&"goes back"));
    let sequence = |n| changed(playlist(10, 6, 1), |m| m.discontinuity_sequence = n);
    assert!(after(&[sequence(4), sequence(3)]).contains(&"discontinuity sequence"));
}

#[test]
fn targets_and_promises_that_change_are_caught() {
    let (one, two) = (playlist(10, 6, 0), playlist(10, 6, 1));
    assert_eq!(after(&[one.clone(), changed(two.clone(), |m| m.target_duration = 3)])[..], ["skip", "constant target"]);
    let part_target = changed(two.clone(), |m| m.part_target = Some(0.51));
    assert!(after(&[one.clone(), part_target]).contains(&"constant target"));
    let hold = changed(two, |m| m.control.as_mut().expect("promises").part_hold_back = Some(1.6));
    assert_eq!(after(&[one, hold])[..], ["constant control"]);
}

#[test]
fn what_was_listed_and_changes_is_caught() {
    let (one, two) = (playlist(10, 6, 1), playlist(10, 6, 2));
    let with = |change: fn(&mut Media)| after(&[one.clone(), changed(two.clone(), change)]);
    assert_eq!(with(|m| m.segments[1].uri = Some("other.m4s".to_owned()))[..], ["changed segment"]);
    assert_eq!(with(|m| m.segments[1].duration = Some(1.98))[..], ["date", "changed segment"]);
    assert_eq!(with(|m| m.segments[0].date_ms = None)[..], ["changed segment"]);
    assert_eq!(with(|m| m.segments[1].map = Some("init2.mp4".to_owned()))[..], ["changed segment"]);
    assert!(with(|m| m.segments[6].parts[0].duration = 0.49).contains(&"changed part"));
    assert!(with(|m| m.segments[6].parts[0].uri = "x.m4s".to_owned()).contains(&"changed part"));
    assert!(with(|m| drop(m.segments[6].parts.remove(0))).contains(&"changed part"));
    assert_eq!(with(|m| m.segments[3].discontinuity_number = 1)[..], ["discontinuity sequence"]);
}

#[test]
fn a_discontinuity_that_leaves_uncounted_is_caught() {
    let cut = |media: Media, base: u64| {
        changed(media, |m| {
            m.discontinuity_sequence = base;
            let first = m.segments[0].msn;
            for segment in &mut m.segments {
                segment.discontinuity = segment.msn == 12;
                // As the parser counts: tags up to here, and what the playlist says has gone.
                segment.discontinuity_number = base + u64::from(first <= 12 && segment.msn >= 12);
            }
        })
    };
    assert_eq!(after(&[cut(playlist(10, 6, 0), 0), cut(playlist(13, 6, 0), 1)]), [] as [&str; 0]);
    let uncounted = after(&[cut(playlist(10, 6, 0), 0), cut(playlist(13, 6, 0), 0)]);
    assert!(uncounted.contains(&"discontinuity sequence"), "{uncounted:?}");
}

#[test]
fn a_hint_that_is_not_what_comes_is_caught() {
    let (one, two) = (playlist(10, 6, 1), playlist(10, 6, 2));
    let other = changed(one.clone(), |m| m.hints[0].uri = "10.9.m4s".to_owned());
    assert_eq!(after(&[other, two.clone()])[..], ["hint"]);
    // The last part of a segment is followed by the first of the next: the hint had to name that.
    let last = changed(playlist(10, 6, 4), |m| {
        m.segments[6].uri = Some("16.m4s".to_owned());
        m.segments[6].duration = Some(2.0);
        m.hints[0].uri = "16.4.m4s".to_owned();
    });
    assert_eq!(after(&[last, playlist(11, 6, 1)])[..], ["hint"]);
}

#[test]
fn a_window_that_is_too_short_and_an_end_that_is_not_are_caught() {
    assert!(after(&[playlist(10, 6, 0), playlist(15, 2, 0)]).contains(&"too short"));
    let end = |m: Media| {
        changed(m, |m| {
            m.ended = true;
            m.hints.clear();
        })
    };
    assert_eq!(after(&[playlist(10, 6, 0), end(playlist(10, 6, 0)), end(playlist(10, 6, 0))]), [] as [&str; 0]);
    assert!(after(&[end(playlist(10, 6, 0)), playlist(10, 6, 1)]).contains(&"end is final"));
}

#[test]
fn delta_updates_are_put_together_and_wrong_ones_are_caught() {
    let mut history = History::new();
    assert_eq!(history.take(&playlist(10, 12, 1)), []);
    assert_eq!(history.take(&delta(playlist(10, 12, 2), 6)), []);
    assert_eq!(history.last(), Some(&playlist(10, 12, 2)), "the same as the whole one");
    assert_eq!(history.take(&delta(playlist(11, 12, 1), 6)), []);
    assert_eq!(history.last(), Some(&playlist(11, 12, 1)));
    assert_eq!(history.taken(), (3, 2));
    // It skips what the player does not have, or what is not old enough, or comes to somebody who has nothing.
    assert!(after(&[playlist(10, 12, 0), delta(playlist(18, 12, 0), 6)]).contains(&"skip"));
    assert!(after(&[playlist(10, 12, 0), delta(playlist(10, 12, 1), 9)]).contains(&"skip"));
    assert!(after(&[delta(playlist(10, 12, 1), 6)]).contains(&"skip"));
}

#[test]
fn names_and_numbers_are_new_in_a_new_life() {
    let mut history = History::new();
    assert_eq!(history.take(&playlist(10, 6, 0)), []);
    history.next_session();
    let again: Vec<_> = history.take(&playlist(12, 6, 0)).into_iter().map(|f| f.rule).collect();
    assert!(again.contains(&"media sequence"), "{again:?}");
    let mut history = History::new();
    assert_eq!(history.take(&playlist(10, 6, 0)), []);
    history.next_session();
    let reused = changed(playlist(50, 6, 0), |m| m.segments[0].uri = Some("10.m4s".to_owned()));
    let reused: Vec<_> = history.take(&reused).into_iter().map(|f| f.rule).collect();
    assert_eq!(reused[..], ["name used again"]);
}

#[test]
fn a_recording_that_grows_becomes_final_and_is_never_cut() {
    let of = |kind: &str, segments: std::ops::Range<u64>, end: &str| {
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:{kind}\n\
             #EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-MAP:URI=\"init.mp4\"\n",
            segments.start
        );
        for n in segments {
            let _ = writeln!(text, "#EXTINF:2.0,\n#EXT-X-BYTERANGE:10@{}\n1.mp4", n * 10);
        }
        Media::parse(&(text + end)).unwrap()
    };
    let end = "#EXT-X-ENDLIST\n";
    assert_eq!(after(&[of("EVENT", 0..2, ""), of("EVENT", 0..3, ""), of("VOD", 0..4, end)]), [""; 0]);
    assert_eq!(after(&[of("EVENT", 0..4, ""), of("EVENT", 1..5, "")])[..], ["playlist type"]);
    assert_eq!(after(&[of("EVENT", 0..4, ""), of("EVENT", 0..3, "")])[..], ["goes back"]);
    let moved = changed(of("EVENT", 0..4, ""), |media| media.segments[1].range = Some((11, 9)));
    assert!(after(&[of("EVENT", 0..4, ""), moved]).contains(&"changed segment"));
}

#[test]
fn a_date_range_that_changes_or_goes_before_its_moment_is_caught() {
    let with = |media: Media, ranges: &[(&str, i64)]| {
        changed(media, |m| {
            let begun_ms = m.segments[0].date_ms.expect("a date");
            m.date_ranges = ranges
                .iter()
                .map(|(id, after_ms)| {
                    let start_ms = begun_ms + after_ms;
                    DateRange { id: (*id).to_owned(), start_ms, text: format!("{id} at {start_ms}") }
                })
                .collect();
        })
    };
    let first = || with(playlist(10, 6, 0), &[("a", 500), ("b", 9_000)]);
    // The second one begins 2 s later.
    assert_eq!(after(&[first(), with(playlist(11, 6, 0), &[("b", 7_000)])]), [] as [&str; 0]);
    assert_eq!(after(&[first(), with(playlist(11, 6, 0), &[("b", 7_500)])])[..], ["date range"]);
    assert_eq!(after(&[first(), with(playlist(11, 6, 0), &[])])[..], ["date range"]);
}
