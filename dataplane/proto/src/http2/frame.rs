//! Frames (RFC 9113, 4 and 6): their heads, and what all types share. Before it: bytes of a connection; after it: [`super::Connection`].
use super::error::ConnectionError;

/// What a client's side of a connection begins with (section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 9;
/// The largest stream identifier, and the largest window.
pub const MAX_31: u32 = (1 << 31) - 1;

/// A stream's number: odd for those that clients begin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub(super) u32);

impl StreamId {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Types of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A piece of a body.
    Data = 0x0,
    /// A head or trailers, or their first piece.
    Headers = 0x1,
    /// Deprecated.
    Priority = 0x2,
    /// The end of a stream before its time.
    RstStream = 0x3,
    /// What the sender asks for, or an acknowledgement.
    Settings = 0x4,
    /// A server's promise.
    PushPromise = 0x5,
    /// A question whether the peer is there, or its answer.
    Ping = 0x6,
    /// The end of the connection.
    GoAway = 0x7,
    /// Room for more.
    WindowUpdate = 0x8,
    /// The next piece of a header block.
    Continuation = 0x9,
    /// Any other, which is ignored.
    Unknown,
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }

    /// The type's name in the RFC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "DATA",
            Self::Headers => "HEADERS",
            Self::Priority => "PRIORITY",
            Self::RstStream => "RST_STREAM",
            Self::Settings => "SETTINGS",
            Self::PushPromise => "PUSH_PROMISE",
            Self::Ping => "PING",
            Self::GoAway => "GOAWAY",
            Self::WindowUpdate => "WINDOW_UPDATE",
            Self::Continuation => "CONTINUATION",
            Self::Unknown => "unknown",
        }
    }
}

/// Flags. A bit means something else in another type.
pub mod flag {
    /// DATA, HEADERS: the last frame of its sender on the stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: this is the answer.
    pub const ACK: u8 = 0x1;
    /// HEADERS, CONTINUATION: the last piece of the block.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS: the payload has padding.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: the payload begins with a priority.
    pub const PRIORITY: u8 = 0x20;
}

/// A frame's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Bytes of the payload.
    pub length: usize,
    /// Its type.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection. The reserved bit is left out.
    pub stream: u32,
}

impl Head {
    /// Reads a head.
    pub const fn parse(bytes: [u8; HEAD_BYTES]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind: Kind::of(kind),
            flags,
            stream: u32::from_be_bytes(stream) & MAX_31,
        }
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let head = (self.length as u128) << 48 | (self.kind as u128) << 40 | (self.flags as u128) << 32;
        let [_, _, _, _, _, _, _, bytes @ ..] = (head | self.stream as u128).to_be_bytes();
        bytes
    }

    /// Whether it has a flag.
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Checks what can be told before the payload is there: whether the length and the stream are such as this type has (section 6).
    pub(super) fn check(self, length_max: usize) -> Result<(), ConnectionError> {
        if self.length > length_max {
            return Err(ConnectionError::FrameLong(self.length));
        }
        let name = self.kind.name();
        let on_stream = match self.kind {
            Kind::Settings | Kind::Ping | Kind::GoAway => Some(false),
            Kind::Data | Kind::Headers | Kind::Priority | Kind::RstStream | Kind::Continuation => Some(true),
            Kind::PushPromise | Kind::WindowUpdate | Kind::Unknown => None,
        };
        if on_stream.is_some_and(|on_stream| on_stream != (self.stream != 0)) {
            return Err(ConnectionError::FrameStream(name));
        }
        let is_right = match self.kind {
            Kind::RstStream | Kind::WindowUpdate => self.length == 4,
            Kind::Ping => self.length == 8,
            Kind::Settings if self.has(flag::ACK) => self.length == 0,
            Kind::Settings => self.length.is_multiple_of(6),
            Kind::GoAway => self.length >= 8,
            // Of PRIORITY it ends the stream only.
            _ => true,
        };
        if is_right { Ok(()) } else { Err(ConnectionError::FrameLength(name)) }
    }
}

/// The payload of a DATA or HEADERS frame without its padding (section 6.1).
pub(super) fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], ConnectionError> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(ConnectionError::FrameLength(head.kind.name()))?;
    let bytes = rest.len().checked_sub(usize::from(*padding)).ok_or(ConnectionError::Padding)?;
    rest.get(..bytes).ok_or(ConnectionError::Padding)
}

/// Adds a frame to `out`.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let head = Head { length: payload.len(), kind, flags, stream };
    out.extend_from_slice(&head.to_bytes());
    out.extend_from_slice(payload);
}

/// The 31-bit number at the start of a payload; the bit before it is reserved.
pub(super) fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes) & MAX_31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_go_both_ways() {
        let bytes = *b"\x00\x40\x01\x00\x09\x80\x00\x00\x03";
        let head = Head::parse(bytes);
        assert_eq!(head, Head { length: 16_385, kind: Kind::Data, flags: 9, stream: 3 });
        assert_eq!(head.to_bytes(), *b"\x00\x40\x01\x00\x09\x00\x00\x00\x03", "the reserved bit is not repeated");
        for byte in 0..=9 {
            assert_eq!(Kind::of(byte) as u8, byte);
        }
        assert_eq!(Kind::of(0x10), Kind::Unknown);
    }

    #[test]
    fn padding() {
        let check = |flags: u8, payload: &[u8], expected: Result<&[u8], ConnectionError>| {
            let head = Head { length: payload.len(), kind: Kind::Data, flags, stream: 1 };
            assert_eq!(unpadded(head, payload), expected, "{payload:x?}");
        };
        check(0, b"\x05ab", Ok(b"\x05ab"));
        check(flag::PADDED, b"\x02ab\0\0", Ok(b"ab"));
        check(flag::PADDED, b"\x04ab\0\0", Ok(b""));
        check(flag::PADDED, b"\x00", Ok(b""));
        check(flag::PADDED, b"\x05ab\0\0", Err(ConnectionError::Padding));
        check(flag::PADDED, b"", Err(ConnectionError::FrameLength("DATA")));
    }

    #[test]
    fn lengths_and_streams() {
        let check = |kind: Kind, flags: u8, stream: u32, length: usize, expected: Result<(), ConnectionError>| {
            assert_eq!(Head { length, kind, flags, stream }.check(16_384), expected, "{kind:?} {stream} {length}");
        };
        let length = |kind: Kind| Err(ConnectionError::FrameLength(kind.name()));
        let stream = |kind: Kind| Err(ConnectionError::FrameStream(kind.name()));
        check(Kind::Data, 0, 1, 16_384, Ok(()));
        check(Kind::Data, 0, 1, 16_385, Err(ConnectionError::FrameLong(16_385)));
        check(Kind::Unknown, 0, 0, 16_385, Err(ConnectionError::FrameLong(16_385)));
        check(Kind::Unknown, 0xFF, 7, 0, Ok(()));
        check(Kind::Settings, 0, 0, 12, Ok(()));
        check(Kind::Settings, 0, 0, 5, length(Kind::Settings));
        check(Kind::Settings, flag::ACK, 0, 6, length(Kind::Settings));
        for (kind, right) in [(Kind::Ping, 8), (Kind::WindowUpdate, 4)] {
            check(kind, 0, 0, right, Ok(()));
            check(kind, 0, 0, right - 1, length(kind));
            check(kind, 0, 0, right + 1, length(kind));
        }
        check(Kind::GoAway, 0, 0, 7, length(Kind::GoAway));
        check(Kind::RstStream, 0, 1, 3, length(Kind::RstStream));
        for kind in [Kind::Data, Kind::Headers, Kind::Priority, Kind::RstStream, Kind::Continuation] {
            check(kind, 0, 0, 4, stream(kind));
        }
        for kind in [Kind::Settings, Kind::Ping, Kind::GoAway] {
            check(kind, 0, 1, 8, stream(kind));
        }
    }
}
