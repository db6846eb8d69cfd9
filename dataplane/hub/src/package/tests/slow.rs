//! Streams with very few frames: cameras that take one in some seconds, screens that are shared, slides.
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use millstream_proto::amf0::{self, Value};
use millstream_proto::flv::{Item, Reader, file_header, write_tag};
use millstream_proto::media::{Clip, MediaEvent, Track};
use millstream_proto::time::Time;

use super::fixture::{PackagerFixture, Recording, config, samples, stamp};
use super::rules::Parsed;
use crate::config::{HlsConfig, OnUnpublish};

/// What a slow stream looks like, and when its first viewer comes.
#[derive(Clone, Copy, Debug)]
struct Slow {
    fps: f64,
    gop: i64,
    rate_hz: f64,
    asked_after_ms: i64,
    /// Every third picture comes later by this share of the distance of two, percent, every third one earlier.
    jitter_percent: i64,
}

impl Slow {
    fn interval_ms(self) -> f64 {
        1_000.0 / self.fps
    }

    /// When that picture is stamped, milliseconds.
    fn stamp_ms(self, number: i64) -> f64 {
        let off = (number % 3 - 1) * self.jitter_percent * i64::from(number > 0);
        ((number as f64 + off as f64 / 100.0) * self.interval_ms()).floor()
    }

    fn frames(self) -> Vec<MediaEvent> {
        let for_ms = (40_000.0_f64).max(self.interval_ms() * 12.0) as i64;
        let recording =
            Recording { fps: self.fps, gop: self.gop, rate_hz: self.rate_hz, for_ms, ..Recording::default() };
        let mut number = 0;
        let mut frames: Vec<_> = recording
            .frames()
            .into_iter()
            .map(|event| match event {
                MediaEvent::Frame(mut frame) if frame.track == Track::Video => {
                    frame.dts_ms = self.stamp_ms(number) as i64;
                    number += 1;
                    MediaEvent::Frame(frame)
                }
                other => other,
            })
            .collect();
        frames.sort_by_key(stamp);
        frames
    }

    /// Plays it, with each playlist held against the rules; gives the last one of the frames.
    fn play(self) -> (PackagerFixture, Parsed) {
        let mut fixture = PackagerFixture::new(HlsConfig::default());
        if self.fps < 1.0 / 6.0 && self.rate_hz > 0.0 {
            // With audio, a second picture is not waited for so long.
            let rate = Value::object([("framerate", Value::Number(self.fps))]);
            let metadata = amf0::encode(&[Value::string("onMetaData"), rate]);
            fixture.source.read(&[MediaEvent::Metadata(metadata.into())]);
        }
        fixture.source.read(&[config(Track::Video, 1)]);
        if self.rate_hz > 0.0 {
            fixture.source.read(&[config(Track::Audio, 1)]);
        }
        let (start, mut asked) = (fixture.source.now, false);
        for event in self.frames() {
            if !asked && stamp(&event) >= self.asked_after_ms {
                fixture.ask();
                asked = true;
            }
            let at = start + Duration::from_millis(stamp(&event).unsigned_abs());
            // The audio of streams is looked at elsewhere.
            match &event {
                MediaEvent::Frame(frame) if frame.track == Track::Video => fixture.arrive(at, &event),
                _ => fixture.arrive_unchecked(at, &event),
            }
        }
        let parsed = fixture.parsed(Track::Video);
        (fixture, parsed)
    }

    /// Plays it; no run may end, and what playlists say is when frames were taken, to `within_ms`.
    fn check(self, within_ms: f64) -> Result<(), String> {
        let (fixture, video) =
            catch_unwind(|| self.play()).map_err(|why| format!("{:?}", why.downcast_ref::<String>()))?;
        let check = |holds: bool, what: &dyn Fn() -> String| if holds { Ok(()) } else { Err(what()) };
        let seams = video.whole().filter(|segment| segment.discontinuity || segment.gap).count();
        check(video.discontinuity_sequence == 0 && seams == 0, &|| format!("{seams} seams"))?;
        check(video.whole().count() >= 3, &|| "few segments".to_owned())?;
        let (mut listed_ms, mut first_ms, mut longest_ms) = (0.0, None, 0.0_f64);
        for (_, part, _) in fixture.parts.iter().filter(|(track, ..)| *track == Track::Video) {
            let pictures = samples(&part.bytes);
            let number = i64::from_be_bytes(pictures[0].data[..8].try_into().unwrap());
            let real_ms = self.stamp_ms(number);
            let off_ms = real_ms - *first_ms.get_or_insert(real_ms) - listed_ms;
            check(off_ms.abs() <= within_ms, &|| format!("picture {number} is {off_ms} ms off the playlist"))?;
            for picture in &pictures {
                let number = i64::from_be_bytes(picture.data[..8].try_into().unwrap());
                let shown_ms = picture.pts as f64 / 90.0;
                check((shown_ms - self.stamp_ms(number)).abs() < 0.1, &|| format!("{number} is shown at {shown_ms}"))?;
            }
            let part_ms = part.duration_us as f64 / 1e3;
            check(part_ms <= video.part_target * 1e3 + 1e-6, &|| format!("{part_ms} of {} s", video.part_target))?;
            (listed_ms, longest_ms) = (listed_ms + part_ms, longest_ms.max(part_ms));
        }
        // Half of what has come is listed at least: no picture waits for more than the next two.
        check(listed_ms > 15_000.0, &|| format!("{listed_ms} ms are listed"))?;
        check(longest_ms >= 0.85 * self.interval_ms(), &|| format!("no part is longer than {longest_ms} ms"))?;
        let target_ms = video.part_target * 1e3;
        check(target_ms <= 1.25 * self.interval_ms().max(500.0), &|| format!("PART-TARGET {target_ms} ms"))
    }
}

/// Fails with all that do not keep what [`Slow::check`] asks for.
fn check_all(all: impl IntoIterator<Item = (Slow, f64)>) {
    let failed: Vec<String> = all
        .into_iter()
        .filter_map(|(slow, within_ms)| slow.check(within_ms).err().map(|why| format!("{slow:?}: {why}")))
        .collect();
    assert!(failed.is_empty(), "{} streams:\n{}", failed.len(), failed.join("\n"));
}

fn rates() -> impl Iterator<Item = f64> {
    let tenths = (10..=50).map(|tenths| f64::from(tenths) / 10.0);
    [0.1, 0.11, 0.125, 0.15, 0.2, 0.25, 0.3, 1.0 / 3.0, 0.4, 0.45, 0.49, 0.5, 0.51, 0.6, 2.0 / 3.0, 0.7, 0.75, 0.8, 0.9]
        .into_iter()
        .chain(tenths)
        .chain([0.999, 1.001, 1.25, 4.0 / 3.0, 1.75, 2.25, 2.997])
}

#[test]
fn case_53_no_regular_stream_of_few_pictures_has_a_seam() {
    have_no_seam(rates().step_by(3));
}

#[test]
#[ignore = "slow: three times as many rates as the one above"]
fn case_53_no_regular_stream_of_any_rate_has_a_seam() {
    have_no_seam(rates());
}

fn have_no_seam(rates: impl Iterator<Item = f64>) {
    let viewers = [(0.0, 0), (44_100.0, 0), (0.0, 21_000)];
    let all = rates.flat_map(|fps| [1, 3, 1_000].map(|gop| (fps, gop)));
    let all = all.flat_map(|(fps, gop)| {
        viewers.map(|(rate_hz, asked_after_ms)| (Slow { fps, gop, rate_hz, asked_after_ms, jitter_percent: 0 }, 1.0))
    });
    check_all(all);
}

/// Cameras and screens do not keep time: a picture that is late is not a hole, and those behind it make up for it.
#[test]
fn case_53_pictures_that_come_early_and_late_leave_no_seam() {
    let all =
        [0.2, 0.5, 0.8, 1.0, 1.25, 1.4, 2.0, 3.0, 4.0, 5.0].into_iter().flat_map(|fps| [1, 4].map(|gop| (fps, gop)));
    let all = all.flat_map(|(fps, gop)| {
        [1, 5, 15].map(|jitter_percent| {
            let slow = Slow { fps, gop, rate_hz: 0.0, asked_after_ms: 0, jitter_percent };
            (slow, slow.interval_ms() * (3 * jitter_percent) as f64 / 100.0 + 2.0)
        })
    });
    check_all(all);
}

/// The first picture of the built-in slate, as a file.
fn still() -> Clip {
    let mut reader = Reader::new();
    reader.push(include_bytes!("../../../slate/slate.flv")).unwrap();
    let mut file = bytes::BytesMut::from(&file_header(false, true)[..]);
    let mut tags = 0;
    while let Some(item) = reader.poll().unwrap() {
        if let Item::Tag { kind, timestamp_ms, body } = item
            && tags < 3
        {
            write_tag(&mut file, kind, timestamp_ms, &body).unwrap();
            tags += 1;
        }
    }
    Clip::read(&file).unwrap()
}

#[test]
fn case_37_a_still_as_slate_is_one_run() {
    a_still_is_one_run(&[5.0, 12.5, 23.976, 30.0, 60.0]);
}

#[test]
#[ignore = "slow: more rates than the one above"]
fn case_37_a_still_as_slate_is_one_run_behind_any_encoder() {
    a_still_is_one_run(&[5.5, 6.0, 8.0, 10.0, 15.0, 20.0, 25.0, 50.0]);
}

/// The parts of a slate keep what the encoder's have promised, and it is one run.
fn a_still_is_one_run(rates: &[f64]) {
    let still = Arc::new(still());
    assert_eq!(still.frames.iter().map(|frame| frame.dts_ms).collect::<Vec<_>>(), [0, 166, 333]);
    for &fps in rates {
        for (rate_hz, gop_s) in [(0.0, 2.0), (44_100.0, 2.0), (48_000.0, 1.0), (48_000.0, 8.0)] {
            let mut fixture = PackagerFixture::av();
            fixture.source.stream.set_on_unpublish(OnUnpublish::Slate, fixture.source.now);
            fixture.source.stream.set_slate(Some(Arc::clone(&still)));
            let gop = (fps * gop_s) as i64;
            fixture.play(&Recording { fps, gop, rate_hz, for_ms: 9_000, ..Recording::default() }.frames());
            fixture.leave();
            for _ in 0..300 {
                fixture.pass_ms(100);
            }
            let video = fixture.parsed(Track::Video);
            assert_eq!(video.discontinuity_sequence, 1, "{fps} fps, {rate_hz} Hz, {gop_s} s: {video:?}");
            let seams = video.segments.iter().filter(|segment| segment.discontinuity || segment.gap).count();
            assert_eq!(seams, 0, "{fps} fps, {rate_hz} Hz, {gop_s} s: {video:?}");
            let listed: f64 = video.whole().map(|segment| segment.duration).sum();
            let shown = fixture.shown(Track::Video);
            let took = (shown.last().unwrap().pts - shown[0].pts) as f64 / 90_000.0;
            assert!((listed - took).abs() < 0.4, "{fps} fps: {listed} s are listed of {took} s");
        }
    }
}

/// Segments that are far shorter than what was promised: three target durations stay listed, and what leaves the list can be fetched as long
/// as a list lasts.
#[test]
fn case_53_short_segments_leave_three_target_durations_listed() {
    let mut fixture = PackagerFixture::new(HlsConfig { window: 3, ..HlsConfig::default() });
    fixture.source.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
    fixture.ask();
    let mut gone: Vec<(String, Time)> = Vec::new();
    let mut listed: Vec<String> = Vec::new();
    let mut most = 0;
    // A new configuration in each second ends a segment of two.
    for second in 0..40_i64 {
        let number = u8::try_from(second % 2).unwrap() + 1;
        fixture.source.read(&[config(Track::Video, number)]);
        fixture.play(&Recording { from_ms: second * 1_000, for_ms: 1_000, gop: 30, ..Recording::default() }.frames());
        if fixture.text(Track::Video).is_none() {
            continue;
        }
        let parsed = fixture.parsed(Track::Video);
        assert_eq!(parsed.target, 2, "{parsed:?}");
        let whole: Vec<String> = parsed.whole().map(|segment| segment.uri.clone()).collect();
        let now = fixture.source.now;
        gone.extend(listed.iter().filter(|uri| !whole.contains(uri)).map(|uri| (uri.clone(), now)));
        for (uri, since) in &gone {
            let there = fixture.bytes(uri).is_some();
            assert!(there || now.since(*since).as_millis() >= 6_000, "{uri} went {:?} ago", now.since(*since));
        }
        most = most.max(whole.len());
        listed = whole;
        if second > 10 {
            let seconds: f64 = parsed.whole().map(|segment| segment.duration).sum();
            assert!((5.9..8.1).contains(&seconds), "{seconds} s are listed: {parsed:?}");
        }
    }
    assert!(gone.len() > 20 && most > 5, "{} went, at most {most} were listed", gone.len());
}
