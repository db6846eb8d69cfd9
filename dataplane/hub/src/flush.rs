//! When frames that have arrived go out (HOT_PATH: the flush policy moves the cost of delivery by 4x). Asked by
//! [`crate::stream`] after each socket read and when its timer fires.
use std::time::Duration;

use millstream_proto::media::Track;
use millstream_proto::time::Time;

use crate::config::FlushPolicy;

/// Two flushes of `balanced` are at least this far apart, so that 60 fps does not double the sends.
const BALANCED_GAP: Duration = Duration::from_millis(25);
/// Longest wait of a frame under `balanced`.
const BALANCED_WAIT_MAX: Duration = Duration::from_millis(60);
/// Pace of streams without a picture.
const AUDIO_ONLY_PACE: Duration = Duration::from_millis(40);
/// Pace of `dense`.
const DENSE_PACE: Duration = Duration::from_millis(100);
/// Decode times further apart than this say nothing of the frame rate.
const INTERVAL_MS_MAX: i64 = 1_000;

/// The flush clock of one stream.
#[derive(Debug)]
pub struct Flusher {
    policy: FlushPolicy,
    last: Option<Time>,
    /// Arrival of the oldest frame that waits.
    oldest: Option<Time>,
    video_waits: bool,
    video_seen: bool,
    last_video_ms: Option<i64>,
    interval_ms: f32,
}

impl Flusher {
    /// A clock for that policy.
    pub fn new(policy: FlushPolicy) -> Self {
        Self {
            policy,
            last: None,
            oldest: None,
            video_waits: false,
            video_seen: false,
            last_video_ms: None,
            interval_ms: 33.3,
        }
    }

    /// Changes the policy while the stream runs.
    pub fn set_policy(&mut self, policy: FlushPolicy) {
        self.policy = policy;
    }

    /// A frame waits from `now` on.
    pub fn add(&mut self, track: Track, dts_ms: i64, now: Time) {
        self.oldest.get_or_insert(now);
        if track == Track::Video {
            self.video_waits = true;
            self.video_seen = true;
            if let Some(last) = self.last_video_ms.replace(dts_ms) {
                let delta = dts_ms - last;
                if delta > 0 && delta <= INTERVAL_MS_MAX {
                    self.interval_ms += (delta as f32 - self.interval_ms) / 8.0;
                }
            }
        }
    }

    /// When what waits is to go out; at or before `now` means at once. `None`: nothing waits.
    pub fn due(&self) -> Option<Time> {
        let oldest = self.oldest?;
        let paced = |pace| self.last.map_or(oldest, |last| (last + pace).max(oldest));
        Some(match self.policy {
            FlushPolicy::Low => oldest,
            FlushPolicy::Dense => paced(DENSE_PACE),
            FlushPolicy::Balanced if !self.video_seen => paced(AUDIO_ONLY_PACE),
            // A picture that came early, or after a late one, waits until the gap is over and not for the next picture. At higher rates that would
            // be a flush for each gap.
            FlushPolicy::Balanced if self.video_waits && self.interval_ms >= BALANCED_GAP.as_millis() as f32 => {
                paced(BALANCED_GAP)
            }
            FlushPolicy::Balanced => {
                let wait = Duration::from_secs_f32(self.interval_ms * 1.25 / 1000.0).min(BALANCED_WAIT_MAX);
                // Above 40 fps the wait is shorter than the gap.
                self.last.map_or(oldest + wait, |last| (oldest + wait).max(last + BALANCED_GAP))
            }
        })
    }

    /// Whether to flush now that a read has been parsed to its end.
    pub fn after_read(&self, now: Time) -> bool {
        let with_video = self.policy == FlushPolicy::Balanced
            && self.video_waits
            && self.last.is_none_or(|last| now.since(last) >= BALANCED_GAP);
        with_video || self.due().is_some_and(|due| due <= now)
    }

    /// Everything that waited went out.
    pub fn flushed(&mut self, now: Time) {
        self.last = Some(now);
        self.oldest = None;
        self.video_waits = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts flushes in a second of frames given as (track, milliseconds), each its own read, with the timer honoured.
    fn check(
        policy: FlushPolicy,
        frames: &[(Track, u64)],
        expected: std::ops::RangeInclusive<usize>,
        wait_ms_max: u64,
    ) {
        let mut flusher = Flusher::new(policy);
        let (mut count, mut at, mut oldest) = (0, 0, None);
        for &(track, ms) in frames {
            while at < ms {
                at += 1;
                if flusher.due().is_some_and(|due| due <= Time::from_millis(at)) {
                    flusher.flushed(Time::from_millis(at));
                    assert!(at - oldest.take().unwrap_or(at) <= wait_ms_max);
                    count += 1;
                }
            }
            flusher.add(track, ms as i64, Time::from_millis(ms));
            oldest.get_or_insert(ms);
            if flusher.after_read(Time::from_millis(ms)) {
                flusher.flushed(Time::from_millis(ms));
                assert!(ms - oldest.take().unwrap_or(ms) <= wait_ms_max, "{policy:?} at {ms}");
                count += 1;
            }
        }
        assert!(expected.contains(&count), "{policy:?}: {count}");
    }

    fn second(fps: u64, audio: u64) -> Vec<(Track, u64)> {
        let mut frames: Vec<_> = (0..fps).map(|n| (Track::Video, n * 1000 / fps)).collect();
        frames.extend((0..audio).map(|n| (Track::Audio, 7 + n * 1000 / audio)));
        frames.sort_by_key(|&(_, ms)| ms);
        frames
    }

    #[test]
    fn policies_pace_the_sends() {
        check(FlushPolicy::Low, &second(30, 43), 73..=73, 0);
        check(FlushPolicy::Balanced, &second(30, 43), 29..=32, 42);
        check(FlushPolicy::Balanced, &second(60, 43), 28..=36, 42);
        check(FlushPolicy::Balanced, &second(120, 43), 28..=40, 42);
        check(FlushPolicy::Balanced, &second(1000, 43), 28..=40, 42);
        check(FlushPolicy::Balanced, &second(24, 43), 24..=26, 60);
        check(FlushPolicy::Balanced, &second(5, 43), 15..=22, 60);
        check(FlushPolicy::Balanced, &second(0, 43), 22..=25, 41);
        // Every third picture comes ten milliseconds early.
        let early: Vec<_> = (0..30).map(|n| (Track::Video, n * 100 / 3 - if n % 3 == 2 { 10 } else { 0 })).collect();
        check(FlushPolicy::Balanced, &early, 29..=31, 3);
        check(FlushPolicy::Dense, &second(30, 43), 9..=11, 100);
        check(FlushPolicy::Dense, &second(0, 43), 9..=11, 100);
    }
}
