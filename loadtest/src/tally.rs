//! What a run counts while it runs. Before it: publishers and viewers; after it: [`crate::report`].
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use crate::ledger::Found;
use crate::limits::{DELAY_MAX_US, TROUBLES_MAX};

/// Significant digits of a time.
const DIGITS: u8 = 3;

/// Times in microseconds, told apart to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    /// None yet, of up to [`DELAY_MAX_US`].
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, DELAY_MAX_US, DIGITS).expect("the bounds are constants that are allowed"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record((time.as_micros() as u64).clamp(1, DELAY_MAX_US));
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds that this share of the times does not exceed; `None` without any.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile) as f64 / 1e3)
    }

    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// What went wrong, in words, and how often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles(BTreeMap<String, u64>);

impl Troubles {
    pub(crate) fn add(&mut self, what: impl Into<String>) {
        self.add_many(what, 1);
    }

    pub(crate) fn add_many(&mut self, what: impl Into<String>, count: u64) {
        let what = what.into();
        if count == 0 {
            return;
        }
        let what = if self.0.len() < TROUBLES_MAX || self.0.contains_key(&what) { what } else { "other".to_owned() };
        *self.0.entry(what).or_default() += count;
    }

    pub(crate) fn counts(&self) -> &BTreeMap<String, u64> {
        &self.0
    }
}

/// Frames of the sampled viewers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize)]
pub(crate) struct Frames {
    /// Compared with what was sent, and the same.
    pub(crate) same: u64,
    /// Of those, sent before the viewer was accepted: not part of the delay.
    pub(crate) backlog: u64,
    /// Did not come, though later ones did.
    pub(crate) missing: u64,
    /// Places where frames are missing and what follows is not a keyframe: a player shows rubbish.
    pub(crate) torn: u64,
    /// Came twice, or after a later one.
    pub(crate) backwards: u64,
    /// Another content than was sent at that time.
    pub(crate) damaged: u64,
    /// Not like anything that was sent.
    pub(crate) unknown: u64,
    /// Time stamps whose relation to the publisher's changed.
    pub(crate) shifted: u64,
    /// Not delivered when the run ended, though planned longer ago than a stall takes.
    pub(crate) overdue: u64,
    /// Tags and messages that are not media: metadata, configurations.
    pub(crate) other: u64,
}

/// What HLS viewers asked for and got, and how the model player of the sampled ones fared.
#[derive(Debug)]
pub(crate) struct Hls {
    /// Planned send to the model player's screen.
    pub(crate) playhead: Times,
    /// Planned send of a part's or segment's last frame to its last byte's arrival.
    pub(crate) part: Times,
    pub(crate) requests: u64,
    pub(crate) playlists: u64,
    pub(crate) parts: u64,
    pub(crate) segments: u64,
    pub(crate) rebuffers: u64,
    pub(crate) rebuffered: Duration,
}

/// All numbers of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) video_delay: Times,
    pub(crate) audio_delay: Times,
    /// Both, since all viewers are there.
    pub(crate) steady_delay: Times,
    /// Both, since the last tick.
    pub(crate) recent_delay: Times,
    /// Connect start to first byte of a keyframe.
    pub(crate) join: Times,
    /// Request sent to the first byte of a keyframe, HTTP-FLV.
    pub(crate) answer: Times,
    /// Planned to real connect start.
    pub(crate) connect_late: Times,
    /// Planned to real send.
    pub(crate) publish_late: Times,
    pub(crate) hls: Hls,
    pub(crate) frames: Frames,
    pub(crate) bytes_received: u64,
    /// Bytes since the last one was read: when anything moved.
    pub(crate) last_data: Time,
    pub(crate) published_frames: u64,
    pub(crate) published_bytes: u64,
    /// Of those and of the received ones, RTMP's handshakes and commands before media: servers do not count them as media.
    pub(crate) published_prelude_bytes: u64,
    pub(crate) received_prelude_bytes: u64,
    pub(crate) visits: u64,
    pub(crate) joined: u64,
    pub(crate) left: u64,
    /// Slow viewers that the server sent away: its right.
    pub(crate) slow_closed: u64,
    /// Viewers lost, whatever the reason.
    pub(crate) lost: u64,
    pub(crate) stalls: u64,
    pub(crate) stalled: Duration,
    pub(crate) troubles: Troubles,
    pub(crate) steady: bool,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            video_delay: Times::new(),
            audio_delay: Times::new(),
            steady_delay: Times::new(),
            recent_delay: Times::new(),
            join: Times::new(),
            answer: Times::new(),
            connect_late: Times::new(),
            publish_late: Times::new(),
            hls: Hls {
                playhead: Times::new(),
                part: Times::new(),
                requests: 0,
                playlists: 0,
                parts: 0,
                segments: 0,
                rebuffers: 0,
                rebuffered: Duration::ZERO,
            },
            frames: Frames::default(),
            bytes_received: 0,
            last_data: Time::ZERO,
            published_frames: 0,
            published_bytes: 0,
            published_prelude_bytes: 0,
            received_prelude_bytes: 0,
            visits: 0,
            joined: 0,
            left: 0,
            slow_closed: 0,
            lost: 0,
            stalls: 0,
            stalled: Duration::ZERO,
            troubles: Troubles::default(),
            steady: false,
        }
    }

    /// Counts a frame of a sampled viewer that was accepted at `since`. `started`: it has found a frame before.
    pub(crate) fn frame(
        &mut self,
        found: Found,
        track: Track,
        keyframe: bool,
        arrived: Time,
        since: Time,
        started: bool,
    ) {
        let frames = &mut self.frames;
        match found {
            Found::Frame { planned, missing, shifted } => {
                frames.same += 1;
                frames.missing += missing;
                frames.torn += u64::from(missing > 0 && track == Track::Video && !keyframe);
                frames.shifted += u64::from(shifted);
                match planned {
                    Some(planned) if planned >= since => self.delay(track, arrived.since(planned)),
                    Some(_) => frames.backlog += 1,
                    None => {}
                }
            }
            Found::Backwards => frames.backwards += 1,
            Found::Damaged => frames.damaged += 1,
            // A stream that others publish is not known from before its first viewer came.
            Found::Unknown if started => frames.unknown += 1,
            Found::Unknown | Found::TooEarly => frames.other += 1,
        }
    }

    /// Records the age of a frame that never came: a lower bound of its delay, so that a server does not look better by not delivering.
    pub(crate) fn overdue(&mut self, age: Duration) {
        self.frames.overdue += 1;
        self.delay(Track::Video, age);
    }

    fn delay(&mut self, track: Track, delay: Duration) {
        match track {
            Track::Video => self.video_delay.record(delay),
            Track::Audio => self.audio_delay.record(delay),
        }
        self.recent_delay.record(delay);
        if self.steady {
            self.steady_delay.record(delay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_counts_from_the_plan_and_not_for_the_backlog() {
        let mut tally = Tally::new();
        let at = Time::from_millis;
        let found = |planned, missing| Found::Frame { planned: Some(at(planned)), missing, shifted: false };
        tally.frame(found(900, 0), Track::Video, true, at(1_100), at(1_000), true);
        tally.frame(found(1_000, 2), Track::Video, false, at(1_030), at(1_000), true);
        tally.frame(found(1_005, 2), Track::Audio, true, at(1_030), at(1_000), true);
        tally.frame(Found::Unknown, Track::Video, false, at(1_030), at(1_000), false);
        tally.overdue(Duration::from_secs(3));
        let expected = Frames { same: 3, backlog: 1, missing: 4, torn: 1, other: 1, overdue: 1, ..Frames::default() };
        assert_eq!(tally.frames, expected);
        assert_eq!((tally.video_delay.len(), tally.audio_delay.len()), (2, 1));
        let p50 = tally.video_delay.quantile_ms(0.5).unwrap();
        assert!((30.0..30.1).contains(&p50), "{p50}");
        assert!(tally.video_delay.quantile_ms(1.0).unwrap() >= 3_000.0);
    }

    #[test]
    fn troubles_are_bounded() {
        let mut troubles = Troubles::default();
        for n in 0..1_000 {
            troubles.add(format!("trouble {n}"));
        }
        assert_eq!(troubles.counts().len(), TROUBLES_MAX + 1);
        assert_eq!(troubles.counts().values().sum::<u64>(), 1_000);
    }
}
