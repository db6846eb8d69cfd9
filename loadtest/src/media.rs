//! What is published: a clip or synthetic frames, as an endless sequence with planned times. Before it: [`crate::plan`]; after it: the
//! publishers send each frame when it is due, and [`crate::ledger`] remembers it.
mod clip;
mod synthetic;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::media::TagKind;

use clip::Clip;
pub use clip::ClipError;
use synthetic::Synthetic;
pub(crate) use synthetic::stamp_us;

use crate::plan::Publish;

/// What all publishers of a run send.
#[derive(Debug)]
pub(crate) enum Source {
    Clip(Clip),
    Synthetic(Synthetic),
}

/// One frame, ready to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) kind: TagKind,
    pub(crate) due: Duration,
}

impl Source {
    pub(crate) fn new(publish: &Publish) -> Result<Self, ClipError> {
        match &publish.clip {
            Some(path) if path.as_os_str() == "demo" => Clip::demo().map(Self::Clip),
            Some(path) => Clip::read(path).map(Self::Clip),
            None => Ok(Self::Synthetic(Synthetic::new(publish, &Clip::demo()?.head))),
        }
    }

    /// Metadata and codec configurations: first, with time stamp 0.
    pub(crate) fn head(&self) -> &[(TagKind, Bytes)] {
        match self {
            Self::Clip(clip) => &clip.head,
            Self::Synthetic(synthetic) => &synthetic.head,
        }
    }
}

/// One publisher's place in the sequence.
#[derive(Debug)]
pub(crate) struct Feed {
    source: Arc<Source>,
    /// Frames sent, or tags of a clip.
    pictures: u64,
    sounds: u64,
}

impl Feed {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Self { source, pictures: 0, sounds: 0 }
    }

    /// Metadata and codec configurations: first, with time stamp 0.
    pub(crate) fn head(&self) -> &[(TagKind, Bytes)] {
        self.source.head()
    }

    /// What is next, and when it is due, since the publisher's first frame.
    pub(crate) fn peek(&self) -> Planned {
        match &*self.source {
            Source::Clip(clip) => {
                let (due, kind, _) = clip.frame(self.pictures);
                Planned { kind, due }
            }
            Source::Synthetic(synthetic) => synthetic.next(self.pictures, self.sounds),
        }
    }

    /// Puts the body of what is next into `body`, stamped with its planned wall-clock time where it is synthetic, and goes on.
    pub(crate) fn next(&mut self, planned_wall_us: u64, body: &mut Vec<u8>) -> Planned {
        let next = self.peek();
        body.clear();
        match &*self.source {
            Source::Clip(clip) => {
                body.extend_from_slice(clip.frame(self.pictures).2);
                self.pictures += 1;
            }
            Source::Synthetic(synthetic) if next.kind == TagKind::Audio => {
                synthetic.sound(self.sounds, body);
                self.sounds += 1;
            }
            Source::Synthetic(synthetic) => {
                synthetic.picture(self.pictures, planned_wall_us, body);
                self.pictures += 1;
            }
        }
        next
    }
}

/// Whether the first two bytes of a video body begin a coded keyframe: not a configuration, not the end of a sequence.
pub(crate) fn is_keyframe([first, second]: [u8; 2]) -> bool {
    let key = first >> 4 & 7 == 1;
    // Enhanced RTMP has the packet type in the first byte: 1 and 3 are coded frames, 7 says that more of the header follows.
    let coded = if first & 0x80 != 0 { matches!(first & 15, 1 | 3 | 6 | 7) } else { second == 1 };
    key && coded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(publish: &Publish, count: usize) -> Vec<(TagKind, u128)> {
        let mut feed = Feed::new(Arc::new(Source::new(publish).unwrap()));
        let mut body = Vec::new();
        let mut next = || {
            let planned = feed.next(0, &mut body);
            (planned.kind, planned.due.as_micros())
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn clip_and_synthetic_frames_come_in_order_without_end() {
        for clip in [None, Some("demo".into())] {
            let times = times(&Publish { clip, ..Publish::default() }, 5_000);
            assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].1));
            let pictures = times.iter().filter(|(kind, _)| *kind == TagKind::Video).count();
            assert!(
                (1_950..2_150).contains(&pictures),
                "{pictures} of 5000 at 30 pictures and about 43 sounds a second"
            );
        }
    }

    #[test]
    fn without_sound_there_is_none() {
        let times = times(&Publish { audio_kbit: 0, ..Publish::default() }, 90);
        assert!(times.iter().all(|(kind, _)| *kind == TagKind::Video));
        assert_eq!(times[60].1, 2_000_000);
    }

    #[test]
    fn keyframes_are_told_by_two_bytes() {
        assert!(is_keyframe([0x17, 1]) && is_keyframe([0x91, b'h']) && is_keyframe([0x93, b'a']));
        assert!(!is_keyframe([0x17, 0]) && !is_keyframe([0x27, 1]) && !is_keyframe([0x90, b'h']));
        assert!(!is_keyframe([0xA1, b'h']) && !is_keyframe([0x17, 2]));
    }
}
