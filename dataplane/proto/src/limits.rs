//! Every maximum of the wire formats, in one place, each with its unit; limits that depend on each other are asserted so.

/// Longest RTMP message that is assembled, bytes: a 4K intra frame is a few MB. The chunk header could say 16 MiB.
pub const RTMP_MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Longest RTMP message before admission has admitted the session, bytes: commands are short.
pub const RTMP_MESSAGE_UNADMITTED_BYTES_MAX: usize = 64 << 10;
/// Chunk stream ids that one connection may have messages open on.
pub const RTMP_CHUNK_STREAMS_MAX: usize = 64;
/// Bytes of all half-assembled messages of one connection.
pub const RTMP_ASSEMBLY_BYTES_MAX: usize = 12 << 20;
/// Bytes of all half-assembled messages of one connection before admission has admitted it.
pub const RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX: usize = 128 << 10;
/// Bytes reserved for a message on the strength of its declared length alone; beyond that, buffers grow with what arrives.
pub const RTMP_RESERVE_BYTES: usize = 64 << 10;
/// The same before admission has admitted the session.
pub const RTMP_RESERVE_UNADMITTED_BYTES: usize = 1 << 10;
/// Largest chunk size that a peer may set, bytes; a larger one is clamped, because no buffer is sized by it. It is the
/// longest message that a header can declare, so that clamping never changes where a chunk ends.
pub const RTMP_CHUNK_SIZE_MAX: usize = 0xFF_FFFF;
/// The chunk size that this server sends with, bytes.
pub const RTMP_CHUNK_SIZE_OUT: usize = 60_000;
/// Bytes that wait behind a publish or play request until it is answered.
pub const RTMP_INBOX_BYTES_MAX: usize = 256 << 10;
/// ADTS frames of one message: an encoder puts a few tenths of a second into one.
pub const ADTS_FRAMES_MAX: usize = 64;
/// Tags taken out of one aggregate message.
pub const RTMP_AGGREGATE_TAGS_MAX: usize = 4096;
/// Commands that one connection may send before its media starts.
pub const RTMP_COMMANDS_UNADMITTED_MAX: u32 = 64;
/// Streams that one connection may publish at the same time, each on a message stream of its own.
pub const RTMP_STREAMS_MAX: u32 = 8;
/// Bytes of control output that may wait for one peer.
pub const RTMP_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Bytes of output, media included, that may wait in a client session.
pub const RTMP_CLIENT_OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Window acknowledgement size announced, bytes; also the largest that a peer's is adopted at.
pub const RTMP_WINDOW_BYTES: u32 = 2_500_000;
/// Smallest window acknowledgement size that a peer's is adopted at, bytes.
pub const RTMP_WINDOW_BYTES_MIN: u32 = 4096;
/// Bytes kept of a client's self-description (flashVer, pageUrl).
pub const RTMP_CLIENT_TEXT_BYTES_MAX: usize = 256;
/// Bytes of a status description that is sent.
pub const RTMP_DESCRIPTION_BYTES_MAX: usize = 512;
/// Seconds between the pings that a session sends to its peer.
pub const RTMP_PING_SECS: u64 = 30;

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
/// Bytes of a path of another server that is mapped to a stream.
pub const PATH_BYTES_MAX: usize = 512;
/// Such paths of one stream and kind.
pub const PATHS_MAX: usize = 32;
/// Servers that a stream is pushed on to.
pub const RELAYS_MAX: usize = 8;
/// Renditions of a stream.
pub const RENDITIONS_MAX: usize = 8;
/// Pixels of a side of a rendition.
pub const RENDITION_PIXELS_MAX: u32 = 4_096;
/// Thousands of bits per second of a rendition's picture.
pub const RENDITION_KBIT_S_MAX: u32 = 100_000;
/// Query parameters kept of one URL.
pub const QUERY_PARAMS_MAX: usize = 32;
/// Bytes of the value of a `sign` parameter: the longer form has 59 with an expiry of this century.
pub const SIGN_BYTES_MAX: usize = 128;
/// Bytes of a play grant in a path: those of this century have 78.
pub const GRANT_BYTES_MAX: usize = 96;
/// Longest JWT, bytes: those of identity providers have about 1 KiB. A header of HTTP has room for more than a stream key.
pub const JWT_BYTES_MAX: usize = 4 << 10;
/// Digits of a signature's expiry, Unix seconds: 12 reach the year 33658, and milliseconds given by mistake are noticed.
pub const SIGN_EXPIRY_DIGITS_MAX: usize = 12;

/// Bytes of a PROXY protocol header: addresses take at most 232, and what proxies append is mostly short.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 << 10;

/// Bytes of an HTTP request head.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;
/// Header lines of an HTTP request.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Segments of a request's path: `/g/<grant>/<id>/s/<session>/<track>/<name>` has seven.
pub const HTTP_PATH_SEGMENTS_MAX: usize = 16;
/// Bytes of what a player says of itself in a request, as CMCD; of longer ones nothing is read.
pub const CMCD_BYTES_MAX: usize = 2 << 10;
/// Members of it that are read.
pub const CMCD_MEMBERS_MAX: usize = 64;
/// Bytes of the name of a player's session in it.
pub const CMCD_SESSION_BYTES_MAX: usize = 64;
/// Bytes of an HTTP request's body: play requests have none, and a grant request is short.
pub const HTTP_BODY_BYTES_MAX: u64 = 64 << 10;

/// Streams of an HTTP/2 connection that may be open at the same time (RFC 9113, 6.5.2 recommends no fewer).
pub const HTTP2_STREAMS_MAX: usize = 100;
/// Bytes of an HTTP/2 request's header list, counted as `SETTINGS_MAX_HEADER_LIST_SIZE` does: name, value and 32 of each field.
pub const HTTP2_HEADER_LIST_BYTES_MAX: usize = 16 << 10;
/// Bytes of an HTTP/2 header block, compressed.
pub const HTTP2_HEADER_BLOCK_BYTES_MAX: usize = 16 << 10;
/// CONTINUATION frames of one header block: a block that fills frames has one or none.
pub const HTTP2_CONTINUATIONS_MAX: u32 = 16;
/// Payload of a received HTTP/2 frame, bytes: the least that may be announced.
pub const HTTP2_FRAME_BYTES_MAX: usize = 16 << 10;
/// Payload of a DATA frame that is sent, bytes: larger ones would keep other streams of the connection waiting.
pub const HTTP2_DATA_FRAME_BYTES: usize = 16 << 10;
/// Settings of one SETTINGS frame: fewer than twenty are defined.
pub const HTTP2_SETTINGS_MAX: usize = 32;
/// Streams that a peer may reset, or break, beyond those that it lets complete; halved by each tick.
pub const HTTP2_RESETS_MAX: u32 = 100;
/// Frames that bring no request and no body, beyond those that answer what was sent; halved by each tick.
pub const HTTP2_CONTROL_FRAMES_MAX: u32 = 1_000;
/// Ticks, of a second or so, within which a peer acknowledges this side's settings.
pub const HTTP2_SETTINGS_TICKS_MAX: u32 = 30;
/// Events of an HTTP/2 connection that may wait: nothing is read beyond.
pub const HTTP2_EVENTS_MAX: usize = 16;
/// Bytes of control frames that may wait for one HTTP/2 peer.
pub const HTTP2_OUTPUT_BYTES_MAX: usize = 32 << 10;
/// Streams of an HTTP/2 connection that were reset and whose frames may still be on their way.
pub const HTTP2_DISCARDED_MAX: usize = 128;
/// Bytes of a peer's HPACK table, counted as RFC 7541, 4.1 does: the size that both ends begin with.
pub const HPACK_TABLE_BYTES_MAX: usize = 4 << 10;

/// Digits of a moment in a recorded file's name, Unix milliseconds: 15 reach the year 33658.
pub const RECORDED_MS_DIGITS_MAX: usize = 15;
/// Characters of a recorded track's file name, without its ending: ours have some 20.
pub const RECORDED_FILE_CHARS_MAX: usize = 64;
/// Characters of an entity tag of a recorded file: those of S3 have up to 40.
pub const ENTITY_TAG_CHARS_MAX: usize = 128;

/// Bytes of a message that a viewer sends over its WebSocket: it has nothing to say, and what it says is thrown away.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a WebSocket control frame's payload (RFC 6455, 5.5).
pub const WEBSOCKET_CONTROL_BYTES_MAX: usize = 125;
/// Characters of the name of a WebSocket subprotocol.
pub const WEBSOCKET_PROTOCOL_CHARS_MAX: usize = 64;

/// Digits of a number in an HLS delivery directive: the longest that surely fit into 64 bits.
pub const HLS_NUMBER_DIGITS_MAX: usize = 19;

/// Bytes of one HLS part: 400 Mbit/s at the usual length. What comes on top before the part ends is dropped.
pub const HLS_PART_BYTES_MAX: usize = 16 << 20;
/// Frames of one HLS part: those of a stream whose clock stands still are dropped beyond it.
pub const HLS_PART_FRAMES_MAX: usize = 1024;
/// Segments of a playlist beyond the configured number: a stream that breaks off again and again has many short ones.
pub const HLS_SEGMENTS_BEYOND_WINDOW_MAX: usize = 128;
/// Bytes of segments held of one stream, unless configured otherwise: 14 segments of 2 s at 38 Mbit/s.
pub const HLS_WINDOW_BYTES_MAX: usize = 128 << 20;
/// Audio that waits for the picture it belongs to, frames.
pub const HLS_HELD_FRAMES_MAX: usize = 256;

/// Bytes of a track's header (`ftyp`, `moov`) that is read back: the codec configuration, and little more.
pub const MP4_HEADER_BYTES_MAX: usize = CODEC_CONFIG_BYTES_MAX + (64 << 10);
/// Bytes of a fragment before its samples: `moof`, and boxes that others write before it.
pub const MP4_FRAGMENT_HEADER_BYTES_MAX: usize = 1 << 20;
/// Samples of one fragment that is read back. Ours have at most [`HLS_PART_FRAMES_MAX`].
pub const MP4_FRAGMENT_SAMPLES_MAX: usize = 32 << 10;
/// Samples of one track of an MP4 file: 12 h of AAC at 48 kHz, 9 h at 60 frames a second. Each takes about 20 bytes of memory.
pub const MP4_SAMPLES_MAX: usize = 2 << 20;
/// Tracks of an MP4 file.
pub const MP4_TRACKS_MAX: usize = 8;

/// Bytes that an FLV header may say it has: 9 in every file seen.
pub const FLV_HEADER_BYTES_MAX: u32 = 1 << 10;
/// Bytes that may wait in an FLV reader: the longest tag, and a large read more.
pub const FLV_UNREAD_BYTES_MAX: usize = RTMP_MESSAGE_BYTES_MAX + (4 << 20);

/// Bytes of a clip that is played while a publisher is away.
pub const CLIP_BYTES_MAX: usize = 8 << 20;
/// Milliseconds of such a clip.
pub const CLIP_MS_MAX: i64 = 60_000;
/// Bits a second of such a clip: all viewers of a stream get it, whatever their line.
pub const CLIP_BITS_PER_SECOND_MAX: u64 = 20_000_000;
/// Frames and packets of audio a second of a clip: each costs every stream that shows it.
pub const CLIP_FRAMES_PER_SECOND_MAX: u64 = 250;

/// Bytes of a codec configuration (avcC, hvcC, av1C, ASC): a real one has some hundred.
pub const CODEC_CONFIG_BYTES_MAX: usize = 64 << 10;
/// Parameter sets (SPS, PPS, VPS, SEI) of one codec configuration.
pub const PARAMETER_SETS_MAX: usize = 64;
/// NAL units of a frame that are looked through for parameter sets: they stand before the first slice.
pub const NAL_UNITS_LOOKED_AT_MAX: usize = 64;
/// Parameter sets, of at most 64 KiB each, that wait for those of the other kind.
pub const PARAMETER_SETS_WAITING_MAX: usize = 4;
/// Kinds of tracks that are left out of one publisher's stream, and told of.
pub const LEFT_OUT_MAX: usize = 16;
/// Bytes of one parameter set that are parsed for the size of the picture: a real one has less than a hundred.
pub const PARAMETER_SET_PARSED_BYTES_MAX: usize = 4 << 10;
/// Tracks of one Enhanced RTMP packet that are looked through for the first one.
pub const MULTITRACK_TRACKS_MAX: usize = 16;
/// ModEx records that one Enhanced RTMP packet may carry.
pub const MODEX_MAX: usize = 8;
/// Bytes of an onMetaData message that are kept.
pub const METADATA_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(RTMP_MESSAGE_UNADMITTED_BYTES_MAX <= RTMP_MESSAGE_BYTES_MAX);
const _: () = assert!(RTMP_MESSAGE_BYTES_MAX <= RTMP_ASSEMBLY_BYTES_MAX);
const _: () = assert!(RTMP_MESSAGE_UNADMITTED_BYTES_MAX <= RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX);
const _: () = assert!(RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX <= RTMP_ASSEMBLY_BYTES_MAX);
const _: () = assert!(RTMP_CHUNK_STREAMS_MAX * RTMP_RESERVE_BYTES <= RTMP_ASSEMBLY_BYTES_MAX);
const _: () = assert!(RTMP_CHUNK_STREAMS_MAX * RTMP_RESERVE_UNADMITTED_BYTES <= RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX);
const _: () = assert!(RTMP_CHUNK_SIZE_OUT <= RTMP_CHUNK_SIZE_MAX && RTMP_MESSAGE_BYTES_MAX <= RTMP_CHUNK_SIZE_MAX);
const _: () = assert!(RTMP_MESSAGE_BYTES_MAX <= HLS_PART_BYTES_MAX && HLS_PART_BYTES_MAX <= HLS_WINDOW_BYTES_MAX);
const _: () = assert!(RTMP_WINDOW_BYTES_MIN <= RTMP_WINDOW_BYTES);
const _: () = assert!(RTMP_MESSAGE_BYTES_MAX < RTMP_CLIENT_OUTPUT_BYTES_MAX);
const _: () = assert!(METADATA_BYTES_MAX <= RTMP_MESSAGE_BYTES_MAX && CODEC_CONFIG_BYTES_MAX <= RTMP_MESSAGE_BYTES_MAX);
const _: () = assert!(FLV_UNREAD_BYTES_MAX > RTMP_MESSAGE_BYTES_MAX + FLV_HEADER_BYTES_MAX as usize);
const _: () = assert!(CLIP_BYTES_MAX <= FLV_UNREAD_BYTES_MAX);
const _: () = assert!(PARAMETER_SET_PARSED_BYTES_MAX <= CODEC_CONFIG_BYTES_MAX);
const _: () = assert!(STREAM_KEY_BYTES_MAX < HTTP_HEAD_BYTES_MAX);
const _: () = assert!(HTTP_HEAD_BYTES_MAX <= HTTP2_HEADER_LIST_BYTES_MAX);
const _: () = assert!(HPACK_TABLE_BYTES_MAX <= HTTP2_HEADER_LIST_BYTES_MAX);
// A peer that uses up what it may send is told why; each PING is answered with 17 bytes.
const _: () = assert!(HTTP2_CONTROL_FRAMES_MAX as usize * 17 <= HTTP2_OUTPUT_BYTES_MAX);
const _: () = assert!(HTTP2_STREAMS_MAX <= HTTP2_DISCARDED_MAX);
const _: () = assert!(HLS_PART_FRAMES_MAX <= MP4_FRAGMENT_SAMPLES_MAX && MP4_FRAGMENT_SAMPLES_MAX <= MP4_SAMPLES_MAX);
const _: () = assert!(MP4_SAMPLES_MAX <= u32::MAX as usize);

/// Bytes of a TLS handshake that wait for the rest of their record: the longest record, and the start of the next.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 20 << 10;
