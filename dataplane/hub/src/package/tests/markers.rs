//! Markers in playlists and manifests: where they stand, how long they stay, and what a flood of them does. Every playlist on the way is held against
//! the rules, as always here.
use millstream_proto::hls::request::Directives;
use millstream_proto::media::Track;
use millstream_test_support::hls::playlist::{DateRange, Media};

use super::fixture::{PackagerFixture, Recording, UNIX_MS};
use crate::config::HlsConfig;
use crate::package::marker::Said;
use crate::package::window::Answer;

fn mark(fixture: &mut PackagerFixture, number: u64, pairs: &[(&str, &str)]) -> usize {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let unix_ms = UNIX_MS + fixture.source.now.as_micros() / 1_000;
    let newest_ms = fixture.source.stream.timeline().newest_ms();
    let changes = fixture.window.mark(&Said { number, unix_ms, pairs }, newest_ms);
    let count = changes.len();
    for change in changes {
        fixture.window.apply(change);
    }
    count
}

fn ranges(fixture: &mut PackagerFixture, track: Track) -> Vec<DateRange> {
    Media::parse(&fixture.text(track).expect("a playlist")).expect("a playlist").date_ranges
}

fn manifest(fixture: &mut PackagerFixture) -> String {
    let Answer::Ready(text) = fixture.window.manifest(UNIX_MS, true) else { panic!("a manifest") };
    String::from_utf8(text.to_vec()).expect("text")
}

/// Half a second more of the recording that began at 0.
fn play(fixture: &mut PackagerFixture, from_ms: i64, for_ms: i64) {
    fixture.play(&Recording { from_ms, for_ms, fps: 25.0, gop: 50, ..Recording::default() }.frames());
}

#[test]
fn a_marker_is_in_both_playlists_and_the_manifest_at_its_moment_while_that_is_listed() {
    let mut fixture = PackagerFixture::av();
    play(&mut fixture, 0, 9_000);
    // In the midst of a segment, and again where there is nothing of the next one yet.
    assert_eq!(mark(&mut fixture, 7, &[("kind", "goal"), ("team", "a \"b\" <c>")]), 2);
    fixture.check();
    for track in [Track::Video, Track::Audio] {
        let found = ranges(&mut fixture, track);
        let [range] = &found[..] else { panic!("{found:?}") };
        assert!(range.text.ends_with(",X-KIND=\"goal\",X-TEAM=\"a %22b%22 <c>\""), "{range:?}");
        let media = Media::parse(&fixture.text(track).unwrap()).unwrap();
        let open = media.segments.last().unwrap();
        // The stream's frame of 9 s, on the clock of the segments' dates.
        let begun_ms = open.date_ms.unwrap();
        let into_ms = range.start_ms - begun_ms;
        assert!((0..2_000).contains(&into_ms) && (into_ms - 960).abs() < 100, "{into_ms} ms into its segment");
        // Behind the parts that were there when it came.
        let text = fixture.text(track).unwrap();
        let (before, behind) = text.split_once("#EXT-X-DATERANGE").unwrap();
        assert_eq!(before.matches("#EXT-X-PART:").count(), media.segments.iter().map(|s| s.parts.len()).sum::<usize>());
        assert_eq!(behind.matches("#EXT-X-PART:").count(), 0);
    }
    let shown = manifest(&mut fixture);
    let at = shown.find("<EventStream schemeIdUri=\"urn:millstream:marker:2026\" timescale=\"1000\">").expect(&shown);
    assert!(at < shown.find("<AdaptationSet").unwrap(), "{shown}");
    let (_, event) = shown.split_once("<Event id=\"7\" presentationTime=\"").expect(&shown);
    let (at_ms, data) = event.split_once("\">").unwrap();
    assert!((8_900..=9_000).contains(&at_ms.parse::<u64>().unwrap()), "{at_ms}");
    assert!(data.contains("\"kind\",\"goal\",\"team\",\"a \\\"b\\\" \\u003cc\\u003e\"]</Event>"), "{data}");
    // More come, and each goes with its segment: the rules say that it stays until then.
    for n in 0..60 {
        play(&mut fixture, 9_000 + n * 500, 500);
        mark(&mut fixture, 100 + n as u64, &[("n", "1")]);
        fixture.check();
    }
    let found = ranges(&mut fixture, Track::Video);
    assert!(found.len() > 10 && found.iter().all(|range| !range.text.contains("goal")), "{found:?}");
    assert!(!manifest(&mut fixture).contains("goal"));
}

#[test]
fn delta_updates_have_all_markers() {
    let mut fixture = PackagerFixture::new(HlsConfig { window: 30, ..HlsConfig::default() });
    fixture.source.read(&[super::fixture::config(Track::Video, 1), super::fixture::config(Track::Audio, 1)]);
    fixture.ask();
    play(&mut fixture, 0, 5_000);
    mark(&mut fixture, 1, &[("n", "early")]);
    play(&mut fixture, 5_000, 35_000);
    mark(&mut fixture, 2, &[("n", "late")]);
    let directives = Directives { skip: true, ..Directives::default() };
    let Answer::Ready(delta) = fixture.window.playlist(Track::Video, &directives) else { panic!("a playlist") };
    let delta = Media::parse(std::str::from_utf8(&delta.text).unwrap()).unwrap();
    assert!(delta.skipped.is_some_and(|count| count > 5));
    assert_eq!(delta.date_ranges, ranges(&mut fixture, Track::Video));
    assert_eq!(delta.date_ranges.len(), 2);
}

#[test]
fn a_flood_of_markers_is_bounded_and_keeps_the_newest() {
    let large = "x".repeat(4_000);
    for (value, least, most) in [("", 60, 64), (large.as_str(), 5, 8)] {
        let mut fixture = PackagerFixture::av();
        play(&mut fixture, 0, 5_000);
        for number in 0..500 {
            mark(&mut fixture, number, &[("value", value)]);
        }
        let found = ranges(&mut fixture, Track::Video);
        assert!((least..=most).contains(&found.len()), "{}", found.len());
        assert!(found.last().unwrap().id.ends_with("-499"), "{:?}", found.last());
        fixture.check_anew();
        play(&mut fixture, 5_000, 4_000);
    }
}

#[test]
fn nothing_is_marked_where_there_are_no_playlists_or_no_more() {
    let mut fixture = PackagerFixture::new(HlsConfig::default());
    assert_eq!(mark(&mut fixture, 1, &[]), 0);
    let mut fixture = PackagerFixture::av();
    play(&mut fixture, 0, 5_000);
    fixture.leave();
    fixture.pass_ms(11_000);
    assert_eq!(mark(&mut fixture, 1, &[]), 0);
}

#[test]
fn a_marker_behind_a_discontinuity_is_in_its_own_period() {
    let mut fixture = PackagerFixture::av();
    play(&mut fixture, 0, 6_000);
    mark(&mut fixture, 1, &[("n", "first")]);
    fixture.leave();
    fixture.pass_ms(3_000);
    fixture.publish();
    fixture.source.read(&[super::fixture::config(Track::Video, 2), super::fixture::config(Track::Audio, 1)]);
    play(&mut fixture, 0, 5_000);
    mark(&mut fixture, 2, &[("n", "second")]);
    fixture.check();
    play(&mut fixture, 5_000, 3_000);
    let shown = manifest(&mut fixture);
    let periods: Vec<&str> = shown.split("<Period ").skip(1).collect();
    assert_eq!(periods.len(), 2, "{shown}");
    assert!(periods[0].contains("\"first\"") && !periods[0].contains("\"second\""), "{shown}");
    let (_, event) = periods[1].split_once("<Event id=\"2\" presentationTime=\"").expect(&shown);
    let at_ms: u64 = event.split('"').next().unwrap().parse().unwrap();
    assert!((4_700..=5_100).contains(&at_ms), "{at_ms}");
}
