//! Reads FLV from anywhere, in pieces of any size. Before it: a file (the demo clip) or a server's answer (tests, the load test);
//! after it: [`crate::media::Unpacker`].
use bytes::{Buf, Bytes, BytesMut};

use super::tag::{PREVIOUS_SIZE_BYTES, TAG_HEADER_BYTES, TagHeader};
use crate::cursor::Cursor;
use crate::limits::{FLV_HEADER_BYTES_MAX, FLV_UNREAD_BYTES_MAX, RTMP_MESSAGE_BYTES_MAX};
use crate::media::kinds::TagKind;

/// Bytes of the file header up to and including its own length (§ E.2).
const HEADER_BYTES: usize = 9;

/// What comes out of a [`Reader`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Item {
    /// The file header: once, first.
    Header {
        /// Audio is announced.
        audio: bool,
        /// Video is announced.
        video: bool,
    },
    /// A tag.
    Tag {
        /// Audio, video or script.
        kind: TagKind,
        /// Time stamp, milliseconds, modulo 2^32.
        timestamp_ms: u32,
        /// The body.
        body: Bytes,
    },
}

/// Bytes that are not FLV, or more of it than may wait. The reader stays where it was: every later call fails the same way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The first bytes are not `FLV`, version 1.
    #[error("this is not FLV version 1: it starts with {0:02x?}")]
    Signature([u8; 4]),
    /// A header that says it is shorter than the shortest, or longer than [`FLV_HEADER_BYTES_MAX`].
    #[error("the FLV header says it has {0} bytes; 9 to {FLV_HEADER_BYTES_MAX} are allowed")]
    HeaderLength(u32),
    /// A tag that is none of audio, video and script, or that is encrypted.
    #[error("an FLV tag of type {0}; 8, 9 and 18 are known")]
    TagType(u8),
    /// A body longer than [`RTMP_MESSAGE_BYTES_MAX`].
    #[error("an FLV tag of {0} bytes; at most {RTMP_MESSAGE_BYTES_MAX} are allowed")]
    TagLong(usize),
    /// Bytes were pushed without [`Reader::poll`] between.
    #[error("{0} bytes of FLV wait to be read; at most {FLV_UNREAD_BYTES_MAX} may")]
    Unread(usize),
}

/// An incremental reader: push bytes, then poll until it has nothing more.
#[derive(Debug, Default)]
pub struct Reader {
    unread: BytesMut,
    /// Bytes to pass over before the next tag: header extension, sizes of previous tags. The sizes are not compared: some
    /// writers leave them 0, and nothing hangs on them when reading forwards.
    skip: usize,
    in_tags: bool,
}

impl Reader {
    /// A reader that expects a file header.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes more bytes; takes none of them where more than [`FLV_UNREAD_BYTES_MAX`] would wait.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let unread_bytes = self.unread.len().saturating_add(bytes.len());
        if unread_bytes > FLV_UNREAD_BYTES_MAX {
            return Err(ReadError::Unread(unread_bytes));
        }
        self.unread.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether what was pushed has been read to the end of a tag, or of the header.
    pub fn is_empty(&self) -> bool {
        // The size of the last tag may be missing: nothing hangs on it.
        self.unread.len() <= self.skip
    }

    /// The next item, or `None` when more bytes are needed.
    pub fn poll(&mut self) -> Result<Option<Item>, ReadError> {
        let passed = self.skip.min(self.unread.len());
        self.unread.advance(passed);
        self.skip -= passed;
        if self.skip > 0 {
            return Ok(None);
        }
        if self.in_tags { self.poll_tag() } else { self.poll_header() }
    }

    fn poll_header(&mut self) -> Result<Option<Item>, ReadError> {
        let mut cursor = Cursor::new(&self.unread);
        let (Ok(signature), Ok(flags), Ok(header_bytes)) = (cursor.array::<4>(), cursor.u8(), cursor.u32()) else {
            return Ok(None);
        };
        if signature != *b"FLV\x01" {
            return Err(ReadError::Signature(signature));
        }
        let extension_bytes = (header_bytes as usize).checked_sub(HEADER_BYTES);
        let extension_bytes = extension_bytes
            .filter(|_| header_bytes <= FLV_HEADER_BYTES_MAX)
            .ok_or(ReadError::HeaderLength(header_bytes))?;
        self.unread.advance(HEADER_BYTES);
        self.skip = extension_bytes + PREVIOUS_SIZE_BYTES;
        self.in_tags = true;
        Ok(Some(Item::Header { audio: flags & 4 != 0, video: flags & 1 != 0 }))
    }

    fn poll_tag(&mut self) -> Result<Option<Item>, ReadError> {
        let Ok(header) = TagHeader::read(&mut Cursor::new(&self.unread)) else {
            return Ok(None);
        };
        let kind = TagKind::from_byte(header.kind).ok_or(ReadError::TagType(header.kind))?;
        if header.body_bytes > RTMP_MESSAGE_BYTES_MAX {
            return Err(ReadError::TagLong(header.body_bytes));
        }
        if self.unread.len() < TAG_HEADER_BYTES + header.body_bytes {
            return Ok(None);
        }
        self.unread.advance(TAG_HEADER_BYTES);
        let body = self.unread.split_to(header.body_bytes).freeze();
        self.skip = PREVIOUS_SIZE_BYTES;
        Ok(Some(Item::Tag { kind, timestamp_ms: header.timestamp_ms, body }))
    }
}
