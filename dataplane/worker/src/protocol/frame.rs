//! Messages on a pipe: the length of a JSON header, the header, the length of a payload, the payload; lengths are 32 bits, big-endian. Before
//! it: bytes in any pieces; after it: [`super::Order`] and [`super::Report`].
use bytes::{Buf as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a header.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Bytes of a payload: a JPEG of the largest picture has less.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const LENGTH_BYTES: usize = 4;

/// Bytes that are no message, or a message that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A header longer than [`HEADER_BYTES_MAX`].
    #[error("a header of {0} bytes; at most {HEADER_BYTES_MAX} are allowed")]
    HeaderLong(usize),
    /// A payload longer than [`PAYLOAD_BYTES_MAX`].
    #[error("a payload of {0} bytes; at most {PAYLOAD_BYTES_MAX} are allowed")]
    PayloadLong(usize),
    /// Not the JSON that it should be. The text is not repeated: it may hold a token.
    #[error("the header is not a message, at column {0}")]
    Json(usize),
}

/// A message and what comes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message<T> {
    /// What is said.
    pub header: T,
    /// The bytes that it speaks of; mostly none.
    pub payload: Bytes,
}

/// The bytes of a message.
pub fn encode(header: &impl Serialize, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    let header = serde_json::to_vec(header).map_err(|error| FrameError::Json(error.column()))?;
    if header.len() > HEADER_BYTES_MAX {
        return Err(FrameError::HeaderLong(header.len()));
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(FrameError::PayloadLong(payload.len()));
    }
    let mut bytes = Vec::with_capacity(2 * LENGTH_BYTES + header.len() + payload.len());
    bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// An incremental reader: push bytes, then poll until it has nothing more. Holds one message at most and what was pushed behind it.
#[derive(Debug, Default)]
pub struct Reader {
    unread: BytesMut,
}

impl Reader {
    /// A reader at the start of a message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next message; `None` when more bytes are needed. After an error about JSON the next call goes on behind that message; after one
    /// about a length nothing more can be read.
    pub fn poll<T: DeserializeOwned>(&mut self) -> Result<Option<Message<T>>, FrameError> {
        let Some(header_bytes) = self.length_at(0) else { return Ok(None) };
        if header_bytes > HEADER_BYTES_MAX {
            return Err(FrameError::HeaderLong(header_bytes));
        }
        let Some(payload_bytes) = self.length_at(LENGTH_BYTES + header_bytes) else { return Ok(None) };
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(FrameError::PayloadLong(payload_bytes));
        }
        if self.unread.len() < 2 * LENGTH_BYTES + header_bytes + payload_bytes {
            return Ok(None);
        }
        self.unread.advance(LENGTH_BYTES);
        let header = self.unread.split_to(header_bytes);
        self.unread.advance(LENGTH_BYTES);
        let payload = self.unread.split_to(payload_bytes).freeze();
        match serde_json::from_slice(&header) {
            Ok(header) => Ok(Some(Message { header, payload })),
            Err(error) => Err(FrameError::Json(error.column())),
        }
    }

    fn length_at(&self, at: usize) -> Option<usize> {
        let bytes = self.unread.get(at..)?.first_chunk::<LENGTH_BYTES>()?;
        Some(u32::from_be_bytes(*bytes) as usize)
    }
}
