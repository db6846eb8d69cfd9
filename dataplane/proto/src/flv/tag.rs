//! The shape of an FLV tag, and a walk over tags that lie back to back. Before it: [`super::write_tag`] made them; after it: the hub
//! derives RTMP messages from the same block.
use crate::cursor::{Cursor, Truncated};
use crate::media::kinds::TagKind;

/// Bytes before a tag's body: type, 24-bit length, 24 + 8 bits of time, 24-bit stream id (§ E.4.1).
pub const TAG_HEADER_BYTES: usize = 11;
/// Bytes after a tag's body: the size of the tag before it (§ E.3).
pub(crate) const PREVIOUS_SIZE_BYTES: usize = 4;

/// One tag in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TagRef<'a> {
    /// Audio, video or script.
    pub kind: TagKind,
    /// Time stamp, milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// The body, as [`crate::media`] takes it.
    pub body: &'a [u8],
}

/// The header of a tag, before anything is decided about its type.
#[derive(Clone, Copy)]
pub(crate) struct TagHeader {
    /// The type byte as it stands: § E.4.1 keeps bit 5 for encryption.
    pub(crate) kind: u8,
    pub(crate) body_bytes: usize,
    pub(crate) timestamp_ms: u32,
}

impl TagHeader {
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let [kind, l0, l1, l2, t0, t1, t2, t_high, _, _, _] = cursor.array::<TAG_HEADER_BYTES>()?;
        let body_bytes = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        Ok(Self { kind, body_bytes, timestamp_ms: u32::from_be_bytes([t_high, t0, t1, t2]) })
    }
}

/// Bytes that a body of this length takes as a tag, its header and the size behind it included.
pub const fn tag_bytes(body_bytes: usize) -> usize {
    TAG_HEADER_BYTES + body_bytes + PREVIOUS_SIZE_BYTES
}

/// The tags of a block that [`super::write_tag`] filled. Ends at the first byte that is not a whole tag of a known type.
pub fn tags(block: &[u8]) -> impl Iterator<Item = TagRef<'_>> {
    let mut cursor = Cursor::new(block);
    std::iter::from_fn(move || {
        let header = TagHeader::read(&mut cursor).ok()?;
        let kind = TagKind::from_byte(header.kind)?;
        let body = cursor.take(header.body_bytes).ok()?;
        cursor.skip(PREVIOUS_SIZE_BYTES).ok()?;
        Some(TagRef { kind, timestamp_ms: header.timestamp_ms, body })
    })
}
