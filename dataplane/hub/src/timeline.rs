//! The output timeline of a stream: starts at 0, never runs backwards within a track, and goes on when a publisher comes back,
//! restarts its stamps, or lets them jump. Between [`crate::stream`] and the tags it packages.
use std::time::Duration;

use millstream_proto::media::Track;
use millstream_proto::time::Time;

/// Stamps further than this from where they should be are a jump, not jitter: audio and video of one encoder are not
/// further apart, and a network that stalls for longer shows in wall time as well.
const JUMP_MS: i64 = 10_000;

/// Maps a publisher's stamps to the stream's.
#[derive(Debug, Default)]
pub struct Timeline {
    /// Added to the publisher's stamps; `None` before the first frame of a publisher.
    offset_ms: Option<i64>,
    newest_ms: i64,
    video_ms: i64,
    audio_ms: i64,
    newest_at: Option<Time>,
    rebases: u64,
}

impl Timeline {
    /// A new publisher's first frame goes on where the last one ended, plus the wall time in between.
    pub fn restart(&mut self) {
        self.offset_ms = None;
    }

    /// The output stamp of a frame with decode time `dts_ms` that arrived at `now`.
    pub fn map(&mut self, track: Track, dts_ms: i64, now: Time) -> i64 {
        let elapsed = self.newest_at.map_or(Duration::ZERO, |at| now.since(at));
        let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX / 4);
        let expected = match self.newest_at {
            None => 0,
            Some(_) => self.newest_ms + elapsed_ms.max(1),
        };
        let offset = match self.offset_ms {
            Some(offset) => {
                let out = dts_ms + offset;
                if out < self.newest_ms - JUMP_MS || out > expected + JUMP_MS {
                    self.rebases += 1;
                    expected - dts_ms
                } else {
                    offset
                }
            }
            None => expected - dts_ms,
        };
        self.offset_ms = Some(offset);
        let last = match track {
            Track::Video => &mut self.video_ms,
            Track::Audio => &mut self.audio_ms,
        };
        *last = (dts_ms + offset).max(*last);
        let out = *last;
        if self.newest_at.is_none() || out >= self.newest_ms {
            self.newest_ms = out;
            self.newest_at = Some(now);
        }
        out
    }

    /// The newest output stamp.
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// How often stamps jumped.
    pub fn rebases(&self) -> u64 {
        self.rebases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Track::{Audio, Video};

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
    fn jumps_by_hours_become_wall_time() {
        let mut timeline = Timeline::default();
        timeline.map(Video, 0, Time::ZERO);
        assert_eq!(timeline.map(Video, 7_200_000, Time::from_millis(33)), 33);
        assert_eq!(timeline.map(Video, 7_200_033, Time::from_millis(66)), 66);
        assert_eq!(timeline.map(Video, 5, Time::from_millis(100)), 100);
        assert_eq!(timeline.rebases(), 2);
    }
}
