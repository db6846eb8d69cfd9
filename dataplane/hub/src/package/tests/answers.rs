//! What players ask for by number and name, and what they get.
use millstream_proto::hls::request::{Directives, Until};
use millstream_proto::media::Track;

use super::rules::Parsed;
use super::studio::{Studio, Tape, config};
use crate::config::HlsConfig;
use crate::package::window::{Answer, Playlist, Refusal, Window};

fn by_number(studio: &mut Studio, msn: u64, part: Option<u64>) -> Answer<Playlist> {
    studio.window.playlist(Track::Video, &Directives { until: Some(Until { msn, part }), skip: false })
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
    let mut studio = Studio::av();
    studio.play(&Tape { for_ms: 9_000, ..Tape::default() }.frames());
    let parsed = studio.parsed(Track::Video);
    let open = parsed.segments.last().unwrap();
    assert!(open.uri.is_empty() && open.parts.len() == 3, "{open:?}");
    let msn = open.msn;
    let mut check = |asked: u64, part: Option<u64>, expected: &str| {
        assert_eq!(got(&by_number(&mut studio, asked, part)), expected, "{asked} {part:?}, {msn} is open");
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
    studio.play(&Tape { from_ms: 9_000, for_ms: 400, ..Tape::default() }.frames());
    assert_eq!(got(&by_number(&mut studio, msn, Some(3))), "answered");
    assert_eq!(got(&by_number(&mut studio, msn, Some(4))), "waits");
}

#[test]
fn directives_mean_nothing_once_the_stream_is_over() {
    let mut studio = Studio::av();
    studio.play(&Tape { for_ms: 5_000, ..Tape::default() }.frames());
    studio.leave();
    studio.pass_ms(11_000);
    assert_eq!(got(&by_number(&mut studio, u64::MAX, None)), "answered at once");
    assert_eq!(studio.file("s/n1/v/p999.m4s"), Answer::Refused(Refusal::NotFound));
}

#[test]
fn a_hinted_part_is_waited_for_and_no_other() {
    let mut studio = Studio::av();
    studio.play(&Tape { for_ms: 5_000, ..Tape::default() }.frames());
    let hint = studio.parsed(Track::Video).hint.unwrap();
    assert_eq!(studio.file(&hint), Answer::Wait);
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
        assert_eq!(studio.window.media("n1", Track::Video, &name), Answer::Refused(Refusal::NotFound), "{name}");
    }
    assert_eq!(studio.window.media("n2", Track::Video, "init-1.mp4"), Answer::Refused(Refusal::NotFound));
    studio.play(&Tape { from_ms: 5_000, for_ms: 500, ..Tape::default() }.frames());
    let Answer::Ready(media) = studio.file(&hint) else { panic!("it has come") };
    assert!(media.arrived.is_some() && media.pieces.len() == 1);
}

#[test]
fn case_27_a_hint_that_a_new_encoder_overtakes_is_refused() {
    // Three parts of the third segment are there when the encoder leaves, or three and some pictures of a fourth.
    for (for_ms, comes) in [(5_000, false), (5_100, true)] {
        let mut studio = Studio::av();
        studio.play(&Tape { for_ms, ..Tape::default() }.frames());
        studio.leave();
        let hint = studio.parsed(Track::Video).hint.unwrap();
        assert_eq!(studio.file(&hint), Answer::Wait, "{for_ms} ms");
        studio.pass_ms(500);
        studio.publish();
        studio.play(&Tape { for_ms: 1_000, ..Tape::default() }.frames());
        let first = Parsed::read(&studio.text(Track::Video).unwrap());
        let new = first.segments.iter().find(|segment| segment.discontinuity).unwrap();
        assert!(!new.parts.is_empty() && new.parts.iter().all(|part| part.uri != hint), "{for_ms} ms");
        // The pictures that had come of it are the last part of the old run; without any it never comes.
        match studio.file(&hint) {
            Answer::Ready(_) => assert!(comes, "{for_ms} ms: the name was used for the new run"),
            other => assert!(!comes && other == Answer::Refused(Refusal::NotFound), "{for_ms} ms: {other:?}"),
        }
    }
}

#[test]
fn a_fresh_playlist_waits_for_its_first_segment() {
    let mut studio = Studio::av();
    assert_eq!(studio.window.multivariant(false), Answer::Wait);
    assert_eq!(studio.window.playlist(Track::Video, &Directives::default()), Answer::Wait);
    studio.play(&Tape { for_ms: 1_500, ..Tape::default() }.frames());
    assert_eq!(studio.window.playlist(Track::Video, &Directives::default()), Answer::Wait);
    studio.play(&Tape { from_ms: 1_500, for_ms: 1_500, gop: 15, ..Tape::default() }.frames());
    assert!(matches!(studio.window.playlist(Track::Video, &Directives::default()), Answer::Ready(_)));
    assert!(matches!(studio.window.multivariant(false), Answer::Ready(_)));
    assert_eq!(Window::new().playlist(Track::Video, &Directives::default()), Answer::Wait);
}

#[test]
fn delta_updates_add_up_to_the_playlist() {
    let hls = HlsConfig { window: 20, ..HlsConfig::default() };
    let mut studio = Studio::new(hls);
    studio.rig.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    studio.ask();
    studio.play(&Tape { for_ms: 60_000, ..Tape::default() }.frames());
    let full = studio.parsed(Track::Video);
    let Answer::Ready(delta) = studio.window.playlist(Track::Video, &Directives { until: None, skip: true }) else {
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
    let mut short = Studio::av();
    short.play(&Tape::default().frames());
    let Answer::Ready(whole) = short.window.playlist(Track::Video, &Directives { until: None, skip: true }) else {
        panic!("at once")
    };
    assert_eq!(Parsed::read(std::str::from_utf8(&whole.text).unwrap()).skipped, 0);
}

#[test]
fn the_manifest_has_the_same_segments() {
    let mut studio = Studio::av();
    studio.play(&Tape { for_ms: 9_000, ..Tape::default() }.frames());
    studio.leave();
    studio.pass_ms(2_000);
    studio.publish();
    studio.play(&Tape { for_ms: 5_000, ..Tape::default() }.frames());
    let Answer::Ready(text) = studio.window.manifest(1_795_531_300_000, true) else { panic!("a manifest") };
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert_eq!(text.matches("<Period ").count(), 2, "{text}");
    assert_eq!(text.matches("<AdaptationSet ").count(), 4);
    let video = studio.parsed(Track::Video);
    let audio = studio.parsed(Track::Audio);
    assert_eq!(text.matches("<S ").count(), video.whole().count() + audio.whole().count());
    assert!(text.contains(&format!("media=\"s/n1/v/$Number$.m4s\" startNumber=\"{}\"", video.sequence)));
    assert!(
        text.contains("<UTCTiming ") && text.contains("type=\"dynamic\"") && text.contains("codecs=\"avc1.640001\"")
    );
    studio.leave();
    studio.pass_ms(11_000);
    let Answer::Ready(text) = studio.window.manifest(1_795_531_300_000, true) else { panic!("a manifest") };
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("type=\"static\"") && !text.contains("UTCTiming"), "{text}");
}

#[test]
fn the_first_multivariant_playlist_has_both_tracks() {
    let mut studio = Studio::av();
    let frames = Tape { for_ms: 6_000, ..Tape::default() }.frames();
    let first = frames.iter().find_map(|event| {
        studio.arrive(super::studio::at(event), event);
        // As somebody who has waited for two seconds asks.
        match studio.window.multivariant(true) {
            Answer::Ready(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            _ => None,
        }
    });
    let first = first.expect("a playlist");
    assert!(first.contains("AUDIO=\"audio\"") && first.contains("mp4a.40.2"), "{first}");
}
