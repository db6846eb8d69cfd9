//! RTMP messages: their types, and those that steer the protocol itself (RTMP 1.0, sections 5.4, 6 and 7.1). Before it on
//! the pipeline: [`super::chunk`]; after it: [`super::command`] and the sessions.
use bytes::Bytes;

/// Message type ids.
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3's wrapper.
    pub const DATA_AMF3: u8 = 15;
    /// A command in AMF3's wrapper.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA: u8 = 18;
    /// A command in AMF0.
    pub const COMMAND: u8 = 20;
    /// Aggregate: FLV tags, one after another.
    pub const AGGREGATE: u8 = 22;
}

/// A whole message, with the timestamp that its chunk headers added up to. `Debug` leaves the payload out: commands hold keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Milliseconds, modulo 2^32.
    pub timestamp: u32,
    /// One of [`kind`], or another.
    pub type_id: u8,
    /// Message stream id.
    pub stream_id: u32,
    /// The payload, in memory of its own.
    pub payload: Bytes,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut message = f.debug_struct("Message");
        message.field("timestamp", &self.timestamp).field("type_id", &self.type_id).field("stream_id", &self.stream_id);
        message.field("bytes", &self.payload.len()).finish_non_exhaustive()
    }
}

/// User control events (section 7.1.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UserControl {
    /// The message stream can be used.
    StreamBegin(u32),
    /// The message stream has no more data.
    StreamEof(u32),
    /// A player's buffer on a message stream.
    SetBufferLength {
        /// The message stream.
        stream_id: u32,
        /// Milliseconds.
        length_ms: u32,
    },
    /// Asks for a [`UserControl::PingResponse`] with the same value.
    PingRequest(u32),
    /// Answers a ping.
    PingResponse(u32),
}

impl UserControl {
    /// Reads an event; none if it is another one, or cut short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (event, rest) = payload.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let value = u32::from_be_bytes(*value);
        Some(match u16::from_be_bytes(*event) {
            0 => Self::StreamBegin(value),
            1 => Self::StreamEof(value),
            3 => Self::SetBufferLength { stream_id: value, length_ms: parse_u32(rest)? },
            6 => Self::PingRequest(value),
            7 => Self::PingResponse(value),
            _ => return None,
        })
    }

    /// The payload of a user control message.
    pub fn encode(self) -> Vec<u8> {
        let (event, value, second) = match self {
            Self::StreamBegin(id) => (0_u16, id, None),
            Self::StreamEof(id) => (1, id, None),
            Self::SetBufferLength { stream_id, length_ms } => (3, stream_id, Some(length_ms)),
            Self::PingRequest(stamp) => (6, stamp, None),
            Self::PingResponse(stamp) => (7, stamp, None),
        };
        let mut payload = event.to_be_bytes().to_vec();
        payload.extend_from_slice(&value.to_be_bytes());
        payload.extend(second.into_iter().flat_map(u32::to_be_bytes));
        payload
    }
}

/// The big-endian number that a control payload starts with.
pub fn parse_u32(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_control_round_trips() {
        let check = |event: UserControl| assert_eq!(UserControl::parse(&event.encode()), Some(event));
        check(UserControl::StreamBegin(1));
        check(UserControl::StreamEof(1));
        check(UserControl::SetBufferLength { stream_id: 1, length_ms: 3000 });
        check(UserControl::PingRequest(0xFFFF_FFFF));
        check(UserControl::PingResponse(7));
        assert_eq!(UserControl::parse(&[0, 3, 0, 0, 0, 1, 0]), None);
        assert_eq!(UserControl::parse(&[0, 31, 0, 0, 0, 1]), None);
        assert_eq!(UserControl::parse(&[0]), None);
    }
}
