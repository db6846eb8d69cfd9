//! Delay matching: frames are found whatever a server does to time stamps, and what a server does wrong is told apart.
use Track::{Audio, Video};

use super::*;

fn sum(n: u32) -> Sum {
    Sum { bytes: 100, crc: n }
}

/// A hundred frames 40 ms apart, planned as stamped, and a hundred sounds that are all the same.
fn ledger() -> Ledger {
    let mut ledger = Ledger::written();
    for n in 0..100 {
        let ms = i64::from(n) * 40;
        ledger.enter(Video, ms, sum(n), Some(Time::from_millis(ms as u64)));
        ledger.enter(Audio, ms + 7, sum(9_999), Some(Time::from_millis(ms as u64 + 7)));
    }
    ledger
}

fn frame(planned_ms: u64, missing: u64) -> Found {
    Found::Frame { planned: Some(Time::from_millis(planned_ms)), missing, shifted: false }
}

#[test]
fn pictures_are_found_by_content_and_then_sounds_by_time() {
    for offset in [0, -400, 7_200_000] {
        let (mut ledger, mut place) = (ledger(), Place::default());
        assert_eq!(place.find(&mut ledger, Audio, offset + 407, sum(9_999), None), Found::TooEarly);
        assert_eq!(place.find(&mut ledger, Video, offset + 400, sum(10), None), frame(400, 0));
        assert_eq!(place.find(&mut ledger, Audio, offset + 407, sum(9_999), None), frame(407, 0));
        assert_eq!(place.find(&mut ledger, Video, offset + 441, sum(11), None), frame(440, 0), "rounded");
        assert_eq!(place.find(&mut ledger, Audio, offset + 447, sum(9_999), None), frame(447, 0));
    }
}

#[test]
fn what_is_missing_twice_damaged_or_invented_is_told() {
    let (mut ledger, mut place) = (ledger(), Place::default());
    assert_eq!(place.find(&mut ledger, Video, 400, sum(10), None), frame(400, 0));
    assert_eq!(place.find(&mut ledger, Video, 560, sum(14), None), frame(560, 3));
    assert_eq!(place.find(&mut ledger, Video, 560, sum(14), None), Found::Backwards);
    assert_eq!(place.find(&mut ledger, Video, 600, sum(777), None), Found::Damaged);
    assert_eq!(place.find(&mut ledger, Video, 9_000, sum(778), None), Found::Unknown);
    assert_eq!(place.find(&mut ledger, Video, 640, sum(16), None), frame(640, 1), "and it goes on");
}

#[test]
fn a_server_that_shifts_time_is_followed() {
    let (mut ledger, mut place) = (ledger(), Place::default());
    place.find(&mut ledger, Video, 400, sum(10), None);
    let shifted = place.find(&mut ledger, Video, 100_440, sum(11), None);
    assert_eq!(shifted, Found::Frame { planned: Some(Time::from_millis(440)), missing: 0, shifted: true });
    assert_eq!(place.find(&mut ledger, Video, 100_480, sum(12), None), frame(480, 0));
}

#[test]
fn a_clip_that_repeats_is_found_in_its_newest_round() {
    let mut ledger = Ledger::written();
    for n in 0..30_u32 {
        ledger.enter(Video, i64::from(n) * 40, sum(n % 10), Some(Time::from_millis(u64::from(n) * 40)));
    }
    let mut place = Place::default();
    assert_eq!(place.find(&mut ledger, Video, 0, sum(3), None), frame(23 * 40, 0));
    assert_eq!(place.find(&mut ledger, Video, 40, sum(4), None), frame(24 * 40, 0));
}

#[test]
fn viewers_of_a_foreign_stream_are_compared_with_each_other() {
    let mut ledger = Ledger::learned();
    let (mut first, mut second) = (Place::default(), Place::default());
    let planned = Some(Time::from_millis(5));
    let found = |planned| Found::Frame { planned, missing: 0, shifted: false };
    assert_eq!(first.find(&mut ledger, Video, 40, sum(1), planned), found(planned));
    assert_eq!(first.find(&mut ledger, Video, 80, sum(2), None), found(None));
    assert_eq!(first.find(&mut ledger, Video, 120, sum(3), None), found(None));
    assert_eq!(second.find(&mut ledger, Video, 80, sum(2), None), found(None));
    assert_eq!(second.find(&mut ledger, Video, 120, sum(33), None), Found::Damaged);
}

#[test]
fn what_is_between_two_viewers_of_a_stream_that_others_publish_is_no_fault() {
    let mut ledger = Ledger::learned();
    let (mut behind, mut ahead) = (Place::default(), Place::default());
    let found = Found::Frame { planned: None, missing: 0, shifted: false };
    assert_eq!(behind.find(&mut ledger, Video, 40, sum(1), None), found);
    assert_eq!(ahead.find(&mut ledger, Video, 160, sum(4), None), found);
    assert_eq!(behind.find(&mut ledger, Video, 80, sum(2), None), Found::TooEarly);
    assert_eq!(behind.find(&mut ledger, Video, 120, sum(3), None), Found::TooEarly);
    assert_eq!(behind.find(&mut ledger, Video, 160, sum(4), None), found);
    assert_eq!(behind.find(&mut ledger, Video, 0, sum(9), None), Found::TooEarly, "from before the first one");
}

#[test]
fn it_stays_bounded_and_knows_what_is_outstanding() {
    let mut ledger = ledger();
    for n in 100..LEDGER_FRAMES_MAX as u32 + 500 {
        ledger.enter(Video, i64::from(n) * 40, sum(n), Some(Time::from_millis(u64::from(n) * 40)));
    }
    let frames = &ledger.tracks[Video as usize];
    assert_eq!((frames.entries.len(), frames.by_sum.len()), (LEDGER_FRAMES_MAX, LEDGER_FRAMES_MAX));
    let mut place = Place::default();
    assert_eq!(place.find(&mut ledger, Video, 0, sum(3), None), Found::Unknown, "forgotten");
    let newest = LEDGER_FRAMES_MAX as u32 + 499;
    place.find(&mut ledger, Video, i64::from(newest - 3) * 40, sum(newest - 3), None);
    assert_eq!(ledger.outstanding(&place).count(), 3);
}
