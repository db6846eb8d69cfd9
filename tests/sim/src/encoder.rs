//! An encoder: frames by the clock, with everything that encoders in the field do with their stamps and configurations.
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::chunk_write::write_media;
use millstream_proto::time::Time;
use millstream_test_support::random::Random;

use crate::media::Coding;
use crate::plan::{EncoderPlan, Role};
use crate::world::{Event, World};

/// The chunk size that encoders send with.
const CHUNK_BYTES: usize = 4_096;
/// Marks of one encoder; those of the next one begin behind them.
pub(crate) const MARKS: u32 = 1 << 20;

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
    ticking: bool,
}

/// Jumps of stamps: those that players would freeze on, and those that are as long as a session.
const JUMPS_MS: [u32; 7] =
    [7_200_000, 0_u32.wrapping_sub(3_600_000), 12_000, 5_000, 1_500, 0_u32.wrapping_sub(8_000), 700];

/// A message to send.
type Message = (TagKind, u32, Bytes);

impl Encoder {
    pub(crate) fn new(plan: &EncoderPlan, link: usize) -> Self {
        Self {
            plan: plan.clone(),
            has_asked: false,
            next_mark: link as u32 * MARKS,
            began: None,
            frames: 0,
            stamp_ms: plan.first_stamp_ms,
            off_ms: [0; 2],
            config: link as u8,
            configured: [false; 2],
            ticking: false,
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

impl World {
    pub(crate) fn encode(&mut self, link: usize) {
        let now = self.now;
        let peer = &mut self.links[link].peer;
        let Role::Encoder(plan) = &peer.plan.role else { return };
        let pace_ms = plan.pace_ms;
        let Some(encoder) = &mut peer.encoder else { return };
        // It drops what does not get through, as encoders do: the queue is no test of ours.
        if peer.out.len() < 60_000 {
            for (kind, stamp_ms, body) in encoder.messages(now, &mut self.random) {
                write_media(&mut peer.out, kind, stamp_ms, &body, CHUNK_BYTES);
            }
        }
        self.peer_sends(link);
        let wait_ms = if self.random.chance(8) { self.random.below(7_000) } else { pace_ms };
        self.after(Duration::from_millis(wait_ms), Event::Tick(link));
    }

    /// Begins to tick: when told that it may, or once it has asked where it does not wait for that.
    pub(crate) fn begin_encoding(&mut self, link: usize) {
        let peer = &mut self.links[link].peer;
        let (Role::Encoder(plan), Some(encoder)) = (&peer.plan.role, &mut peer.encoder) else { return };
        let may = peer.ready || plan.eager && encoder.has_asked;
        if may && !std::mem::replace(&mut encoder.ticking, true) {
            self.at(self.now, Event::Tick(link));
        }
    }
}
