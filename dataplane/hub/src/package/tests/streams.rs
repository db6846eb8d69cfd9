//! Encoders of all kinds, and the playlists that come of them.
use std::time::Duration;

use millstream_proto::hls::request::Directives;
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, Track};

use super::fixture::{PackagerFixture, Recording, UNIX_MS, at, config, frame, samples, stamp};
use crate::config::HlsConfig;
use crate::package::window::{Answer, Refusal};

#[test]
fn a_usual_stream() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 20_500, ..Recording::default() }.frames());
    let video = fixture.parsed(Track::Video);
    assert_eq!((video.target, video.part_target, video.part_hold_back, video.hold_back), (2, 0.335, 1.005, 6.0));
    assert_eq!(video.whole().count(), 6);
    for segment in video.whole() {
        assert!((segment.duration - 2.0).abs() < 0.002 && !segment.discontinuity, "{segment:?}");
    }
    let newest = &video.segments[video.segments.len() - 2];
    assert_eq!(newest.parts.len(), 6);
    assert!(newest.parts[0].independent && !newest.parts[1].independent);
    let audio = fixture.parsed(Track::Audio);
    // Another period than the video's, and far enough back for Video.js 8 to begin two parts before a keyframe.
    assert_eq!((audio.part_target, audio.part_hold_back), (0.305, 2.433));
    assert!(video.independent && audio.independent);
    assert_eq!(audio.sequence, video.sequence, "both tracks have the same segments");
    assert!(audio.segments.iter().flat_map(|segment| &segment.parts).all(|part| part.independent));
    // Both are as far as the other says.
    let (_, msn, part) = audio.reports[0];
    let last = video.segments.last().unwrap();
    assert_eq!((audio.reports[0].0.as_str(), msn, part), ("video.m3u8", last.msn, last.parts.len() as u64 - 1));
    assert!(fixture.checked > 100);
}

#[test]
fn what_is_shown_is_what_was_published() {
    let mut fixture = PackagerFixture::av();
    let frames = Recording { for_ms: 10_100, ..Recording::default() }.frames();
    fixture.play(&frames);
    for (track, timescale) in [(Track::Video, 90_000_i64), (Track::Audio, 44_100)] {
        let shown = fixture.shown(track);
        let published = frames.iter().filter_map(|event| match event {
            MediaEvent::Frame(frame) if frame.track == track => Some(frame),
            _ => None,
        });
        let mut end = shown[0].dts;
        for (shown, frame) in shown.iter().zip(published) {
            assert_eq!(&shown.data[..], frame.data());
            let off_ms = shown.pts * 1_000 / timescale - frame.dts_ms;
            assert!((-1..=1).contains(&off_ms) || track == Track::Audio && off_ms.abs() <= 40, "{off_ms} ms off");
            assert_eq!(shown.dts, end, "decode times leave no hole");
            // Browsers take an offset of a fraction of a millisecond for an overlap, or for a gap.
            assert!(
                track == Track::Video || shown.pts == shown.dts as i64,
                "sound is heard where the frame before it ends"
            );
            end += shown.duration;
        }
        assert!(shown.len() > 200);
    }
}

/// Every playlist is checked on the way; gives the target duration, and the lengths of the whole segments.
fn lengths(recording: Recording, asked_after_ms: i64) -> (u64, f64, Vec<f64>) {
    let mut fixture = PackagerFixture::new(HlsConfig::default());
    let track = if recording.fps > 0.0 { Track::Video } else { Track::Audio };
    if recording.fps > 0.0 {
        fixture.source.read(&[config(Track::Video, 1)]);
    }
    if recording.rate_hz > 0.0 {
        fixture.source.read(&[config(Track::Audio, 1)]);
    }
    let frames = recording.frames();
    let (before, after): (Vec<_>, Vec<_>) = frames.into_iter().partition(|event| stamp(event) < asked_after_ms);
    fixture.play(&before);
    fixture.ask();
    fixture.play(&after);
    let parsed = fixture.parsed(track);
    (parsed.target, parsed.part_target, parsed.whole().map(|segment| segment.duration).collect())
}

#[test]
fn case_23_segments_fit_the_target_duration_whatever_the_keyframes() {
    for (gop_ms, asked_after_ms, target) in [
        (10_000, 0, 2),
        (60_000, 0, 2),
        (3_000, 0, 2),
        (3_000, 7_000, 3),
        (1_500, 7_000, 3),
        (500, 0, 2),
        (1_000_000, 5_000, 2),
    ] {
        let gop = gop_ms * 30 / 1_000;
        let (found, _, lengths) = lengths(Recording { gop, for_ms: 30_000, ..Recording::default() }, asked_after_ms);
        assert_eq!(found, target, "keyframes every {gop_ms} ms");
        assert!(lengths.iter().all(|length| (length.round() as u64) <= target), "{lengths:?}");
        assert!(lengths.iter().skip(1).all(|length| *length > 0.5), "{lengths:?}");
    }
}

#[test]
fn case_24_parts_keep_their_target_at_every_rate() {
    for fps in [23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0, 120.0, 15.0, 12.5, 11.0, 8.0, 5.0, 2.0, 1.0] {
        for rate_hz in [44_100.0, 48_000.0] {
            let gop = (2.0 * fps) as i64;
            let (_, part_target, lengths) = lengths(Recording { fps, gop, rate_hz, ..Recording::default() }, 0);
            assert!(lengths.len() >= 5, "{fps} fps: {lengths:?}");
            assert!(part_target <= 0.335 || fps < 13.0, "{fps} fps: {part_target}");
        }
    }
}

/// hls.js takes what ends within 0.25 s of its buffer's end for loaded: where a playlist brings a short last part together with the first one of the
/// next segment, it leaves the short one out, and stands still there.
#[test]
fn case_33_sound_beside_regular_keyframes_has_no_short_last_parts() {
    for (rate_hz, fps, gop) in [(44_100.0, 30.0, 60), (48_000.0, 30.0, 60), (44_100.0, 25.0, 50), (48_000.0, 60.0, 120)]
    {
        let mut fixture = PackagerFixture::av();
        fixture.play(&Recording { rate_hz, fps, gop, for_ms: 20_500, ..Recording::default() }.frames());
        let audio = fixture.parsed(Track::Audio);
        let lasts: Vec<f64> = audio.whole().filter_map(|segment| Some(segment.parts.last()?.duration)).collect();
        assert!(lasts.len() >= 2, "{lasts:?}");
        assert!(lasts.iter().all(|last| *last >= 0.25), "{rate_hz} Hz beside {fps} a second: {lasts:?}");
    }
}

#[test]
fn case_19_sound_alone_pictures_alone_and_late_sound() {
    let (target, part_target, sound) = lengths(Recording { fps: 0.0, ..Recording::default() }, 0);
    assert_eq!((target, part_target), (2, 0.335));
    assert!(sound.len() == 6 && sound.iter().all(|length| (1.8..2.45).contains(length)), "{sound:?}");
    let (_, _, pictures) = lengths(Recording { rate_hz: 0.0, ..Recording::default() }, 0);
    assert_eq!(pictures.len(), 6);

    let mut fixture = PackagerFixture::new(HlsConfig::default());
    fixture.source.read(&[config(Track::Video, 1)]);
    fixture.play(&Recording { for_ms: 5_000, rate_hz: 0.0, ..Recording::default() }.frames());
    fixture.ask();
    let alone = fixture.window.multivariant(true);
    let Answer::Ready(text) = alone else { panic!("{alone:?}") };
    assert!(!String::from_utf8_lossy(&text).contains("audio.m3u8"));
    assert_eq!(fixture.window.playlist(Track::Audio, &Directives::default()), Answer::Refused(Refusal::NotFound));
    fixture.source.read(&[config(Track::Audio, 1)]);
    fixture.play(&Recording { from_ms: 6_000, for_ms: 8_000, ..Recording::default() }.frames());
    let Answer::Ready(text) = fixture.window.multivariant(true) else { panic!("both") };
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("URI=\"audio.m3u8\"") && text.contains("CODECS=\"avc1.640001,mp4a.40.2\""), "{text}");
    let (video, audio) = (fixture.parsed(Track::Video), fixture.parsed(Track::Audio));
    let msns = |parsed: &super::rules::Parsed| parsed.segments.last().map(|segment| segment.msn);
    assert_eq!(msns(&video), msns(&audio));
    assert!(audio.whole().all(|segment| !segment.gap));
}

#[test]
fn case_17_an_encoder_that_returns_makes_a_discontinuity() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 5_500, ..Recording::default() }.frames());
    let before = fixture.parsed(Track::Video);
    fixture.leave();
    fixture.pass_ms(4_000);
    fixture.publish();
    fixture.source.read(&[config(Track::Video, 2), config(Track::Audio, 1)]);
    fixture.play(&Recording { from_ms: 777_000, for_ms: 1_000, ..Recording::default() }.frames());
    // The five frames that had come of the promised part are the old run's last part; the next number was promised then, and is skipped.
    let number = |uri: &str| uri.rsplit_once("/p").unwrap().1.trim_end_matches(".m4s").parse::<u64>().unwrap();
    let promised = number(&before.hint.unwrap());
    let now = fixture.parsed(Track::Video);
    let at = now.segments.iter().position(|segment| segment.discontinuity).unwrap();
    let numbers =
        |segment: &super::rules::Segment| -> Vec<u64> { segment.parts.iter().map(|part| number(&part.uri)).collect() };
    assert_eq!(numbers(&now.segments[at - 1]).last(), Some(&promised));
    assert_eq!(
        numbers(&now.segments[at]).first(),
        Some(&(promised + 2)),
        "what was promised of the old run is not of the new"
    );
    fixture.play(&Recording { from_ms: 778_000, for_ms: 6_100, ..Recording::default() }.frames());
    for track in [Track::Video, Track::Audio] {
        let parsed = fixture.parsed(track);
        assert_eq!(parsed.segments.iter().filter(|segment| segment.discontinuity).count(), 1, "{track:?}");
        let at = parsed.segments.iter().position(|segment| segment.discontinuity).unwrap();
        let (old, new) = (&parsed.segments[at - 1], &parsed.segments[at]);
        // The picture has another configuration, the audio the same one.
        assert_eq!(old.map != new.map, track == Track::Video);
        assert!(fixture.bytes(&new.map).is_some() && fixture.bytes(&old.map).is_some());
    }
    fixture.play(&Recording { from_ms: 784_100, for_ms: 20_000, ..Recording::default() }.frames());
    let later = fixture.parsed(Track::Video);
    assert_eq!(later.discontinuity_sequence, 1, "it counts when it has left the playlist");
    assert!(later.segments.iter().all(|segment| !segment.discontinuity && segment.discontinuities == 1));
}

#[test]
fn case_13_an_encoder_whose_line_died_goes_on_in_the_same_playlist() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 5_000, ..Recording::default() }.frames());
    // No end was heard: the next one takes the place over.
    fixture.pass_ms(5_500);
    fixture.publish();
    fixture.play(&Recording { for_ms: 5_000, ..Recording::default() }.frames());
    let parsed = fixture.parsed(Track::Video);
    assert_eq!(parsed.segments.iter().filter(|segment| segment.discontinuity).count(), 1);
    assert!(!parsed.ended);
}

#[test]
fn the_end_of_a_stream_is_the_end_of_its_playlists() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 5_500, ..Recording::default() }.frames());
    fixture.leave();
    assert!(!fixture.parsed(Track::Video).ended);
    fixture.pass_ms(11_000);
    for track in [Track::Video, Track::Audio] {
        let parsed = fixture.parsed(track);
        assert!(parsed.ended && parsed.whole().count() == parsed.segments.len());
    }
    let shown = fixture.shown(Track::Video);
    assert_eq!(shown.len(), 165, "all pictures are there");
}

#[test]
fn case_18_no_name_is_used_twice() {
    let names_of = |starts_later: bool| {
        let mut fixture = PackagerFixture::av();
        if starts_later {
            // As after a restart of the server, some time later.
            fixture.source.wait_ms(1_000);
            fixture.ask();
            fixture.ask();
        }
        fixture.play(&Recording::default().frames());
        let segments = fixture.parsed(Track::Video).segments;
        let files: Vec<_> = segments.iter().map(|segment| segment.uri.clone()).filter(|uri| !uri.is_empty()).collect();
        let mut names: std::collections::HashSet<_> = files.iter().cloned().collect();
        assert!(!files.is_empty() && names.len() == files.len(), "each segment has its own: {files:?}");
        // A header is named again by each of its segments.
        names.extend(segments.iter().map(|segment| segment.map.clone()).filter(|uri| !uri.is_empty()));
        assert!(names.len() > files.len(), "there is a header");
        names
    };
    let (before, after) = (names_of(false), names_of(true));
    assert!(before.is_disjoint(&after), "used again: {:?}", before.intersection(&after).collect::<Vec<_>>());
}

#[test]
fn case_02_stamps_that_wrap_or_jump() {
    let mut fixture = PackagerFixture::av();
    // The publisher's 32-bit stamps have been unrolled before they come here; the tags' wrap again.
    fixture.play(&Recording { from_ms: 0xFFFF_F000, for_ms: 10_000, ..Recording::default() }.frames());
    fixture.play(&Recording { from_ms: 0, for_ms: 5_000, ..Recording::default() }.frames());
    fixture.play(&Recording { from_ms: 86_400_000, for_ms: 5_000, ..Recording::default() }.frames());
    fixture.play(&Recording { from_ms: 86_408_000, for_ms: 5_000, ..Recording::default() }.frames());
    let parsed = fixture.parsed(Track::Video);
    assert!(parsed.whole().count() >= 5);
    let shown = fixture.shown(Track::Video);
    assert!(shown.windows(2).all(|pair| pair[0].dts < pair[1].dts));
}

#[test]
fn case_03_pictures_that_are_shown_before_they_are_decoded() {
    let mut fixture = PackagerFixture::av();
    let frames: Vec<_> = (0..200)
        .map(|n| frame(Track::Video, n % 60 == 0, n * 33, if n % 2 == 0 { -34 } else { 66 }, &[n as u8; 50]))
        .collect();
    fixture.play(&frames);
    let shown = fixture.shown(Track::Video);
    for (n, shown) in shown.iter().enumerate() {
        let expected_ms = n as i64 * 33 + if n % 2 == 0 { -34 } else { 66 };
        assert_eq!(shown.pts, expected_ms * 90, "picture {n}");
    }
    assert!(shown.len() > 100);
}

#[test]
fn case_50_segments_of_open_gops_hold_no_leading_pictures_and_no_hole() {
    // Keyframes also in the middle of segments, at every phase of parts.
    for gop in [29, 31, 47, 60] {
        let mut fixture = PackagerFixture::av();
        let frames: Vec<_> = (0..400_i64)
            .map(|n| {
                let cts_ms = match n % gop {
                    0 => 100,
                    1 | 2 if n > 2 => 0,
                    _ => 66,
                };
                frame(Track::Video, n % gop == 0, n * 33, cts_ms, &[(n % gop) as u8; 50])
            })
            .collect();
        fixture.play(&frames);
        let shown = fixture.shown(Track::Video);
        assert!(shown.len() > 100);
        for pair in shown.windows(2) {
            assert_eq!(pair[0].dts + pair[0].duration, pair[1].dts, "a hole behind picture {}", pair[0].data[0]);
            assert!(pair[0].pts < pair[1].pts || pair[1].data[0] == 0, "{} is shown late", pair[1].data[0]);
        }
        assert!(shown.iter().skip(3).all(|picture| !matches!(picture.data[0], 1 | 2)), "leading pictures");
    }
}

#[test]
fn case_46_a_jump_of_stamps_leaves_no_hole_and_needs_no_discontinuity() {
    for by_ms in [5_000, 1_500, -8_000] {
        let mut fixture = PackagerFixture::av();
        for mut event in (Recording { for_ms: 16_000, ..Recording::default() }).frames() {
            let arrives = at(&event) + Duration::from_secs(1);
            if let MediaEvent::Frame(frame) = &mut event
                && frame.dts_ms >= 8_000
            {
                frame.dts_ms += by_ms;
            }
            fixture.pass(arrives);
            fixture.arrive(arrives, &event);
            fixture.check();
        }
        for track in [Track::Video, Track::Audio] {
            let shown = fixture.shown(track);
            assert!(shown.len() > 200);
            for pair in shown.windows(2) {
                assert_eq!(pair[0].dts + pair[0].duration, pair[1].dts, "{by_ms} {track:?}: a hole");
            }
            assert!(!fixture.text(track).unwrap().contains("EXT-X-DISCONTINUITY\n"));
        }
    }
}

#[test]
fn case_46_a_pause_that_stamps_do_not_tell_of_is_a_discontinuity() {
    let mut fixture = PackagerFixture::av();
    // The encoder begins again at 0, four seconds later, on the same connection.
    for from_s in [1, 13] {
        for event in (Recording { for_ms: 8_000, ..Recording::default() }).frames() {
            let arrives = at(&event) + Duration::from_secs(from_s);
            fixture.pass(arrives);
            fixture.arrive(arrives, &event);
            fixture.check();
        }
    }
    for track in [Track::Video, Track::Audio] {
        assert!(fixture.text(track).unwrap().contains("EXT-X-DISCONTINUITY\n"), "{track:?}");
    }
}

#[test]
fn case_11_codecs_with_names_of_four_letters() {
    let hvcc = include_bytes!("../../../../proto/tests/data/hvcc.bin");
    let av1c = include_bytes!("../../../../proto/tests/data/av1c.bin");
    for (codec, name, record) in [(Codec::Hevc, "hvc1", &hvcc[..]), (Codec::Av1, "av01", &av1c[..])] {
        let mut fixture = PackagerFixture::new(HlsConfig::default());
        let head = [&[0x90][..], name.as_bytes()].concat();
        let body = [&head[..], record].concat().into();
        fixture.source.read(&[MediaEvent::Config(CodecConfig { track: Track::Video, codec, body, record_at: 5 })]);
        let opus = b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        let body = opus.to_vec().into();
        fixture.source.read(&[MediaEvent::Config(CodecConfig {
            track: Track::Audio,
            codec: Codec::Opus,
            body,
            record_at: 5,
        })]);
        fixture.ask();
        for n in 0..300 {
            let head: Vec<u8> = match codec {
                Codec::Hevc => [&[if n % 60 == 0 { 0x91 } else { 0xA1 }][..], b"hvc1\0\0\0"].concat(),
                _ => [&[if n % 60 == 0 { 0x91 } else { 0xA1 }][..], b"av01"].concat(),
            };
            let data_at = head.len();
            let body = [&head[..], &[n as u8; 100]].concat().into();
            let picture =
                Frame { track: Track::Video, codec, dts_ms: n * 33, cts_ms: 0, keyframe: n % 60 == 0, body, data_at };
            let body = b"\x91Opus\xFC123".to_vec().into();
            let sound = Frame {
                track: Track::Audio,
                codec: Codec::Opus,
                dts_ms: n * 33,
                cts_ms: 0,
                keyframe: true,
                body,
                data_at: 5,
            };
            fixture.play(&[MediaEvent::Frame(picture)]);
            fixture.play(&[MediaEvent::Frame(sound)]);
            fixture.pass_ms(33);
        }
        let Answer::Ready(text) = fixture.window.multivariant(true) else { panic!("{codec:?}") };
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(&format!("CODECS=\"{name}.")) && text.contains(",opus\""), "{text}");
        assert!(fixture.shown(Track::Video).len() > 200 && !fixture.shown(Track::Audio).is_empty());
        let header = fixture.parsed(Track::Video).segments[0].map.clone();
        let header = fixture.bytes(&header).unwrap();
        assert!(header.windows(4).any(|window| window == name.as_bytes()));
    }
}

#[test]
fn case_45_a_codec_that_players_do_not_take_is_left_out() {
    let mut fixture = PackagerFixture::new(HlsConfig::default());
    fixture.source.read(&[config(Track::Video, 1)]);
    fixture.ask();
    let mut frames = Recording { rate_hz: 0.0, for_ms: 6_000, ..Recording::default() }.frames();
    for n in 0..200 {
        let body = vec![0x2F, 1, 2, 3].into();
        frames.push(MediaEvent::Frame(Frame {
            track: Track::Audio,
            codec: Codec::Mp3,
            dts_ms: n * 26,
            cts_ms: 0,
            keyframe: true,
            body,
            data_at: 1,
        }));
    }
    frames.sort_by_key(stamp);
    let mut left_out = Vec::new();
    for event in frames {
        fixture.play(&[event]);
        left_out.extend(fixture.packager.as_mut().unwrap().take_left_out());
    }
    assert_eq!(fixture.window.playlist(Track::Audio, &Directives::default()), Answer::Refused(Refusal::NotFound));
    assert!(fixture.parsed(Track::Video).whole().count() >= 2);
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0].contains("Mp3"));
}

#[test]
fn a_track_that_falls_silent_becomes_gaps() {
    for silent in [Track::Video, Track::Audio] {
        let mut fixture = PackagerFixture::av();
        let mut frames = Recording { for_ms: 22_000, ..Recording::default() }.frames();
        frames.retain(|event| match event {
            MediaEvent::Frame(frame) => frame.track != silent || !(5_000..15_000).contains(&frame.dts_ms),
            _ => true,
        });
        fixture.play(&frames);
        let (video, audio) = (fixture.parsed(Track::Video), fixture.parsed(Track::Audio));
        let (quiet, loud) = if silent == Track::Video { (&video, &audio) } else { (&audio, &video) };
        assert!(quiet.segments.iter().any(|segment| segment.gap), "{silent:?}");
        assert!(loud.segments.iter().all(|segment| !segment.gap));
        assert_eq!(video.sequence, audio.sequence);
        let gap = quiet.segments.iter().find(|segment| segment.gap).unwrap().uri.clone();
        assert_eq!(fixture.file(&gap), Answer::Refused(Refusal::NotFound));
    }
}

#[test]
fn sound_that_drifts_is_set_right_without_going_back() {
    for factor in [0.97, 1.03] {
        let mut fixture = PackagerFixture::av();
        let frames: Vec<_> = (0..1_000)
            .map(|n| frame(Track::Audio, true, (n as f64 * 1_024.0 / 44.1 * factor) as i64, 0, &[n as u8; 20]))
            .collect();
        fixture.play(&frames);
        let shown = fixture.shown(Track::Audio);
        assert!(shown.windows(2).all(|pair| pair[0].dts + pair[0].duration <= pair[1].dts + 1));
        let last = shown.last().unwrap();
        let behind_ms = stamp(frames.last().unwrap()) - (last.dts * 1_000 / 44_100) as i64;
        assert!(behind_ms < 2_600, "the newest whole segment is {behind_ms} ms behind");
    }
}

#[test]
fn dates_are_those_of_arrival() {
    let mut fixture = PackagerFixture::av();
    let start_ms = UNIX_MS + fixture.source.now.as_micros() / 1_000;
    fixture.play(&Recording { for_ms: 6_100, ..Recording::default() }.frames());
    let parsed = fixture.parsed(Track::Video);
    assert_eq!(parsed.segments.len(), 3);
    for (n, segment) in parsed.segments.iter().enumerate() {
        let off_ms = segment.date_ms - (start_ms + n as u64 * 2_000) as i64;
        assert!(off_ms.abs() <= 5, "{} is {off_ms} ms off", segment.msn);
    }
}

#[test]
fn a_backlog_gives_whole_segments_at_once() {
    let mut fixture = PackagerFixture::new(HlsConfig::default());
    fixture.source.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    fixture.play(&Recording { for_ms: 11_000, ..Recording::default() }.frames());
    fixture.ask();
    let parsed = fixture.parsed(Track::Video);
    assert_eq!(parsed.whole().count(), 5);
    assert_eq!(parsed.segments[0].msn, super::fixture::FIRST_MSN + 11);
}

#[test]
fn case_22_memory_is_bounded_over_four_hours() {
    memory_is_bounded_over(4);
}

#[test]
#[ignore = "slow: six times as long as the one above"]
fn case_22_memory_is_bounded_over_a_day() {
    memory_is_bounded_over(24);
}

fn memory_is_bounded_over(hours: u32) {
    let mut fixture = PackagerFixture::new(HlsConfig::default());
    fixture.source.read(&[config(Track::Audio, 1)]);
    fixture.ask();
    // Audio in frames of 93 ms (AAC at 11,025 Hz), so that hours of it are quick; the playlists are checked once a minute.
    let mut held = Vec::new();
    for minute in 0..i64::from(hours) * 60 {
        let recording =
            Recording { fps: 0.0, rate_hz: 11_025.0, from_ms: minute * 60_000, for_ms: 60_000, ..Recording::default() };
        fixture.play_unchecked(&recording.frames());
        fixture.check_anew();
        if minute >= 1 {
            held.push((fixture.window.bytes(), fixture.window.snapshot().len()));
        }
    }
    let segments = fixture.parsed(Track::Audio).sequence - super::fixture::FIRST_MSN;
    assert!(segments > u64::from(hours) * 1_650, "{hours} hours have passed: {segments} segments");
    let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
    assert!(most.0 < least.0 * 5 / 4, "{least:?} to {most:?} bytes and changes");
    assert!(held.iter().all(|(_, changes)| *changes < 200), "{least:?} to {most:?} bytes and changes");
}

#[test]
fn what_is_held_is_twice_the_window_and_a_segment() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 60_000, picture_bytes: 10_000, ..Recording::default() }.frames());
    let segment_bytes = 60 * 10_000 + 87 * 48;
    let bound = (2 * 6 + 1) * segment_bytes * 12 / 10;
    assert!(fixture.window.bytes() <= bound, "{} of {bound} bytes", fixture.window.bytes());
    // One that left the playlist a moment ago can still be fetched, for as long as it could be known of.
    let oldest = fixture.parsed(Track::Video).sequence;
    let session = "n1";
    let get = |msn: u64| fixture.window.media(session, Track::Video, &format!("{msn}.m4s"));
    assert!((1..=6).all(|ago| matches!(get(oldest - ago), Answer::Ready(_))));
    assert_eq!(get(oldest - 20), Answer::Refused(Refusal::NotFound));
}

#[test]
fn a_stream_with_too_many_bytes_has_a_shorter_window() {
    let config_hls = HlsConfig { bytes_max: 4 << 20, ..HlsConfig::default() };
    let mut fixture = PackagerFixture::new(config_hls);
    fixture.source.read(&[config(Track::Video, 1)]);
    fixture.ask();
    fixture.play(&Recording { for_ms: 30_000, picture_bytes: 20_000, rate_hz: 0.0, ..Recording::default() }.frames());
    assert!(fixture.window.bytes() <= (4 << 20) + 60 * 21_000, "{}", fixture.window.bytes());
    assert!((1..6).contains(&fixture.parsed(Track::Video).whole().count()));
}

#[test]
fn a_clock_that_stands_still_ends_no_part_and_fills_no_memory() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 3_000, ..Recording::default() }.frames());
    let still: Vec<_> = (0..20_000).map(|_| frame(Track::Video, false, 3_000, 0, &[5; 100])).collect();
    fixture.play(&still);
    assert!(fixture.packager.as_mut().unwrap().take_dropped() > 10_000);
    fixture.play(&Recording { from_ms: 3_100, for_ms: 6_000, ..Recording::default() }.frames());
    assert!(fixture.parsed(Track::Video).whole().count() >= 3);
}

#[test]
fn other_lengths_of_segments_and_parts() {
    for (segment_ms, part_ms, window, target) in
        [(4_000, 500, 3, 4), (1_000, 200, 10, 1), (6_000, 1_000, 20, 6), (500, 100, 6, 1)]
    {
        let hls = HlsConfig {
            segment: Duration::from_millis(segment_ms),
            part: Duration::from_millis(part_ms),
            window,
            ..HlsConfig::default()
        };
        let mut fixture = PackagerFixture::new(hls);
        fixture.source.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
        fixture.ask();
        let gop = i64::try_from(segment_ms).unwrap() * 30 / 1_000;
        fixture.play(&Recording { gop, for_ms: 30_000, ..Recording::default() }.frames());
        let parsed = fixture.parsed(Track::Video);
        assert_eq!(parsed.target, target);
        assert_eq!(parsed.can_skip_until, (window > 6).then_some(6.0 * target as f64));
        assert!(parsed.whole().count() <= window);
    }
}

/// Audio is flushed with the picture that comes next, and its segment ends with the picture's: neither holds a part up.
#[test]
fn sound_and_picture_are_there_with_their_last_frame() {
    for fps in [24.0, 30.0, 60.0] {
        let mut fixture = PackagerFixture::av();
        fixture.play(&Recording { fps, gop: (2.0 * fps) as i64, for_ms: 12_000, ..Recording::default() }.frames());
        for (track, rate, late_ms_max) in [(Track::Video, fps, 1.0), (Track::Audio, 44_100.0 / 1_024.0, 24.0)] {
            let parts: Vec<_> = fixture.parts.iter().filter(|(of, ..)| *of == track).collect();
            assert!(parts.len() > 30, "{fps} fps: {} parts", parts.len());
            let mut frames = 0;
            for (_, part, at) in parts {
                frames += part.frames;
                // Both tracks begin with the recording, whose first frame arrives at once.
                let last_ms = f64::from(frames - 1) * 1_000.0 / rate;
                let late_ms = (at.as_micros() - fixture.began.as_micros()) as f64 / 1_000.0 - last_ms;
                assert!(late_ms <= late_ms_max, "{fps} fps: part {} of {track:?} is {late_ms} ms late", part.number);
                let since_ms = at.since(part.arrived).as_micros() as f64 / 1_000.0;
                assert!(since_ms <= late_ms_max, "{fps} fps: part {} of {track:?} says {since_ms} ms", part.number);
            }
        }
    }
}

#[test]
fn parts_are_finished_with_their_last_frame() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 4_000, rate_hz: 0.0, ..Recording::default() }.frames());
    // The sixtieth picture of the second segment has just come, and nothing after it.
    let hint = fixture.parsed(Track::Video).hint;
    let parts: usize = fixture.parsed(Track::Video).segments.iter().map(|segment| segment.parts.len()).sum();
    assert_eq!((parts, hint.as_deref()), (12, Some("s/n1/v/p12.m4s")));
    let newest = fixture.bytes("s/n1/v/p11.m4s").unwrap();
    assert_eq!(samples(&newest).len(), 10);
}
