//! Case 31: what Video.js 8 makes of the playlists, as its source has it (http-streaming 3.17), at any moment that it may come.
use std::time::Duration;

use millstream_proto::hls::request::{Directives, Until};
use millstream_proto::media::{MediaEvent, Track};
use millstream_proto::time::Time;

use super::fixture::{PackagerFixture, Recording, at};
use super::rules::Parsed;
use crate::package::window::{Answer, Window};

/// A target duration before the end of a playlist, an open segment counted as one (`MediaSequenceSync`, `getSeekableRange_`), Unix milliseconds.
fn begins_ms(parsed: &Parsed) -> i64 {
    let last = parsed.segments.last().expect("a segment");
    let length = if last.uri.is_empty() { parsed.target as f64 } else { last.duration };
    last.date_ms + ((length - parsed.part_hold_back) * 1_000.0).round() as i64
}

/// The parts of a playlist: number of the segment, index, when it ends, whether it begins with a keyframe.
fn parts(parsed: &Parsed) -> Vec<((u64, usize), i64, bool)> {
    let segments = parsed.segments.iter().flat_map(|segment| {
        let mut end_s = 0.0;
        segment.parts.iter().enumerate().map(move |(index, part)| {
            end_s += part.duration;
            ((segment.msn, index), segment.date_ms + (end_s * 1_000.0).round() as i64, part.independent)
        })
    });
    segments.collect()
}

/// One that knows the playlist of the video alone when it begins to play, as behind a network.
struct VideoJs {
    /// From an answer to what comes of it: a round trip and what the page does.
    lag: Duration,
    /// When it asks, and for what.
    asks_at: Time,
    directives: Directives,
    /// It has asked, and has no answer yet.
    asked: bool,
    /// Where it begins, Unix milliseconds, and the newest part that it has.
    from_ms: Option<i64>,
    newest: Option<(u64, usize)>,
    /// It no longer puts the header before each part (`activeInitSegmentId_`).
    header_done: bool,
    /// Parts are dropped up to a keyframe.
    needs_keyframe: bool,
    shown: usize,
    /// Parts that were dropped after the first one that was shown.
    lost: usize,
}

impl VideoJs {
    fn new(comes_at: Time, lag_ms: u64) -> Self {
        Self {
            lag: Duration::from_millis(lag_ms),
            asks_at: comes_at,
            directives: Directives::default(),
            asked: false,
            from_ms: None,
            newest: None,
            header_done: false,
            needs_keyframe: true,
            shown: 0,
            lost: 0,
        }
    }

    fn look(&mut self, window: &mut Window, now: Time) {
        if now < self.asks_at {
            return;
        }
        let Answer::Ready(playlist) =
            window.playlist_at(Track::Video, &self.directives, |_| Vec::new(), (self.asks_at, now))
        else {
            self.asked = true;
            return;
        };
        let parsed = Parsed::read(std::str::from_utf8(&playlist.text).expect("text"));
        self.take(&parsed);
        self.ask_next(&parsed, now);
    }

    /// `getInitSegmentAndUpdateState_`: the header comes before the first part of each playlist, until a second one of the same comes.
    fn take(&mut self, parsed: &Parsed) {
        let from_ms = *self.from_ms.get_or_insert_with(|| begins_ms(parsed));
        let new =
            parts(parsed).into_iter().filter(|(place, end_ms, _)| Some(*place) > self.newest && *end_ms > from_ms);
        for (of_this_playlist, (place, _, independent)) in new.enumerate().collect::<Vec<_>>() {
            self.newest = Some(place);
            self.header_done |= of_this_playlist > 0;
            self.needs_keyframe |= !self.header_done;
            self.needs_keyframe &= !independent;
            if !self.needs_keyframe {
                self.shown += 1;
            } else if self.shown > 0 {
                self.lost += 1;
            }
        }
    }

    /// `refreshDelay`, `addLLHLSQueryDirectives`: a part's length later it asks for the next part, or part 0 again where no next segment is open.
    fn ask_next(&mut self, parsed: &Parsed, now: Time) {
        let last = parsed.segments.last().expect("a segment");
        let length = last.parts.last().expect("parts").duration;
        let next = if last.uri.is_empty() { last.parts.len() as u64 } else { 0 };
        self.directives = Directives { until: Some(Until { msn: last.msn, part: Some(next) }), skip: false };
        (self.asks_at, self.asked) = (now + Duration::from_secs_f64(length) + self.lag, false);
    }
}

/// Plays the rest of a recording to players that come 50 ms after each other.
fn play(recording: Recording, events: &[MediaEvent], lag_ms: u64) -> Vec<VideoJs> {
    let mut fixture = PackagerFixture::av();
    let before_ms = 8_000;
    let mut players: Vec<VideoJs> =
        (0..40).map(|n| VideoJs::new(Time::from_millis(1_000 + before_ms + n * 50), lag_ms)).collect();
    for event in events {
        let now = at(event);
        if now >= Time::from_millis(1_000 + before_ms) {
            // Who came between two frames is looked at when he came.
            for player in players.iter_mut().filter(|player| !player.asked && player.asks_at < now) {
                let came = player.asks_at;
                player.look(&mut fixture.window, came);
            }
        }
        fixture.arrive_unchecked(now, event);
        players.iter_mut().filter(|player| player.asked).for_each(|player| player.look(&mut fixture.window, now));
    }
    assert!(recording.for_ms > 14_000);
    players
}

#[test]
fn case_31_video_js_loses_no_part_behind_the_first_keyframe_whenever_it_comes() {
    for (fps, gop) in [(30.0, 60), (25.0, 50), (60.0, 120), (30.0, 120)] {
        let recording = Recording { fps, gop, for_ms: 18_000, ..Recording::default() };
        let events = recording.frames();
        for lag_ms in [2, 10, 30, 70, 120, 200] {
            for (n, player) in play(recording, &events, lag_ms).into_iter().enumerate() {
                let what = format!("{fps} fps, keyframes {gop} apart, comes {} ms late, lag {lag_ms} ms", n * 50);
                assert!(player.shown > 12 && player.header_done, "{what}: {} parts shown", player.shown);
                assert_eq!(player.lost, 0, "{what}");
            }
        }
    }
}

#[test]
fn case_31_video_js_that_knows_both_playlists_begins_two_parts_before_a_keyframe() {
    let recording = Recording { for_ms: 13_000, ..Recording::default() };
    let mut fixture = PackagerFixture::av();
    let mut loads = Vec::new();
    for event in recording.frames() {
        fixture.arrive_unchecked(at(&event), &event);
        if at(&event) > Time::from_millis(9_000) {
            loads.push((at(&event), fixture.parsed(Track::Video), fixture.parsed(Track::Audio)));
        }
    }
    let mut pairs = [0, 0];
    for (first_at, video, _) in &loads {
        let later = |then: &Time| then >= first_at && then.since(*first_at).as_millis() <= 200;
        for (_, _, audio) in loads.iter().filter(|(then, ..)| later(then)) {
            let from_ms = begins_ms(video).min(begins_ms(audio));
            let keyframes: Vec<bool> = parts(video)
                .into_iter()
                .filter(|(_, end_ms, _)| *end_ms > from_ms)
                .map(|(_, _, independent)| independent)
                .collect();
            // Wherever its playlist is replaced among these, one brings two of them, and a keyframe is not the first of those.
            assert!(keyframes.len() > 2 && !keyframes[0] && !keyframes[1], "{video:?}\n{audio:?}");
            pairs[usize::from(keyframes[2])] += 1;
        }
    }
    // But where a segment of the audio begins before that of the video, the keyframe is there as well.
    assert!(pairs[1] > 1_000 && pairs[1] > 5 * pairs[0], "{pairs:?}");
}

#[test]
fn case_31_who_asks_ahead_gets_each_part_at_once_and_nobody_waits_for_long() {
    let mut fixture = PackagerFixture::av();
    let events = Recording { for_ms: 12_000, ..Recording::default() }.frames();
    let mut counts = [0, 0];
    for event in events {
        fixture.arrive_unchecked(at(&event), &event);
        let now = at(&event);
        if now < Time::from_millis(9_000) {
            continue;
        }
        let parsed = fixture.parsed(Track::Video);
        let last = parsed.segments.last().expect("a segment");
        let part = last.parts.len() as u64 - 1;
        let newest = Directives { until: Some(Until { msn: last.msn, part: Some(part) }), skip: false };
        let mut ask = |directives: &Directives, ago_ms: u64, after_ms: u64| {
            let asked_at = Time::from_millis(now.as_micros() / 1_000 - ago_ms);
            let found = fixture.window.playlist_at(
                Track::Video,
                directives,
                |_| Vec::new(),
                (asked_at, asked_at + Duration::from_millis(after_ms)),
            );
            matches!(found, Answer::Ready(_))
        };
        let waits = !ask(&newest, 0, 0);
        assert_eq!(waits, last.uri.is_empty() && part == 4, "{last:?}");
        counts[usize::from(waits)] += 1;
        // One that came well before the part was whole, one that has waited long enough, and those for other parts.
        assert!(ask(&newest, 400, 400) && ask(&newest, 0, 503));
        for part in 0..part {
            assert!(ask(&Directives { until: Some(Until { msn: last.msn, part: Some(part) }), skip: false }, 0, 0));
        }
        let of_audio = fixture.window.playlist_at(Track::Audio, &Directives::default(), |_| Vec::new(), (now, now));
        assert!(matches!(of_audio, Answer::Ready(_)));
    }
    assert!(counts[0] > 100 && counts[1] > 20, "{counts:?}");
}
