//! Error codes of HTTP/2 (RFC 9113, 7), and why a connection or a stream ends.
use std::fmt;

use super::hpack::HpackError;
use super::request::Malformed;
use crate::limits::{
    HTTP2_CONTINUATIONS_MAX, HTTP2_FRAME_BYTES_MAX, HTTP2_HEADER_BLOCK_BYTES_MAX, HTTP2_OUTPUT_BYTES_MAX,
    HTTP2_SETTINGS_MAX, HTTP2_SETTINGS_TICKS_MAX,
};

/// A code of RST_STREAM and GOAWAY. Peers may send others than those that are named here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// This side has a fault.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// The peer passed a flow-control window.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// The peer did not acknowledge the settings in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame whose size is wrong.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was not processed: the request may be sent again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is not wanted any more.
    pub const CANCEL: Self = Self(0x8);
    /// The tables of header compression are lost.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The connection of a CONNECT request failed.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer asks for too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// TLS is too weak.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// The peer is to use HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The code's name; empty for those that the RFC does not know.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0x0 => "NO_ERROR",
            0x1 => "PROTOCOL_ERROR",
            0x2 => "INTERNAL_ERROR",
            0x3 => "FLOW_CONTROL_ERROR",
            0x4 => "SETTINGS_TIMEOUT",
            0x5 => "STREAM_CLOSED",
            0x6 => "FRAME_SIZE_ERROR",
            0x7 => "REFUSED_STREAM",
            0x8 => "CANCEL",
            0x9 => "COMPRESSION_ERROR",
            0xa => "CONNECT_ERROR",
            0xb => "ENHANCE_YOUR_CALM",
            0xc => "INADEQUATE_SECURITY",
            0xd => "HTTP_1_1_REQUIRED",
            _ => "",
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "" => write!(f, "{:#x}", self.0),
            name => f.write_str(name),
        }
    }
}

/// What a peer did that ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The first 24 bytes are others.
    #[error("the connection does not begin as HTTP/2 does")]
    Preface,
    /// The first frame is no SETTINGS frame.
    #[error("the first frame is not SETTINGS")]
    NoSettings,
    /// A frame of more than [`HTTP2_FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes; at most {HTTP2_FRAME_BYTES_MAX} are allowed")]
    FrameLong(usize),
    /// A length that frames of this type do not have.
    #[error("a {0} frame of a wrong length")]
    FrameLength(&'static str),
    /// A frame of the connection on a stream, or one of a stream on none.
    #[error("a {0} frame on a stream that it does not belong to")]
    FrameStream(&'static str),
    /// A frame for a stream that has not begun.
    #[error("a {0} frame for a stream that has not begun")]
    Idle(&'static str),
    /// A frame for a stream that is over.
    #[error("a {0} frame for a stream that is over")]
    Closed(&'static str),
    /// A request on a stream that clients may not begin: an even number, or one below an earlier one.
    #[error("a request on stream {0}, which may not begin now")]
    StreamId(u32),
    /// Padding that is longer than its frame.
    #[error("a frame has more padding than bytes")]
    Padding,
    /// A header block with another frame in it.
    #[error("a header block is interrupted by another frame")]
    Interrupted,
    /// CONTINUATION without a header block to continue.
    #[error("a CONTINUATION frame continues nothing")]
    Continuation,
    /// PUSH_PROMISE, which clients may not send.
    #[error("a client sent PUSH_PROMISE")]
    Push,
    /// A stream whose priority depends on itself.
    #[error("the priority of a stream depends on itself")]
    SelfDependency,
    /// A setting that may not have this value.
    #[error("the setting {0} has a value that is not allowed")]
    Setting(&'static str),
    /// `SETTINGS_INITIAL_WINDOW_SIZE` above 2^31-1, or one that lifts a stream's window above it.
    #[error("the setting INITIAL_WINDOW_SIZE leads to a window of more than 2^31-1 bytes")]
    WindowSetting,
    /// WINDOW_UPDATE by nothing.
    #[error("a WINDOW_UPDATE frame adds nothing to the connection's window")]
    WindowZero,
    /// The connection's window for what is sent passes 2^31-1.
    #[error("the connection's window is lifted above 2^31-1 bytes")]
    WindowLong,
    /// More bytes than the connection's window allows.
    #[error("more bytes of bodies than the connection's window allows")]
    WindowPassed,
    /// A header block that cannot be read.
    #[error(transparent)]
    Hpack(#[from] HpackError),
    /// A header block of more than [`HTTP2_HEADER_BLOCK_BYTES_MAX`], or than is configured.
    #[error("a header block is longer than is allowed ({HTTP2_HEADER_BLOCK_BYTES_MAX} bytes by default)")]
    HeaderBlockLong,
    /// A header block in more than [`HTTP2_CONTINUATIONS_MAX`] CONTINUATION frames, or than is configured.
    #[error("a header block has too many CONTINUATION frames ({HTTP2_CONTINUATIONS_MAX} are allowed by default)")]
    Continuations,
    /// A SETTINGS frame of more than [`HTTP2_SETTINGS_MAX`] settings.
    #[error("a SETTINGS frame has more than {HTTP2_SETTINGS_MAX} settings")]
    SettingsLong,
    /// This side's settings are not acknowledged within [`HTTP2_SETTINGS_TICKS_MAX`].
    #[error("the settings are not acknowledged within {HTTP2_SETTINGS_TICKS_MAX} seconds")]
    SettingsTimeout,
    /// Streams that are begun and reset, or broken, again and again.
    #[error("too many streams are reset before they complete")]
    Resets,
    /// Frames that want work and bring nothing.
    #[error("too many frames that bring neither requests nor bodies")]
    ControlFrames,
    /// It reads no answers: more than [`HTTP2_OUTPUT_BYTES_MAX`] wait, or than is configured.
    #[error("the peer asks and does not read the answers ({HTTP2_OUTPUT_BYTES_MAX} bytes may wait by default)")]
    Output,
}

impl ConnectionError {
    /// The code of the GOAWAY frame.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::FrameLong(_) | Self::FrameLength(_) => ErrorCode::FRAME_SIZE_ERROR,
            Self::Closed(_) => ErrorCode::STREAM_CLOSED,
            Self::WindowSetting | Self::WindowLong | Self::WindowPassed => ErrorCode::FLOW_CONTROL_ERROR,
            Self::Hpack(_) => ErrorCode::COMPRESSION_ERROR,
            Self::SettingsTimeout => ErrorCode::SETTINGS_TIMEOUT,
            Self::HeaderBlockLong
            | Self::Continuations
            | Self::SettingsLong
            | Self::Resets
            | Self::ControlFrames
            | Self::Output => ErrorCode::ENHANCE_YOUR_CALM,
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }

    /// A fixed name for metrics: of the limit that the peer passed, else that it broke the protocol.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Preface => "http2_preface",
            Self::HeaderBlockLong => "http2_header_block",
            Self::Continuations => "http2_continuations",
            Self::SettingsLong => "http2_settings",
            Self::SettingsTimeout => "http2_settings_timeout",
            Self::Resets => "http2_resets",
            Self::ControlFrames => "http2_control_frames",
            Self::Output => "http2_output",
            _ => "http2_protocol",
        }
    }
}

/// What a peer did that ends one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A frame behind the request's end, or for a stream that is over.
    #[error("a frame behind the end of the request")]
    Closed,
    /// A request or trailers that break HTTP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// WINDOW_UPDATE by nothing.
    #[error("a WINDOW_UPDATE frame adds nothing to the stream's window")]
    WindowZero,
    /// The stream's window for what is sent passes 2^31-1.
    #[error("the stream's window is lifted above 2^31-1 bytes")]
    WindowLong,
    /// More bytes of a body than the stream's window allows.
    #[error("more bytes of a body than the stream's window allows")]
    WindowPassed,
    /// A priority that depends on the stream itself.
    #[error("the priority of the stream depends on itself")]
    SelfDependency,
    /// PRIORITY of another length than 5.
    #[error("a PRIORITY frame of a wrong length")]
    PriorityLength,
    /// More streams at once than are allowed.
    #[error("more streams at once than are allowed")]
    Concurrency,
    /// A stream that began behind the last one that is served.
    #[error("the connection serves no more streams")]
    GoingAway,
    /// A header list longer than is allowed. It is answered with 431.
    #[error("the request's headers are longer than is allowed")]
    HeaderListLong,
    /// A body longer than is allowed. It is answered with 413, where nothing else was.
    #[error("the request's body is longer than is allowed")]
    BodyLong,
    /// CONNECT, which is not supported. It is answered with 501.
    #[error("CONNECT is not supported")]
    Connect,
}

impl StreamError {
    /// The code of the RST_STREAM frame.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Closed => ErrorCode::STREAM_CLOSED,
            Self::WindowLong | Self::WindowPassed => ErrorCode::FLOW_CONTROL_ERROR,
            Self::PriorityLength => ErrorCode::FRAME_SIZE_ERROR,
            Self::Concurrency | Self::GoingAway => ErrorCode::REFUSED_STREAM,
            Self::HeaderListLong => ErrorCode::ENHANCE_YOUR_CALM,
            Self::BodyLong => ErrorCode::CANCEL,
            Self::Connect => ErrorCode::CONNECT_ERROR,
            Self::Malformed(_) | Self::WindowZero | Self::SelfDependency => ErrorCode::PROTOCOL_ERROR,
        }
    }

    /// The status of the answer that says it better than a code, where no answer has begun.
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::HeaderListLong => Some(431),
            Self::BodyLong => Some(413),
            Self::Connect => Some(501),
            _ => None,
        }
    }
}

/// Where an error belongs: RFC 9113, 5.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    Connection(ConnectionError),
    Stream(StreamError),
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<HpackError> for Fault {
    fn from(error: HpackError) -> Self {
        Self::Connection(error.into())
    }
}

impl From<StreamError> for Fault {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        Self::Stream(error.into())
    }
}

/// A call for a stream that cannot be answered any more, or not so. The first is everyday: a viewer has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stream is over: answered, reset, or the connection is closed.
    #[error("the stream is over")]
    Closed,
    /// It has a head already.
    #[error("the stream has been answered already")]
    HeadTwice,
    /// Its head has to go first.
    #[error("a body before its head")]
    NoHead,
}
