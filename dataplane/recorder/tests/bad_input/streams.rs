//! Streams that are odd.
use std::time::Duration;

use millstream_hub::package::change::Change;
use millstream_hub::subscriber::NextChange;
use millstream_proto::media::Track;

use crate::bench::{Bench, START_MS, text_of};

const VIDEO: [Track; 1] = [Track::Video];
const BOTH: [Track; 2] = [Track::Video, Track::Audio];

#[test]
fn an_encoder_that_comes_back_each_second_is_one_recording_with_all_of_it() {
    let mut bench = Bench::new(60);
    // Another session of the packager each time, with the same header: it is kept once.
    for session in 0..90 {
        bench.begin(&format!("s{session}"), &BOTH);
        bench.segment(&BOTH, session, 2);
    }
    bench.end();
    bench.finish();
    for track in BOTH {
        let stored = bench.stored(track);
        let expected: Vec<_> = (0..90).map(|msn| Some(format!("<{msn}.0><{msn}.1>"))).collect();
        assert_eq!(stored[0].1, expected);
        assert_eq!(stored[0].0.segments.last().expect("one").discontinuity_number, 89);
    }
    let summary = bench.summary();
    assert_eq!(summary.matches("new_session").count(), 89);
    let names: Vec<&String> = bench.store.keys().filter(|key| key.contains("/video/")).collect();
    assert_eq!(names.len(), 91, "a header, and an object a session: {names:?}");
}

#[test]
fn a_publisher_that_leaves_and_comes_back_each_second_is_a_recording_each_time() {
    let mut bench = Bench::new(60);
    for session in 0..30 {
        bench.begin(&format!("s{session}"), &VIDEO);
        bench.segment(&VIDEO, session, 2);
        bench.end();
    }
    bench.finish();
    let stored = bench.stored(Track::Video);
    assert_eq!(stored.len(), 30, "a name of its own each");
    let all: Vec<_> = stored.into_iter().flat_map(|(_, segments)| segments.into_iter().flatten()).collect();
    assert_eq!(all, (0..30).map(|msn| format!("<{msn}.0><{msn}.1>")).collect::<Vec<_>>());
}

#[test]
fn another_resolution_and_codec_in_the_middle_are_a_discontinuity_with_another_header() {
    let mut bench = Bench::new(60);
    bench.begin("s", &BOTH);
    bench.segment(&BOTH, 0, 4);
    bench.header(Track::Video, 2, "hvc1.1.6.L93.B0", 1_920);
    for track in BOTH {
        let date = START_MS + bench.now_ms;
        bench.open(track, 1, 1, if track == Track::Video { 2 } else { 1 }, date);
        bench.part(track, "<1.0>", 500);
        bench.tell(Change::Closed(track));
    }
    bench.run(500);
    bench.end();
    bench.finish();
    let (video, segments) = bench.stored(Track::Video).remove(0);
    assert_eq!(segments[1].as_deref(), Some("<1.0>"));
    let maps: Vec<_> =
        video.segments.iter().map(|s| (s.map.clone().expect("a header"), s.discontinuity_number)).collect();
    assert_eq!(maps, [("video/init-1.mp4".to_owned(), 0), ("video/init-2.mp4".to_owned(), 1)]);
    assert_eq!(bench.stored(Track::Audio)[0].0.segments[1].discontinuity_number, 1, "in both tracks");
    let summary = bench.summary();
    for says in ["avc1.64001f", "hvc1.1.6.L93.B0", "\"width\": 1920", "\"height\": 1080"] {
        assert!(summary.contains(says), "{says}: {summary}");
    }
}

#[test]
fn audio_alone_and_video_alone_play() {
    for track in BOTH {
        let mut bench = Bench::new(60);
        bench.begin("s", &[track]);
        (0..3).for_each(|msn| bench.segment(&[track], msn, 2));
        bench.end();
        bench.finish();
        assert_eq!(bench.stored(track)[0].1.len(), 3);
        let index = bench.store.iter().find(|(key, _)| key.ends_with("/index.m3u8")).expect("one").1;
        let index = std::str::from_utf8(index).expect("text");
        assert!(index.contains(&format!("{}.m3u8", track.name())) && !index.contains("#EXT-X-MEDIA"), "{index}");
        assert_eq!(bench.summary().matches("\"kind\"").count(), 1);
    }
}

#[test]
fn of_a_group_of_pictures_of_a_minute_a_kill_costs_no_more_than_of_any_other() {
    let mut bench = Bench::new(60);
    bench.begin("s", &BOTH);
    bench.segment(&BOTH, 0, 120);
    for track in BOTH {
        let date = START_MS + bench.now_ms;
        bench.open(track, 1, 0, 1, date);
    }
    for part in 0..100 {
        for track in BOTH {
            bench.part(track, &format!("<1.{part}>"), 500);
        }
        bench.run(500);
    }
    // Killed in the middle of it.
    bench.start();
    bench.run(6_000);
    bench.finish();
    for track in BOTH {
        let (media, segments) = bench.stored(track).remove(0);
        assert_eq!(media.segments.iter().map(|s| s.duration.expect("one")).collect::<Vec<_>>(), [60.0, 50.0]);
        assert!(segments[1].as_ref().expect("one").ends_with("<1.99>"));
    }
}

#[test]
fn stamps_that_jump_are_a_discontinuity_and_dates_that_fall_back_rise() {
    let mut bench = Bench::new(60);
    bench.begin("s", &VIDEO);
    // Forwards by a day, back by an hour, and forwards by a year.
    let dates = [0, 86_400_000, 82_800_000, 31_536_000_000];
    for (msn, date) in dates.into_iter().enumerate() {
        bench.open(Track::Video, msn as u64, msn as u64, 1, START_MS + date);
        bench.part(Track::Video, &format!("<{msn}.0>"), 500);
        bench.tell(Change::Closed(Track::Video));
        bench.run(500);
        // And a length that is none.
        if msn == 1 {
            bench.open(Track::Video, 100, msn as u64, 1, START_MS + date + 500);
            bench.tell(Change::Gap(Track::Video, 3_000_000));
        }
    }
    bench.end();
    bench.finish();
    // A day is longer than a recording may be: the next one begins.
    let stored = bench.stored(Track::Video);
    let all: Vec<_> = stored.iter().flat_map(|(_, segments)| segments.iter().flatten().cloned()).collect();
    assert_eq!(all, ["<0.0>", "<1.0>", "<2.0>", "<3.0>"], "{stored:?}");
    for (media, _) in &stored {
        let dates: Vec<_> = media.segments.iter().filter_map(|s| s.date_ms).collect();
        assert!(dates.is_sorted(), "{dates:?}");
    }
}

#[test]
fn a_clock_that_is_set_back_breaks_no_recording() {
    let mut bench = Bench::new(60);
    bench.begin("s", &VIDEO);
    bench.segment(&VIDEO, 0, 4);
    // The wall clock of the machine goes back by an hour; the stream comes again.
    bench.begin("t", &VIDEO);
    let date = START_MS + bench.now_ms - 3_600_000;
    bench.open(Track::Video, 0, 0, 1, date);
    bench.part(Track::Video, "<9.0>", 500);
    bench.tell(Change::Closed(Track::Video));
    bench.end();
    bench.finish();
    let (media, segments) = bench.stored(Track::Video).remove(0);
    assert_eq!(segments[1].as_deref(), Some("<9.0>"));
    let dates: Vec<_> = media.segments.iter().filter_map(|s| s.date_ms).collect();
    assert!(dates.len() == 2 && dates[0] < dates[1], "{dates:?}");
}

/// A segment of a second, whose sound ends when the next one's picture has begun.
fn sound_is_late(bench: &mut Bench, msn: u64) {
    bench.open(Track::Video, msn, 0, 1, START_MS + bench.now_ms);
    if msn > 0 {
        bench.part(Track::Audio, &format!("<{}.1>", msn - 1), 500);
        bench.tell(Change::Closed(Track::Audio));
    }
    bench.open(Track::Audio, msn, 0, 1, START_MS + bench.now_ms);
    // Sound is written before the first part of the picture is whole.
    bench.part(Track::Audio, &format!("<{msn}.0>"), 500);
    for part in 0..2 {
        bench.part(Track::Video, &format!("<{msn}.{part}>"), 500);
        bench.run(500);
    }
    bench.tell(Change::Closed(Track::Video));
}

#[test]
fn where_a_long_recording_is_split_nothing_of_sound_or_picture_is_lost() {
    let mut bench = Bench::with_longest(60, Duration::from_secs(3));
    bench.begin("s", &BOTH);
    (0..8).for_each(|msn| sound_is_late(&mut bench, msn));
    bench.part(Track::Audio, "<7.1>", 500);
    bench.tell(Change::Closed(Track::Audio));
    bench.end();
    bench.finish();
    let whole = |msns: std::ops::Range<u64>| -> Vec<_> { msns.map(|msn| Some(text_of(msn, 2))).collect() };
    for track in BOTH {
        let stored: Vec<_> = bench.stored(track).into_iter().map(|(_, segments)| segments).collect();
        assert_eq!(stored, [whole(0..3), whole(3..6), whole(6..8)], "{track:?}");
    }
    let numbers = bench.recorder().numbers();
    assert_eq!((numbers.started, numbers.done, numbers.gaps, numbers.parts_left_out), (3, 3, 0, 0));
}

#[test]
fn a_stream_that_breaks_off_where_its_recording_is_split_leaves_none_open() {
    // It ends, its encoder comes back, the server is killed, and segments of the sound are lost.
    for how in 0..4 {
        let mut bench = Bench::with_longest(60, Duration::from_secs(3));
        bench.begin("s", &BOTH);
        (0..3).for_each(|msn| sound_is_late(&mut bench, msn));
        bench.open(Track::Video, 3, 0, 1, START_MS + bench.now_ms);
        bench.part(Track::Video, "<3.0>", 500);
        bench.run(1_000);
        match how {
            0 => bench.end(),
            1 => bench.begin("t", &BOTH),
            2 => bench.start(),
            _ => {
                let (key, moment) = (bench.key, bench.moment());
                bench.recorder().change(key, NextChange::Lost(Track::Audio, 3..5), moment);
                bench.part(Track::Audio, "<2.1>", 500);
            }
        }
        bench.run(10_000);
        bench.end();
        bench.finish();
        let (video, audio) = (bench.stored(Track::Video), bench.stored(Track::Audio));
        let whole = |msns: std::ops::Range<u64>| -> Vec<_> { msns.map(|msn| Some(text_of(msn, 2))).collect() };
        assert_eq!(video[0].1, whole(0..3), "{how}");
        assert_eq!(video[1].1, [Some("<3.0>".to_owned())], "{how}");
        let last = Some("<2.0>".to_owned());
        assert_eq!(audio[0].1, [whole(0..2), vec![last]].concat(), "{how}");
        assert_eq!((video.len(), audio.len()), (2, 1), "{how}");
    }
}
