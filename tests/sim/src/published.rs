//! What was published on a stream, as its encoders sent it, and what every viewer's tags are held against. The engine takes of each encoder a run of
//! frames from its first one on; frames before the first keyframe, and before one of a new configuration, are left out.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use millstream_proto::media::TagKind;

use crate::media::{Kind, kind, slate_config, slate_frame};

struct Frame {
    tag: TagKind,
    body: Bytes,
    /// The configuration of its track that is in force.
    config: Option<Bytes>,
    /// A viewer may start at it.
    start: bool,
    /// As the first viewer got it.
    stamp_ms: Option<u32>,
    encoder: usize,
    /// Among its encoder's frames.
    index: usize,
}

#[derive(Default)]
struct OfEncoder {
    frames: usize,
    in_force: [Option<Bytes>; 2],
    wait_keyframe: bool,
    seen_video: bool,
    /// The newest of its frames that a viewer got.
    reached: Option<usize>,
}

/// All of a stream.
#[derive(Default)]
pub(crate) struct Published {
    frames: HashMap<u32, Frame>,
    encoders: BTreeMap<usize, OfEncoder>,
    /// Encoders that another one followed without an end of the stream.
    followed: BTreeSet<usize>,
    /// The last frame of each viewer that was told the end.
    ends: Vec<(usize, usize)>,
}

fn at(tag: TagKind) -> usize {
    usize::from(tag == TagKind::Audio)
}

impl Published {
    /// An encoder sends this.
    pub(crate) fn sent(&mut self, encoder: usize, tag: TagKind, body: &Bytes) {
        let of =
            self.encoders.entry(encoder).or_insert_with(|| OfEncoder { wait_keyframe: true, ..OfEncoder::default() });
        match kind(tag, body) {
            Kind::Script | Kind::Slate { .. } => {}
            Kind::Config => {
                let is_video = tag == TagKind::Video;
                of.seen_video |= is_video;
                of.wait_keyframe |= is_video && of.in_force[at(tag)].as_ref() != Some(body);
                of.in_force[at(tag)] = Some(body.clone());
            }
            Kind::Frame { key, mark } => {
                let is_video = tag == TagKind::Video;
                of.seen_video |= is_video;
                if is_video && !key && of.wait_keyframe {
                    return;
                }
                of.wait_keyframe &= !is_video;
                let start = if is_video { key } else { !of.seen_video };
                let config = of.in_force[at(tag)].clone();
                let frame = Frame { tag, body: body.clone(), config, start, stamp_ms: None, encoder, index: of.frames };
                of.frames += 1;
                self.frames.insert(mark, frame);
            }
        }
    }

    /// Viewers that were told the end and had not all of what others had.
    pub(crate) fn cut_short(&self) -> u64 {
        let reached = |encoder| self.encoders.get(&encoder).and_then(|of| of.reached);
        let lacks =
            |&&(encoder, index): &&(usize, usize)| self.followed.contains(&encoder) || reached(encoder) > Some(index);
        self.ends.iter().filter(lacks).count() as u64
    }
}

/// What one viewer got, as far as it must be remembered.
#[derive(Default)]
pub(crate) struct Watched {
    /// Encoder and index of the last frame.
    last: Option<(usize, usize)>,
    /// Encoders that are over.
    before: Vec<usize>,
    pub(crate) gaps: u64,
    configs: [Option<Bytes>; 2],
    stamps_ms: [u32; 2],
    /// A keyframe came since the start, the last jump and the last change of the picture's configuration.
    decodes: bool,
    /// The slate came since the last frame.
    slate: bool,
    /// An encoder goes on behind the slate: its pictures are left out up to the next keyframe.
    resumes: bool,
    pub(crate) frames: u64,
}

impl Watched {
    /// The next tag. Fails where it is none that may come now.
    pub(crate) fn tag(&mut self, published: &mut Published, tag: TagKind, stamp_ms: u32, body: &Bytes) {
        match kind(tag, body) {
            Kind::Script => {}
            Kind::Config => {
                self.decodes &= tag == TagKind::Audio;
                self.configs[at(tag)] = Some(body.clone());
            }
            Kind::Slate { key, number } => {
                self.stamped(tag, stamp_ms);
                self.decodes &= std::mem::replace(&mut self.slate, true);
                if let Some(number) = number {
                    assert_eq!(*body, slate_frame(number), "a frame of the slate is not as it was given");
                    assert_eq!(self.configs[0], Some(slate_config()), "the slate is without its configuration");
                }
                self.decodes |= key && tag == TagKind::Video;
                assert!(self.decodes || tag == TagKind::Audio, "the slate does not begin with a keyframe");
            }
            Kind::Frame { key, mark } => {
                let frame = published.frames.get_mut(&mark).unwrap_or_else(|| panic!("{mark:#x} was never published"));
                assert!(tag == frame.tag && *body == frame.body, "frame {mark:#x} is not as it was published");
                let stamp = *frame.stamp_ms.get_or_insert(stamp_ms);
                assert_eq!(stamp, stamp_ms, "frame {mark:#x} has the same stamp for all");
                self.stamped(tag, stamp_ms);
                if frame.config.is_some() {
                    assert!(self.configs[at(tag)] == frame.config, "frame {mark:#x} without its configuration");
                }
                let follows = match self.last {
                    Some((encoder, index)) if encoder == frame.encoder => {
                        assert!(index < frame.index, "the cursor went back to {mark:#x}");
                        self.resumes |= self.slate;
                        index + 1 == frame.index || self.resumes
                    }
                    Some((encoder, _)) => {
                        self.before.push(encoder);
                        published.followed.insert(encoder);
                        assert!(!self.before.contains(&frame.encoder), "an encoder publishes again after another did");
                        frame.index == 0
                    }
                    None => {
                        self.resumes = self.slate && frame.index > 0;
                        self.slate
                    }
                };
                if !follows {
                    assert!(frame.start, "begins at {mark:#x}, which is no start");
                    self.gaps += u64::from(self.last.is_some());
                    self.decodes = false;
                }
                self.last = Some((frame.encoder, frame.index));
                self.decodes &= !std::mem::take(&mut self.slate);
                self.decodes |= key && tag == TagKind::Video;
                self.resumes &= !frame.start;
                assert!(self.decodes || tag == TagKind::Audio, "picture {mark:#x} before a keyframe");
                self.frames += 1;
                let of = published.encoders.entry(frame.encoder).or_default();
                of.reached = of.reached.max(Some(frame.index));
            }
        }
    }
    fn stamped(&mut self, tag: TagKind, stamp_ms: u32) {
        let last_ms = std::mem::replace(&mut self.stamps_ms[at(tag)], stamp_ms);
        assert!(last_ms <= stamp_ms, "stamps run backwards: {last_ms}, {stamp_ms}");
    }

    /// It was told that the stream is over.
    pub(crate) fn ended(&self, published: &mut Published) {
        published.ends.extend(self.last);
    }
}
