//! Answers as they go: the heads of frames whose payload others share, within the peer's windows.
use bytes::{BufMut, BytesMut};

use super::super::error::{ErrorCode, SendError};
use super::super::event::Event;
use super::super::frame::{HEAD_BYTES, Head, Kind, StreamId, flag};
use super::super::head_block::HeadBlock;
use super::Connection;

/// What goes before the block of a [`HeadBlock`]: a frame's head, and once in a while a byte more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadersFrame {
    bytes: [u8; HEAD_BYTES + 1],
    length: usize,
}

impl HeadersFrame {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What goes before a piece of a body, and how long the piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataFrame {
    /// The frame's head.
    pub head: [u8; HEAD_BYTES],
    /// Bytes of the body that have to follow, exactly.
    pub bytes: usize,
    /// The body ends with them, and the stream is over.
    pub end: bool,
}

impl Connection {
    /// Begins an answer. What is given back goes out with the block behind it, before anything else of the stream. `end`: there is no
    /// body; the stream is over, and what still comes of its request is not wanted.
    pub fn respond(&mut self, stream: StreamId, head: &HeadBlock, end: bool) -> Result<HeadersFrame, SendError> {
        let open = self.streams.get_mut(stream.0).ok_or(SendError::Closed)?;
        if open.answered {
            return Err(SendError::HeadTwice);
        }
        open.answered = true;
        let before = self.before_block();
        let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
        let length = before.len() + head.block().len();
        let frame = Head { length, kind: Kind::Headers, flags, stream: stream.0 };
        let mut bytes = [0; HEAD_BYTES + 1];
        let mut place = &mut bytes[..];
        place.put_slice(&frame.to_bytes());
        place.put_slice(before);
        if end {
            self.finish(stream.0);
        }
        Ok(HeadersFrame { bytes, length: HEAD_BYTES + before.len() })
    }

    /// Asks to send the next `bytes` of a body, which end it if `end`. What may go now is counted as sent: the caller writes the head that is
    /// given back, and exactly so many bytes behind it. `None`: nothing may go now. Where less than all may go,
    /// [`Event::Writable`] comes when there is room for more, and the caller asks for the rest.
    pub fn data(&mut self, stream: StreamId, bytes: usize, end: bool) -> Result<Option<DataFrame>, SendError> {
        let connection_window = self.send_window.available();
        let frame_bytes_max = self.limits.data_frame_bytes.min(self.peer.frame_bytes_max as usize);
        let open = self.streams.get_mut(stream.0).ok_or(SendError::Closed)?;
        if !open.answered {
            return Err(SendError::NoHead);
        }
        let window = open.send_window.available().min(connection_window);
        // A frame that is full is no reason to wait.
        open.blocked = bytes > window;
        let sent = bytes.min(window).min(frame_bytes_max);
        let end = end && sent == bytes;
        if sent == 0 && !end {
            return Ok(None);
        }
        open.send_window.take(sent);
        self.send_window.take(sent);
        self.flood.sent(sent);
        let flags = if end { flag::END_STREAM } else { 0 };
        let head = Head { length: sent, kind: Kind::Data, flags, stream: stream.0 }.to_bytes();
        if end {
            self.finish(stream.0);
        }
        Ok(Some(DataFrame { head, bytes: sent, end }))
    }

    /// Adds as much of a small body to `out`, in frames, as may go now; how many bytes of it that were. The rest is for later, as with [`Self::data`].
    pub fn data_copied(
        &mut self,
        stream: StreamId,
        body: &[u8],
        end: bool,
        out: &mut BytesMut,
    ) -> Result<usize, SendError> {
        let mut rest = body;
        while let Some(frame) = self.data(stream, rest.len(), end)? {
            let (piece, behind) = rest.split_at(frame.bytes.min(rest.len()));
            out.put_slice(&frame.head);
            out.put_slice(piece);
            rest = behind;
            if frame.end {
                break;
            }
        }
        Ok(body.len() - rest.len())
    }

    /// Bytes of a body that may be sent on a stream now; 0 where it is over.
    pub fn writable(&self, stream: StreamId) -> usize {
        let window = self.streams.get(stream.0).map_or(0, |open| open.send_window.available());
        window.min(self.send_window.available())
    }

    /// Whether the connection's window has room; a stream's own may have none.
    pub fn has_window(&self) -> bool {
        self.send_window.available() > 0
    }

    /// Ends a stream before its time; false: it was over.
    pub fn reset(&mut self, stream: StreamId, code: ErrorCode) -> bool {
        let was_open = self.streams.end(stream.0).is_some();
        if was_open {
            self.write_reset(stream.0, code);
        }
        was_open
    }

    /// The last of an answer goes. A request that is not complete by now need not be (RFC 9113, 8.1); where the rest is known to be short,
    /// it is let come, since some clients take a reset for a failure of the answer.
    fn finish(&mut self, id: u32) {
        self.flood.completed();
        let Some(stream) = self.streams.end(id) else { return };
        let is_short = stream.content_left.is_some_and(|left| stream.receive_window.has(left));
        if stream.receiving && !is_short {
            self.write_reset(id, ErrorCode::NO_ERROR);
        }
    }

    /// The next stream that waits for room and has some: each in turn.
    pub(super) fn next_writable(&mut self) -> Option<Event> {
        if !self.lifted {
            return None;
        }
        let has_room = self.send_window.available() > 0;
        let next = if has_room { self.streams.next_blocked(self.told) } else { None };
        let Some(stream) = next else {
            self.lifted = false;
            return None;
        };
        stream.blocked = false;
        self.told = stream.id;
        Some(Event::Writable { stream: StreamId(stream.id) })
    }
}
