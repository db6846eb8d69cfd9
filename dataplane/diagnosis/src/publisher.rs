//! What a publisher's samples show: long GOPs, stamps that jump, media that arrives too slowly, B-frames, audio that is missing or apart. Before it:
//! [`millstream_control_protocol::live::Publisher`], once a second; after it: [`super::judge`].
use std::collections::VecDeque;

use millstream_control_protocol::live::{Live, Publisher};

use crate::hold::Finding;

/// A GOP that is longer is told of, milliseconds: segments of HLS and DASH are as long, and who joins waits for a keyframe.
const GOP_MS_MAX: u64 = 5_000;
/// A jump of the stamps is told of for this long.
const JUMP_TOLD_MS: u64 = 30_000;
/// What a publisher sends first comes as it can.
const WARM_MS: u64 = 2_000;
/// Samples over which arrival is judged.
const LAGS_KEPT: usize = 11;
/// Steps between the newest of them that are looked at, and how many of them have to be slow.
const STEPS: usize = 4;
const SLOW_STEPS: usize = 3;
/// A step in which so much less media arrived than time passed is slow, milliseconds.
const SLOW_STEP_MS: i64 = 25;
/// So far behind is told of, milliseconds.
const BEHIND_MS: i64 = 400;
/// So many of a hundred pictures are B-frames, at least.
const REORDERED_PERCENT: u64 = 5;
/// Protocols whose viewers play with low latency.
const LOW_LATENCY: [&str; 3] = ["http-flv", "ws-flv", "rtmp"];
/// Audio that does not come for this long while the picture does is told of, milliseconds.
const AUDIO_WAIT_MS: u64 = 3_000;
/// Audio that is so far from its picture is told of, and stays so until it is nearer than the second one, milliseconds.
const APART_MS: i64 = 600;
const TOGETHER_MS: i64 = 400;
/// In so many samples in a row.
const APART_SAMPLES: u32 = 3;

/// What is remembered of a publisher.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublisherLook {
    session: u64,
    before: Option<Seen>,
    /// How far arrival was behind the stamps, milliseconds from anywhere, oldest first.
    lags_ms: VecDeque<i64>,
    jumped_at_ms: Option<u64>,
    /// When audio last came, or was last not to be expected.
    audio_at_ms: u64,
    apart: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    pictures: u64,
    audio_frames: u64,
    reordered: u64,
    jumps: u64,
}

impl Seen {
    fn of(publisher: &Publisher) -> Self {
        let video = publisher.video.as_ref();
        Self {
            pictures: video.map_or(0, |video| video.frames),
            audio_frames: publisher.audio.as_ref().map_or(0, |audio| audio.frames),
            reordered: video.map_or(0, |video| video.reordered_frames),
            jumps: publisher.timestamp_jumps,
        }
    }
}

/// What one look has found.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) gop_too_long: Option<Finding>,
    pub(crate) timestamps_jump: Option<Finding>,
    pub(crate) uplink_starves: Option<Finding>,
    pub(crate) b_frames: Option<Finding>,
    pub(crate) audio: Option<Finding>,
}

fn figures<const N: usize>(figures: [(&'static str, f64); N]) -> Finding {
    Finding { figures: figures.to_vec(), ..Finding::default() }
}

fn seconds(ms: i64) -> f64 {
    (ms as f64 / 100.0).round() / 10.0
}

impl PublisherLook {
    pub(crate) fn look(&mut self, live: &Live, publisher: &Publisher, now_ms: u64) -> Found {
        if self.session != publisher.session {
            let (session, audio_at_ms) = (publisher.session, publisher.since_unix_ms);
            *self = Self { session, audio_at_ms, ..Self::default() };
        }
        let seen = Seen::of(publisher);
        let before = self.before.replace(seen).unwrap_or_default();
        let pictures = seen.pictures.saturating_sub(before.pictures);
        let audio_frames = seen.audio_frames.saturating_sub(before.audio_frames);
        if seen.jumps > before.jumps {
            self.jumped_at_ms = Some(now_ms);
            self.lags_ms.clear();
        }
        let jumped = self.jumped_at_ms.filter(|at| now_ms.saturating_sub(*at) <= JUMP_TOLD_MS);
        let gop_ms = publisher.video.as_ref().and_then(|video| video.gop_ms).filter(|ms| *ms > GOP_MS_MAX);
        let uplink_starves = self.starves(publisher, pictures + audio_frames > 0, now_ms);
        Found {
            gop_too_long: gop_ms.map(|ms| figures([("gop_s", seconds(ms.cast_signed()))])),
            timestamps_jump: jumped.map(|_| figures([("jumps", seen.jumps.max(1) as f64)])),
            audio: self.audio(publisher, pictures, audio_frames, (uplink_starves.is_some(), now_ms)),
            b_frames: b_frames(live, pictures, seen.reordered.saturating_sub(before.reordered)),
            uplink_starves,
        }
    }

    /// Whether what comes arrives more slowly than it is stamped. A publisher that sends nothing is silent, which is another thing.
    fn starves(&mut self, publisher: &Publisher, came: bool, now_ms: u64) -> Option<Finding> {
        if !came || now_ms.saturating_sub(publisher.since_unix_ms) < WARM_MS {
            return None;
        }
        self.lags_ms.push_back(publisher.arrival_lag_ms?);
        if self.lags_ms.len() > LAGS_KEPT {
            self.lags_ms.pop_front();
        }
        let newest = self.lags_ms.iter().rev().zip(self.lags_ms.iter().rev().skip(1)).take(STEPS);
        let slow = newest.filter(|(later, sooner)| **later - **sooner >= SLOW_STEP_MS).count();
        let behind_ms = self.lags_ms.back()? - self.lags_ms.iter().min()?;
        (slow >= SLOW_STEPS && behind_ms >= BEHIND_MS).then(|| figures([("behind_s", seconds(behind_ms))]))
    }

    fn audio(
        &mut self,
        publisher: &Publisher,
        pictures: u64,
        frames: u64,
        (starves, now_ms): (bool, u64),
    ) -> Option<Finding> {
        if frames > 0 || pictures == 0 {
            // Without a picture the publisher is silent as a whole.
            self.audio_at_ms = now_ms;
        }
        let silent_ms = now_ms.saturating_sub(self.audio_at_ms);
        let form = match &publisher.audio {
            None if publisher.announces_audio => "missing",
            Some(_) => "stopped",
            None => return None,
        };
        if silent_ms >= AUDIO_WAIT_MS {
            let figures = vec![("silent_s", seconds(silent_ms.cast_signed()))];
            return Some(Finding { form, figures, ..Finding::default() });
        }
        let ahead_ms = publisher.audio_ahead_ms.filter(|_| pictures > 0 && frames > 0 && !starves)?;
        let limit_ms = if self.apart >= APART_SAMPLES { TOGETHER_MS } else { APART_MS };
        self.apart = if ahead_ms.abs() >= limit_ms { self.apart.saturating_add(1) } else { 0 };
        let form = if ahead_ms > 0 { "ahead" } else { "behind" };
        let figures = vec![("apart_s", seconds(ahead_ms.abs()))];
        (self.apart >= APART_SAMPLES).then(|| Finding { form, figures, ..Finding::default() })
    }
}

fn b_frames(live: &Live, pictures: u64, reordered: u64) -> Option<Finding> {
    let low_latency = live.viewers.iter().filter(|viewers| LOW_LATENCY.contains(&viewers.protocol.as_str()));
    let viewers: u64 = low_latency.map(|viewers| viewers.count).sum();
    let has_some = reordered > 0 && reordered * 100 >= pictures * REORDERED_PERCENT;
    let percent = (reordered * 100).checked_div(pictures).unwrap_or(0).min(100);
    (viewers > 0 && has_some).then(|| figures([("b_frames_percent", percent as f64), ("viewers", viewers as f64)]))
}
