//! What a publisher's samples show: long GOPs, stamps that jump, media that arrives too slowly, B-frames, audio that is missing or apart. Before it:
//! [`millstream_control_protocol::live::Publisher`], once a second; after it: [`super::judge`].
use millstream_control_protocol::live::{Live, Publisher};

use crate::hold::Finding;
use crate::window::Window;

/// A GOP that is longer is told of, milliseconds: segments of HLS and DASH are as long, and who joins waits for a keyframe.
const GOP_MS_MAX: u64 = 5_000;
/// A jump of the stamps is told of for this long.
const JUMP_TOLD_MS: u64 = 30_000;
/// What a publisher sends first comes as it can.
const WARM_MS: u64 = 2_000;
/// Arrival is judged over this time, milliseconds.
const LAGS_MS: u64 = 10_000;
/// The newest steps between samples that are looked at are those of this time, milliseconds, and they have to be of at least the second one. Looks are
/// a little less than a second apart now and then.
const STEPS_MS: u64 = 3_900;
const STEPS_MS_MIN: u64 = 2_900;
/// So many of a hundred of their time have to be slow.
const SLOW_PERCENT: u64 = 70;
/// A step is slow where so many of a thousand parts of its time less media arrived.
const SLOW_PER_MILLE: i64 = 25;
/// So far behind is told of, milliseconds.
const BEHIND_MS: i64 = 400;
/// So many of a hundred pictures are B-frames, at least.
const REORDERED_PERCENT: u64 = 5;
/// The audio's name among tracks.
const AUDIO: &str = "audio";
/// Protocols whose viewers play with low latency.
const LOW_LATENCY: [&str; 3] = ["http-flv", "ws-flv", "rtmp"];
/// Audio that does not come for this long while the picture does is told of, milliseconds.
const AUDIO_WAIT_MS: u64 = 3_000;
/// And in so many looks that have a picture: after a pause of the network the first ones have one without its audio.
const AUDIO_WAIT_LOOKS: u32 = 2;
/// Without a picture for this long the publisher is silent as a whole.
const PICTURE_WAIT_MS: u64 = 3_000;
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
    looked_at_ms: Option<u64>,
    /// The time of looks with media, milliseconds.
    came_for_ms: u64,
    /// How far arrival was behind the stamps, milliseconds from anywhere, by that time.
    lags_ms: Window<i64>,
    /// The least of them since it starves: one that drops frames does not fall further behind, and is not well.
    starves_from_ms: Option<i64>,
    jumped_at_ms: Option<u64>,
    picture_at_ms: u64,
    /// When audio last came, or was last not to be expected, and looks with a picture since.
    audio_at_ms: u64,
    looks_without_audio: u32,
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
            let (session, since_ms) = (publisher.session, publisher.since_unix_ms);
            *self = Self { session, audio_at_ms: since_ms, picture_at_ms: since_ms, ..Self::default() };
        }
        let seen = Seen::of(publisher);
        let before = self.before.replace(seen).unwrap_or_default();
        let pictures = seen.pictures.saturating_sub(before.pictures);
        let audio_frames = seen.audio_frames.saturating_sub(before.audio_frames);
        if seen.jumps > before.jumps {
            self.jumped_at_ms = Some(now_ms);
            self.lags_ms.clear();
            self.starves_from_ms = None;
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
        let took_ms = now_ms.saturating_sub(self.looked_at_ms.replace(now_ms).unwrap_or(now_ms));
        if !came || now_ms.saturating_sub(publisher.since_unix_ms) < WARM_MS {
            return None;
        }
        let lag_ms = publisher.arrival_lag_ms?;
        // After a pause the first step is no longer than a look: one burst is no slow uplink.
        self.came_for_ms = self.came_for_ms.saturating_add(took_ms);
        self.lags_ms.push(self.came_for_ms, lag_ms, LAGS_MS);
        let (mut looked_at_ms, mut slow_ms) = (0, 0);
        for (took_ms, sooner, later) in self.lags_ms.steps() {
            if looked_at_ms >= STEPS_MS {
                break;
            }
            looked_at_ms += took_ms;
            if (later - sooner).saturating_mul(1_000) >= took_ms.cast_signed().saturating_mul(SLOW_PER_MILLE) {
                slow_ms += took_ms;
            }
        }
        let is_slow = looked_at_ms >= STEPS_MS_MIN && slow_ms * 100 >= looked_at_ms * SLOW_PERCENT;
        let least_ms = self.lags_ms.samples().min()?;
        let starts = is_slow && lag_ms - least_ms >= BEHIND_MS;
        let from_ms = match self.starves_from_ms {
            Some(from_ms) => from_ms.min(least_ms),
            None if starts => least_ms,
            None => return None,
        };
        self.starves_from_ms = (lag_ms - from_ms >= BEHIND_MS).then_some(from_ms);
        self.starves_from_ms.map(|from_ms| figures([("behind_s", seconds(lag_ms - from_ms))]))
    }

    fn audio(
        &mut self,
        publisher: &Publisher,
        pictures: u64,
        frames: u64,
        (starves, now_ms): (bool, u64),
    ) -> Option<Finding> {
        if pictures > 0 {
            self.picture_at_ms = now_ms;
        }
        // A stream may have a picture every two seconds only.
        if frames > 0 || now_ms.saturating_sub(self.picture_at_ms) >= PICTURE_WAIT_MS {
            (self.audio_at_ms, self.looks_without_audio) = (now_ms, 0);
        } else if pictures > 0 {
            self.looks_without_audio = self.looks_without_audio.saturating_add(1);
        }
        let silent_ms = now_ms.saturating_sub(self.audio_at_ms);
        let has_come = publisher.audio.as_ref().is_some_and(|audio| audio.frames > 0);
        // What the server leaves out is told as that: the encoder sends it.
        let is_left_out = publisher.dropped_tracks.iter().any(|dropped| dropped.track == AUDIO);
        let form = match &publisher.audio {
            Some(_) if has_come => "stopped",
            None if !publisher.announces_audio => return None,
            _ if is_left_out => return None,
            _ => "missing",
        };
        if silent_ms >= AUDIO_WAIT_MS && self.looks_without_audio >= AUDIO_WAIT_LOOKS {
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
