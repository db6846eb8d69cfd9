//! The built-in test video and audio, as an endless sequence of tags. Before it: `clip/make.sh` made the file; after it:
//! [`super::publisher`] sends each tag when it is due.
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use millstream_proto::flv::{Item, Reader};
use millstream_proto::media::TagKind;

/// See `clip/make.sh` for how long it is, and why.
const FLV: &[u8] = include_bytes!("../../clip/demo.flv");
/// How long one round is, microseconds: 512 frames at 30/s, which is 735 AAC frames at 44.1 kHz.
const ROUND_US: u64 = 512 * 1_000_000 / 30;
/// The second byte of a legacy video or AAC body: 0 is a configuration, 1 is coded data, 2 is the end of the sequence.
const CONFIGURATION: u8 = 0;
const CODED: u8 = 1;
/// What a publisher puts before a file's `onMetaData`: an AMF0 string.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// A tag, with its time in the first round.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    pub(super) kind: TagKind,
    pub(super) timestamp_ms: u32,
    pub(super) body: Bytes,
}

/// The clip, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Clip {
    /// Metadata and codec configurations: once per session, first.
    pub(super) head: Vec<Tag>,
    /// Frames and audio in the order of their times: again and again.
    frames: Vec<Tag>,
}

impl Clip {
    /// Reads the clip that is part of the binary.
    pub(super) fn embedded() -> anyhow::Result<Self> {
        let mut reader = Reader::new();
        let mut clip = Self { head: Vec::new(), frames: Vec::new() };
        reader.push(FLV).context("the built-in clip is damaged")?;
        while let Some(item) = reader.poll().context("the built-in clip is damaged")? {
            let Item::Tag { kind, timestamp_ms, body } = item else { continue };
            match (kind, body.get(1)) {
                (TagKind::Script, _) => {
                    let body = [SET_DATA_FRAME, &body].concat().into();
                    clip.head.push(Tag { kind, timestamp_ms, body });
                }
                (_, Some(&CONFIGURATION)) => clip.head.push(Tag { kind, timestamp_ms, body }),
                (_, Some(&CODED)) => clip.frames.push(Tag { kind, timestamp_ms, body }),
                // The end of the sequence, which a loop does not have.
                _ => {}
            }
        }
        anyhow::ensure!(!clip.frames.is_empty(), "the built-in clip is empty");
        Ok(clip)
    }

    /// Tag number `n` of the endless sequence, and its time in it.
    pub(super) fn frame(&self, n: usize) -> (Duration, &Tag) {
        let round = (n / self.frames.len()) as u64;
        let tag = &self.frames[n % self.frames.len()];
        (Duration::from_millis(u64::from(tag.timestamp_ms) + round * ROUND_US / 1_000), tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(clip: &Clip, kind: TagKind) -> Vec<u128> {
        let all = (0..3 * clip.frames.len()).map(|n| clip.frame(n));
        all.filter(|(_, tag)| tag.kind == kind).map(|(time, _)| time.as_millis()).collect()
    }

    #[test]
    fn the_clip_is_small_and_whole() {
        let clip = Clip::embedded().unwrap();
        assert!(FLV.len() <= 1_000_000, "{}", FLV.len());
        let count = |kind| clip.frames.iter().filter(|tag| tag.kind == kind).count();
        assert_eq!((count(TagKind::Video), count(TagKind::Audio), clip.head.len()), (512, 735, 3));
        let first_picture = clip.frames.iter().find(|tag| tag.kind == TagKind::Video).unwrap();
        assert_eq!(first_picture.body[0], 0x17, "the first picture is a keyframe of H.264");
    }

    #[test]
    fn rounds_follow_each_other_without_a_seam() {
        let clip = Clip::embedded().unwrap();
        for (kind, frame_ms) in [(TagKind::Video, 33..=34), (TagKind::Audio, 22..=24)] {
            for pair in times(&clip, kind).windows(2) {
                assert!(frame_ms.contains(&(pair[1] - pair[0])), "{kind:?} {pair:?}");
            }
        }
    }
}
