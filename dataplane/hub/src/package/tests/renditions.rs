//! Renditions are cut where their source is, whenever they begin and whatever happens to who makes them.
use std::time::Duration;

use millstream_proto::media::{MediaEvent, Track};

use super::fixture::{PackagerFixture, Recording, at, config, stamp};
use crate::config::HlsConfig;
use crate::subscriber::ClosedSegment;

/// A rendition's frames arrive this much later than its source's.
const LATE: Duration = Duration::from_millis(180);

/// Playlists have whole milliseconds.
const ROUNDED_US: u64 = 1_000;

/// Sound goes to the next segment within half a part of the picture, at both ends. Players that switch between renditions play the source's.
const SOUND_US: u64 = 400_000;

/// A source, and a rendition of it that is made from `from_ms` on, but for the frames in `lost_ms`.
struct Pair {
    source: PackagerFixture,
    rendition: PackagerFixture,
}

impl Pair {
    fn new() -> Self {
        let source = PackagerFixture::av();
        let mut rendition = PackagerFixture::new(HlsConfig::default());
        rendition.source.stream.follow_source(0);
        rendition.source.read(&[config(Track::Video, 7), config(Track::Audio, 1)]);
        Self { source, rendition }
    }

    /// Each frame reaches the source, and the rendition where `has` says so. Stamps of the rendition are those of the source's timeline.
    fn play(&mut self, frames: &[MediaEvent], has: impl Fn(i64) -> bool) {
        let coming = frames.iter().filter(|frame| has(stamp(frame))).map(|frame| (frame, false));
        let mut due: Vec<(&MediaEvent, bool)> = frames.iter().map(|frame| (frame, true)).chain(coming).collect();
        due.sort_by_key(|(frame, of_source)| (at(frame) + if *of_source { Duration::ZERO } else { LATE }, !of_source));
        for (frame, of_source) in due {
            if of_source {
                self.source.arrive(at(frame), frame);
                continue;
            }
            self.rendition.guide = self.source.packager.as_ref().and_then(|packager| packager.plans()).cloned();
            if self.rendition.packager.is_none() && self.rendition.guide.is_some() {
                self.rendition.source.wait_until(at(frame) + LATE);
                self.rendition.ask();
            }
            self.rendition.arrive(at(frame) + LATE, frame);
        }
    }
}

/// Segments of both that are whole in both: all of them are told to begin and to last the same.
fn same(pair: &Pair, track: Track) -> Vec<ClosedSegment> {
    same_to(pair, track, 0, 0)
}

/// The same to so many microseconds, but for the first ones of the rendition: times are rounded from where each of them begins.
fn same_to(pair: &Pair, track: Track, slack_us: u64, first: usize) -> Vec<ClosedSegment> {
    let numbers = |fixture: &PackagerFixture| {
        let oldest = fixture.window.oldest_msn(track).expect("segments");
        (oldest..).map_while(|msn| fixture.window.closed(track, msn)).collect::<Vec<_>>()
    };
    let (source, rendition) = (numbers(&pair.source), numbers(&pair.rendition));
    let mut both = Vec::new();
    for segment in rendition.into_iter().skip(first) {
        let Some(own) = source.iter().find(|own| own.opened.msn == segment.opened.msn) else { continue };
        both.push((own.clone(), segment));
    }
    assert!(both.len() >= 3, "{} segments in common", both.len());
    for (own, segment) in &both {
        let same = |what: &str, own_us: u64, us: u64| {
            assert!(own_us.abs_diff(us) <= slack_us, "{what} of {} of {track:?}: {own_us} {us}", own.opened.msn);
        };
        same("start", own.opened.start_us / 100 * 100, segment.opened.start_us / 100 * 100);
        same("date", own.opened.date_unix_ms * 1_000, segment.opened.date_unix_ms * 1_000);
        same("length", own.duration_us, segment.duration_us);
    }
    both.into_iter().map(|(_, segment)| segment).collect()
}

#[test]
fn case_17_segments_have_their_sources_numbers_and_times() {
    for (fps, gop) in
        [(30.0, 60), (30_000.0 / 1_001.0, 60), (25.0, 50), (30.0, 30), (30.0, 90), (30.0, 250), (24.0, 37)]
    {
        let mut pair = Pair::new();
        let frames = Recording { for_ms: 60_000, fps, gop, ..Recording::default() }.frames();
        pair.play(&frames, |_| true);
        for track in [Track::Video, Track::Audio] {
            same(&pair, track);
        }
    }
}

#[test]
fn one_that_begins_later_is_in_the_segment_that_its_source_is_in() {
    // At a keyframe in the middle of a segment, at the beginning of one, and between keyframes.
    for from_ms in [7_000, 8_000, 8_600] {
        let mut pair = Pair::new();
        let frames = Recording { for_ms: 30_000, gop: 30, ..Recording::default() }.frames();
        pair.play(&frames, |ms| ms >= from_ms);
        // What it lacks of its first segment is not in it.
        let segments = same_to(&pair, Track::Video, ROUNDED_US, 1);
        assert!(segments.iter().all(|segment| !segment.parts.is_empty()), "no gaps");
        same_to(&pair, Track::Audio, SOUND_US, 1);
    }
}

#[test]
fn an_encoder_that_is_started_anew_leaves_gaps_and_moves_nothing() {
    for (lost_from_ms, lost_until_ms) in [(10_300, 11_000), (10_300, 14_100), (12_000, 14_000), (11_900, 12_100)] {
        let mut pair = Pair::new();
        let frames = Recording { for_ms: 30_000, ..Recording::default() }.frames();
        let (before, after): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| stamp(frame) < lost_until_ms);
        pair.play(&before, |ms| ms < lost_from_ms);
        pair.rendition.leave();
        pair.rendition.publish();
        let now_ms = pair.source.source.stream.timeline().newest_ms();
        pair.rendition.source.stream.follow_source(now_ms);
        pair.rendition.source.read(&[config(Track::Video, 7), config(Track::Audio, 1)]);
        pair.play(&after, |_| true);
        let gaps =
            same_to(&pair, Track::Video, ROUNDED_US, 0).iter().filter(|segment| segment.parts.is_empty()).count();
        assert!(gaps <= 2, "{gaps} gaps");
        same_to(&pair, Track::Audio, SOUND_US, 0);
    }
}

#[test]
fn a_discontinuity_of_the_source_is_one_of_the_rendition() {
    let mut pair = Pair::new();
    let first = Recording { for_ms: 10_000, ..Recording::default() }.frames();
    pair.play(&first, |_| true);
    pair.source.leave();
    pair.source.publish();
    // Another coding, as an encoder that comes back with another size has.
    pair.source.source.read(&[config(Track::Video, 2), config(Track::Audio, 2)]);
    pair.rendition.source.read(&[config(Track::Video, 8), config(Track::Audio, 2)]);
    let second = Recording { from_ms: 10_000, for_ms: 16_000, ..Recording::default() }.frames();
    pair.play(&second, |_| true);
    for track in [Track::Video, Track::Audio] {
        let discontinuities = |fixture: &mut PackagerFixture| {
            let text = fixture.text(track).expect("a playlist");
            text.matches("#EXT-X-DISCONTINUITY\n").count()
        };
        assert_eq!(discontinuities(&mut pair.source), discontinuities(&mut pair.rendition), "{track:?}");
    }
}
