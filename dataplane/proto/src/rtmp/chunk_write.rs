//! The chunk writer: a message becomes the same bytes whatever was sent before it, so that one serialisation serves every
//! viewer. Before it in the pipeline: the hub packages a frame, or a session answers; after it: the socket.
use bytes::{BufMut, BytesMut};

use super::chunk::EXTENDED;
use crate::limits::RTMP_CHUNK_SIZE_MAX;
use crate::media::TagKind;

/// Chunk stream of protocol control messages (RTMP 1.0, section 5.4).
pub const CSID_CONTROL: u32 = 2;
/// Chunk stream of commands.
pub const CSID_COMMAND: u32 = 3;
/// Chunk stream of video, and of nothing else: what a session says in between must not touch a media stream's headers.
pub const CSID_VIDEO: u32 = 4;
/// Chunk stream of audio, and of nothing else.
pub const CSID_AUDIO: u32 = 5;
/// Chunk stream of data messages.
pub const CSID_DATA: u32 = 6;
/// The one message stream: `createStream` answers it, publish and play happen on it.
pub const MESSAGE_STREAM: u32 = 1;

/// Appends a message: a format-0 header, format-3 continuations, an extended timestamp repeated in each of them.
///
/// `payload` is at most 0xFFFFFF bytes, which is what a header can declare; what lies behind is not sent.
pub fn write_message(
    out: &mut BytesMut,
    csid: u32,
    timestamp: u32,
    type_id: u8,
    message_stream_id: u32,
    payload: &[u8],
    chunk_size: usize,
) {
    let payload = payload.get(..RTMP_CHUNK_SIZE_MAX).unwrap_or(payload);
    let chunk_size = chunk_size.max(1);
    out.reserve(message_bytes(csid, timestamp, payload.len(), chunk_size));
    let extended = timestamp >= EXTENDED;
    put_basic_header(out, 0, csid);
    out.put_uint(u64::from(timestamp.min(EXTENDED)), 3);
    out.put_uint(payload.len() as u64, 3);
    out.put_u8(type_id);
    out.put_u32_le(message_stream_id);
    let mut chunks = payload.chunks(chunk_size);
    if extended {
        out.put_u32(timestamp);
    }
    out.put_slice(chunks.next().unwrap_or_default());
    for chunk in chunks {
        put_basic_header(out, 3, csid);
        if extended {
            out.put_u32(timestamp);
        }
        out.put_slice(chunk);
    }
}

/// Appends a publisher's message as viewers get it: on the chunk stream of its kind, message stream 1.
pub fn write_media(out: &mut BytesMut, kind: TagKind, timestamp: u32, payload: &[u8], chunk_size: usize) {
    write_message(out, media_csid(kind), timestamp, kind as u8, MESSAGE_STREAM, payload, chunk_size);
}

/// The chunk stream that messages of this kind go out on.
pub const fn media_csid(kind: TagKind) -> u32 {
    match kind {
        TagKind::Video => CSID_VIDEO,
        TagKind::Audio => CSID_AUDIO,
        TagKind::Script => CSID_DATA,
    }
}

/// How many bytes [`write_message`] appends.
pub fn message_bytes(csid: u32, timestamp: u32, payload_bytes: usize, chunk_size: usize) -> usize {
    let basic = match csid {
        ..64 => 1,
        64..320 => 2,
        _ => 3,
    };
    let extended = if timestamp >= EXTENDED { 4 } else { 0 };
    let chunks = payload_bytes.div_ceil(chunk_size.max(1)).max(1);
    chunks * (basic + extended) + 11 + payload_bytes
}

fn put_basic_header(out: &mut BytesMut, format: u8, csid: u32) {
    let format = format << 6;
    match csid {
        ..64 => out.put_u8(format | csid as u8),
        64..320 => out.put_slice(&[format, (csid - 64) as u8]),
        _ => {
            out.put_u8(format | 1);
            out.put_u16_le(csid.min(65_599).saturating_sub(64) as u16);
        }
    }
}
