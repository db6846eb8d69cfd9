//! The handshake (RTMP 1.0, section 5.2, and Flash Player 9's digests): the first 3073 bytes of either direction. Before it
//! in the pipeline: the socket; after it: [`super::chunk`].
//!
//! `rml_rtmp` makes and answers the packets; this wrapper gives it no byte more than a handshake has, and checks the echo.
use rml_rtmp::handshake::{Handshake as Packets, HandshakeProcessResult, PeerType};

use crate::sign::hmac_sha256;

const PACKET_BYTES: usize = 1536;
const VERSION: u8 = 3;
const DIGEST_BYTES: usize = 32;
/// Version byte and both packets, as each side sends them.
const HANDSHAKE_BYTES: usize = 1 + 2 * PACKET_BYTES;

/// A handshake that cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first byte is not 3: another protocol, or encrypted RTMPE.
    #[error("not plain RTMP: version byte {0} instead of {VERSION}")]
    Version(u8),
    /// The packets could not be made or read.
    #[error("handshake packets could not be processed")]
    Packets,
}

impl HandshakeError {
    /// A fixed name for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Version(_) => "handshake_version",
            Self::Packets => "handshake_packets",
        }
    }
}

/// What the first bytes of a connection are that do not begin a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stranger {
    /// The method of an HTTP request.
    Http,
    /// A TLS record with a handshake.
    Tls,
}

/// Methods of the requests that health checks, scanners and browsers send.
const HTTP_METHODS: [&[u8]; 8] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"OPTIONS ", b"CONNECT ", b"DELETE ", b"PRI * HTTP"];
/// Content type and major version of a TLS record with a ClientHello (RFC 8446, section 5.1).
const TLS_HELLO: &[u8] = &[22, 3];

/// Recognises other protocols by the first bytes of a connection, of which there may be few yet.
pub(super) fn stranger(bytes: &[u8]) -> Option<Stranger> {
    let begins = |with: &[u8]| !bytes.is_empty() && bytes.iter().zip(with).all(|(is, should)| is == should);
    if begins(TLS_HELLO) {
        return Some(Stranger::Tls);
    }
    HTTP_METHODS.iter().any(|method| begins(method)).then_some(Stranger::Http)
}

/// Which side of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// It was connected to.
    Server,
    /// It connected.
    Client,
}

/// What a handshake made of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that belonged to the handshake.
    pub taken: usize,
    /// Bytes for the peer.
    pub response: Vec<u8>,
    /// The handshake is over; says whether the peer's last packet answered ours rightly. Never a reason to close: Flash
    /// players and some cameras get it wrong.
    pub done: Option<bool>,
}

/// One side's handshake.
pub struct Handshake {
    side: Side,
    packets: Packets,
    /// Our first packet, as sent: C1 or S1.
    sent: Vec<u8>,
    /// The peer's second packet, as far as it is here: C2 or S2.
    echo: Vec<u8>,
    received: usize,
}

impl Handshake {
    /// Starts; the bytes are for the peer, at once (client) or when it has shown its version byte (server).
    pub fn new(side: Side) -> (Self, Vec<u8>) {
        let peer_type = if side == Side::Server { PeerType::Server } else { PeerType::Client };
        let mut packets = Packets::new(peer_type);
        // It has no way to fail; if it had one, the peer would wait for bytes until its handshake timeout.
        let first = packets.generate_outbound_p0_and_p1().unwrap_or_default();
        let sent = first.get(1..).unwrap_or_default().to_vec();
        (Self { side, packets, sent, echo: Vec::new(), received: 0 }, first)
    }

    /// Takes bytes from the peer, up to the end of the handshake.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<Progress, HandshakeError> {
        if let (0, Some(&version)) = (self.received, bytes.first())
            && version != VERSION
        {
            return Err(HandshakeError::Version(version));
        }
        let bytes = bytes.get(..HANDSHAKE_BYTES - self.received).unwrap_or(bytes);
        let echo_from = (1 + PACKET_BYTES).saturating_sub(self.received);
        self.echo.extend_from_slice(bytes.get(echo_from..).unwrap_or_default());
        self.received += bytes.len();
        let response = match self.packets.process_bytes(bytes).map_err(|_| HandshakeError::Packets)? {
            HandshakeProcessResult::InProgress { response_bytes }
            | HandshakeProcessResult::Completed { response_bytes, .. } => response_bytes,
        };
        let done = (self.received == HANDSHAKE_BYTES).then(|| self.echo_is_copy() || self.echo_is_signed());
        Ok(Progress { taken: bytes.len(), response, done })
    }

    /// Whether the peer sent our packet back. Bytes 4 to 7 are the peer's own time in an echo (section 5.2.4), which
    /// GStreamer fills in and others leave as they were.
    fn echo_is_copy(&self) -> bool {
        let parts = |packet: &[u8]| Some((packet.get(..4)?.to_vec(), packet.get(8..)?.to_vec()));
        parts(&self.sent) == parts(&self.echo)
    }

    /// Whether the last 32 bytes of the peer's echo sign our digest, as Flash Player 9's handshake does it.
    fn echo_is_signed(&self) -> bool {
        let (at, base) = if self.side == Side::Server { (772, 776) } else { (8, 12) };
        let sum: usize = self.sent.iter().skip(at).take(4).map(|b| usize::from(*b)).sum();
        let digest = self.sent.get(base + sum % 728..).and_then(|sent| sent.get(..DIGEST_BYTES));
        let signed = self.echo.split_at_checked(PACKET_BYTES - DIGEST_BYTES);
        let (Some(digest), Some((random, signature))) = (digest, signed) else { return false };
        let name: &[u8] = if self.side == Side::Server { PLAYER } else { SERVER };
        let key = hmac_sha256(&[name, &KEY_TAIL].concat(), digest);
        hmac_sha256(&key, random) == signature
    }
}

const PLAYER: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER: &[u8] = b"Genuine Adobe Flash Media Server 001";
/// What both sides' keys end with; published with Flash Player 9's handshake.
const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e, 0xec, 0x5d,
    0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("side", &self.side).field("received", &self.received).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs both sides with inputs of at most `split` bytes; returns what each thinks of the other's echo.
    fn run(split: usize) -> (bool, bool) {
        let (mut client, mut to_server) = Handshake::new(Side::Client);
        let (mut server, mut to_client) = Handshake::new(Side::Server);
        let (mut client_done, mut server_done) = (None, None);
        while client_done.is_none() || server_done.is_none() {
            for bytes in std::mem::take(&mut to_server).chunks(split) {
                let progress = server.handle_input(bytes).unwrap();
                assert_eq!(progress.taken, bytes.len());
                to_client.extend(progress.response);
                server_done = server_done.or(progress.done);
            }
            for bytes in std::mem::take(&mut to_client).chunks(split) {
                let progress = client.handle_input(bytes).unwrap();
                to_server.extend(progress.response);
                client_done = client_done.or(progress.done);
            }
        }
        (client_done.unwrap(), server_done.unwrap())
    }

    #[test]
    fn digests_are_right_at_any_split() {
        for split in [1, 7, 1536, 1537, 4096] {
            assert_eq!(run(split), (true, true), "{split}");
        }
    }

    #[test]
    fn simple_client_with_right_and_wrong_echo() {
        for wrong in [false, true] {
            let (mut server, s0s1) = Handshake::new(Side::Server);
            let mut c1 = vec![3];
            c1.resize(1 + PACKET_BYTES, 7);
            let s2 = server.handle_input(&c1).unwrap();
            assert_eq!((s2.response.as_slice(), s2.done), (&c1[1..], None));
            let mut c2 = s0s1[1..].to_vec();
            c2[4..8].fill(0x55);
            c2[700] ^= u8::from(wrong);
            c2.extend_from_slice(b"chunks");
            let end = server.handle_input(&c2).unwrap();
            assert_eq!((end.taken, end.done), (PACKET_BYTES, Some(!wrong)));
        }
    }

    #[test]
    fn other_protocols_are_named() {
        for version in [6, b'G', 0x16] {
            let (mut server, _) = Handshake::new(Side::Server);
            assert_eq!(server.handle_input(&[version]), Err(HandshakeError::Version(version)));
        }
    }
}
