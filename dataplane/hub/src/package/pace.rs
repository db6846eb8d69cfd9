//! The lengths that a playlist promises once and keeps: how long its segments and parts are. Asked by [`super::packager`] and
//! [`super::track`] before the first playlist is there.
use std::time::Duration;

/// A part may be longer than asked for by this much, so that ten frames of 29.97 fps, whose stamps are rounded, fit into 333 ms.
const PART_SLACK_MS: u32 = 2;
/// Every part but a segment's last has at least this share of its target, percent (RFC 8216bis 4.4.4.9 asks for 85).
const PART_PERCENT_MIN: u64 = 86;
/// A segment may be longer than `EXT-X-TARGETDURATION` by this much: rounded, it is that.
const ROUNDED_OFF_US: u64 = 450_000;
/// A keyframe this much before its time ends a segment as well, percent of the segment: encoders' stamps are rounded.
const EARLY_PERCENT: u64 = 5;
/// What is too short for a part at a segment's end goes to the next segment: at most this share of a part, percent, and so much. It is a little
/// more than half of the longest part.
const CARRY_PERCENT: u64 = 76;
const CARRY_US_MAX: u64 = 400_000;
/// A stream of frames that are further apart than a segment is to be long has segments of one picture each, up to this distance; its
/// promises have room for some jitter, percent.
const APART_US_MAX: u64 = 10_000_000;
const APART_PERCENT: u64 = 110;
/// Parts of so few frames have the same room.
const FEW_FRAMES: u64 = 2;
/// A frame that lasts this share of a part, percent, is one: two of them would be too long, and an odd number of them in a segment would
/// leave one over.
const ONE_FRAME_PERCENT: u64 = 55;
/// Where parts of the configured length would leave a splinter at the end of each segment, they may be longer by this, percent.
const LONGER_PERCENT_MAX: u64 = 150;

/// Lengths of a stream's segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentPace {
    /// `EXT-X-TARGETDURATION`, seconds.
    pub(crate) target_s: u32,
    /// A segment ends at the first keyframe from here on, microseconds.
    pub(crate) ready_us: u64,
    /// No segment is longer, microseconds.
    pub(crate) most_us: u64,
    /// How much longer a segment may get by what the one before it left over, microseconds.
    pub(crate) carry_us: u64,
}

impl SegmentPace {
    /// For these lengths of segments and parts, and the longest distances of keyframes and of frames seen so far. Where these do not fit a segment of the
    /// configured length, segments are somewhat longer; where that would double them, they end between keyframes.
    pub(crate) fn choose(segment: Duration, part: Duration, gop: Option<Duration>, step: Option<Duration>) -> Self {
        let segment_us = us(segment).max(1);
        let carry_us = (us(part) * CARRY_PERCENT / 100).min(CARRY_US_MAX);
        let early_us = segment_us * EARLY_PERCENT / 100;
        let fitting_us = match gop.map(us) {
            Some(gop_us @ 1..) => (segment_us - early_us).div_ceil(gop_us) * gop_us,
            _ => segment_us,
        };
        let apart_us = step.map_or(0, us).min(APART_US_MAX);
        let long_us = match fitting_us {
            _ if apart_us > segment_us => apart_us * APART_PERCENT / 100,
            fitting_us if fitting_us <= 2 * segment_us => fitting_us.max(segment_us),
            _ => segment_us,
        };
        // A part may be as long as a picture and some jitter, and no longer than this.
        let part_us = apart_us * APART_PERCENT / 100;
        let least_us = (long_us + carry_us).saturating_sub(ROUNDED_OFF_US).max(part_us);
        let target_s = u32::try_from(least_us.div_ceil(1_000_000).max(1)).unwrap_or(u32::MAX);
        let most_us = u64::from(target_s) * 1_000_000 + ROUNDED_OFF_US;
        Self { target_s, ready_us: segment_us - early_us, most_us, carry_us }
    }

    /// A segment ends between keyframes rather than to be longer, microseconds: the next one may begin with what this one leaves over.
    pub(crate) fn lead_us(&self) -> u64 {
        self.most_us - self.carry_us
    }
}

/// The `PART-TARGET` in milliseconds for frames of this length, at most `most_ms`: the configured one where a whole number of frames nearly
/// fills it, else one frame more. Where segments of `segment_us` would end with a splinter, one whose parts come out even.
pub(crate) fn part_target_ms(part: Duration, frame_us: u64, segment_us: Option<u64>, most_ms: u32) -> u32 {
    let asked_ms = u32::try_from(part.as_millis()).unwrap_or(u32::MAX).saturating_add(PART_SLACK_MS).min(most_ms);
    let (room_us, frame_us) = (u64::from(asked_ms) * 1_000, frame_us.max(1));
    let fits = |frames: u64, target_ms: u32| frames * frame_us * 100 >= u64::from(target_ms) * 1_000 * PART_PERCENT_MIN;
    let around = |frames: u64| {
        let ms = (frames * frame_us).div_ceil(1_000);
        u32::try_from(ms).unwrap_or(u32::MAX).saturating_add(PART_SLACK_MS).min(most_ms)
    };
    let mut frames = room_us / frame_us;
    let mut target_ms = asked_ms;
    if frames == 1 && frame_us * 100 >= room_us * ONE_FRAME_PERCENT {
        target_ms = around(1);
    } else if !fits(frames, asked_ms) {
        frames += 1;
        target_ms = around(frames);
    }
    if frames <= FEW_FRAMES {
        let roomy_ms = (frames * frame_us * APART_PERCENT / 100).div_ceil(1_000);
        target_ms = target_ms.max(u32::try_from(roomy_ms).unwrap_or(u32::MAX).min(most_ms));
    }
    let total = segment_us.map_or(0, |us| (us + frame_us / 2) / frame_us);
    let rest_us = total % frames * frame_us;
    if rest_us == 0 || rest_us * 2 >= u64::from(target_ms) * 1_000 {
        return target_ms;
    }
    let parts = total / frames;
    let even = [parts + 1, parts, parts + 2, parts.saturating_sub(1)].into_iter().filter(|parts| *parts > 0).find_map(
        |parts| {
            let target_ms = around(total.div_ceil(parts));
            let within = u64::from(target_ms) * 100 <= u64::from(asked_ms) * LONGER_PERCENT_MAX;
            (within && fits(total / parts, target_ms)).then_some(target_ms)
        },
    );
    even.unwrap_or(target_ms)
}

/// The least length of a part that is not its segment's last. Playlists tell it in whole milliseconds, which may be one less.
pub(crate) fn part_least_us(target_ms: u32) -> u64 {
    let share_us = u64::from(target_ms) * 10 * PART_PERCENT_MIN;
    share_us.div_ceil(1_000) * 1_000
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Duration = Duration::from_millis(333);

    #[test]
    fn parts_fit_usual_frame_rates() {
        for (rate, expected) in [
            (23.976, 335),
            (24.0, 335),
            (25.0, 335),
            (29.97, 335),
            (30.0, 335),
            (50.0, 335),
            (59.94, 335),
            (60.0, 335),
            (15.0, 335),
            (10.0, 335),
            (44_100.0 / 1024.0, 335),
            (48_000.0 / 1024.0, 335),
            (50.0 / 3.0, 335),
            (8.0, 377),
            (5.4, 204),
            (5.0, 220),
            (4.0, 275),
            (3.0, 367),
            (2.0, 550),
            (8_000.0 / 1024.0, 386),
        ] {
            let frame_us = (1e6_f64 / rate).round() as u64;
            let target_ms = part_target_ms(Duration::from_millis(333), frame_us, None, 2_000);
            assert_eq!(target_ms, expected, "{rate} frames per second");
            let whole = u64::from(target_ms) * 1_000 / frame_us * frame_us;
            assert!(whole * 100 >= u64::from(target_ms) * 1_000 * 85, "{rate} frames per second");
        }
        assert_eq!(part_target_ms(Duration::from_millis(333), 5_000_000, None, 2_000), 2_000);
    }

    #[test]
    fn case_33_parts_of_a_regular_segment_come_out_even() {
        for (rate, segment_ms, expected) in [
            (30.0, 2_000, 335),
            (25.0, 2_000, 322),
            (24.0, 2_000, 335),
            (50.0, 2_000, 302),
            (29.97, 2_002, 335),
            (25.0, 1_000, 362),
            (15.0, 2_000, 335),
            (12.5, 2_000, 402),
            (12.0, 2_000, 335),
        ] {
            let (frame_us, segment_us) = ((1e6_f64 / rate).round() as u64, segment_ms * 1_000);
            let target_ms = part_target_ms(Duration::from_millis(333), frame_us, Some(segment_us), 2_000);
            assert_eq!(target_ms, expected, "{rate} frames per second");
            let (total, most) = ((segment_us + frame_us / 2) / frame_us, u64::from(target_ms) * 1_000 / frame_us);
            let parts = total.div_ceil(most);
            let shortest_us = total / parts * frame_us;
            let whole = total % most == 0 || total % most * frame_us * 2 >= u64::from(target_ms) * 1_000;
            assert!(whole || shortest_us * 100 >= u64::from(target_ms) * 85_000, "{rate} frames per second");
        }
    }

    #[test]
    fn case_23_the_target_duration_fits_the_keyframes() {
        let check = |gop_ms: Option<u64>, target_s: u32| {
            let pace = SegmentPace::choose(Duration::from_secs(2), PART, gop_ms.map(Duration::from_millis), None);
            assert_eq!((pace.target_s, pace.ready_us), (target_s, 1_900_000), "{gop_ms:?}");
            assert!((pace.most_us + 500_000) / 1_000_000 == u64::from(target_s));
        };
        check(None, 2);
        check(Some(500), 2);
        check(Some(2_000), 2);
        check(Some(2_002), 2);
        check(Some(1_500), 3);
        check(Some(3_000), 3);
        check(Some(4_000), 4);
        check(Some(10_000), 2);
        check(Some(60_000), 2);
        assert_eq!(SegmentPace::choose(Duration::from_millis(500), PART, None, None).target_s, 1);
        assert_eq!(SegmentPace::choose(Duration::from_mins(10), PART, None, None).target_s, 600);
    }
}
