//! FLV over WebSocket: what asks for it, and the payloads of a server's messages.
use super::Broken;

/// What makes a request one for a WebSocket; the key is the example's of RFC 6455, 1.3.
pub(crate) const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// The answer to that key.
pub(super) const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The longest head of a frame that is not masked.
const HEAD_BYTES_MAX: usize = 10;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// Takes the frames off a body, without a copy.
#[derive(Debug, Default)]
pub(super) struct Messages {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Bytes left of the payload.
    left: u64,
    ended: bool,
}

impl Messages {
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next piece of body at the front of `input`, which may be empty; moves `input` on.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<&'a [u8], Broken> {
        if self.ended {
            *input = &[];
            return Ok(&[]);
        }
        if self.left > 0 {
            let count = input.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (piece, rest) = input.split_at(count);
            *input = rest;
            self.left -= count as u64;
            return Ok(piece);
        }
        let Some((&byte, rest)) = input.split_first() else { return Ok(&[]) };
        *input = rest;
        self.head[self.head_bytes] = byte;
        self.head_bytes += 1;
        let needed = match self.head[1] {
            _ if self.head_bytes < 2 => 2,
            126 => 4,
            127 => HEAD_BYTES_MAX,
            _ => 2,
        };
        if self.head_bytes == needed {
            self.left = match &self.head[2..needed] {
                [] => u64::from(self.head[1]),
                length => length.iter().fold(0, |left, byte| left << 8 | u64::from(*byte)),
            };
            match self.head[0] {
                BINARY => {}
                CLOSE => self.ended = true,
                _ => return Err(Broken::Frame),
            }
            self.head_bytes = 0;
        }
        Ok(&[])
    }
}
