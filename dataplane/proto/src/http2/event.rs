//! What a connection tells its caller.
use bytes::Bytes;

use super::error::{ErrorCode, StreamError};
use super::frame::StreamId;
use super::request::RequestHead;

/// Why a stream ended before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetReason {
    /// The peer does not want it any more.
    Peer(ErrorCode),
    /// The peer broke a rule or passed a limit. It has been told.
    Violation(StreamError),
}

/// What came. Of one stream it comes in this order: `Request`, any number of `Body`, `End` unless the request had none; `Writable` and
/// `Reset` at any time, and nothing behind `Reset`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A request.
    Request {
        /// Its stream.
        stream: StreamId,
        /// Its head.
        head: RequestHead,
        /// It has no body, and no `End` follows.
        end: bool,
    },
    /// A piece of a request's body. When it is taken the peer may send as much again.
    Body {
        /// Its stream.
        stream: StreamId,
        /// The piece: at most a frame.
        bytes: Bytes,
    },
    /// A request's body is complete, with the length that its head says.
    End {
        /// Its stream.
        stream: StreamId,
    },
    /// A stream is over. Also told of streams that never were a request, for whoever counts.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: ResetReason,
    },
    /// A stream that had more to send than it might can send again.
    Writable {
        /// The stream.
        stream: StreamId,
    },
    /// The peer begins no more streams.
    GoAway {
        /// Why.
        code: ErrorCode,
    },
}
