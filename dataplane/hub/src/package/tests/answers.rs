//! What players ask for by number and name, and what they get.
use millstream_proto::hls::request::{Directives, Until};
use millstream_proto::media::Track;

use super::fixture::{PackagerFixture, Recording, config};
use super::rules::Parsed;
use crate::config::HlsConfig;
use crate::package::window::{Answer, Playlist, Refusal, Window};

fn by_number(fixture: &mut PackagerFixture, msn: u64, part: Option<u64>) -> Answer<Playlist> {
    fixture.window.playlist(Track::Video, &Directives { until: Some(Until { msn, part }), skip: false })
}

fn got(answer: &Answer<Playlist>) -> &'static str {
    match answer {
        Answer::Ready(playlist) if playlist.by_number => "answered",
        Answer::Ready(_) => "answered at once",
        Answer::Wait => "waits",
        Answer::Refused(Refusal::FarAhead) => "far ahead",
        Answer::Refused(_) => "not found",
    }
}

#[test]
fn case_25_blocking_reload() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 9_000, ..Recording::default() }.frames());
    let parsed = fixture.parsed(Track::Video);
    let open = parsed.segments.last().unwrap();
    assert!(open.uri.is_empty() && open.parts.len() == 3, "{open:?}");
    let msn = open.msn;
    let mut check = |asked: u64, part: Option<u64>, expected: &str| {
        assert_eq!(got(&by_number(&mut fixture, asked, part)), expected, "{asked} {part:?}, {msn} is open");
    };
    check(0, None, "answered");
    check(0, Some(0), "answered");
    check(msn - 1, None, "answered");
    check(msn - 1, Some(5), "answered");
    check(msn, Some(2), "answered");
    check(msn, Some(3), "waits");
    check(msn, Some(7), "waits");
    check(msn, None, "waits");
    // Past its end: part 0 of the next, which is there, and of the one after it, which is not.
    check(msn - 1, Some(6), "answered");
    check(msn + 1, Some(0), "waits");
    check(msn + 2, None, "waits");
    check(msn + 3, None, "far ahead");
    check(msn, Some(3 + 10), "far ahead");
    check(u64::MAX, Some(u64::MAX), "far ahead");
    // And when they come, they are answered.
    fixture.play(&Recording { from_ms: 9_000, for_ms: 400, ..Recording::default() }.frames());
    assert_eq!(got(&by_number(&mut fixture, msn, Some(3))), "answered");
    assert_eq!(got(&by_number(&mut fixture, msn, Some(4))), "waits");
}

#[test]
fn directives_mean_nothing_once_the_stream_is_over() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 5_000, ..Recording::default() }.frames());
    fixture.leave();
    fixture.pass_ms(11_000);
    assert_eq!(got(&by_number(&mut fixture, u64::MAX, None)), "answered at once");
    assert_eq!(fixture.file("s/n1/v/p999.m4s"), Answer::Refused(Refusal::NotFound));
}

#[test]
fn a_hinted_part_is_waited_for_and_no_other() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 5_000, ..Recording::default() }.frames());
    let hint = fixture.parsed(Track::Video).hint.unwrap();
    assert_eq!(fixture.file(&hint), Answer::Wait);
    let number: u64 = hint.trim_start_matches("s/n1/v/p").trim_end_matches(".m4s").parse().unwrap();
    let names = [
        format!("p{}.m4s", number + 1),
        format!("p0{number}.m4s"),
        format!("p+{number}.m4s"),
        "p.m4s".into(),
        "p-1.m4s".into(),
        "init-9.mp4".into(),
        "init-1.m4s".into(),
        "7.m4s".into(),
        "../1.m4s".into(),
        String::new(),
    ];
    for name in names {
        assert_eq!(fixture.window.media("n1", Track::Video, &name), Answer::Refused(Refusal::NotFound), "{name}");
    }
    assert_eq!(fixture.window.media("n2", Track::Video, "init-1.mp4"), Answer::Refused(Refusal::NotFound));
    fixture.play(&Recording { from_ms: 5_000, for_ms: 500, ..Recording::default() }.frames());
    let Answer::Ready(media) = fixture.file(&hint) else { panic!("it has come") };
    assert!(media.arrived.is_some() && media.pieces.len() == 1);
}

/// The number of the segment behind the last whole one.
fn open_segment(fixture: &mut PackagerFixture) -> u64 {
    let segments = fixture.parsed(Track::Video).segments;
    let uri = segments.iter().rev().map(|segment| segment.uri.as_str()).find(|uri| !uri.is_empty()).unwrap();
    1 + uri.trim_start_matches("s/n1/v/").trim_end_matches(".m4s").parse::<u64>().unwrap()
}

/// A playlist of another shard may list it before this one has heard of its end.
#[test]
fn the_segment_that_is_being_made_is_waited_for_and_none_behind_it() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 5_000, ..Recording::default() }.frames());
    let open = open_segment(&mut fixture);
    let ask = |fixture: &PackagerFixture, msn: u64| fixture.window.media("n1", Track::Video, &format!("{msn}.m4s"));
    assert!(matches!(ask(&fixture, open - 1), Answer::Ready(_)));
    assert_eq!((ask(&fixture, open), ask(&fixture, open + 1)), (Answer::Wait, Answer::Refused(Refusal::NotFound)));
    fixture.play(&Recording { from_ms: 5_000, for_ms: 2_000, ..Recording::default() }.frames());
    assert!(matches!(ask(&fixture, open), Answer::Ready(_)));
    let open = open_segment(&mut fixture);
    fixture.leave();
    fixture.pass_ms(11_000);
    assert_eq!(ask(&fixture, open + 1), Answer::Refused(Refusal::NotFound), "nothing comes any more");
}

#[test]
fn case_27_a_hint_that_a_new_encoder_overtakes_is_refused() {
    // Three parts of the third segment are there when the encoder leaves, or three and some frames of a fourth.
    for (for_ms, comes) in [(5_000, false), (5_100, true)] {
        let mut fixture = PackagerFixture::av();
        fixture.play(&Recording { for_ms, ..Recording::default() }.frames());
        fixture.leave();
        let hint = fixture.parsed(Track::Video).hint.unwrap();
        assert_eq!(fixture.file(&hint), Answer::Wait, "{for_ms} ms");
        fixture.pass_ms(500);
        fixture.publish();
        fixture.play(&Recording { for_ms: 1_000, ..Recording::default() }.frames());
        let first = Parsed::read(&fixture.text(Track::Video).unwrap());
        let new = first.segments.iter().find(|segment| segment.discontinuity).unwrap();
        assert!(!new.parts.is_empty() && new.parts.iter().all(|part| part.uri != hint), "{for_ms} ms");
        // The frames that had come of it are the last part of the old run; without any it never comes.
        match fixture.file(&hint) {
            Answer::Ready(_) => assert!(comes, "{for_ms} ms: the name was used for the new run"),
            other => assert!(!comes && other == Answer::Refused(Refusal::NotFound), "{for_ms} ms: {other:?}"),
        }
    }
}

#[test]
fn a_fresh_playlist_waits_for_its_first_segment() {
    let mut fixture = PackagerFixture::av();
    assert_eq!(fixture.window.multivariant(false), Answer::Wait);
    assert_eq!(fixture.window.playlist(Track::Video, &Directives::default()), Answer::Wait);
    fixture.play(&Recording { for_ms: 1_500, ..Recording::default() }.frames());
    assert_eq!(fixture.window.playlist(Track::Video, &Directives::default()), Answer::Wait);
    fixture.play(&Recording { from_ms: 1_500, for_ms: 1_500, gop: 15, ..Recording::default() }.frames());
    assert!(matches!(fixture.window.playlist(Track::Video, &Directives::default()), Answer::Ready(_)));
    assert!(matches!(fixture.window.multivariant(false), Answer::Ready(_)));
    assert_eq!(Window::new().playlist(Track::Video, &Directives::default()), Answer::Wait);
}

#[test]
fn delta_updates_add_up_to_the_playlist() {
    let hls = HlsConfig { window: 20, ..HlsConfig::default() };
    let mut fixture = PackagerFixture::new(hls);
    fixture.source.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    fixture.ask();
    fixture.play(&Recording { for_ms: 60_000, ..Recording::default() }.frames());
    let full = fixture.parsed(Track::Video);
    let Answer::Ready(delta) = fixture.window.playlist(Track::Video, &Directives { until: None, skip: true }) else {
        panic!("at once")
    };
    let delta = Parsed::read(std::str::from_utf8(&delta.text).unwrap());
    assert_eq!(full.can_skip_until, Some(12.0));
    assert!(delta.skipped > 0 && delta.skipped as usize + delta.segments.len() == full.segments.len());
    let kept = &full.segments[delta.skipped as usize..];
    let plain =
        |segment: &super::rules::Segment| (segment.msn, segment.uri.clone(), segment.duration, segment.parts.clone());
    assert!(kept.iter().zip(&delta.segments).all(|(a, b)| plain(a) == plain(b)));
    let kept_s: f64 = kept
        .iter()
        .map(|segment| {
            segment.duration
                + segment.parts.iter().filter(|_| segment.uri.is_empty()).map(|part| part.duration).sum::<f64>()
        })
        .sum();
    assert!(kept_s >= 12.0, "what is younger than CAN-SKIP-UNTIL is there: {kept_s}");
    // Where they are not offered, they are not given.
    let mut short = PackagerFixture::av();
    short.play(&Recording::default().frames());
    let Answer::Ready(whole) = short.window.playlist(Track::Video, &Directives { until: None, skip: true }) else {
        panic!("at once")
    };
    assert_eq!(Parsed::read(std::str::from_utf8(&whole.text).unwrap()).skipped, 0);
}

#[test]
fn the_manifest_has_the_same_segments() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 9_000, ..Recording::default() }.frames());
    fixture.leave();
    fixture.pass_ms(2_000);
    fixture.publish();
    fixture.play(&Recording { for_ms: 5_000, ..Recording::default() }.frames());
    let Answer::Ready(text) = fixture.window.manifest(1_795_531_300_000, true) else { panic!("a manifest") };
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert_eq!(text.matches("<Period ").count(), 2, "{text}");
    assert_eq!(text.matches("<AdaptationSet ").count(), 4);
    let video = fixture.parsed(Track::Video);
    let audio = fixture.parsed(Track::Audio);
    assert_eq!(text.matches("<S ").count(), video.whole().count() + audio.whole().count());
    assert!(text.contains(&format!("media=\"s/n1/v/$Number$.m4s\" startNumber=\"{}\"", video.sequence)));
    assert!(
        text.contains("<UTCTiming ") && text.contains("type=\"dynamic\"") && text.contains("codecs=\"avc1.640001\"")
    );
    fixture.leave();
    fixture.pass_ms(11_000);
    let Answer::Ready(text) = fixture.window.manifest(1_795_531_300_000, true) else { panic!("a manifest") };
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("type=\"static\"") && !text.contains("UTCTiming"), "{text}");
}

#[test]
fn the_first_multivariant_playlist_has_both_tracks() {
    let mut fixture = PackagerFixture::av();
    let frames = Recording { for_ms: 6_000, ..Recording::default() }.frames();
    let first = frames.iter().find_map(|event| {
        fixture.arrive(super::fixture::at(event), event);
        // As somebody who has waited for two seconds asks.
        match fixture.window.multivariant(true) {
            Answer::Ready(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            _ => None,
        }
    });
    let first = first.expect("a playlist");
    assert!(first.contains("AUDIO=\"audio\"") && first.contains("mp4a.40.2"), "{first}");
}
