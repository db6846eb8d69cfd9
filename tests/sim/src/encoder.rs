//! An encoder: frames by the clock, with everything that encoders in the field do with their stamps and configurations.
use bytes::Bytes;
use millstream_proto::media::TagKind;
use millstream_proto::time::Time;
use millstream_test_support::random::Random;

use crate::media::{Coding, MARKS};
use crate::plan::EncoderPlan;

/// What an encoder knows of itself.
pub(crate) struct Encoder {
    plan: EncoderPlan,
    pub(crate) has_asked: bool,
    next_mark: u32,
    began: Option<Time>,
    frames: u64,
    stamp_ms: u32,
    /// What the clocks of video and audio are off.
    off_ms: [u32; 2],
    config: u8,
    configured: [bool; 2],
}

/// Jumps of stamps: those that players would freeze on, and those that are as long as a session.
const JUMPS_MS: [u32; 7] =
    [7_200_000, 0_u32.wrapping_sub(3_600_000), 12_000, 5_000, 1_500, 0_u32.wrapping_sub(8_000), 700];

/// A message to send.
type Message = (TagKind, u32, Bytes);

impl Encoder {
    pub(crate) fn new(plan: &EncoderPlan, number: usize) -> Self {
        Self {
            plan: plan.clone(),
            has_asked: false,
            next_mark: number as u32 * MARKS,
            began: None,
            frames: 0,
            stamp_ms: plan.first_stamp_ms,
            off_ms: [0; 2],
            config: number as u8,
            configured: [false; 2],
        }
    }

    /// What is sent at this tick.
    pub(crate) fn messages(&mut self, now: Time, random: &mut Random) -> Vec<Message> {
        let age_ms = now.since(*self.began.get_or_insert(now)).as_millis() as u64;
        let mut messages = Vec::new();
        self.stamp_ms = self.stamp_ms.wrapping_add(self.plan.pace_ms as u32);
        if self.plan.wild && random.chance(15) {
            self.stamp_ms = self.stamp_ms.wrapping_add(random.pick(&JUMPS_MS));
        }
        if self.plan.wild && random.chance(15) {
            // One track only.
            let off_ms = &mut self.off_ms[random.below(2) as usize];
            *off_ms = off_ms.wrapping_add(random.pick(&JUMPS_MS));
        }
        if self.plan.wild && random.chance(20) {
            self.config = self.config.wrapping_add(1);
            self.configured = [false; 2];
        }
        let (mut video, mut audio) = (self.plan.video, self.plan.audio);
        if age_ms < self.plan.late_ms && video.is_some() && audio.is_some() {
            if self.config.is_multiple_of(2) { video = None } else { audio = None }
        }
        for coding in [video, audio].into_iter().flatten() {
            self.message(coding, random, &mut messages);
        }
        self.frames += 1;
        messages
    }

    fn message(&mut self, coding: Coding, random: &mut Random, messages: &mut Vec<Message>) {
        let kind = coding.tag_kind();
        let configured = &mut self.configured[usize::from(kind == TagKind::Audio)];
        if !std::mem::replace(configured, true) {
            messages.extend(coding.config(self.config).map(|body| (kind, self.stamp_ms, body)));
        }
        // Some begin in the middle of a GOP.
        let key = kind == TagKind::Audio || (self.frames + u64::from(self.config % 3)).is_multiple_of(self.plan.gop);
        let bytes_max = match (kind, key) {
            (TagKind::Audio, _) => 60,
            (_, true) => random.pick(&[900, 900, 5_000]),
            (_, false) => 300,
        };
        let bytes = random.below(bytes_max) as usize;
        // Some let their stamps run back a little.
        let back_ms = if self.plan.wild { random.below(90) as u32 } else { 0 };
        let stamp_ms = self.stamp_ms.wrapping_add(self.off_ms[usize::from(kind == TagKind::Audio)]);
        messages.push((kind, stamp_ms.wrapping_sub(back_ms), coding.frame(key, self.next_mark, bytes)));
        self.next_mark += 1;
    }
}
