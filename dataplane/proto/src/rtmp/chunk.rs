//! The chunk reader (RTMP 1.0, section 5.3): bytes of a connection in, whole messages out. Before it in the pipeline:
//! [`super::handshake`]; after it: the session acts on each [`Message`].
//!
//! Each chunk stream has its own payload buffer, which grows with the bytes that arrive and never by what a header declares.
//! SetChunkSize and Abort concern only this reader, so it obeys them itself.
use bytes::Bytes;

use super::message::{Message, kind, parse_u32};
use crate::cursor::{Cursor, Truncated};
use crate::limits::{
    RTMP_ASSEMBLY_BYTES_MAX, RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX, RTMP_CHUNK_SIZE_MAX, RTMP_CHUNK_STREAMS_MAX,
    RTMP_MESSAGE_BYTES_MAX, RTMP_MESSAGE_UNADMITTED_BYTES_MAX, RTMP_RESERVE_BYTES, RTMP_RESERVE_UNADMITTED_BYTES,
};

/// The chunk size before either side sets one, bytes (section 5.4.1).
pub const CHUNK_SIZE_INITIAL: usize = 128;
/// A 24-bit timestamp field of this value says that 32 bits follow.
pub(super) const EXTENDED: u32 = 0xFF_FFFF;
/// Longest chunk header, bytes: basic header 3, message header 11, extended timestamp 4.
pub const HEADER_BYTES_MAX: usize = 18;

/// Bytes that are not chunks, or chunks that pass a maximum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// SetChunkSize of 0.
    #[error("peer set a chunk size of 0")]
    ChunkSizeZero,
    /// A header that refers to an earlier one of its chunk stream, and there is none.
    #[error("chunk stream {0} starts with a compressed header")]
    NoHeader(u32),
    /// More than [`RTMP_CHUNK_STREAMS_MAX`] chunk streams.
    #[error("peer uses more than {RTMP_CHUNK_STREAMS_MAX} chunk streams")]
    ChunkStreams,
    /// A message longer than is taken at this stage, bytes.
    #[error("message of {0} bytes is too long")]
    MessageLong(usize),
    /// Too many bytes in unfinished messages.
    #[error("unfinished messages take too many bytes")]
    Assembly,
}

impl ChunkError {
    /// A fixed name for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ChunkSizeZero => "chunk_size_zero",
            Self::NoHeader(_) => "chunk_no_header",
            Self::ChunkStreams => "chunk_streams_max",
            Self::MessageLong(_) => "message_bytes_max",
            Self::Assembly => "assembly_bytes_max",
        }
    }
}

/// Maxima that depend on whether the session is admitted; bytes.
#[derive(Clone, Copy, Debug)]
struct Caps {
    message: usize,
    assembly: usize,
    reserve: usize,
}

const CAPS_UNADMITTED: Caps = Caps {
    message: RTMP_MESSAGE_UNADMITTED_BYTES_MAX,
    assembly: RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX,
    reserve: RTMP_RESERVE_UNADMITTED_BYTES,
};
const CAPS_ADMITTED: Caps =
    Caps { message: RTMP_MESSAGE_BYTES_MAX, assembly: RTMP_ASSEMBLY_BYTES_MAX, reserve: RTMP_RESERVE_BYTES };

/// What is remembered of a chunk stream: its last message header, and the message that is being assembled.
#[derive(Default)]
struct ChunkStream {
    csid: u32,
    timestamp: u32,
    delta: u32,
    /// The 32-bit field of the last header that had one, if the last header had one.
    extended: Option<u32>,
    length: usize,
    type_id: u8,
    stream_id: u32,
    /// A message has begun.
    open: bool,
    payload: Vec<u8>,
}

/// One chunk header, taken apart; fields that its format leaves out are none.
struct Header {
    bytes: usize,
    format: u8,
    csid: u32,
    /// Timestamp (format 0) or delta (1, 2), widened.
    stamp: Option<u32>,
    extended: Option<u32>,
    /// Format 3 lacked the extended timestamp that its stream has.
    omitted: bool,
    length_and_type: Option<(usize, u8)>,
    stream_id: Option<u32>,
}

/// The reader of one connection. Feed it with [`ChunkReader::read`].
pub struct ChunkReader {
    chunk_size: usize,
    caps: Caps,
    streams: Vec<ChunkStream>,
    /// Capacity of all payload buffers, bytes.
    assembly: usize,
    /// Bytes already taken from the input that could not be acted on yet: the start of a header.
    carry: [u8; HEADER_BYTES_MAX],
    carried: usize,
    /// The chunk whose payload is being read: its place in `streams`, and the bytes that it still lacks.
    chunk: Option<(usize, usize)>,
    /// The peer leaves the extended timestamp out of continuations: once seen, certain.
    omits_extended: bool,
    restarted: u64,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkReader {
    /// A reader with the tight maxima for peers that are not admitted yet.
    pub fn new() -> Self {
        Self {
            chunk_size: CHUNK_SIZE_INITIAL,
            caps: CAPS_UNADMITTED,
            streams: Vec::new(),
            assembly: 0,
            carry: [0; HEADER_BYTES_MAX],
            carried: 0,
            chunk: None,
            omits_extended: false,
            restarted: 0,
        }
    }

    /// Raises the maxima to those for media.
    pub fn admit(&mut self) {
        self.caps = CAPS_ADMITTED;
    }

    /// Lowers the maxima again. A message that is half here and already passes them may not grow any more.
    pub fn dismiss(&mut self) {
        self.caps = CAPS_UNADMITTED;
    }

    /// Messages that were dropped because a new header came before their end.
    pub fn restarted(&self) -> u64 {
        self.restarted
    }

    /// Bytes that payload buffers take now.
    pub fn assembly_bytes(&self) -> usize {
        self.assembly
    }

    /// Takes from the front of `input` up to the end of the next message, or all of it. After an error the connection is lost.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            let Some((index, left)) = self.chunk else {
                let Some(header) = self.next_header(input) else { return Ok(None) };
                self.chunk = Some(self.begin_chunk(&header)?);
                continue;
            };
            let left = self.fill(index, left, input)?;
            if left > 0 {
                self.chunk = Some((index, left));
                return Ok(None);
            }
            self.chunk = None;
            if let Some(message) = self.finish(index) {
                match message.type_id {
                    kind::SET_CHUNK_SIZE => self.set_chunk_size(&message.payload)?,
                    kind::ABORT => self.abort(&message.payload),
                    _ => return Ok(Some(message)),
                }
            }
        }
    }

    /// Moves up to `left` payload bytes into the buffer; returns how many are still missing.
    fn fill(&mut self, index: usize, mut left: usize, input: &mut &[u8]) -> Result<usize, ChunkError> {
        if self.carried > 0 {
            let carry = self.carry;
            let taken = left.min(self.carried);
            self.append(index, carry.get(..taken).unwrap_or_default())?;
            self.drop_carry(taken);
            left -= taken;
        }
        let (payload, rest) = input.split_at_checked(left).unwrap_or((input, &[]));
        self.append(index, payload)?;
        *input = rest;
        Ok(left - payload.len())
    }

    fn append(&mut self, index: usize, bytes: &[u8]) -> Result<(), ChunkError> {
        let Some(stream) = self.streams.get_mut(index) else { return Ok(()) };
        let (needed, capacity) = (stream.payload.len() + bytes.len(), stream.payload.capacity());
        if needed > capacity {
            let wanted = needed.max(capacity * 2).max(self.caps.reserve).min(stream.length).max(needed);
            if self.assembly - capacity + wanted > self.caps.assembly {
                return Err(ChunkError::Assembly);
            }
            stream.payload.reserve_exact(wanted - stream.payload.len());
            self.assembly = self.assembly - capacity + stream.payload.capacity();
        }
        stream.payload.extend_from_slice(bytes);
        Ok(())
    }

    /// The next header, from carried bytes and input; none (and everything carried) while it is incomplete.
    fn next_header(&mut self, input: &mut &[u8]) -> Option<Header> {
        if self.carried == 0
            && let Ok(header) = self.parse_header(input)
        {
            *input = input.get(header.bytes..).unwrap_or_default();
            return Some(header);
        }
        let mut bytes = self.carry;
        let room = bytes.get_mut(self.carried..).unwrap_or_default();
        let (added, rest) = input.split_at_checked(room.len()).unwrap_or((input, &[]));
        room.iter_mut().zip(added).for_each(|(to, from)| *to = *from);
        let have = self.carried + added.len();
        let Ok(header) = self.parse_header(bytes.get(..have).unwrap_or_default()) else {
            // Parsing needs at most HEADER_BYTES_MAX bytes, so all of the input fitted.
            (self.carry, self.carried) = (bytes, have);
            *input = rest;
            return None;
        };
        // An undecided extended timestamp may have carried more than the header turned out to have: the rest is payload.
        let from_input = header.bytes.saturating_sub(self.carried);
        self.drop_carry(header.bytes);
        *input = input.get(from_input..).unwrap_or_default();
        Some(header)
    }

    fn drop_carry(&mut self, count: usize) {
        let count = count.min(self.carried);
        self.carry.copy_within(count..self.carried, 0);
        self.carried -= count;
    }

    fn parse_header(&self, bytes: &[u8]) -> Result<Header, Truncated> {
        let mut cursor = Cursor::new(bytes);
        let first = cursor.u8()?;
        let format = first >> 6;
        let csid = match first & 0x3f {
            0 => 64 + u32::from(cursor.u8()?),
            1 => 64 + u32::from(u16::from_le_bytes(cursor.array()?)),
            short => u32::from(short),
        };
        let stamp = if format < 3 { Some(cursor.u24()?) } else { None };
        let length_and_type = if format < 2 { Some((cursor.u24()? as usize, cursor.u8()?)) } else { None };
        let stream_id = if format == 0 { Some(u32::from_le_bytes(cursor.array()?)) } else { None };
        let mut omitted = false;
        let extended = match stamp {
            Some(EXTENDED) => Some(cursor.u32()?),
            Some(_) => None,
            None => {
                let stream = self.streams.iter().find(|stream| stream.csid == csid);
                let extended = stream.and_then(|stream| stream.extended);
                if let Some(value) = extended {
                    // Both dialects are in use: FMLE and ffmpeg repeat the field here, rtmpdump leaves it out.
                    let continues = stream.is_some_and(|stream| stream.open);
                    omitted = self.omits_extended && continues;
                    if !omitted {
                        let expected = value.to_be_bytes();
                        omitted = !cursor.rest().iter().zip(expected).all(|(seen, expected)| *seen == expected);
                    }
                    if !omitted {
                        cursor.skip(4)?;
                    }
                }
                extended
            }
        };
        let stamp = stamp.map(|stamp| extended.unwrap_or(stamp));
        let bytes = cursor.position();
        Ok(Header { bytes, format, csid, stamp, extended, omitted, length_and_type, stream_id })
    }

    /// Applies a header; returns the chunk's stream and payload bytes.
    fn begin_chunk(&mut self, header: &Header) -> Result<(usize, usize), ChunkError> {
        let index = match self.streams.iter().position(|stream| stream.csid == header.csid) {
            Some(index) => index,
            // librtmp opens its control stream with format 1, so that is taken with message stream 0.
            None if header.format > 1 => return Err(ChunkError::NoHeader(header.csid)),
            None if self.streams.len() == RTMP_CHUNK_STREAMS_MAX => return Err(ChunkError::ChunkStreams),
            None => {
                self.streams.push(ChunkStream { csid: header.csid, ..ChunkStream::default() });
                self.streams.len() - 1
            }
        };
        let Some(stream) = self.streams.get_mut(index) else { return Err(ChunkError::ChunkStreams) };
        if stream.open && header.format == 3 {
            self.omits_extended |= header.omitted;
        } else {
            if stream.open {
                self.assembly -= stream.payload.capacity();
                stream.payload = Vec::new();
                self.restarted += 1;
            }
            // Section 5.3.1.2.4: format 3 repeats the last delta, and after format 0 that is the timestamp itself.
            stream.delta = header.stamp.unwrap_or(stream.delta);
            stream.timestamp =
                if header.format == 0 { stream.delta } else { stream.timestamp.wrapping_add(stream.delta) };
            stream.extended = header.extended;
            (stream.length, stream.type_id) = header.length_and_type.unwrap_or((stream.length, stream.type_id));
            stream.stream_id = header.stream_id.unwrap_or(stream.stream_id);
            stream.open = true;
            if stream.length > self.caps.message {
                return Err(ChunkError::MessageLong(stream.length));
            }
        }
        Ok((index, self.chunk_size.min(stream.length - stream.payload.len())))
    }

    fn finish(&mut self, index: usize) -> Option<Message> {
        let stream = self.streams.get_mut(index)?;
        if stream.payload.len() < stream.length {
            return None;
        }
        stream.open = false;
        let payload = std::mem::take(&mut stream.payload);
        self.assembly -= payload.capacity();
        Some(Message {
            timestamp: stream.timestamp,
            type_id: stream.type_id,
            stream_id: stream.stream_id,
            payload: Bytes::from(payload),
        })
    }

    fn set_chunk_size(&mut self, payload: &[u8]) -> Result<(), ChunkError> {
        match parse_u32(payload) {
            Some(0) => return Err(ChunkError::ChunkSizeZero),
            Some(size) => self.chunk_size = (size as usize).min(RTMP_CHUNK_SIZE_MAX),
            None => {}
        }
        Ok(())
    }

    fn abort(&mut self, payload: &[u8]) {
        let csid = parse_u32(payload);
        if let Some(stream) = self.streams.iter_mut().find(|stream| Some(stream.csid) == csid) {
            self.assembly -= stream.payload.capacity();
            stream.payload = Vec::new();
            stream.open = false;
        }
    }
}
