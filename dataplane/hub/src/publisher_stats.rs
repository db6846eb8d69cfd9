//! How a publisher is doing: rates, keyframes, gaps and jitter, from what is counted as its frames arrive. Kept by
//! [`crate::stream`], one per publisher and none per viewer; shown by the engine when somebody asks.
use std::time::Duration;

use millstream_proto::codec::Summary;
use millstream_proto::media::{Codec, CodecConfig, Frame, Track};
use millstream_proto::time::Time;

/// Rates are those of the last whole stretch of at least this length.
const STRETCH: Duration = Duration::from_secs(1);
/// A rate older than this says nothing: what has arrived since then counts.
const STALE_AFTER: Duration = Duration::from_secs(3);
/// Nothing for this long is a gap: viewers without a buffer notice.
const GAP: Duration = Duration::from_secs(1);
/// Timestamps that are further apart than this say nothing of jitter.
const JITTER_STEP_MS_MAX: i64 = 10_000;

/// What a track is coded with, as far as it has said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coding {
    /// The codec.
    pub codec: Codec,
    /// What its configuration says; `None` where it has none, or it cannot be read.
    pub summary: Option<Summary>,
}

/// Key frames that are further apart than this are told of, milliseconds: segments of HLS and DASH are as long.
const SPARSE_KEYFRAMES_MS: i64 = 5_000;

/// A picture that is to be shown longer before one that came earlier is no B-frame, but stamps that jumped.
const REORDER_MS_MAX: i64 = 2_000;

/// Counters of one publisher.
#[derive(Debug)]
pub struct PublisherStats {
    since: Time,
    heard: Time,
    bytes: u64,
    video: Option<Coding>,
    audio: Option<Coding>,
    video_frames: u64,
    audio_frames: u64,
    /// Where the stretch that is being counted began, and the counters then.
    stretch: (Time, u64, u64),
    /// Bits and frames per second of the last whole stretch.
    rates: (f64, f64),
    gaps: u64,
    longest_gap: Duration,
    /// The last frame that jitter was told of: decode time and arrival.
    last: Option<(Track, i64, Time)>,
    jitter_ms: f64,
    last_keyframe_ms: Option<i64>,
    keyframe_interval_ms: Option<i64>,
    /// When the open GOP's keyframe came, and how long the last whole GOP was.
    keyframe_at: Time,
    whole_gop_ms: i64,
    /// The highest presentation time of the open GOP.
    shown_ms: i64,
    reordered_frames: u64,
}

/// A look at [`PublisherStats`].
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// Since when it publishes.
    pub since: Time,
    /// The picture.
    pub video: Option<Coding>,
    /// The audio.
    pub audio: Option<Coding>,
    /// Bytes of media.
    pub bytes: u64,
    /// Frames.
    pub video_frames: u64,
    /// Packets of audio.
    pub audio_frames: u64,
    /// Bits of media per second, of late.
    pub bitrate_bps: f64,
    /// Frames per second, of late.
    pub fps: f64,
    /// Decode time between the last two keyframes, milliseconds.
    pub keyframe_interval_ms: Option<u64>,
    /// The open GOP, or the last whole one where that was longer, milliseconds: by decode times, and no longer than it took to arrive, so that stamps
    /// that jump make none long.
    pub gop_ms: Option<u64>,
    /// Pictures that are shown before one that came earlier.
    pub reordered_frames: u64,
    /// How often nothing arrived for a second or longer.
    pub gaps: u64,
    /// The longest time without a frame, up to now.
    pub longest_gap: Duration,
    /// How much arrivals differ from decode times, milliseconds (RFC 3550, 6.4.1).
    pub jitter_ms: f64,
    /// How long ago it sent a frame, or was admitted.
    pub heard_ago: Duration,
}

impl PublisherStats {
    /// Since when it publishes, where no frame has come.
    pub(crate) fn without_frames_since(&self) -> Option<Time> {
        (self.video_frames + self.audio_frames == 0).then_some(self.since)
    }

    /// Of a publisher that begins now.
    pub fn new(now: Time) -> Self {
        Self {
            since: now,
            heard: now,
            bytes: 0,
            video: None,
            audio: None,
            video_frames: 0,
            audio_frames: 0,
            stretch: (now, 0, 0),
            rates: (0.0, 0.0),
            gaps: 0,
            longest_gap: Duration::ZERO,
            last: None,
            jitter_ms: 0.0,
            last_keyframe_ms: None,
            keyframe_interval_ms: None,
            keyframe_at: now,
            whole_gop_ms: 0,
            shown_ms: 0,
            reordered_frames: 0,
        }
    }

    /// A track's configuration came.
    pub(crate) fn configured(&mut self, config: &CodecConfig) {
        let coding = Some(Coding { codec: config.codec, summary: config.summary() });
        match config.track {
            Track::Video => self.video = coding,
            Track::Audio => self.audio = coding,
        }
    }

    /// A frame came. True: it is a key frame, and they are far apart.
    pub(crate) fn frame(&mut self, frame: &Frame, now: Time) -> bool {
        let mut sparse = false;
        let (track, dts_ms) = (frame.track, frame.dts_ms);
        let silence = now.since(self.heard);
        self.heard = now;
        self.longest_gap = self.longest_gap.max(silence);
        self.gaps += u64::from(silence >= GAP);
        self.bytes += frame.body.len() as u64;
        let coding = match track {
            Track::Video => {
                self.video_frames += 1;
                let shown_ms = dts_ms + i64::from(frame.cts_ms);
                if frame.keyframe {
                    self.whole_gop_ms = self.gop_until(dts_ms, now).unwrap_or(0);
                    (self.keyframe_at, self.shown_ms) = (now, shown_ms);
                    let before = self.last_keyframe_ms.replace(dts_ms);
                    let interval_ms = before.map(|before| dts_ms - before);
                    // Two in a row: one alone may be a jump of the clock.
                    let is_long = |ms: Option<i64>| ms.is_some_and(|ms| ms > SPARSE_KEYFRAMES_MS);
                    sparse = is_long(interval_ms) && is_long(self.keyframe_interval_ms);
                    self.keyframe_interval_ms = interval_ms;
                } else if (1..=REORDER_MS_MAX).contains(&(self.shown_ms - shown_ms)) {
                    self.reordered_frames += 1;
                } else {
                    self.shown_ms = shown_ms;
                }
                &mut self.video
            }
            Track::Audio => {
                self.audio_frames += 1;
                &mut self.audio
            }
        };
        if coding.is_none() {
            *coding = Some(Coding { codec: frame.codec, summary: None });
        }
        self.jitter(track, dts_ms, now);
        let (began, bytes, pictures) = self.stretch;
        let lasted = now.since(began);
        if lasted >= STRETCH {
            self.rates = rates(lasted, self.bytes - bytes, self.video_frames - pictures);
            self.stretch = (now, self.bytes, self.video_frames);
        }
        sparse
    }

    /// How long the open GOP is at a picture that came then.
    fn gop_until(&self, dts_ms: i64, at: Time) -> Option<i64> {
        let arriving_ms = i64::try_from(at.since(self.keyframe_at).as_millis()).unwrap_or(i64::MAX);
        Some((dts_ms - self.last_keyframe_ms?).clamp(0, arriving_ms))
    }

    /// The picture's frames tell the jitter; the audio's do where there is no picture.
    fn jitter(&mut self, track: Track, dts_ms: i64, now: Time) {
        if track == Track::Audio && self.video_frames > 0 {
            return;
        }
        if let Some((last_track, last_ms, at)) = self.last.replace((track, dts_ms, now))
            && last_track == track
            && (dts_ms - last_ms).abs() <= JITTER_STEP_MS_MAX
        {
            let jitter_ms = (now.since(at).as_secs_f64() * 1e3 - (dts_ms - last_ms) as f64).abs();
            self.jitter_ms += (jitter_ms - self.jitter_ms) / 16.0;
        }
    }

    /// Bytes of media so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Since when it publishes.
    pub fn since(&self) -> Time {
        self.since
    }

    /// What they say now.
    pub fn read(&self, now: Time) -> Reading {
        let (began, bytes, pictures) = self.stretch;
        let lasted = now.since(began);
        let first = began == self.since && !lasted.is_zero();
        let (bits, fps) = if first || lasted >= STALE_AFTER {
            rates(lasted, self.bytes - bytes, self.video_frames - pictures)
        } else {
            self.rates
        };
        let heard_ago = now.since(self.heard);
        let open_gop_ms = self.last.filter(|(track, ..)| *track == Track::Video);
        let open_gop_ms = open_gop_ms.and_then(|(_, dts_ms, at)| self.gop_until(dts_ms, at));
        Reading {
            since: self.since,
            video: self.video.clone(),
            audio: self.audio.clone(),
            bytes: self.bytes,
            video_frames: self.video_frames,
            audio_frames: self.audio_frames,
            bitrate_bps: bits,
            fps,
            keyframe_interval_ms: self.keyframe_interval_ms.and_then(|ms| u64::try_from(ms).ok()),
            gop_ms: open_gop_ms.map(|ms| ms.max(self.whole_gop_ms).unsigned_abs()),
            reordered_frames: self.reordered_frames,
            gaps: self.gaps + u64::from(heard_ago >= GAP),
            longest_gap: self.longest_gap.max(heard_ago),
            jitter_ms: self.jitter_ms,
            heard_ago,
        }
    }
}

fn rates(lasted: Duration, bytes: u64, pictures: u64) -> (f64, f64) {
    let seconds = lasted.as_secs_f64();
    (bytes as f64 * 8.0 / seconds, pictures as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(track: Track, dts_ms: i64, keyframe: bool, bytes: usize) -> Frame {
        let codec = if track == Track::Video { Codec::Avc } else { Codec::Aac };
        let body = Bytes::from(vec![0; bytes]);
        Frame { track, codec, dts_ms, cts_ms: 0, keyframe, body, data_at: 0 }
    }

    /// Ten seconds of 25 frames of 10,000 bytes and 50 packets of 200 bytes a second, a keyframe every two, each arriving `late`
    /// milliseconds after its time.
    fn ten_seconds(late_ms: impl Fn(u64) -> u64) -> PublisherStats {
        let mut publisher_stats = PublisherStats::new(Time::from_millis(1000));
        for n in 0..500_u64 {
            let at = Time::from_millis(1000 + n * 20 + late_ms(n));
            publisher_stats.frame(&frame(Track::Audio, n as i64 * 20, true, 200), at);
            if n % 2 == 0 {
                publisher_stats.frame(&frame(Track::Video, n as i64 * 20, n % 100 == 0, 10_000), at);
            }
        }
        publisher_stats
    }

    #[test]
    fn rates_of_a_steady_publisher() {
        let reading = ten_seconds(|_| 0).read(Time::from_millis(11_000));
        let near = |value: f64, expected: f64| (value - expected).abs() < expected * 0.05;
        assert!(near(reading.bitrate_bps, 8.0 * (25.0 * 10_000.0 + 50.0 * 200.0)), "{reading:?}");
        assert!(near(reading.fps, 25.0), "{reading:?}");
        assert_eq!((reading.video_frames, reading.audio_frames, reading.keyframe_interval_ms), (250, 500, Some(2000)));
        assert_eq!((reading.gaps, reading.jitter_ms), (0, 0.0));
        assert_eq!(reading.video.map(|coding| coding.codec), Some(Codec::Avc));
        assert_eq!(reading.heard_ago, Duration::from_millis(20));
    }

    #[test]
    fn jitter_is_what_arrivals_vary_by() {
        // Every other picture is 10 ms late, so that each step is 10 ms off.
        let reading = ten_seconds(|n| if n % 4 == 0 { 10 } else { 0 }).read(Time::from_millis(11_000));
        assert!((9.0..=10.0).contains(&reading.jitter_ms), "{reading:?}");
    }

    #[test]
    fn a_gop_is_as_long_as_it_is_and_arrives() {
        let mut publisher_stats = PublisherStats::new(Time::from_millis(1000));
        assert_eq!(publisher_stats.read(Time::from_millis(1000)).gop_ms, None);
        let mut push = |at_ms: u64, dts_ms: i64, keyframe: bool| {
            publisher_stats.frame(&frame(Track::Video, dts_ms, keyframe, 100), Time::from_millis(at_ms));
            publisher_stats.read(Time::from_millis(at_ms)).gop_ms
        };
        assert_eq!(push(1000, 0, true), Some(0));
        assert_eq!(push(7000, 6000, false), Some(6000), "it is open");
        assert_eq!(push(7040, 6040, true), Some(6040), "and then whole");
        assert_eq!(push(8040, 7040, true), Some(1000), "until a shorter one is whole");
        assert_eq!(push(8080, 3_607_080, false), Some(1000), "a jump of the stamps makes none long");
        assert_eq!(push(8120, 40, true), Some(0), "nor one back");
    }

    #[test]
    fn pictures_out_of_order_are_counted() {
        let mut publisher_stats = PublisherStats::new(Time::ZERO);
        // I P B B P B B: decode order, with when each is shown.
        for (n, shown_ms) in [80, 200, 120, 160, 320, 240, 280].into_iter().enumerate() {
            let dts_ms = n as i64 * 40;
            let picture = Frame { cts_ms: (shown_ms - dts_ms) as i32, ..frame(Track::Video, dts_ms, n == 0, 100) };
            publisher_stats.frame(&picture, Time::from_millis(n as u64 * 40));
        }
        assert_eq!(publisher_stats.read(Time::from_millis(300)).reordered_frames, 4);
    }

    #[test]
    fn a_silence_is_a_gap_while_it_lasts_and_afterwards() {
        let mut publisher_stats = ten_seconds(|_| 0);
        let during = publisher_stats.read(Time::from_millis(15_000));
        assert_eq!((during.gaps, during.longest_gap.as_millis()), (1, 4020));
        assert!(during.bitrate_bps < 500_000.0 && during.fps < 6.0, "the rate falls: {during:?}");
        publisher_stats.frame(&frame(Track::Video, 10_000, true, 10_000), Time::from_millis(15_000));
        let after = publisher_stats.read(Time::from_millis(15_010));
        assert_eq!((after.gaps, after.longest_gap.as_millis()), (1, 4020));
    }

    #[test]
    fn a_publisher_that_has_just_come_has_rates_already() {
        let mut publisher_stats = PublisherStats::new(Time::ZERO);
        assert!(publisher_stats.read(Time::ZERO).bitrate_bps.abs() < f64::EPSILON);
        for n in 0..10 {
            publisher_stats.frame(&frame(Track::Video, n * 40, n == 0, 1000), Time::from_millis(n as u64 * 40));
        }
        let reading = publisher_stats.read(Time::from_millis(400));
        assert!((24.0..26.0).contains(&reading.fps), "{reading:?}");
        assert_eq!(reading.keyframe_interval_ms, None);
    }

    #[test]
    fn key_frames_that_are_far_apart_are_told_of_and_one_jump_is_not() {
        let check = |every: i64, frames: i64, jump: i64, expected: bool| {
            let mut publisher_stats = PublisherStats::new(Time::ZERO);
            let told = (0..frames).any(|n| {
                let dts_ms = n * 40 + if n > frames / 2 { jump } else { 0 };
                publisher_stats
                    .frame(&frame(Track::Video, dts_ms, n % every == 0, 10), Time::from_millis(n as u64 * 40))
            });
            assert_eq!(told, expected, "every {every} of {frames} frames, jump {jump}");
        };
        check(250, 1_000, 0, true);
        check(250, 300, 0, false);
        check(50, 1_000, 0, false);
        check(50, 1_000, 3_600_000, false);
        check(125, 1_000, 0, false);
    }

    #[test]
    fn sound_alone_tells_its_jitter() {
        let mut publisher_stats = PublisherStats::new(Time::ZERO);
        for n in 0..200_u64 {
            let late = if n % 2 == 0 { 6 } else { 0 };
            publisher_stats.frame(&frame(Track::Audio, n as i64 * 20, true, 100), Time::from_millis(n * 20 + late));
        }
        assert!((5.0..=6.0).contains(&publisher_stats.read(Time::from_millis(4000)).jitter_ms));
    }
}
