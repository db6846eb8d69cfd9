//! Requests as they come: header blocks, bodies, and their ends (RFC 9113, 8.1).
use bytes::Bytes;

use super::super::error::{ConnectionError, Fault, StreamError};
use super::super::event::Event;
use super::super::frame::{Head, Kind, StreamId, flag, number, unpadded};
use super::super::hpack::Fields;
use super::super::request::{Malformed, RequestHead, check_trailers};
use super::super::streams::Stream;
use super::{Connection, Drain};

/// The bytes of a priority in a HEADERS frame.
const PRIORITY_BYTES: usize = 5;

/// What a HEADERS frame says beside its block.
#[derive(Clone, Copy, Debug)]
struct Opening {
    id: u32,
    end: bool,
    self_dependent: bool,
}

/// A header block whose end has not come.
#[derive(Debug)]
pub(super) struct PartialBlock {
    opening: Opening,
    bytes: Vec<u8>,
    continuations: u32,
}

impl PartialBlock {
    pub(super) fn is_of(&self, id: u32) -> bool {
        self.opening.id == id
    }

    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }
}

impl Connection {
    pub(super) fn handle_headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream.is_multiple_of(2) {
            return Err(ConnectionError::StreamId(head.stream).into());
        }
        let payload = unpadded(head, payload)?;
        let mut opening = Opening { id: head.stream, end: head.has(flag::END_STREAM), self_dependent: false };
        let mut block = payload;
        if head.has(flag::PRIORITY) {
            let (priority, rest) =
                payload.split_at_checked(PRIORITY_BYTES).ok_or(ConnectionError::FrameLength(head.kind.name()))?;
            opening.self_dependent = number(priority) == head.stream;
            block = rest;
        }
        if block.len() > self.limits.header_block_bytes {
            return Err(ConnectionError::HeaderBlockLong.into());
        }
        if head.has(flag::END_HEADERS) {
            return self.handle_block(opening, block);
        }
        self.block = Some(Box::new(PartialBlock { opening, bytes: block.to_vec(), continuations: 0 }));
        Ok(())
    }

    pub(super) fn handle_continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut block) = self.block.take() else { return Err(ConnectionError::Continuation.into()) };
        block.continuations += 1;
        if block.continuations > self.limits.continuations {
            return Err(ConnectionError::Continuations.into());
        }
        if block.bytes.len() + payload.len() > self.limits.header_block_bytes {
            return Err(ConnectionError::HeaderBlockLong.into());
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.handle_block(block.opening, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// Handles a whole block. It is read whatever becomes of it, because the next ones build on it.
    fn handle_block(&mut self, opening: Opening, block: &[u8]) -> Result<(), Fault> {
        let Opening { id, end, self_dependent } = opening;
        let fields = self.hpack.decode(block, self.limits.header_list_bytes)?;
        if let Some(stream) = self.streams.get(id) {
            if !stream.receiving {
                return Err(StreamError::Closed.into());
            }
            return self.handle_trailers(opening, &fields);
        }
        if id <= self.last_stream {
            if self.streams.is_discarded(id, end) {
                self.flood.control_frame(&self.limits)?;
                return Ok(());
            }
            let (after, before) = self.left_out;
            let never_was = after < id && id < before;
            let error = if never_was { ConnectionError::StreamId(id) } else { ConnectionError::Closed("HEADERS") };
            return Err(error.into());
        }
        if id > self.last_stream + 2 {
            self.left_out = (self.last_stream, id);
        }
        self.last_stream = id;
        let is_one_more = self.streams.len() >= self.limits.streams;
        let mut stream = Stream::new(id, self.peer.initial_window, self.limits.body_bytes);
        stream.receiving = !end;
        // Before it is judged: from here on the peer can be told on the stream what is wrong.
        self.streams.begin(stream);
        if self.drain == Drain::Final {
            return Err(StreamError::GoingAway.into());
        }
        if is_one_more {
            return Err(StreamError::Concurrency.into());
        }
        if self_dependent {
            return Err(StreamError::SelfDependency.into());
        }
        if fields.is_too_long() {
            return Err(StreamError::HeaderListLong.into());
        }
        let head = RequestHead::new(fields)?;
        if head.is_connect() {
            return Err(StreamError::Connect.into());
        }
        let content_length = head.content_length();
        if end && content_length.is_some_and(|bytes| bytes > 0) {
            return Err(Malformed::BodyLength.into());
        }
        if let Some(stream) = self.streams.get_mut(id) {
            stream.content_left = content_length;
        }
        self.events.push_back(Event::Request { stream: StreamId(id), head, end });
        Ok(())
    }

    fn handle_trailers(&mut self, opening: Opening, fields: &Fields) -> Result<(), Fault> {
        if opening.self_dependent {
            return Err(StreamError::SelfDependency.into());
        }
        if !opening.end {
            return Err(Malformed::TrailersWithoutEnd.into());
        }
        if fields.is_too_long() {
            return Err(StreamError::HeaderListLong.into());
        }
        check_trailers(fields)?;
        self.end_request(opening.id)
    }

    pub(super) fn handle_data(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let (id, end) = (head.stream, head.has(flag::END_STREAM));
        self.check_begun(Kind::Data, id)?;
        // The connection's window counts all of it, whatever becomes of it (section 6.9).
        self.receive_window.take(payload.len()).map_err(|_| ConnectionError::WindowPassed)?;
        let body = unpadded(head, payload)?;
        if body.is_empty() && !end {
            self.flood.control_frame(&self.limits)?;
        }
        let taken = self.take_body(id, end, payload.len(), body);
        // What nobody will take is given back at once: padding, or all of it.
        let unused = if taken.is_ok() { payload.len() - body.len() } else { payload.len() };
        if unused > 0 {
            self.give_back(id, unused);
        }
        match taken {
            Ok(true) if end => self.end_request(id),
            taken => taken.map(|_| ()),
        }
    }

    /// Takes a piece of a body; false: the stream is over, and nobody wants it.
    fn take_body(&mut self, id: u32, end: bool, counted_bytes: usize, body: &[u8]) -> Result<bool, Fault> {
        let Some(stream) = self.streams.get_mut(id) else {
            if self.streams.is_discarded(id, end) {
                // Its share of the connection's window is given back here, since no event will.
                self.give_back(id, body.len());
                return Ok(false);
            }
            return Err(StreamError::Closed.into());
        };
        if !stream.receiving {
            return Err(StreamError::Closed.into());
        }
        stream.receive_window.take(counted_bytes).map_err(|_| StreamError::WindowPassed)?;
        let bytes = body.len() as u64;
        if let Some(left) = &mut stream.content_left {
            *left = left.checked_sub(bytes).ok_or(Malformed::BodyLength)?;
        }
        stream.allowed_left = stream.allowed_left.checked_sub(bytes).ok_or(StreamError::BodyLong)?;
        if !body.is_empty() {
            self.events.push_back(Event::Body { stream: StreamId(id), bytes: Bytes::copy_from_slice(body) });
        }
        Ok(true)
    }

    /// The last of a request has come.
    fn end_request(&mut self, id: u32) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        if stream.content_left.is_some_and(|left| left > 0) {
            return Err(Malformed::BodyLength.into());
        }
        stream.receiving = false;
        self.events.push_back(Event::End { stream: StreamId(id) });
        Ok(())
    }

    /// Lets the peer send so much again, on the connection and, if it still sends there, on the stream.
    pub(super) fn give_back(&mut self, id: u32, bytes: usize) {
        if let Some(increment) = self.receive_window.give_back(bytes) {
            self.write_window_update(0, increment);
        }
        let stream = self.streams.get_mut(id).filter(|stream| stream.receiving);
        if let Some(increment) = stream.and_then(|stream| stream.receive_window.give_back(bytes)) {
            self.write_window_update(id, increment);
        }
    }
}
