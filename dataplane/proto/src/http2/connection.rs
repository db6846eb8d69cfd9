//! A connection as a whole: its state, how bytes become frames, its end, and what it holds.
//!
//! `connection/frames` handles each type of frame, `connection/requests` header blocks and bodies, `connection/answers` what is sent.
mod answers;
mod frames;
mod requests;

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::{ConnectionError, ErrorCode, Fault, StreamError};
use super::event::{Event, ResetReason};
use super::flood::Flood;
use super::frame::{self, HEAD_BYTES, Head, Kind, MAX_31, PREFACE, StreamId, flag};
use super::head_block::status_block;
use super::hpack::{Decoder, TABLE_SIZE_ZERO};
use super::limits::Limits;
use super::settings::{self, PeerSettings};
use super::streams::Streams;
use super::window::{ReceiveWindow, SendWindow};
use crate::limits::{HTTP2_EVENTS_MAX, HTTP2_FRAME_BYTES_MAX, HTTP2_SETTINGS_TICKS_MAX};

pub use answers::{DataFrame, HeadersFrame};
use requests::PartialBlock;

/// What the ping of a drain carries, to know its answer by.
const DRAIN_PING: [u8; 8] = *b"millstrm";

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Preface,
    /// The first frame, which has to be SETTINGS.
    Settings,
    Open,
    /// What comes is ignored.
    Closed,
}

/// How far the peer has been told that the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Drain {
    None,
    /// It is to begin no more streams; those that are on their way are still served.
    Announced,
    /// Streams that begin now are refused.
    Final,
}

/// A server's end of an HTTP/2 connection.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    phase: Phase,
    drain: Drain,
    /// The peer has said that it begins no more streams.
    peer_drains: bool,
    settings_acknowledged: bool,
    /// Ticks that it has not done so for.
    unacknowledged_ticks: u32,
    /// The peer's decoder waits for word that our encoder has no table.
    table_size_due: bool,
    /// It has been told: it needs no second time, for there is nothing less than no table.
    table_size_said: bool,
    peer: PeerSettings,
    hpack: Decoder,
    /// The start of a frame, or of the preface.
    unread: Vec<u8>,
    /// A header block whose end has not come. Boxed: few are in pieces.
    block: Option<Box<PartialBlock>>,
    streams: Streams,
    /// The highest number that a client's stream has had.
    last_stream: u32,
    /// The numbers that were left out last, between these two: no stream was there.
    left_out: (u32, u32),
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    flood: Flood,
    events: VecDeque<Event>,
    /// A window was lifted while streams were blocked.
    lifted: bool,
    /// The stream that was last told that it is writable.
    told: u32,
    output: Vec<u8>,
}

impl Connection {
    /// A connection that has just come. It has something to say at once.
    pub fn new(limits: Limits) -> Self {
        let mut output = Vec::with_capacity(2 * HEAD_BYTES + 18);
        frame::write(&mut output, Kind::Settings, 0, 0, &settings::announced(&limits));
        Self {
            limits,
            phase: Phase::Preface,
            drain: Drain::None,
            peer_drains: false,
            settings_acknowledged: false,
            unacknowledged_ticks: 0,
            table_size_due: false,
            table_size_said: false,
            peer: PeerSettings::default(),
            hpack: Decoder::default(),
            unread: Vec::new(),
            block: None,
            streams: Streams::default(),
            last_stream: 0,
            left_out: (0, 0),
            send_window: SendWindow::new(settings::WINDOW_BYTES),
            receive_window: ReceiveWindow::new(),
            flood: Flood::default(),
            events: VecDeque::new(),
            lifted: false,
            told: 0,
            output,
        }
    }

    /// Takes bytes of the peer, in whatever pieces they come; how many it took. It stops early only where events wait: the caller takes those
    /// and gives it the rest. An error ends the connection: the caller sends what [`Self::poll_output`] has, which says why, and closes it.
    /// It is told once, and what comes later is ignored.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        let mut rest = bytes;
        loop {
            if self.phase == Phase::Closed {
                return Ok(bytes.len());
            }
            if self.events.len() >= HTTP2_EVENTS_MAX {
                return Ok(bytes.len() - rest.len());
            }
            match self.step(&mut rest) {
                Ok(true) => {}
                Ok(false) => return Ok(bytes.len()),
                Err(error) => {
                    self.fail(error);
                    return Err(error);
                }
            }
        }
    }

    /// Takes one frame, or what there is of it; false: it is not whole, and all bytes are taken.
    fn step(&mut self, rest: &mut &[u8]) -> Result<bool, ConnectionError> {
        if self.output.len() > self.limits.output_bytes {
            return Err(ConnectionError::Output);
        }
        if self.unread.is_empty() {
            let unit_bytes = self.unit_bytes(rest)?;
            if let Some((unit, behind)) = rest.split_at_checked(unit_bytes) {
                *rest = behind;
                self.take(unit)?;
                return Ok(true);
            }
            self.keep(rest, unit_bytes);
            *rest = &[];
            return Ok(false);
        }
        // Its head first, which says how long it is.
        loop {
            let unit_bytes = self.unit_bytes(&self.unread)?;
            let missing = unit_bytes.saturating_sub(self.unread.len());
            if missing == 0 {
                break;
            }
            let (piece, behind) = rest.split_at(missing.min(rest.len()));
            if piece.is_empty() {
                return Ok(false);
            }
            self.keep(piece, unit_bytes);
            *rest = behind;
        }
        let unit = std::mem::take(&mut self.unread);
        self.take(&unit)?;
        Ok(true)
    }

    /// Keeps the start of a frame. It takes memory as it comes, not as its head says.
    fn keep(&mut self, piece: &[u8], unit_bytes: usize) {
        let needed = self.unread.len() + piece.len();
        if needed > self.unread.capacity() {
            let room = needed.next_power_of_two().min(unit_bytes).max(needed);
            self.unread.reserve_exact(room - self.unread.len());
        }
        self.unread.extend_from_slice(piece);
    }

    /// Bytes of what begins here, as far as is known; refuses as soon as it can be told.
    fn unit_bytes(&self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        if self.phase == Phase::Preface {
            let is_preface = bytes.iter().zip(PREFACE).all(|(byte, expected)| byte == expected);
            return if is_preface { Ok(PREFACE.len()) } else { Err(ConnectionError::Preface) };
        }
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(HEAD_BYTES) };
        let head = Head::parse(*head);
        if self.phase == Phase::Settings && (head.kind != Kind::Settings || head.has(flag::ACK)) {
            return Err(ConnectionError::NoSettings);
        }
        match &self.block {
            Some(block) if head.kind != Kind::Continuation || !block.is_of(head.stream) => {
                return Err(ConnectionError::Interrupted);
            }
            None if head.kind == Kind::Continuation => return Err(ConnectionError::Continuation),
            _ => {}
        }
        head.check(HTTP2_FRAME_BYTES_MAX)?;
        Ok(HEAD_BYTES + head.length)
    }

    /// Takes a whole frame, or the preface.
    fn take(&mut self, unit: &[u8]) -> Result<(), ConnectionError> {
        if self.phase == Phase::Preface {
            self.phase = Phase::Settings;
            return Ok(());
        }
        let Some((head, payload)) = unit.split_first_chunk::<HEAD_BYTES>() else { return Ok(()) };
        let head = Head::parse(*head);
        self.phase = Phase::Open;
        match self.handle(head, payload) {
            Ok(()) => Ok(()),
            Err(Fault::Connection(error)) => Err(error),
            Err(Fault::Stream(error)) => self.fail_stream(head.stream, error),
        }
    }

    /// Ends a stream for a fault of the peer.
    fn fail_stream(&mut self, id: u32, error: StreamError) -> Result<(), ConnectionError> {
        self.flood.reset(&self.limits)?;
        let stream = self.streams.end(id);
        match (stream, error.status()) {
            (Some(stream), Some(status)) if !stream.answered => {
                let block = [self.before_block(), &status_block(status)].concat();
                frame::write(&mut self.output, Kind::Headers, flag::END_HEADERS | flag::END_STREAM, id, &block);
                if stream.receiving {
                    self.write_reset(id, ErrorCode::NO_ERROR);
                }
            }
            _ => self.write_reset(id, error.code()),
        }
        self.events.push_back(Event::Reset { stream: StreamId(id), reason: ResetReason::Violation(error) });
        Ok(())
    }

    /// What has to stand before the next header block: a peer that has lowered the size of our table waits to hear that there is none.
    fn before_block(&mut self) -> &'static [u8] {
        if !std::mem::take(&mut self.table_size_due) {
            return &[];
        }
        self.table_size_said = true;
        &[TABLE_SIZE_ZERO]
    }

    fn fail(&mut self, error: ConnectionError) {
        self.write_go_away(self.last_stream, error.code(), error.to_string().as_bytes());
        self.shut();
    }

    /// Drops everything but what is to be said and told.
    fn shut(&mut self) {
        self.phase = Phase::Closed;
        self.unread = Vec::new();
        self.block = None;
        self.streams.clear();
        self.hpack = Decoder::default();
    }

    fn write_reset(&mut self, id: u32, code: ErrorCode) {
        frame::write(&mut self.output, Kind::RstStream, 0, id, &code.0.to_be_bytes());
    }

    fn write_go_away(&mut self, last_stream: u32, code: ErrorCode, words: &[u8]) {
        let payload = [&last_stream.to_be_bytes()[..], &code.0.to_be_bytes(), words].concat();
        frame::write(&mut self.output, Kind::GoAway, 0, 0, &payload);
    }

    fn write_window_update(&mut self, id: u32, increment: u32) {
        frame::write(&mut self.output, Kind::WindowUpdate, 0, id, &increment.to_be_bytes());
    }

    /// The next thing that came. A piece of a body that is taken makes room for more.
    pub fn poll_event(&mut self) -> Option<Event> {
        let Some(event) = self.events.pop_front() else {
            if self.events.capacity() > 0 && self.streams.is_empty() {
                self.events = VecDeque::new();
            }
            return self.next_writable();
        };
        if let Event::Body { stream, bytes } = &event
            && self.phase != Phase::Closed
        {
            self.give_back(stream.0, bytes.len());
        }
        Some(event)
    }

    /// Control frames that are to be sent: all of them, and none twice.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        if self.output.is_empty() { None } else { Some(std::mem::take(&mut self.output).into()) }
    }

    /// Time has passed: the caller says it regularly, once a second or so. Half of what the peer has used up of its budgets comes back; one that has
    /// not acknowledged the settings for [`HTTP2_SETTINGS_TICKS_MAX`] has failed.
    pub fn tick(&mut self) -> Result<(), ConnectionError> {
        self.flood.tick();
        if self.settings_acknowledged || self.phase == Phase::Closed {
            return Ok(());
        }
        self.unacknowledged_ticks += 1;
        if self.unacknowledged_ticks <= HTTP2_SETTINGS_TICKS_MAX {
            return Ok(());
        }
        let error = ConnectionError::SettingsTimeout;
        self.fail(error);
        Err(error)
    }

    /// Ends the connection gracefully. The first call tells the peer to begin no more streams; those that it began before it
    /// knew are still served. When it has answered, or at the second call, it is told which one is the last.
    pub fn drain(&mut self) {
        match self.drain {
            _ if self.phase == Phase::Closed => {}
            Drain::None => {
                self.drain = Drain::Announced;
                self.write_go_away(MAX_31, ErrorCode::NO_ERROR, b"");
                frame::write(&mut self.output, Kind::Ping, 0, 0, &DRAIN_PING);
            }
            Drain::Announced => self.finish_drain(),
            Drain::Final => {}
        }
    }

    fn finish_drain(&mut self) {
        self.drain = Drain::Final;
        self.write_go_away(self.last_stream, ErrorCode::NO_ERROR, b"");
    }

    /// Ends the connection at once: the caller sends what [`Self::poll_output`] has, and closes it.
    pub fn close(&mut self, code: ErrorCode) {
        if self.phase != Phase::Closed {
            self.write_go_away(self.last_stream, code, b"");
            self.shut();
        }
    }

    /// Nothing is under way: no stream, no event, no frame in either direction.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
            && self.events.is_empty()
            && self.output.is_empty()
            && self.unread.is_empty()
            && self.block.is_none()
    }

    /// Nothing more will be asked or said, but what [`Self::poll_output`] has: one end has said that it is over, and no stream is left.
    pub fn is_finished(&self) -> bool {
        let is_over = self.phase == Phase::Closed || self.drain == Drain::Final || self.peer_drains;
        is_over && self.streams.is_empty() && self.events.is_empty()
    }

    /// The peer has acknowledged this side's settings. One that does not for long breaks the protocol (`SETTINGS_TIMEOUT`).
    pub const fn has_settings_acknowledged(&self) -> bool {
        self.settings_acknowledged
    }

    /// Streams that are open.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of memory that this holds, itself included.
    pub fn held_bytes(&self) -> usize {
        let event_bytes = |event: &Event| match event {
            Event::Request { head, .. } => head.held_bytes(),
            Event::Body { bytes, .. } => bytes.len(),
            _ => 0,
        };
        size_of::<Self>()
            + self.hpack.held_bytes()
            + self.unread.capacity()
            + self.block.as_ref().map_or(0, |block| block.held_bytes())
            + self.streams.held_bytes()
            + self.events.capacity() * size_of::<Event>()
            + self.events.iter().map(event_bytes).sum::<usize>()
            + self.output.capacity()
    }
}
