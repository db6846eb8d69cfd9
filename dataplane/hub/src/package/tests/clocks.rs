//! Clocks that are not the server's, streams with hardly a picture, and streams with a seam: what playlists and segments make of them.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::cmaf::init::init;
use millstream_proto::media::{MediaEvent, Track};
use millstream_proto::time::Time;

use super::fixture::{PackagerFixture, Recording, config, frame, samples, stamp};
use crate::config::HlsConfig;
use crate::package::change::Change;
use crate::package::track::{Lengths, Sample, SegmentPlan, TrackPacker};
use crate::package::window::Answer;

#[test]
fn case_47_sound_stays_with_its_stamps_for_six_hours() {
    sound_stays_with_its_stamps(6);
}

#[test]
#[ignore = "slow: four times as long as the one above"]
fn case_47_sound_stays_with_its_stamps_for_a_day() {
    sound_stays_with_its_stamps(24);
}

fn sound_stays_with_its_stamps(hours: u64) {
    const FRAME_MS: f64 = 1_024.0 / 44.1;
    let MediaEvent::Config(aac) = config(Track::Audio, 1) else { panic!("a configuration") };
    for factor in [1.0001, 0.9999] {
        let mut out = Vec::new();
        let lengths = Lengths {
            part: Duration::from_millis(333),
            part_most_ms: 2_000,
            hold_back_least_ms: 0,
            segment_most_us: 2_450_000,
            carry_us: 250_000,
        };
        let mut packer = TrackPacker::new(Track::Audio, lengths, init(&aac).unwrap(), 1, &mut out);
        let mut plan = SegmentPlan {
            msn: 1,
            discontinuity: false,
            discontinuities: 0,
            run_start_ms: 0,
            start_us: 0,
            until_us: None,
            zero_unix_ms: 0,
        };
        packer.go_on(plan, &mut out);
        let stamp_ms = |n: u64| (n as f64 * FRAME_MS * factor) as u64;
        let (mut n, mut parts, mut worst_ms, mut dropped) = (0, 0, 0.0_f64, 0);
        while stamp_ms(n) < hours * 3_600_000 {
            let dts_ms = stamp_ms(n);
            if packer.reaches(plan.start_us + 2_000_000) {
                plan = SegmentPlan { msn: plan.msn + 1, start_us: plan.start_us + 2_000_000, ..plan };
                packer.go_on(plan, &mut out);
            }
            let data = Bytes::copy_from_slice(&n.to_be_bytes());
            dropped += u64::from(!packer.frame(Sample { dts_ms, cts_ms: 0, sync: true, data }, Time::ZERO, &mut out));
            for change in out.drain(..) {
                let Change::Part(_, part) = change else { continue };
                parts += 1;
                if parts % 101 != 0 {
                    continue;
                }
                for sample in samples(&part.bytes) {
                    let number = u64::from_be_bytes(sample.data[..].try_into().unwrap());
                    let off_ms = sample.pts as f64 / 44.1 - stamp_ms(number) as f64;
                    worst_ms = worst_ms.max(off_ms.abs());
                }
            }
            n += 1;
        }
        assert!(parts > hours * 10_500, "{parts} parts");
        assert!(worst_ms <= FRAME_MS, "sound is {worst_ms} ms off its stamps");
        // 8.64 s a day, by half a frame stretched or a frame dropped at a time.
        let realigned = packer.take_realigned();
        assert!((300 * hours / 24..1_000 * hours / 24).contains(&realigned), "{realigned} frames");
        assert_eq!(dropped > 0, factor < 1.0, "{dropped} frames");
    }
}

#[test]
fn case_47_what_is_realigned_is_counted() {
    for (factor, expected) in [(1.0, 0..1), (1.005, 4..20), (0.995, 2..20)] {
        let mut fixture = PackagerFixture::av();
        let mut frames = Recording { rate_hz: 44_100.0 / factor, for_ms: 30_000, ..Recording::default() }.frames();
        frames.sort_by_key(stamp);
        fixture.play(&frames);
        let realigned = fixture.packager.as_mut().unwrap().take_realigned();
        assert!(expected.contains(&realigned), "{realigned} frames at {factor}");
    }
}

#[test]
fn case_53_one_picture_in_five_seconds_lasts_five_seconds() {
    for (rate_hz, asked_after_ms) in [(44_100.0, 0), (44_100.0, 12_000), (0.0, 0), (0.0, 12_000)] {
        let mut fixture = PackagerFixture::new(HlsConfig::default());
        fixture.source.read(&[config(Track::Video, 1)]);
        if rate_hz > 0.0 {
            fixture.source.read(&[config(Track::Audio, 1)]);
        }
        // Screens do not keep time to the millisecond.
        let jitter = |event: MediaEvent| match event {
            MediaEvent::Frame(mut frame) if frame.track == Track::Video => {
                frame.dts_ms += frame.dts_ms / 5_000 % 3 * 40;
                MediaEvent::Frame(frame)
            }
            other => other,
        };
        let recording = Recording { fps: 0.2, gop: 1, rate_hz, for_ms: 60_000, ..Recording::default() };
        let mut frames: Vec<_> = recording.frames().into_iter().map(jitter).collect();
        frames.sort_by_key(stamp);
        let (before, after): (Vec<_>, Vec<_>) = frames.into_iter().partition(|event| stamp(event) < asked_after_ms);
        fixture.play(&before);
        fixture.ask();
        fixture.play(&after);
        let video = fixture.parsed(Track::Video);
        assert_eq!(video.target, 6, "{rate_hz} Hz, asked after {asked_after_ms} ms");
        assert!(video.whole().count() >= 5, "{video:?}");
        for segment in video.whole() {
            assert!((4.8..5.2).contains(&segment.duration) && !segment.discontinuity && !segment.gap, "{segment:?}");
        }
        for shown in fixture.shown(Track::Video) {
            assert!((430_000..470_000).contains(&shown.duration), "a picture lasts {} / 90000 s", shown.duration);
        }
        let Answer::Ready(manifest) = fixture.window.manifest(1_795_531_300_000, true) else { panic!("a manifest") };
        let manifest = String::from_utf8_lossy(&manifest).into_owned();
        assert_eq!(manifest.matches("<Period ").count(), 1, "{manifest}");
    }
}

/// A stream that slows down after its lengths were promised: each picture is a run of its own rather than a hole in one.
#[test]
fn case_53_a_stream_that_slows_down_keeps_its_promises() {
    let mut fixture = PackagerFixture::av();
    fixture.play(&Recording { for_ms: 6_000, rate_hz: 0.0, ..Recording::default() }.frames());
    fixture.play(
        &Recording { from_ms: 8_000, for_ms: 40_000, fps: 0.2, gop: 1, rate_hz: 0.0, ..Recording::default() }.frames(),
    );
    let video = fixture.parsed(Track::Video);
    assert!(video.whole().filter(|segment| segment.discontinuity).count() >= 3, "{video:?}");
}

/// Sound that falls silent for a moment right at its start, before the length of its parts is known: what no part can cover begins a run.
#[test]
fn sound_that_pauses_before_its_parts_have_a_length_leaves_no_hole_in_a_run() {
    for pause_ms in (0..1_500).step_by(50) {
        let mut fixture = PackagerFixture::av();
        let sound = Recording { fps: 0.0, for_ms: 50, ..Recording::default() };
        let after = Recording { from_ms: 50 + pause_ms, for_ms: 8_000, ..sound };
        fixture.play(&[sound.frames(), after.frames()].concat());
        let audio = fixture.parsed(Track::Audio);
        assert!(audio.whole().count() >= 3, "a pause of {pause_ms} ms: {audio:?}");
    }
}

/// Slow cameras without audio: a keyframe comes before the second picture has said how long the first ones last.
#[test]
fn case_53_a_slow_stream_of_pictures_alone_is_one_run() {
    for fps in [0.8, 1.0, 2.0] {
        for gop in [1, 2, 3] {
            let mut fixture = PackagerFixture::av();
            fixture.play(&Recording { fps, gop, rate_hz: 0.0, for_ms: 40_000, ..Recording::default() }.frames());
            let video = fixture.parsed(Track::Video);
            assert!(video.whole().count() >= 5, "{fps} fps, a keyframe in {gop}: {video:?}");
            let seams = video.whole().filter(|segment| segment.discontinuity || segment.gap).count();
            assert_eq!(seams, 0, "{fps} fps, a keyframe in {gop}: {video:?}");
            let listed: f64 = video.whole().map(|segment| segment.duration).sum();
            let pictures = listed * fps;
            assert!((pictures - pictures.round()).abs() < 0.2, "{fps} fps, a keyframe in {gop}: {listed} s");
        }
    }
}

/// What Shaka needs: the rules of each playlist in this room demand it to the millisecond.
#[test]
fn case_32_dates_add_up_whatever_the_rates() {
    for fps in [23.976, 25.0, 29.97, 30.0, 59.94] {
        for rate_hz in [44_100.0, 48_000.0] {
            let mut fixture = PackagerFixture::av();
            fixture.play(
                &Recording { fps, gop: (2.0 * fps) as i64, rate_hz, for_ms: 20_000, ..Recording::default() }.frames(),
            );
            for track in [Track::Video, Track::Audio] {
                let parsed = fixture.parsed(track);
                assert!(parsed.whole().count() >= 5 && parsed.segments.iter().all(|segment| !segment.discontinuity));
            }
        }
    }
}

/// Shaka puts a part where the playlist says. Where the difference from the file's own time changes by a millisecond, or is no longer larger than at the
/// keyframe before, it shows no picture up to the next one.
#[test]
fn case_32_parts_begin_a_little_earlier_than_playlists_say_except_at_keyframes() {
    for fps in [15.0, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0] {
        for gop_s in [1.0, 2.0, 8.0] {
            let mut fixture = PackagerFixture::av();
            let gop = (gop_s * fps) as i64;
            fixture.play(&Recording { fps, gop, for_ms: 26_000, ..Recording::default() }.frames());
            let (mut playlist_us, mut keyframe_us) = (0, None);
            for (_, part, _) in fixture.parts.iter().filter(|(track, ..)| *track == Track::Video) {
                let first = &samples(&part.bytes)[0];
                let number = i64::from_be_bytes(first.data[..8].try_into().expect("a number"));
                let earlier_us = playlist_us as f64 - first.dts as f64 * 1e6 / 90_000.0;
                if number % gop == 0 {
                    keyframe_us = Some(earlier_us);
                }
                let more_us = earlier_us - keyframe_us.expect("the first part has a keyframe");
                // How far keyframes are apart is known by then.
                assert!(
                    number < 2 * gop || number % gop == 0 || (50.0..950.0).contains(&more_us),
                    "{fps} fps, {gop_s} s: part {} is {more_us} us earlier than its keyframe",
                    part.number
                );
                playlist_us += part.duration_us;
            }
            assert!(playlist_us > 20_000_000);
        }
    }
}

/// A part is hinted for the open segment. Shaka fetches it again where it turns out to be the next one's. Where keyframes come in time, no part
/// is; elsewhere none without a keyframe.
#[test]
fn case_32_a_part_goes_to_the_segment_that_it_was_hinted_for() {
    let again = |from_ms, gop| Recording { from_ms, gop, for_ms: 11_000, ..Recording::default() }.frames();
    let seam = [again(0, 60), again(11_000, 60)].concat();
    let long = |fps, gop| Recording { fps, gop, for_ms: 22_000, ..Recording::default() }.frames();
    let rare =
        [long(30.0, 300), long(25.0, 250), long(24.0, 240), long(60.0, 480), seam].map(|frames| (frames, i64::MAX));
    // The first keyframes tell how far they are apart.
    let steady =
        [(30.0, 60), (29.97, 60), (25.0, 25), (24.0, 48), (60.0, 60)].map(|(fps, gop)| (long(fps, gop), 8_000));
    for (frames, steady_ms) in rare.into_iter().chain(steady) {
        let mut fixture = PackagerFixture::av();
        let (start, mut hinted, mut seen) = (fixture.source.now, BTreeMap::new(), 0);
        for event in &frames {
            fixture.arrive(start + Duration::from_millis(stamp(event).unsigned_abs()), event);
            if fixture.text(Track::Video).is_none() {
                continue;
            }
            let parsed = fixture.parsed(Track::Video);
            for segment in &parsed.segments {
                for part in segment.parts.iter().filter(|part| !part.independent || stamp(event) >= steady_ms) {
                    if let Some(msn) = hinted.remove(&part.uri) {
                        assert_eq!(segment.msn, msn, "{} was hinted for another segment", part.uri);
                        seen += 1;
                    }
                }
            }
            let last = parsed.segments.last().expect("a segment");
            let open = last.msn + u64::from(!last.uri.is_empty());
            if let Some(hint) = parsed.hint {
                hinted.insert(hint, open);
            }
        }
        assert!(seen > 30, "{seen} parts were hinted");
    }
}

/// An encoder's clock that runs two percent off: dates are set right between two runs, and are never far off.
#[test]
fn case_32_a_clock_that_drifts_is_followed_at_discontinuities() {
    for factor in [1.02, 0.98] {
        let mut fixture = PackagerFixture::av();
        let start = fixture.source.now;
        let mut far_ms = 0;
        let recording = Recording { for_ms: 150_000, ..Recording::default() };
        for event in recording.frames() {
            let after = Duration::from_millis(stamp(&event).unsigned_abs()).mul_f64(factor);
            fixture.arrive(start + after, &event);
            if stamp(&event) % 2_000 == 1_000
                && let Some(last) = fixture.text(Track::Video).and_then(|_| fixture.parsed(Track::Video).segments.pop())
            {
                let now_ms = super::fixture::UNIX_MS + fixture.source.now.as_micros() / 1_000;
                far_ms = far_ms.max((now_ms as i64 - last.date_ms).abs());
            }
        }
        let parsed = fixture.parsed(Track::Video);
        assert!(parsed.discontinuity_sequence >= 1, "at {factor} the dates were set right");
        assert!(far_ms < 4_200, "at {factor} dates are {far_ms} ms off");
        let Answer::Ready(manifest) = fixture.window.manifest(1_795_531_300_000, true) else { panic!("a manifest") };
        let manifest = String::from_utf8_lossy(&manifest).into_owned();
        let period = manifest.split("<Period id=").nth(1).unwrap();
        let offset = |name: &str| period.split(name).nth(1).unwrap().split(['S', '"']).next().unwrap().to_owned();
        let start_s: f64 = offset("start=\"PT").parse().unwrap();
        let media_s = offset("presentationTimeOffset=\"").parse::<f64>().unwrap() / 90_000.0;
        assert_eq!(start_s > media_s + 0.5, factor > 1.0, "{start_s} {media_s}");
        assert_eq!(start_s < media_s - 0.5, factor < 1.0, "{start_s} {media_s}");
    }
}

#[test]
fn case_33_no_part_is_a_splinter() {
    // The rules of each playlist in this room demand it; here are the streams that had them.
    for (fps, gop) in [(30.0, 60), (25.0, 50), (25.0, 57), (30.0, 71), (24.0, 250), (12.5, 25)] {
        for rate_hz in [44_100.0, 48_000.0] {
            let mut fixture = PackagerFixture::av();
            fixture.play(&Recording { fps, gop, rate_hz, for_ms: 30_000, ..Recording::default() }.frames());
            for track in [Track::Video, Track::Audio] {
                let parsed = fixture.parsed(track);
                let listed = parsed.whole().filter(|segment| !segment.parts.is_empty());
                let shortest = listed.flat_map(|segment| &segment.parts).map(|part| part.duration).fold(9.0, f64::min);
                assert!(shortest >= parsed.part_target / 2.0, "{fps} fps, {rate_hz} Hz: {shortest} s of {track:?}");
                let most = if track == Track::Video { 1.5 } else { parsed.target as f64 + 0.433 };
                assert!(parsed.part_hold_back <= most, "{fps} fps: {} s behind", parsed.part_hold_back);
            }
        }
    }
}

/// A file that is played again and again has a keyframe out of turn where it begins anew, and there the frames may be closer together
/// or further apart. Players go by lengths: those of parts are those of what is in them, also there.
#[test]
fn case_34_a_seam_is_no_hole() {
    for seam in [1, 7, 10, 29, 31, 45, 59] {
        for off_ms in [-13, 0, 17, 60] {
            let mut fixture = PackagerFixture::av();
            let frames: Vec<_> = (0..600_i64)
                .map(|n| {
                    let (keyframe, off_ms) = if n < 240 + seam { (n % 60, 0) } else { ((n - 240 - seam) % 60, off_ms) };
                    frame(Track::Video, keyframe == 0, n * 1_000 / 30 + off_ms, 0, &[n as u8; 60])
                })
                .collect();
            let mut all = [frames, Recording { fps: 0.0, for_ms: 20_000, ..Recording::default() }.frames()].concat();
            all.sort_by_key(stamp);
            fixture.play(&all);
            let parsed = fixture.parsed(Track::Video);
            assert!(parsed.segments.iter().all(|segment| !segment.discontinuity), "{seam} {off_ms}");
            let mut end_ms = None;
            for segment in parsed.whole() {
                let shown = samples(&fixture.bytes(&segment.uri).unwrap());
                let (first, last) = (&shown[0], shown.last().unwrap());
                let (from_ms, to_ms) = (first.dts as f64 / 90.0, (last.dts + last.duration) as f64 / 90.0);
                assert!((to_ms - from_ms - segment.duration * 1e3).abs() <= 1.0, "{seam} {off_ms}: {segment:?}");
                let before = end_ms.replace(to_ms).unwrap_or(from_ms);
                assert!((from_ms - before).abs() < 0.02, "{seam} {off_ms}: {from_ms} after {before}");
            }
        }
    }
}
