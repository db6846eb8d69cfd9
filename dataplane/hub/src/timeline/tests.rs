//! What a timeline makes of stamps as encoders and networks deliver them. Beside [`super`].
use Track::{Audio, Video};

use super::*;

/// A frame on its way: its track, when it was captured, its stamp, and when it arrives, milliseconds.
#[derive(Clone, Copy, Debug)]
struct Sent {
    track: Track,
    captured_ms: i64,
    stamp_ms: i64,
    arrives_ms: i64,
}

/// An encoder of 30 frames and 46.9 packets of audio a second, whose frames arrive 20 ms after their capture.
fn live(seconds: i64) -> Vec<Sent> {
    let sent = |track, captured_ms| Sent { track, captured_ms, stamp_ms: captured_ms, arrives_ms: captured_ms + 20 };
    let video = (0..seconds * 30).map(|n| sent(Video, n * 1_000 / 30));
    let audio = (0..seconds * 47).map(|n| sent(Audio, n * 64 / 3)).filter(|frame| frame.captured_ms < seconds * 1_000);
    let mut frames: Vec<_> = video.chain(audio).collect();
    frames.sort_by_key(|frame| frame.captured_ms);
    frames
}

/// Maps frames in the order in which they are sent: one that is late holds up those behind it.
fn map(timeline: &mut Timeline, frames: &[Sent]) -> Vec<(Sent, i64)> {
    let mut now = Time::ZERO;
    let mut mapped = |frame: &Sent| {
        now = now.max(Time::from_millis(1_000_000 + frame.arrives_ms.unsigned_abs()));
        (*frame, timeline.map(frame.track, frame.stamp_ms, now))
    };
    frames.iter().map(&mut mapped).collect()
}

/// The longest and the shortest step of a track's output.
fn steps(mapped: &[(Sent, i64)], track: Track) -> (i64, i64) {
    let out: Vec<_> = mapped.iter().filter(|(frame, _)| frame.track == track).map(|(_, out)| *out).collect();
    let steps = || out.windows(2).map(|pair| pair[1] - pair[0]);
    (steps().max().unwrap_or(0), steps().min().unwrap_or(0))
}

/// How much the tracks differ in the time from capture to output, over all frames.
fn sync_error_ms(mapped: &[(Sent, i64)]) -> i64 {
    let mut delays = [None; 2];
    let mut worst = 0;
    for (frame, out) in mapped {
        delays[usize::from(frame.track == Audio)] = Some(out - frame.captured_ms);
        if let [Some(video), Some(audio)] = delays {
            worst = worst.max((video - audio).abs());
        }
    }
    worst
}

/// Frames are taken as they are stamped.
fn check_kept(what: &str, frames: &[Sent]) {
    let mut timeline = Timeline::default();
    let mapped = map(&mut timeline, frames);
    let (first, first_out) = mapped[0];
    for (frame, out) in &mapped {
        let expected = (frame.stamp_ms - first.stamp_ms + first_out).max(0);
        assert_eq!(*out, expected, "{what}: {frame:?}");
    }
    assert_eq!(timeline.rebases(), 0, "{what}");
}

/// Shifts the stamps of the tracks from that capture time on.
fn jump(frames: &mut [Sent], tracks: &[Track], from_ms: i64, by_ms: i64) {
    for frame in frames.iter_mut().filter(|frame| frame.captured_ms >= from_ms && tracks.contains(&frame.track)) {
        frame.stamp_ms += by_ms;
    }
}

#[test]
fn case_46_a_jump_is_seamless_and_keeps_picture_and_sound_together() {
    let sizes = [5_000, 1_500, -8_000, -1_500, 700, -700, 12_000, 7_200_000, -7_200_000, 0x7000_0000];
    for tracks in [&[Video, Audio][..], &[Audio], &[Video]] {
        for by_ms in sizes {
            // At each phase of the two tracks against each other.
            for from_ms in 8_000..8_100 {
                let mut frames = live(12);
                jump(&mut frames, tracks, from_ms, by_ms);
                let mut timeline = Timeline::default();
                let mapped = map(&mut timeline, &frames);
                let what = format!("{tracks:?} by {by_ms} at {from_ms}");
                for (track, usual) in [(Video, 34), (Audio, 22)] {
                    let (longest, shortest) = steps(&mapped, track);
                    assert!(longest <= usual + 15 && shortest >= 1, "{what}: {track:?} {longest} {shortest}");
                }
                assert!(sync_error_ms(&mapped) <= 22, "{what}: {}", sync_error_ms(&mapped));
                assert_eq!(timeline.rebases(), 1, "{what}");
            }
        }
    }
}

#[test]
fn case_46_stamps_that_begin_again_at_zero_go_on() {
    for tracks in [&[Video, Audio][..], &[Audio], &[Video]] {
        let mut frames = live(20);
        for frame in frames.iter_mut().filter(|frame| frame.captured_ms >= 8_000) {
            if tracks.contains(&frame.track) {
                frame.stamp_ms -= if frame.track == Video { 8_000 } else { 8_000 - 8_000 % 21 };
            }
        }
        let mapped = map(&mut Timeline::default(), &frames);
        assert!(steps(&mapped, Video).0 <= 45 && steps(&mapped, Audio).0 <= 45, "{tracks:?}");
        assert!(sync_error_ms(&mapped) <= 33, "{tracks:?}: {}", sync_error_ms(&mapped));
    }
}

#[test]
fn a_single_wild_stamp_changes_nothing_after_it() {
    for by_ms in [5_000, -5_000, 0x7FFF_0000] {
        let mut frames = live(12);
        let at = frames.iter().position(|frame| frame.captured_ms >= 6_000 && frame.track == Video).unwrap();
        frames[at].stamp_ms += by_ms;
        let mut timeline = Timeline::default();
        let mapped = map(&mut timeline, &frames);
        assert_eq!(sync_error_ms(&mapped[at + 10..]), 0, "{by_ms}");
        assert!(steps(&mapped, Video).0 <= 36, "{by_ms}: {:?}", steps(&mapped, Video));
        assert_eq!(timeline.rebases(), 2);
    }
}

#[test]
fn tracks_that_jump_on_their_own_find_each_other_again() {
    let mut frames = live(30);
    jump(&mut frames, &[Audio], 8_000, 5_000);
    jump(&mut frames, &[Video, Audio], 15_000, 3_000);
    jump(&mut frames, &[Audio], 20_000, -5_000);
    let mapped = map(&mut Timeline::default(), &frames);
    assert!(sync_error_ms(&mapped) <= 22, "{}", sync_error_ms(&mapped));
    let last = mapped.len() - 200;
    assert!(sync_error_ms(&mapped[last..]) <= 1, "back on one clock: {}", sync_error_ms(&mapped[last..]));
}

#[test]
fn a_jump_of_a_slow_picture_is_that_of_its_sound() {
    // One picture a second: its step is longer than that of the audio by more than the jump.
    let mut frames: Vec<_> =
        live(30).into_iter().filter(|frame| frame.track == Audio || frame.captured_ms % 1_000 == 0).collect();
    jump(&mut frames, &[Video, Audio], 12_500, 700);
    let mapped = map(&mut Timeline::default(), &frames);
    assert!(sync_error_ms(&mapped[mapped.len() - 400..]) <= 22);
}

#[test]
fn a_burst_after_a_stall_of_the_network_is_no_jump() {
    for (fps, stall_ms) in [(30, 3_000), (30, 8_000), (2, 3_000), (1, 5_000)] {
        let mut frames: Vec<_> = live(30)
            .into_iter()
            .filter(|frame| frame.track == Audio || frame.captured_ms * fps % 1_000 < 33 * fps)
            .collect();
        for frame in &mut frames {
            if (10_000..10_000 + stall_ms).contains(&frame.arrives_ms) {
                frame.arrives_ms = 10_000 + stall_ms;
            }
        }
        check_kept(&format!("{fps} pictures a second, {stall_ms} ms"), &frames);
    }
}

#[test]
fn pictures_that_a_congested_encoder_left_out_are_no_jump() {
    // From 10 s on all is 2 s late; frames of 14 to 16 s are dropped, and all is in time again.
    let mut frames = live(30);
    frames.retain(|frame| frame.track == Audio || !(14_000..16_000).contains(&frame.captured_ms));
    for frame in &mut frames {
        if (4_000..14_000).contains(&frame.captured_ms) {
            frame.arrives_ms += 2_000;
        } else if (14_000..16_000).contains(&frame.captured_ms) {
            frame.arrives_ms = 16_000 + (frame.captured_ms - 14_000) / 100;
        }
    }
    check_kept("congestion", &frames);
}

#[test]
fn a_file_pushed_as_fast_as_it_goes_is_no_jump() {
    for speed in [2, 10, 1_000] {
        let mut frames = live(120);
        for frame in &mut frames {
            frame.arrives_ms /= speed;
        }
        check_kept(&format!("{speed} times"), &frames);
        // With a pause in it that is shorter than ten seconds.
        jump(&mut frames, &[Video, Audio], 60_000, 6_000);
        check_kept(&format!("{speed} times, with a pause"), &frames);
    }
}

#[test]
fn a_burst_of_what_a_relay_has_kept_is_no_jump() {
    let mut frames = live(30);
    for frame in &mut frames {
        frame.arrives_ms = (frame.captured_ms - 6_000).max(frame.captured_ms / 500);
    }
    check_kept("start-up burst", &frames);
}

#[test]
fn sound_may_begin_late() {
    for late_ms in [2_000, 60_000] {
        let mut frames = live(70);
        frames.retain(|frame| frame.track == Video || frame.captured_ms >= late_ms);
        check_kept(&format!("{late_ms} ms late"), &frames);
    }
}

#[test]
fn sound_with_a_clock_of_its_own_begins_where_the_picture_is() {
    for offset_ms in [1_000_000_000, -1_000_000_000, 5_000] {
        let mut frames = live(10);
        jump(&mut frames, &[Audio], 0, offset_ms);
        let mut timeline = Timeline::default();
        let mapped = map(&mut timeline, &frames);
        assert!(sync_error_ms(&mapped) <= 1, "{offset_ms}: {}", sync_error_ms(&mapped));
        assert_eq!(timeline.rebases(), 0, "its stamps did not jump");
    }
}

#[test]
fn presentation_times_as_stamps_are_disorder() {
    // Three B-frames at 25 a second, stamped with presentation times.
    let order = [0, 4, 2, 1, 3];
    let mut timeline = Timeline::default();
    for n in 0..500_i64 {
        let group = n / 5 * 5;
        let stamp_ms = (group + order[(n % 5) as usize]) * 40;
        timeline.map(Video, stamp_ms, Time::from_millis(n.unsigned_abs() * 40));
    }
    assert_eq!(timeline.rebases(), 0);
    assert!(timeline.newest_ms() >= 498 * 40);
}

#[test]
fn decode_times_of_b_frames_and_sound_that_leads_are_kept() {
    for lead_ms in [500, -500, 900] {
        let mut frames = live(20);
        for frame in frames.iter_mut().filter(|frame| frame.track == Audio) {
            frame.stamp_ms += lead_ms;
        }
        jump(&mut frames, &[Video, Audio], 0, 2_000);
        let mut timeline = Timeline::default();
        let mapped = map(&mut timeline, &frames);
        let settled = &mapped[200..];
        assert!(settled.iter().all(|(frame, out)| *out == frame.stamp_ms - 2_000), "{lead_ms}");
        assert_eq!(timeline.rebases(), 0);
    }
}

#[test]
fn a_jump_under_sound_that_leads_is_seamless() {
    let mut frames = live(20);
    jump(&mut frames, &[Audio], 0, 500);
    jump(&mut frames, &[Video, Audio], 9_000, 1_500);
    let mut timeline = Timeline::default();
    let mapped = map(&mut timeline, &frames);
    assert!(steps(&mapped, Video).0 <= 49 && steps(&mapped, Audio).0 <= 37);
    assert_eq!(timeline.rebases(), 1);
}

#[test]
fn a_screen_that_seldom_changes_is_kept() {
    for jitter_ms in [0, 400] {
        let mut at_ms = 0;
        let mut frames = Vec::new();
        for (n, step_ms) in [5_000, 60_000, 40, 40, 60_000, 33, 17_000, 5_000, 61_000, 33].into_iter().enumerate() {
            at_ms += step_ms;
            let arrives_ms = at_ms + (n as i64 % 2) * jitter_ms;
            frames.push(Sent { track: Video, captured_ms: at_ms, stamp_ms: at_ms, arrives_ms });
        }
        check_kept("screen", &frames);
    }
}

#[test]
fn silence_that_is_not_sent_is_kept() {
    let mut frames = live(40);
    frames.retain(|frame| frame.track == Video || frame.captured_ms / 1_000 % 5 != 3);
    check_kept("discontinuous transmission", &frames);
}

#[test]
fn stamps_that_go_on_after_a_sleep_go_on() {
    let mut frames = live(60);
    frames.iter_mut().filter(|frame| frame.captured_ms >= 10_000).for_each(|frame| frame.arrives_ms += 30_000);
    check_kept("sleep", &frames);
    // And once it is the usual state of affairs, jumps are seen again.
    jump(&mut frames, &[Video, Audio], 30_000, 5_000);
    let mut timeline = Timeline::default();
    let mapped = map(&mut timeline, &frames);
    assert!(steps(&mapped, Video).0 <= 49 && timeline.rebases() == 1);
}

#[test]
fn a_clock_that_begins_again_after_a_pause_leaves_the_pause() {
    let mut frames = live(20);
    jump(&mut frames, &[Video, Audio], 10_000, -10_000);
    frames.iter_mut().filter(|frame| frame.captured_ms >= 10_000).for_each(|frame| frame.arrives_ms += 4_000);
    let mut timeline = Timeline::default();
    let mapped = map(&mut timeline, &frames);
    let longest = steps(&mapped, Video).0;
    assert!((3_900..=4_100).contains(&longest), "{longest}");
    assert!(sync_error_ms(&mapped[mapped.len() - 300..]) <= 33);
}

#[test]
fn stamps_that_creep_backwards_do_not_stand_still_for_good() {
    let mut timeline = Timeline::default();
    let out: Vec<_> =
        (0..100).map(|n| timeline.map(Video, -n * 100, Time::from_millis(n.unsigned_abs() * 33))).collect();
    assert!(out[99] > 700, "{out:?}");
    assert!(out.is_sorted());
}

#[test]
fn starts_at_zero_and_keeps_distances() {
    let mut timeline = Timeline::default();
    assert_eq!(timeline.map(Video, 0xFFFF_F000, Time::ZERO), 0);
    assert_eq!(timeline.map(Audio, 0xFFFF_F000 + 10, Time::ZERO), 10);
    assert_eq!(timeline.map(Video, 0x1_0000_0000, Time::from_millis(4096)), 4096);
    assert_eq!(timeline.rebases(), 0);
}

#[test]
fn never_backwards_within_a_track() {
    let mut timeline = Timeline::default();
    timeline.map(Video, 100, Time::ZERO);
    timeline.map(Video, 140, Time::from_millis(40));
    assert_eq!(timeline.map(Video, 120, Time::from_millis(50)), 40);
    assert_eq!(timeline.map(Audio, 120, Time::from_millis(50)), 20);
}

#[test]
fn goes_on_after_a_return() {
    let mut timeline = Timeline::default();
    timeline.map(Video, 0, Time::ZERO);
    timeline.map(Video, 1000, Time::from_millis(1000));
    timeline.restart();
    assert_eq!(timeline.map(Video, 777_000, Time::from_millis(4000)), 4000);
    assert_eq!(timeline.map(Video, 777_033, Time::from_millis(4033)), 4033);
}

#[test]
fn jumps_by_hours_are_one_step() {
    let mut timeline = Timeline::default();
    timeline.map(Video, 0, Time::ZERO);
    assert_eq!(timeline.map(Video, 7_200_000, Time::from_millis(33)), 33);
    assert_eq!(timeline.map(Video, 7_200_033, Time::from_millis(66)), 66);
    assert_eq!(timeline.map(Video, 5, Time::from_millis(100)), 99);
    assert_eq!(timeline.rebases(), 2);
}
