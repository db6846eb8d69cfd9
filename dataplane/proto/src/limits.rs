//! Every maximum of the wire formats, in one place, each with its unit; limits that depend on each other are asserted so.

/// Longest RTMP message that is assembled, bytes: a 4K intra frame is a few MB. The chunk header could say 16 MiB.
pub const RTMP_MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Longest RTMP message before the door has admitted the session, bytes: commands are short.
pub const RTMP_MESSAGE_UNADMITTED_BYTES_MAX: usize = 64 << 10;
/// Chunk stream ids that one connection may have messages open on.
pub const RTMP_CHUNK_STREAMS_MAX: usize = 64;
/// Bytes of all half-assembled messages of one connection.
pub const RTMP_ASSEMBLY_BYTES_MAX: usize = 12 << 20;
/// Largest chunk size that a peer may set, bytes; a larger one is clamped, because no buffer is sized by it.
pub const RTMP_CHUNK_SIZE_MAX: usize = 0x7F_FFFF;
/// The chunk size that this server sends with, bytes.
pub const RTMP_CHUNK_SIZE_OUT: usize = 60_000;
/// Message streams that one connection may create.
pub const RTMP_STREAMS_MAX: u32 = 16;
/// Commands that one connection may send before its media starts.
pub const RTMP_COMMANDS_UNADMITTED_MAX: u32 = 64;
/// Bytes of control output that may wait for one peer.
pub const RTMP_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Window acknowledgement size announced, bytes.
pub const RTMP_WINDOW_BYTES: u32 = 2_500_000;

/// Nesting of AMF0 objects and arrays.
pub const AMF0_DEPTH_MAX: usize = 16;
/// AMF0 values in one message, all levels together.
pub const AMF0_ITEMS_MAX: usize = 1024;
/// Bytes of strings that one AMF0 message may keep.
pub const AMF0_STRING_BYTES_MAX: usize = 64 << 10;

/// Characters of a stream id or an application name.
pub const ID_CHARS_MAX: usize = 64;
/// Bytes of a stream key with its query (`<id>?sign=...`), or of tcUrl.
pub const STREAM_KEY_BYTES_MAX: usize = 2048;
/// Query parameters kept of one URL.
pub const QUERY_PARAMS_MAX: usize = 32;

/// Bytes of an HTTP request head.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;
/// Header lines of an HTTP request.
pub const HTTP_HEADERS_MAX: usize = 64;

/// Bytes of a codec configuration (avcC, hvcC, av1C, ASC): a real one has some hundred.
pub const CODEC_CONFIG_BYTES_MAX: usize = 64 << 10;
/// Bytes of an onMetaData message that are kept.
pub const METADATA_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(RTMP_MESSAGE_UNADMITTED_BYTES_MAX <= RTMP_MESSAGE_BYTES_MAX);
const _: () = assert!(RTMP_MESSAGE_BYTES_MAX <= RTMP_ASSEMBLY_BYTES_MAX);
const _: () = assert!(RTMP_CHUNK_SIZE_OUT <= RTMP_CHUNK_SIZE_MAX);
const _: () = assert!(METADATA_BYTES_MAX <= RTMP_MESSAGE_BYTES_MAX && CODEC_CONFIG_BYTES_MAX <= RTMP_MESSAGE_BYTES_MAX);
const _: () = assert!(STREAM_KEY_BYTES_MAX < HTTP_HEAD_BYTES_MAX);
