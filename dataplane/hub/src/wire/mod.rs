//! The form that [`StreamMessage`]s have between nodes. Before it: a shard that has something to tell a shard of another node; after it: whatever
//! carries bytes from node to node, in order. Sans-IO.
//!
//! A message is `length (4 bytes, big-endian) version (1 byte) stream id, kind, fields`. Integers are LEB128, signed ones zigzag-coded; bytes and texts
//! have their length before them. Times are Unix microseconds: each node turns them into times of its own clock ([`WireClock`]), so that the
//! clocks of two processes need not begin together. A reader refuses a version that it does not know, an unknown kind, and a message that is not
//! exactly as long as its fields: nodes of two versions say so rather than guess.
//!
//! [`MessageWriter`] and [`MessageReader`] are for one subscription: stream headers are written only where they have changed.
mod blocks;
mod changes;
mod fields;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, BytesMut};
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use crate::log::EndReason;
use crate::mirror::FeedMessage;
use crate::package::stream_headers::StreamHeaders;
use crate::stream_message::StreamMessage;
use fields::{Fields, put_bytes, put_int};

/// The version that this node writes, and the only one that it reads.
pub const VERSION: u8 = 1;
/// No message is longer, bytes: what can be fetched of a stream that is over is one message.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

const PREFIX_BYTES: usize = 4;

/// Why bytes of another node are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The other node speaks another version.
    #[error(
        "the other node writes version {theirs} of the streams' protocol, this one reads {VERSION}: run the same release on both"
    )]
    Version {
        /// What it writes.
        theirs: u8,
    },
    /// Longer than any message may be.
    #[error("a message of {bytes} bytes; {MESSAGE_BYTES_MAX} are the most")]
    TooLong {
        /// What it is to have.
        bytes: usize,
    },
    /// It ends within a field.
    #[error("a message ends within {0}")]
    Truncated(&'static str),
    /// There is more behind its fields.
    #[error("{0} bytes behind the last field of a message")]
    Trailing(usize),
    /// A field has a value that it cannot have.
    #[error("{0} of a message has a value that it cannot have")]
    Invalid(&'static str),
    /// Stream headers are said to be those of before, and there are none.
    #[error("a block goes by stream headers that were not sent")]
    NoHeaders,
}

/// Turns times of this process into Unix times and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireClock {
    /// Unix microseconds of the process's time 0.
    pub zero_unix_us: i64,
}

impl WireClock {
    fn unix_us(self, time: Time) -> i64 {
        i64::try_from(time.as_micros()).unwrap_or(i64::MAX).saturating_add(self.zero_unix_us)
    }

    /// What was before the process began is its beginning.
    fn time(self, unix_us: i64) -> Time {
        Time::from_micros(u64::try_from(unix_us.saturating_sub(self.zero_unix_us)).unwrap_or(0))
    }
}

/// Writes the messages of one subscription.
#[derive(Clone, Debug)]
pub struct MessageWriter {
    clock: WireClock,
    headers: Option<Arc<StreamHeaders>>,
}

impl MessageWriter {
    /// For a process with that clock.
    pub const fn new(clock: WireClock) -> Self {
        Self { clock, headers: None }
    }

    /// Appends a message. `false`: it is longer than messages may be, and nothing was appended.
    pub fn write(&mut self, id: &Id, message: &StreamMessage, out: &mut BytesMut) -> bool {
        let (begin, before) = (out.len(), self.headers.clone());
        out.put_u32(0);
        out.put_u8(VERSION);
        put_bytes(out, id.as_str().as_bytes());
        self.fields(message, out);
        let bytes = out.len() - begin - PREFIX_BYTES;
        if bytes > MESSAGE_BYTES_MAX {
            out.truncate(begin);
            self.headers = before;
            return false;
        }
        if let (Some(prefix), Ok(bytes)) = (out.get_mut(begin..begin + PREFIX_BYTES), u32::try_from(bytes)) {
            prefix.copy_from_slice(&bytes.to_be_bytes());
        }
        true
    }

    fn fields(&mut self, message: &StreamMessage, out: &mut BytesMut) {
        let clock = self.clock;
        let head = |out: &mut BytesMut, kind: u8, subscription: u64| {
            out.put_u8(kind);
            put_int(out, subscription);
        };
        match message {
            StreamMessage::Subscribe { subscription } => head(out, 0, *subscription),
            StreamMessage::Unsubscribe { subscription } => head(out, 1, *subscription),
            StreamMessage::Feed { subscription, message } => {
                head(out, 2, *subscription);
                self.feed(message, out);
            }
            StreamMessage::Package { subscription } => head(out, 3, *subscription),
            StreamMessage::Packaged { subscription, changes } => {
                head(out, 4, *subscription);
                changes::put(out, changes, clock);
            }
            StreamMessage::Over { subscription, changes, listed_until } => {
                head(out, 5, *subscription);
                fields::put_signed(out, clock.unix_us(*listed_until));
                changes::put(out, changes, clock);
            }
            StreamMessage::OfEnded { changes, listed_until } => {
                out.put_u8(6);
                fields::put_signed(out, clock.unix_us(*listed_until));
                changes::put(out, changes, clock);
            }
            StreamMessage::Unknown { subscription } => head(out, 7, *subscription),
        }
    }

    fn feed(&mut self, message: &FeedMessage, out: &mut BytesMut) {
        match message {
            FeedMessage::Joined(head) => {
                out.put_u8(0);
                put_int(out, *head);
            }
            FeedMessage::Blocks(blocks) => {
                out.put_u8(1);
                put_int(out, blocks.len() as u64);
                for block in blocks {
                    blocks::put(out, block, &mut self.headers, self.clock);
                }
            }
            FeedMessage::Open => out.put_u8(2),
            FeedMessage::Ended(EndReason::PublisherGone) => out.put_slice(&[3, 0]),
            FeedMessage::Ended(EndReason::Shutdown) => out.put_slice(&[3, 1]),
        }
    }
}

/// Reads the messages of one subscription.
#[derive(Debug)]
pub struct MessageReader {
    clock: WireClock,
    headers: Option<Arc<StreamHeaders>>,
}

impl MessageReader {
    /// For a process with that clock.
    pub const fn new(clock: WireClock) -> Self {
        Self { clock, headers: None }
    }

    /// Takes the next message from the front of `bytes`; `None`: it has not come whole. After an error nothing more can be read.
    pub fn read(&mut self, bytes: &mut BytesMut) -> Result<Option<(Id, StreamMessage)>, WireError> {
        let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong { bytes: length });
        }
        if bytes.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        bytes.advance(PREFIX_BYTES);
        let mut fields = Fields::new(bytes.split_to(length).freeze());
        let version = fields.byte("the version")?;
        if version != VERSION {
            return Err(WireError::Version { theirs: version });
        }
        let id = Id::new(&fields.text("the stream's id")?).map_err(|_| WireError::Invalid("the stream's id"))?;
        let message = self.fields(&mut fields)?;
        match fields.left() {
            0 => Ok(Some((id, message))),
            left => Err(WireError::Trailing(left)),
        }
    }

    fn fields(&mut self, fields: &mut Fields) -> Result<StreamMessage, WireError> {
        let kind = fields.byte("the kind")?;
        if kind == 6 {
            let listed_until = self.clock.time(fields.signed("a time")?);
            return Ok(StreamMessage::OfEnded { listed_until, changes: changes::take(fields, self.clock)? });
        }
        let subscription = fields.int("the subscription")?;
        Ok(match kind {
            0 => StreamMessage::Subscribe { subscription },
            1 => StreamMessage::Unsubscribe { subscription },
            2 => StreamMessage::Feed { subscription, message: self.feed(fields)? },
            3 => StreamMessage::Package { subscription },
            4 => StreamMessage::Packaged { subscription, changes: changes::take(fields, self.clock)? },
            5 => {
                let listed_until = self.clock.time(fields.signed("a time")?);
                StreamMessage::Over { subscription, listed_until, changes: changes::take(fields, self.clock)? }
            }
            7 => StreamMessage::Unknown { subscription },
            _ => return Err(WireError::Invalid("the kind")),
        })
    }

    fn feed(&mut self, fields: &mut Fields) -> Result<FeedMessage, WireError> {
        Ok(match fields.byte("the kind of news")? {
            0 => FeedMessage::Joined(fields.int("a block's number")?),
            1 => {
                // Not reserved: the count is the other node's word, and each block takes bytes of the message.
                let mut blocks = Vec::new();
                for _ in 0..fields.int("the number of blocks")? {
                    blocks.push(Arc::new(blocks::take(fields, &mut self.headers, self.clock)?));
                }
                FeedMessage::Blocks(blocks)
            }
            2 => FeedMessage::Open,
            3 => FeedMessage::Ended(match fields.byte("a reason")? {
                0 => EndReason::PublisherGone,
                1 => EndReason::Shutdown,
                _ => return Err(WireError::Invalid("a reason")),
            }),
            _ => return Err(WireError::Invalid("the kind of news")),
        })
    }
}
