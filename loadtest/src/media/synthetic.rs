//! Frames of any rate and size, made up: framed as H.264 and AAC with real configurations, but their coded data is filler that no decoder
//! shows. Each picture carries an SEI message with its number and the wall-clock time that it was planned for, so that a harness on
//! another machine can tell its delay.
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::media::TagKind;

use super::Planned;
use crate::plan::Publish;

/// Samples in an AAC frame, and per second in the configuration that the demo clip lends.
const AAC_SAMPLES: u64 = 1024;
const AAC_RATE: u64 = 44_100;
/// How many times the size of another picture a keyframe has.
const KEYFRAME_WEIGHT: u64 = 8;
/// Marks our SEI messages. No byte of it, or of the hexadecimal digits behind it, needs emulation prevention.
const UUID: [u8; 16] = *b"millstream-load1";
/// Payload of the SEI message: the mark, 16 digits of time, 16 digits of the number.
const SEI_BYTES: usize = 16 + 16 + 16;
/// Where in a body the mark may begin, at most: after the tag's and the NAL unit's headers, also in enhanced framing.
const UUID_AT_MAX: usize = 64;

/// Makes frames of a stream.
#[derive(Debug)]
pub(crate) struct Synthetic {
    pub(super) head: Vec<(TagKind, Bytes)>,
    fps: u64,
    gop_frames: u64,
    key_bytes: usize,
    other_bytes: usize,
    sound_bytes: Option<usize>,
    filler: Vec<u8>,
}

impl Synthetic {
    /// `lent`: real configurations, for servers that look into them.
    pub(super) fn new(publish: &Publish, lent: &[(TagKind, Bytes)]) -> Self {
        let fps = u64::from(publish.fps);
        let gop_frames = ((publish.gop.as_secs_f64() * fps as f64).round() as u64).max(1);
        let gop_bytes = u64::from(publish.video_kbit) * 125 * gop_frames / fps;
        let other_bytes = gop_bytes / (gop_frames - 1 + KEYFRAME_WEIGHT);
        let key_bytes = gop_bytes - other_bytes * (gop_frames - 1);
        let sound_bytes =
            (publish.audio_kbit > 0).then(|| (u64::from(publish.audio_kbit) * 125 * AAC_SAMPLES / AAC_RATE) as usize);
        let head = lent.iter().filter(|(kind, _)| match kind {
            TagKind::Video => true,
            TagKind::Audio => sound_bytes.is_some(),
            TagKind::Script => false,
        });
        let longest = (key_bytes as usize).max(sound_bytes.unwrap_or(0));
        Self {
            head: head.cloned().collect(),
            fps,
            gop_frames,
            key_bytes: key_bytes as usize,
            other_bytes: other_bytes as usize,
            sound_bytes,
            filler: filler(longest),
        }
    }

    /// What comes after so many frames and sounds.
    pub(super) fn next(&self, pictures: u64, sounds: u64) -> Planned {
        let video = Planned { kind: TagKind::Video, due: Duration::from_micros(pictures * 1_000_000 / self.fps) };
        let audio =
            Planned { kind: TagKind::Audio, due: Duration::from_micros(sounds * AAC_SAMPLES * 1_000_000 / AAC_RATE) };
        if self.sound_bytes.is_some() && audio.due < video.due { audio } else { video }
    }

    pub(super) fn picture(&self, n: u64, planned_wall_us: u64, body: &mut Vec<u8>) {
        let key = n.is_multiple_of(self.gop_frames);
        body.extend_from_slice(&[if key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
        // NAL type 6, payload type 5 (user data, unregistered), its length, and the stop bit behind.
        let sei_bytes = 3 + SEI_BYTES + 1;
        body.extend_from_slice(&(sei_bytes as u32).to_be_bytes());
        body.extend_from_slice(&[6, 5, SEI_BYTES as u8]);
        body.extend_from_slice(&UUID);
        body.extend_from_slice(format!("{planned_wall_us:016x}{n:016x}").as_bytes());
        body.push(0x80);
        let wanted = if key { self.key_bytes } else { self.other_bytes };
        let slice_bytes = wanted.saturating_sub(body.len() + 5).max(16).min(self.filler.len());
        body.extend_from_slice(&(slice_bytes as u32 + 1).to_be_bytes());
        body.push(if key { 0x65 } else { 0x41 });
        body.extend_from_slice(&self.filler[..slice_bytes]);
    }

    pub(super) fn sound(&self, n: u64, body: &mut Vec<u8>) {
        body.extend_from_slice(&[0xAF, 1]);
        body.extend_from_slice(format!("{n:016x}").as_bytes());
        let rest = self.sound_bytes.unwrap_or(0).saturating_sub(body.len()).min(self.filler.len());
        body.extend_from_slice(&self.filler[..rest]);
    }
}

/// The planned time, microseconds since 1970, that a picture made by any harness carries.
pub(crate) fn stamp_us(body: &[u8]) -> Option<u64> {
    let head = &body[..body.len().min(UUID_AT_MAX + SEI_BYTES)];
    let at = head.windows(UUID.len()).position(|window| window == UUID)? + UUID.len();
    let digits = std::str::from_utf8(head.get(at..at + 16)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Bytes that look coded, none of them zero.
fn filler(count: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 16) as u8 | 1
    };
    (0..count.max(64)).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use millstream_proto::media::{MediaEvent, Unpacker};

    use super::super::{Feed, Source};
    use super::*;

    #[test]
    fn frames_have_the_rate_the_shape_and_the_stamp_that_were_asked_for() {
        let publish = Publish { video_kbit: 2_500, fps: 30, audio_kbit: 64, ..Publish::default() };
        let source = std::sync::Arc::new(Source::new(&publish).unwrap());
        let mut unpacker = Unpacker::new();
        for (kind, body) in source.head() {
            assert!(matches!(unpacker.push(*kind, 0, body.clone()), Ok(MediaEvent::Config(_))));
        }
        let (mut feed, mut body) = (Feed::new(source), Vec::new());
        let (mut video_bytes, mut audio_bytes, mut keyframes) = (0, 0, 0);
        while feed.peek().due < Duration::from_secs(10) {
            let planned = feed.next(0x1234_5678_9abc, &mut body);
            let event = unpacker.push(planned.kind, planned.due.as_millis() as u32, Bytes::copy_from_slice(&body));
            let Ok(MediaEvent::Frame(frame)) = event else { panic!("{event:?}") };
            if planned.kind == TagKind::Video {
                video_bytes += body.len();
                keyframes += usize::from(frame.keyframe);
                assert_eq!(stamp_us(&body), Some(0x1234_5678_9abc));
            } else {
                audio_bytes += body.len();
                assert_eq!(stamp_us(&body), None);
            }
        }
        assert_eq!(keyframes, 5);
        assert!((3_090_000..3_160_000).contains(&video_bytes), "2.5 Mbit/s for 10 s: {video_bytes}");
        assert!((78_000..81_000).contains(&audio_bytes), "64 kbit/s for 10 s: {audio_bytes}");
    }

    #[test]
    fn a_stamp_is_not_found_where_there_is_none() {
        assert_eq!(stamp_us(b""), None);
        assert_eq!(stamp_us(&UUID), None);
        assert_eq!(stamp_us(&[7; 200]), None);
    }
}
