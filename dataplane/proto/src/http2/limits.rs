//! What one connection may ask for; each has a default in [`crate::limits`].
use crate::limits::{
    HTTP_BODY_BYTES_MAX, HTTP2_CONTINUATIONS_MAX, HTTP2_CONTROL_FRAMES_MAX, HTTP2_DATA_FRAME_BYTES,
    HTTP2_HEADER_BLOCK_BYTES_MAX, HTTP2_HEADER_LIST_BYTES_MAX, HTTP2_OUTPUT_BYTES_MAX, HTTP2_RESETS_MAX,
    HTTP2_STREAMS_MAX,
};

/// The maxima of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Streams at once. Beyond it they are refused ([`StreamError::Concurrency`](super::StreamError::Concurrency)).
    pub streams: usize,
    /// A request's header list, bytes as `SETTINGS_MAX_HEADER_LIST_SIZE` counts. Beyond it the answer is 431.
    pub header_list_bytes: usize,
    /// A header block, bytes as they come.
    pub header_block_bytes: usize,
    /// CONTINUATION frames of one header block.
    pub continuations: u32,
    /// A request's body, bytes. Beyond it the answer is 413.
    pub body_bytes: u64,
    /// Payload of a DATA frame that is sent, bytes; the peer may ask for less.
    pub data_frame_bytes: usize,
    /// Streams that the peer resets or breaks, beyond those that complete.
    pub resets: u32,
    /// Frames that bring neither requests nor bodies, beyond those that what is sent explains.
    pub control_frames: u32,
    /// Control frames that wait to be sent, bytes.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: HTTP2_STREAMS_MAX,
            header_list_bytes: HTTP2_HEADER_LIST_BYTES_MAX,
            header_block_bytes: HTTP2_HEADER_BLOCK_BYTES_MAX,
            continuations: HTTP2_CONTINUATIONS_MAX,
            body_bytes: HTTP_BODY_BYTES_MAX,
            data_frame_bytes: HTTP2_DATA_FRAME_BYTES,
            resets: HTTP2_RESETS_MAX,
            control_frames: HTTP2_CONTROL_FRAMES_MAX,
            output_bytes: HTTP2_OUTPUT_BYTES_MAX,
        }
    }
}
