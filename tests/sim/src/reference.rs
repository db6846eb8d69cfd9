//! What was published on a stream, written down beside the hub when it is pushed, and what every viewer's tags are held against.
use std::collections::HashMap;

use bytes::Bytes;
use millstream_hub::stream::Pushed;
use millstream_proto::media::{MediaEvent, TagKind, Track};

use crate::media::{Kind, kind};

/// A frame that is in the stream.
struct Published {
    kind: TagKind,
    body: Bytes,
    /// The configuration of its track that is in force.
    config: Option<Bytes>,
    /// A viewer may start at it.
    start: bool,
    /// As the first viewer got it.
    stamp_ms: Option<u32>,
}

/// All frames of a stream, from its first publisher to its end.
#[derive(Default)]
pub(crate) struct Reference {
    frames: Vec<Published>,
    by_mark: HashMap<u32, usize>,
    in_force: [Option<Bytes>; 2],
    wait_keyframe: bool,
    /// The link that publishes, and whether it has sent a picture.
    publisher: Option<usize>,
    seen_video: bool,
    before: Vec<usize>,
    last_mark: Option<u32>,
}

fn at(kind: TagKind) -> usize {
    usize::from(kind == TagKind::Audio)
}

impl Reference {
    /// Something is pushed by that link; `pushed` is what the hub said to it.
    pub(crate) fn push(&mut self, link: usize, event: &MediaEvent, pushed: Pushed) {
        if self.publisher != Some(link) {
            assert!(!self.before.contains(&link), "link {link} publishes again after another did");
            self.before.extend(self.publisher.replace(link));
            (self.wait_keyframe, self.seen_video, self.last_mark) = (true, false, None);
        }
        match event {
            MediaEvent::Config(config) => {
                let kind = if config.track == Track::Video { TagKind::Video } else { TagKind::Audio };
                self.seen_video |= kind == TagKind::Video;
                let changed = self.in_force[at(kind)].as_ref() != Some(&config.body);
                self.wait_keyframe |= changed && kind == TagKind::Video;
                self.in_force[at(kind)] = Some(config.body.clone());
            }
            MediaEvent::Frame(frame) => {
                let tag = if frame.track == Track::Video { TagKind::Video } else { TagKind::Audio };
                let Kind::Frame { key, mark } = kind(tag, &frame.body) else { panic!("a frame is a frame") };
                assert!(self.last_mark.is_none_or(|last| last + 1 == mark), "proto lost or repeated before {mark:#x}");
                self.last_mark = Some(mark);
                let video = tag == TagKind::Video;
                assert_eq!(key, frame.keyframe);
                self.seen_video |= video;
                let expected = if video && !key && self.wait_keyframe { Pushed::BeforeKeyframe } else { Pushed::Taken };
                assert_eq!(pushed, expected, "frame {mark:#x}");
                if expected == Pushed::BeforeKeyframe {
                    return;
                }
                self.wait_keyframe &= !video;
                // MP3 has none, and replaces one that was there.
                if frame.body[0] == 0x2F && !video {
                    self.in_force[1] = None;
                }
                let config = self.in_force[at(tag)].clone();
                let start = if video { key } else { !self.seen_video };
                self.by_mark.insert(mark, self.frames.len());
                self.frames.push(Published { kind: tag, body: frame.body.clone(), config, start, stamp_ms: None });
            }
            _ => {}
        }
    }
}

/// What one viewer got, as far as it must be remembered.
#[derive(Default)]
pub(crate) struct Watched {
    last: Option<usize>,
    gaps: u64,
    configs: [Option<Bytes>; 2],
    stamps_ms: [u32; 2],
    /// A keyframe came since the start, the last jump and the last change of the picture's configuration.
    decodes: bool,
    pub(crate) frames: u64,
}

impl Watched {
    /// The next tag. Fails where it is none that may come now.
    pub(crate) fn tag(&mut self, reference: &mut Reference, tag: TagKind, stamp_ms: u32, body: &Bytes) {
        match kind(tag, body) {
            Kind::Script => {}
            Kind::Config => {
                self.decodes &= tag == TagKind::Audio;
                self.configs[at(tag)] = Some(body.clone());
            }
            Kind::Frame { key, mark } => {
                let index = *reference.by_mark.get(&mark).unwrap_or_else(|| panic!("{mark:#x} was never published"));
                let frame = &mut reference.frames[index];
                assert!(self.last.is_none_or(|last| last < index), "the cursor went back to {mark:#x}");
                assert!(tag == frame.kind && *body == frame.body, "frame {mark:#x} is not as it was published");
                let stamp = *frame.stamp_ms.get_or_insert(stamp_ms);
                assert_eq!(stamp, stamp_ms, "frame {mark:#x} has the same stamp for all");
                let last_ms = std::mem::replace(&mut self.stamps_ms[at(tag)], stamp_ms);
                assert!(last_ms <= stamp_ms, "stamps run backwards: {last_ms}, {stamp_ms}");
                if frame.config.is_some() {
                    assert!(self.configs[at(tag)] == frame.config, "frame {mark:#x} without its configuration");
                }
                if self.last.is_none_or(|last| last + 1 != index) {
                    assert!(frame.start, "begins at {mark:#x}, which is no start");
                    self.gaps += u64::from(self.last.is_some());
                    self.decodes = false;
                }
                self.last = Some(index);
                self.decodes |= key && tag == TagKind::Video;
                assert!(self.decodes || tag == TagKind::Audio, "picture {mark:#x} before a keyframe");
                self.frames += 1;
            }
        }
    }

    /// What was lost must have been counted.
    pub(crate) fn check_losses(&self, counted: u64) {
        assert!(self.gaps <= counted, "{} gaps, but {counted} jumps were counted", self.gaps);
    }

    /// The stream is over and nothing was held back: the end came, or a jump for which nothing was left to go on at was counted.
    pub(crate) fn check_complete(&self, reference: &Reference, counted: u64) {
        if let Some(last) = self.last {
            let gaps = self.gaps + u64::from(last + 1 < reference.frames.len());
            assert!(gaps <= counted, "the end is missing: {} of {}", last + 1, reference.frames.len());
        }
    }
}
