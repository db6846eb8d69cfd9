//! Where each frame of a block is in its bytes: kept beside them, so that nobody reads FLV to find one. Made where a [`super::block`] is sealed, or
//! once where it comes from another node; read by the packager, the forms of a block, and relays.
use millstream_proto::flv::{self, TagRef};
use millstream_proto::media::TagKind;
use smallvec::SmallVec;

use super::block::Tag;

/// Frames of a flush, as a rule: their places are in the block itself, for an allocation is a twentieth of what a flush costs.
const USUAL: usize = 4;

/// One frame, or one tag that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Frame {
    kind: TagKind,
    /// See [`Tag::leading`].
    leading: bool,
    timestamp_ms: u32,
    /// Where its body begins, from the first tag.
    at: u32,
    body_bytes: u32,
}

/// The frames of a block in their order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct FrameIndex(SmallVec<[Frame; USUAL]>);

impl FrameIndex {
    /// Of tags that are written back to back.
    pub(super) fn of(tags: &[Tag]) -> Self {
        let mut at = 0;
        let frames = tags.iter().map(|&Tag { kind, timestamp_ms, ref body, leading }| {
            let frame = Frame {
                kind,
                leading,
                timestamp_ms,
                at: at + flv::TAG_HEADER_BYTES as u32,
                body_bytes: body.len() as u32,
            };
            at += flv::tag_bytes(body.len()) as u32;
            frame
        });
        Self(frames.collect())
    }

    /// Of bytes that came from elsewhere, with the places of leading frames in their order; `None` where they are not whole tags and nothing else.
    pub(super) fn read(tags: &[u8], leading: &[usize]) -> Option<Self> {
        let mut end = 0;
        let frames: SmallVec<[Frame; USUAL]> = flv::tags(tags)
            .enumerate()
            .map(|(place, TagRef { kind, timestamp_ms, body })| {
                let at = end + flv::TAG_HEADER_BYTES;
                end += flv::tag_bytes(body.len());
                let leading = leading.binary_search(&place).is_ok();
                Frame { kind, leading, timestamp_ms, at: at as u32, body_bytes: body.len() as u32 }
            })
            .collect();
        (end == tags.len() && u32::try_from(end).is_ok()).then_some(Self(frames))
    }

    /// The frames in these bytes, which are those that the index is of.
    pub(super) fn frames<'a>(&'a self, tags: &'a [u8]) -> impl ExactSizeIterator<Item = TagRef<'a>> + Clone {
        self.0.iter().map(|frame| frame.of(tags))
    }

    /// Those that a decoder which starts at their keyframe can decode.
    pub(super) fn without_leading<'a>(&'a self, tags: &'a [u8]) -> impl Iterator<Item = TagRef<'a>> + Clone {
        self.0.iter().filter(|frame| !frame.leading).map(|frame| frame.of(tags))
    }

    /// The places of leading frames.
    pub(super) fn leading(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, frame)| frame.leading).map(|(place, _)| place)
    }

    /// Bytes that it takes of memory beside the block.
    pub(super) fn bytes(&self) -> usize {
        if self.0.spilled() { size_of_val(&*self.0) } else { 0 }
    }
}

impl Frame {
    fn of(self, tags: &[u8]) -> TagRef<'_> {
        let Self { kind, timestamp_ms, at, body_bytes, .. } = self;
        let at = at as usize;
        TagRef { kind, timestamp_ms, body: tags.get(at..at + body_bytes as usize).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;

    fn written() -> (Vec<Tag>, Bytes) {
        let kinds = [TagKind::Video, TagKind::Script, TagKind::Audio, TagKind::Video];
        let tags: Vec<Tag> = (0..40)
            .map(|at| Tag {
                kind: kinds[at % 4],
                timestamp_ms: u32::MAX - 500 + at as u32,
                body: vec![at as u8; at * 7 % 300].into(),
                leading: at % 5 == 1,
            })
            .collect();
        let mut out = BytesMut::new();
        for Tag { kind, timestamp_ms, body, .. } in &tags {
            flv::write_tag(&mut out, *kind, *timestamp_ms, body).unwrap();
        }
        (tags, out.freeze())
    }

    #[test]
    fn the_index_has_what_the_bytes_have() {
        let (tags, bytes) = written();
        let index = FrameIndex::of(&tags);
        assert!(index.frames(&bytes).eq(flv::tags(&bytes)));
        let kept: Vec<_> = index.without_leading(&bytes).collect();
        assert!(kept.iter().map(|frame| frame.body).eq(tags.iter().filter(|tag| !tag.leading).map(|tag| &*tag.body)));
        let leading: Vec<usize> = index.leading().collect();
        assert_eq!(FrameIndex::read(&bytes, &leading), Some(index));
    }

    #[test]
    fn bytes_that_are_not_whole_tags_have_none() {
        let (tags, bytes) = written();
        let last = flv::tag_bytes(tags.last().unwrap().body.len());
        for cut in 1..last {
            assert_eq!(FrameIndex::read(&bytes[..bytes.len() - cut], &[]), None, "{cut}");
        }
        assert_eq!(FrameIndex::read(&[&bytes[..], b"\x09"].concat(), &[]), None);
        assert!(FrameIndex::read(&[], &[3]).is_some_and(|index| index.bytes() == 0));
    }
}
