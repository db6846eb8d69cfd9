//! Walks FLV tags without keeping them, until the first byte of coded picture that a player could start with: the end of joining.
use millstream_proto::flv::ReadError;
use millstream_proto::limits::{FLV_HEADER_BYTES_MAX, RTMP_MESSAGE_BYTES_MAX};
use millstream_proto::media::TagKind;

use crate::media::is_keyframe;

/// Bytes of a tag's header, and the first two of its body.
const LOOK_BYTES: usize = 11 + 2;
/// Bytes of the file's header, and of the size behind each tag.
const HEADER_BYTES: usize = 9;
const SIZE_BYTES: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Scout {
    seen: [u8; LOOK_BYTES],
    filled: usize,
    skip: usize,
    in_tags: bool,
}

impl Scout {
    /// Takes bytes; whether a keyframe has begun.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<bool, ReadError> {
        loop {
            let skipped = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - skipped, &bytes[skipped..]);
            let wanted = if self.in_tags { LOOK_BYTES } else { HEADER_BYTES };
            let (look, rest) = bytes.split_at(bytes.len().min(wanted - self.filled));
            self.seen[self.filled..self.filled + look.len()].copy_from_slice(look);
            (self.filled, bytes) = (self.filled + look.len(), rest);
            if self.filled < wanted {
                return Ok(false);
            }
            self.filled = 0;
            if !self.in_tags {
                self.header()?;
            } else if self.tag()? {
                return Ok(true);
            }
        }
    }

    fn header(&mut self) -> Result<(), ReadError> {
        let [a, b, c, d, _flags, l0, l1, l2, l3, ..] = self.seen;
        if [a, b, c, d] != *b"FLV\x01" {
            return Err(ReadError::Signature([a, b, c, d]));
        }
        let header_bytes = u32::from_be_bytes([l0, l1, l2, l3]);
        if !(HEADER_BYTES as u32..=FLV_HEADER_BYTES_MAX).contains(&header_bytes) {
            return Err(ReadError::HeaderLength(header_bytes));
        }
        self.skip = header_bytes as usize - HEADER_BYTES + SIZE_BYTES;
        self.in_tags = true;
        Ok(())
    }

    fn tag(&mut self) -> Result<bool, ReadError> {
        let [kind, l0, l1, l2, _, _, _, _, _, _, _, first, second] = self.seen;
        let body_bytes = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let kind_known = TagKind::from_byte(kind).ok_or(ReadError::TagType(kind))?;
        if body_bytes > RTMP_MESSAGE_BYTES_MAX {
            return Err(ReadError::TagLong(body_bytes));
        }
        if kind_known == TagKind::Video && body_bytes >= 2 && is_keyframe([first, second]) {
            return Ok(true);
        }
        // A body may be shorter than what was looked at: those bytes belong to the size behind it, which is at least as long.
        self.skip = body_bytes + SIZE_BYTES - 2;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use millstream_proto::flv::{file_header, write_tag};

    use super::*;

    #[test]
    fn the_keyframe_is_noticed_at_its_second_byte_and_not_before() {
        let mut flv = BytesMut::from(&file_header(true, true)[..]);
        for (kind, body) in [
            (TagKind::Script, &b""[..]),
            (TagKind::Audio, b"\xaf"),
            (TagKind::Video, b"\x17\0\0\0\0config"),
            (TagKind::Video, b"\x27\x01\0\0\0not a keyframe"),
        ] {
            write_tag(&mut flv, kind, 0, body).unwrap();
        }
        let at = flv.len() + 11 + 2;
        write_tag(&mut flv, TagKind::Video, 0, b"\x17\x01\0\0\0keyframe").unwrap();
        for piece in [1, 2, 5, 13] {
            let (mut scout, mut taken) = (Scout::default(), 0);
            let found = flv[..at].chunks(piece).find_map(|bytes| {
                taken += bytes.len();
                scout.take(bytes).unwrap().then_some(taken)
            });
            assert_eq!(found, Some(at), "in pieces of {piece}");
        }
    }
}
