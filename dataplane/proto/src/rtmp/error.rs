//! Why a session cannot go on. All of these are the peer's fault, but for [`SessionError::OutputFull`] of a client session.
use super::chunk::ChunkError;
use super::handshake::HandshakeError;
use crate::limits::{RTMP_COMMANDS_UNADMITTED_MAX, RTMP_INBOX_BYTES_MAX};

/// The end of a session by what the peer did. The connection is of no use after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection begins with an HTTP request.
    #[error("this is an HTTP request, and the port speaks RTMP")]
    Http,
    /// The connection begins with a TLS hello.
    #[error("this is a TLS connection, and the port speaks RTMP without TLS")]
    Tls,
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The chunk stream is broken or passes a maximum.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// More than [`RTMP_INBOX_BYTES_MAX`] bytes came before a request was answered.
    #[error("more than {RTMP_INBOX_BYTES_MAX} bytes came before the request was answered")]
    InboxFull,
    /// The peer does not read what it is sent.
    #[error("too many bytes wait to be sent to the peer")]
    OutputFull,
    /// More than [`RTMP_COMMANDS_UNADMITTED_MAX`] commands without a publish or play that was accepted.
    #[error("more than {RTMP_COMMANDS_UNADMITTED_MAX} commands before any media")]
    Commands,
    /// Publish or play before connect.
    #[error("publish or play before connect")]
    NotConnected,
    /// A second connect.
    #[error("connect on a connected session")]
    ConnectedTwice,
}

impl SessionError {
    /// A fixed name for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http => "http_request",
            Self::Tls => "tls_hello",
            Self::Handshake(error) => error.label(),
            Self::Chunk(error) => error.label(),
            Self::InboxFull => "inbox_full",
            Self::OutputFull => "output_full",
            Self::Commands => "commands_max",
            Self::NotConnected => "not_connected",
            Self::ConnectedTwice => "connected_twice",
        }
    }
}
