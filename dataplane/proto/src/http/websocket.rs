//! WebSocket (RFC 6455): the upgrade of an HTTP/1.1 request, and frames. Before it: [`super::request`], which gathers the [`Offer`]; after
//! it: the engine sends [`binary_head`] before each message and gives what the client says to a [`Reader`].
//!
//! The frames know nothing of how the connection came about, so that an HTTP/2 stream (RFC 8441) can carry them too.
mod read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};

pub use read::{Reader, Said, Violation};

use crate::limits::{WEBSOCKET_CONTROL_BYTES_MAX, WEBSOCKET_PROTOCOL_CHARS_MAX};

/// The only version that there is.
pub const VERSION: &str = "13";
/// Bytes of `Sec-WebSocket-Key`, decoded.
const KEY_BYTES: usize = 16;
/// RFC 6455, 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request that wants to become a WebSocket says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// `Upgrade` and `Connection` ask for it. Both are headers of one hop: a proxy that does not know them drops them.
    pub(super) upgrades: bool,
    /// `Sec-WebSocket-Key`, as it stands.
    pub(super) key: String,
    /// `Sec-WebSocket-Version`, as it stands.
    pub(super) version: String,
    /// `Sec-WebSocket-Protocol`: the first that is offered.
    pub(super) protocol: String,
}

/// Why an offer is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfferError {
    /// The headers that ask for the upgrade are missing.
    #[error(
        "a WebSocket request needs the headers \"Upgrade: websocket\" and \"Connection: Upgrade\"; \
         a proxy in between may drop them unless it is told to pass them on"
    )]
    NoUpgrade,
    /// Another version.
    #[error("only version {VERSION} of WebSocket is supported (Sec-WebSocket-Version)")]
    Version,
    /// Not 16 bytes in base64.
    #[error("the Sec-WebSocket-Key header is not 16 bytes in base64")]
    Key,
    /// Not a token.
    #[error("the Sec-WebSocket-Protocol header does not begin with a name of at most 64 characters")]
    Protocol,
}

impl OfferError {
    /// The status code to answer with.
    pub const fn status(self) -> u16 {
        match self {
            Self::NoUpgrade | Self::Version => 426,
            Self::Key | Self::Protocol => 400,
        }
    }
}

impl Offer {
    /// The head of the answer that takes it: the connection carries frames behind it. Of the subprotocols that are offered the first is
    /// taken, since there is only one thing to get here and browsers give up where none is taken; extensions are not.
    pub fn accept(&self) -> Result<Bytes, OfferError> {
        if !self.upgrades {
            return Err(OfferError::NoUpgrade);
        }
        if self.version != VERSION {
            return Err(OfferError::Version);
        }
        if STANDARD.decode(&self.key).map(|key| key.len()) != Ok(KEY_BYTES) {
            return Err(OfferError::Key);
        }
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
            accept_value(&self.key)
        );
        if !self.protocol.is_empty() {
            if self.protocol.len() > WEBSOCKET_PROTOCOL_CHARS_MAX || !self.protocol.bytes().all(is_token) {
                return Err(OfferError::Protocol);
            }
            head.extend(["Sec-WebSocket-Protocol: ", &self.protocol, "\r\n"]);
        }
        head.push_str("\r\n");
        Ok(head.into())
    }
}

fn accept_value(key: &str) -> String {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(ACCEPT_GUID).finalize();
    STANDARD.encode(digest)
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|opcode| *opcode as u8 == bits)
    }

    fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }
}

/// Bytes of the head of a whole binary message from the server.
pub const fn binary_head_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// Writes the head of a whole binary message of so many bytes from the server: not masked, so that all clients get the same bytes.
pub fn binary_head(out: &mut impl BufMut, payload_bytes: usize) {
    head(out, Opcode::Binary, payload_bytes);
}

fn head(out: &mut impl BufMut, opcode: Opcode, payload_bytes: usize) {
    const FIN: u8 = 0x80;
    out.put_u8(FIN | opcode as u8);
    if let Some(bytes) = u8::try_from(payload_bytes).ok().filter(|bytes| *bytes < 126) {
        out.put_u8(bytes);
    } else if let Ok(bytes) = u16::try_from(payload_bytes) {
        out.put_u8(126);
        out.put_u16(bytes);
    } else {
        out.put_u8(127);
        out.put_u64(payload_bytes as u64);
    }
}

fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    let payload = payload.get(..WEBSOCKET_CONTROL_BYTES_MAX).unwrap_or(payload);
    let mut out = BytesMut::with_capacity(2 + payload.len());
    head(&mut out, opcode, payload.len());
    out.put_slice(payload);
    out.freeze()
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Bytes {
    control(Opcode::Pong, payload)
}

/// Why a connection is closed (RFC 6455, 7.4.1, and IANA's registry).
pub mod code {
    /// All was said.
    pub const NORMAL: u16 = 1000;
    /// The server is going down.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the rules.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Text that is not UTF-8.
    pub const NOT_TEXT: u16 = 1007;
    /// A message longer than is taken.
    pub const TOO_BIG: u16 = 1009;
    /// It may go better later.
    pub const TRY_AGAIN_LATER: u16 = 1013;
}

/// A close frame; `reason` is cut where it does not fit.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(WEBSOCKET_CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = reason.get(..end).unwrap_or_default();
    control(Opcode::Close, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The answer to a close frame: what it said.
pub fn close_answer(code: Option<u16>) -> Bytes {
    code.map_or_else(|| control(Opcode::Close, &[]), |code| close(code, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            upgrades: true,
            key: "dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
            version: VERSION.to_owned(),
            protocol: String::new(),
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let head = offer().accept().unwrap();
        let head = std::str::from_utf8(&head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert!(!head.contains("Sec-WebSocket-Protocol"), "{head}");
        let with = Offer { protocol: "flv.v1".to_owned(), ..offer() }.accept().unwrap();
        assert!(std::str::from_utf8(&with).unwrap().contains("\r\nSec-WebSocket-Protocol: flv.v1\r\n"));
    }

    #[test]
    fn other_offers_are_refused_with_a_status() {
        let check = |offer: Offer, error: OfferError, status: u16| {
            assert_eq!((offer.accept(), error.status()), (Err(error), status));
        };
        check(Offer { upgrades: false, ..offer() }, OfferError::NoUpgrade, 426);
        check(Offer { version: "8".to_owned(), ..offer() }, OfferError::Version, 426);
        check(Offer { version: String::new(), ..offer() }, OfferError::Version, 426);
        check(Offer { key: "short".to_owned(), ..offer() }, OfferError::Key, 400);
        check(Offer { key: STANDARD.encode([0; 17]), ..offer() }, OfferError::Key, 400);
        check(Offer { protocol: "a b".to_owned(), ..offer() }, OfferError::Protocol, 400);
        check(Offer { protocol: "x".repeat(65), ..offer() }, OfferError::Protocol, 400);
    }

    #[test]
    fn heads_are_as_short_as_they_can_be() {
        for (bytes, expected) in [
            (0, &b"\x82\x00"[..]),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (0xFFFF, b"\x82\x7e\xff\xff"),
            (0x1_0000, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
        ] {
            let mut out = BytesMut::new();
            binary_head(&mut out, bytes);
            assert_eq!((&out[..], out.len()), (expected, binary_head_bytes(bytes)), "{bytes}");
        }
    }

    #[test]
    fn control_frames_fit() {
        assert_eq!(pong(b"hi"), &b"\x8a\x02hi"[..]);
        assert_eq!(close(code::NORMAL, ""), &b"\x88\x02\x03\xe8"[..]);
        assert_eq!(close_answer(None), &b"\x88\x00"[..]);
        assert_eq!(close_answer(Some(3000)), &b"\x88\x02\x0b\xb8"[..]);
        let long = close(code::NORMAL, &"ä".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122, "cut between two characters");
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }
}
