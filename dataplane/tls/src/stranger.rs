//! What comes to a TLS port without TLS, told by its first bytes. Before it: the first read; after it: words for the log, and an answer where the
//! protocol has one.
use std::fmt;

/// Content type of a record with a handshake message, which a connection begins with.
const HANDSHAKE: u8 = 22;
/// Version of an RTMP handshake.
const RTMP: u8 = 3;
/// A ClientHello of SSL 2: its second length byte follows, then its type.
const SSL2_LENGTH: u8 = 0x80;
const SSL2_HELLO: u8 = 1;
/// The first byte of the binary PROXY header, and the first word of the other one.
const PROXY2: u8 = 0x0D;
const PROXY1: &[u8] = b"PROXY ";

/// A protocol that is not TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stranger {
    /// An HTTP request.
    Http,
    /// An RTMP handshake.
    Rtmp,
    /// A PROXY header that nobody expects.
    Proxy,
    /// SSL 2, or a ClientHello in its form.
    Ssl2,
    /// Nothing that is known here.
    Unknown,
}

impl Stranger {
    /// What these first bytes of a connection are, of which there may be few; `None`: TLS, or nothing yet.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [] | [HANDSHAKE, ..] => None,
            [RTMP, ..] => Some(Self::Rtmp),
            [PROXY2, ..] => Some(Self::Proxy),
            [first, _, SSL2_HELLO, ..] if first & SSL2_LENGTH != 0 => Some(Self::Ssl2),
            _ if bytes.starts_with(PROXY1) => Some(Self::Proxy),
            [b'A'..=b'Z', ..] => Some(Self::Http),
            _ => Some(Self::Unknown),
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "an HTTP request without TLS on a port that has TLS: use https://",
            Self::Rtmp => "an RTMP connection without TLS on a port that has TLS: use rtmps://",
            Self::Proxy => "a PROXY header on a port that expects none: name the proxy in proxy_protocol_from",
            Self::Ssl2 => "an SSL 2 hello: the client is too old for TLS 1.2",
            Self::Unknown => "no TLS on a port that has TLS",
        })
    }
}
