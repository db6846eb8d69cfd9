//! A viewer's side of a connection, sans-IO: bytes in; what was heard and bytes to send out. Before it: the event loop reads a socket;
//! after it: [`crate::run`] acts on what was [`Heard`].
//!
//! A viewer that only drains needs this until its first keyframe has begun, and is then counted without a look at its bytes.
mod http;
mod messages;
mod rtmp;
mod scout;

use bytes::Bytes;
use millstream_proto::flv::ReadError;
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::SessionError;

pub(crate) use http::FlvWire;
pub(crate) use messages::UPGRADE;
pub(crate) use rtmp::{ACK_EVERY, RtmpWire, acknowledgement};

/// Something that a viewer was told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// The request was accepted.
    Accepted,
    /// The first bytes of a keyframe (over RTMP: the whole of it).
    Keyframe,
    /// A tag or message; only for those who parse all.
    Message { kind: TagKind, timestamp: u32, body: Bytes },
    /// The server ended the stream in words.
    Ended,
}

/// Why a connection is of no use: always what the server sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("answered with status {0}")]
    Status(u16),
    #[error("answered with something that is not HTTP")]
    NotHttp,
    #[error("sent a broken chunk of HTTP")]
    Chunk,
    #[error("sent a WebSocket frame that is no whole binary message")]
    Frame,
    #[error("sent something that is not FLV: {0}")]
    Flv(#[from] ReadError),
    #[error("sent something that is not RTMP: {0}")]
    Rtmp(#[from] SessionError),
    #[error("refused: {0}")]
    Refused(String),
}

/// Either of the two.
#[derive(Debug)]
pub(crate) enum Wire {
    Flv(FlvWire),
    Rtmp(Box<RtmpWire>),
}

impl Wire {
    /// Takes bytes; appends what they say.
    pub(crate) fn take(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<(), Broken> {
        match self {
            Self::Flv(wire) => wire.take(bytes, heard),
            Self::Rtmp(wire) => wire.take(bytes, heard),
        }
    }

    pub(crate) fn output(&mut self) -> Option<Bytes> {
        match self {
            Self::Flv(wire) => wire.output(),
            Self::Rtmp(wire) => wire.output(),
        }
    }
}
