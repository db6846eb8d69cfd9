//! The server's side of a connection: bytes and time in; events, answers and the next timeout out. Before it in the pipeline:
//! the engine reads a socket; after it: media goes to the hub, requests go to admission.
//!
//! A publish or play request stops the parsing: what lies behind it waits in the inbox until [`ServerSession::accept`] or
//! [`ServerSession::reject`] answers, so no media is lost and none is taken before admission has spoken. The request of a further stream
//! stops only what belongs to it.
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::ack::Acknowledger;
use super::chunk::ChunkReader;
use super::chunk_write::MESSAGE_STREAM;
use super::command::{self, Command};
use super::error::SessionError;
use super::handshake::{self, Handshake, Side, Stranger};
use super::message::{Message, UserControl, kind, parse_u32};
use super::outbox::Outbox;
use super::request::ConnectInfo;
use super::stats::SessionStats;
use crate::limits::{
    RTMP_CHUNK_SIZE_OUT, RTMP_COMMANDS_UNADMITTED_MAX, RTMP_INBOX_BYTES_MAX, RTMP_OUTPUT_BYTES_MAX, RTMP_PING_SECS,
    RTMP_WINDOW_BYTES,
};
use crate::media::{Intake, TagKind};
use crate::time::Time;

mod commands;
mod event;
mod media;
mod sides;

use event::{Asked, refusal_code};
pub use event::{Event, Refusal, Role};
use sides::Sides;

/// Events that a publisher's queue keeps room for.
const EVENTS_KEPT: usize = 256;
const PING_EVERY: Duration = Duration::from_secs(RTMP_PING_SECS);

/// How a server session speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Chunk size of what is sent, bytes: that of the hub's shared messages.
    pub chunk_size: usize,
    /// Window acknowledgement size that is announced, bytes.
    pub window_ack_bytes: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { chunk_size: RTMP_CHUNK_SIZE_OUT, window_ack_bytes: RTMP_WINDOW_BYTES }
    }
}

enum Phase {
    /// Not a byte yet.
    Fresh,
    Handshake(Box<Handshake>),
    Open,
}

enum State {
    Idle,
    /// A request waits for its answer.
    Asked(Asked),
    Publishing(Box<Intake>),
    Playing,
    Closing,
}

/// One connection to us. `Debug` leaves its bytes out: they hold keys.
pub struct ServerSession {
    config: ServerConfig,
    started: Time,
    ping_at: Time,
    phase: Phase,
    reader: ChunkReader,
    ack: Acknowledger,
    outbox: Outbox,
    events: VecDeque<Event>,
    inbox: Vec<u8>,
    connect: Option<ConnectInfo>,
    state: State,
    /// The message stream that what is asked, published or played is answered on.
    stream_id: u32,
    sides: Sides,
    /// Commands since the session began, or since its last request was accepted.
    commands: u32,
    /// FCPublish came and waits for its onFCPublish.
    fc_publish: bool,
    /// The client follows a ReconnectRequest, and has not had one.
    follows_reconnect: bool,
    stats: SessionStats,
}

impl ServerSession {
    /// A connection that was just accepted.
    pub fn new(now: Time, config: ServerConfig) -> Self {
        Self {
            config,
            started: now,
            ping_at: now + PING_EVERY,
            phase: Phase::Fresh,
            reader: ChunkReader::new(),
            ack: Acknowledger::new(config.window_ack_bytes),
            outbox: Outbox::new(),
            events: VecDeque::new(),
            inbox: Vec::new(),
            connect: None,
            state: State::Idle,
            stream_id: MESSAGE_STREAM,
            sides: Sides::default(),
            commands: 0,
            fc_publish: false,
            follows_reconnect: false,
            stats: SessionStats::default(),
        }
    }

    /// Takes all of `bytes`. What lies behind an unanswered request is kept for later, up to [`RTMP_INBOX_BYTES_MAX`]; what
    /// comes to a closing session is dropped.
    pub fn handle_input(&mut self, _now: Time, bytes: &[u8]) -> Result<(), SessionError> {
        if self.is_closing() {
            return Ok(());
        }
        self.stats.bytes_in += bytes.len() as u64;
        let acknowledgement = self.ack.receive(bytes.len());
        let bytes = self.shake_hands(bytes)?;
        if let (Some(total), Phase::Open) = (acknowledgement, &self.phase) {
            self.outbox.number(kind::ACKNOWLEDGEMENT, total);
        }
        self.parse(bytes)
    }

    /// Whether the socket should be read: not while a request waits for its answer, and not once the session is closing.
    pub fn wants_input(&self) -> bool {
        !matches!(self.state, State::Asked(_) | State::Closing)
    }

    /// The next thing that the client did.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() {
            // A viewer keeps no queue, a publisher none that one odd read made long.
            let kept = if self.role() == Role::Publisher { EVENTS_KEPT } else { 0 };
            self.events.shrink_to(kept);
        }
        event
    }

    /// Bytes for the client, all that wait. To a player, send them between media messages.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.outbox.take()
    }

    /// When [`ServerSession::handle_timeout`] should be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let in_use = matches!(self.state, State::Publishing(_) | State::Playing) || self.outlive_first();
        in_use.then_some(self.ping_at)
    }

    /// Sends a ping if it is time for one.
    pub fn handle_timeout(&mut self, now: Time) -> Result<(), SessionError> {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.ping(now);
        }
        self.check_output()
    }

    /// Asks a publisher or player for an answer now: the next ping is due a while after this one.
    pub fn ping(&mut self, now: Time) {
        if self.poll_timeout().is_some() {
            self.ping_at = now + PING_EVERY;
            let stamp_ms = now.since(self.started).as_millis() as u32;
            self.outbox.user_control(UserControl::PingRequest(stamp_ms));
        }
    }

    /// Answers the waiting request with yes, then parses what lies behind it: more events may be there. Without a waiting
    /// request nothing happens.
    pub fn accept(&mut self, now: Time) -> Result<(), SessionError> {
        match self.state {
            State::Asked(Asked::Publish) => {
                self.reader.admit();
                self.answer_publish();
                self.state = State::Publishing(Box::new(Intake::new()));
            }
            State::Asked(Asked::Play) => {
                self.answer_play();
                self.state = State::Playing;
            }
            _ => return Ok(()),
        }
        self.commands = 0;
        self.ping_at = now + PING_EVERY;
        let inbox = std::mem::take(&mut self.inbox);
        self.parse(&inbox)
    }

    /// Answers the waiting request with no; the session ends when its output is drained. Without a waiting request nothing
    /// happens.
    pub fn reject(&mut self, _now: Time, refusal: Refusal, description: &str) {
        let State::Asked(asked) = self.state else { return };
        self.status("error", refusal_code(asked, refusal), description);
        self.close();
    }

    /// Asks the client to connect anew, here or wherever its URL leads by then, and to go on meanwhile; once, and only a client that
    /// has said that it follows such requests (Enhanced RTMP v2). Says whether it was asked.
    pub fn request_reconnect(&mut self, _now: Time, description: &str) -> bool {
        let ask = !self.is_closing() && std::mem::take(&mut self.follows_reconnect);
        if ask {
            let request = command::status("onStatus", "status", "NetConnection.Connect.ReconnectRequest", description);
            self.outbox.command(0, &request);
        }
        ask
    }

    /// Ends the session from our side: tells the client why, and closes when its output is drained.
    pub fn end(&mut self, now: Time, description: &str) {
        match self.state {
            State::Asked(_) => self.reject(now, Refusal::Failed, description),
            State::Publishing(_) => self.status("error", "NetStream.Publish.Rejected", description),
            State::Playing => {
                self.outbox.user_control(UserControl::StreamEof(MESSAGE_STREAM));
                self.status("status", "NetStream.Play.UnpublishNotify", description);
                self.status("status", "NetStream.Play.Stop", description);
            }
            State::Idle | State::Closing => {}
        }
        self.close();
    }

    /// The session is over: drain [`ServerSession::poll_output`], then close the socket.
    pub fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// What the connection is used for now.
    pub fn role(&self) -> Role {
        match self.state {
            State::Publishing(_) => Role::Publisher,
            State::Playing => Role::Player,
            State::Idle | State::Asked(_) | State::Closing => Role::Undecided,
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> &SessionStats {
        &self.stats
    }

    /// Bytes that the session holds for later: half-assembled messages, the inbox, waiting output.
    pub fn held_bytes(&self) -> usize {
        self.reader.assembly_bytes() + self.inbox.capacity() + self.outbox.len()
    }

    /// Gives the handshake what is its; returns the rest.
    fn shake_hands<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], SessionError> {
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let mut first_packet = Vec::new();
        if let Phase::Fresh = self.phase {
            match handshake::stranger(bytes) {
                Some(Stranger::Http) => return Err(SessionError::Http),
                Some(Stranger::Tls) => return Err(SessionError::Tls),
                None => {}
            }
            let (handshake, packet) = Handshake::new(Side::Server);
            self.phase = Phase::Handshake(Box::new(handshake));
            first_packet = packet;
        }
        let Phase::Handshake(handshake) = &mut self.phase else { return Ok(bytes) };
        let progress = handshake.handle_input(bytes)?;
        self.outbox.raw(&first_packet);
        self.outbox.raw(&progress.response);
        if let Some(echo_right) = progress.done {
            self.stats.c2_mismatches += u64::from(!echo_right);
            self.phase = Phase::Open;
        }
        Ok(bytes.get(progress.taken..).unwrap_or_default())
    }

    fn parse(&mut self, mut bytes: &[u8]) -> Result<(), SessionError> {
        while self.wants_input() {
            let message = self.reader.read(&mut bytes)?;
            self.stats.messages_restarted = self.reader.restarted();
            let Some(message) = message else { return Ok(()) };
            self.stats.messages_in += 1;
            self.handle_message(&message)?;
            self.check_output()?;
        }
        if self.is_closing() {
            return Ok(());
        }
        if self.inbox.len() + bytes.len() > RTMP_INBOX_BYTES_MAX {
            return Err(SessionError::InboxFull);
        }
        self.inbox.extend_from_slice(bytes);
        Ok(())
    }

    fn handle_message(&mut self, message: &Message) -> Result<(), SessionError> {
        if self.side_message(message) {
            return Ok(());
        }
        match message.type_id {
            kind::AUDIO => self.media(TagKind::Audio, message.timestamp, message.payload.clone()),
            kind::VIDEO => self.media(TagKind::Video, message.timestamp, message.payload.clone()),
            kind::DATA | kind::DATA_AMF3 => self.data(message),
            kind::AGGREGATE => self.aggregate(message),
            kind::COMMAND | kind::COMMAND_AMF3 => return self.command(message),
            kind::WINDOW_ACK_SIZE => {
                if let Some(bytes) = parse_u32(&message.payload) {
                    self.ack.set_window(bytes);
                }
            }
            kind::USER_CONTROL => {
                if let Some(UserControl::PingRequest(stamp)) = UserControl::parse(&message.payload) {
                    self.outbox.user_control(UserControl::PingResponse(stamp));
                }
            }
            // What the client acknowledges and how it limits us does not steer what is sent: TCP does.
            kind::ACKNOWLEDGEMENT | kind::SET_PEER_BANDWIDTH => {}
            _ => self.stats.messages_unknown += 1,
        }
        Ok(())
    }

    fn command(&mut self, message: &Message) -> Result<(), SessionError> {
        if !matches!(self.state, State::Publishing(_) | State::Playing) && self.sides.is_empty() {
            self.commands += 1;
            if self.commands > RTMP_COMMANDS_UNADMITTED_MAX {
                return Err(SessionError::Commands);
            }
        }
        let Some(command) = Command::parse(message) else {
            self.stats.commands_malformed += 1;
            return Ok(());
        };
        self.obey(&command, message.stream_id)
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        self.outbox.command(self.stream_id, &command::status("onStatus", level, code, description));
    }

    fn close(&mut self) {
        self.state = State::Closing;
        self.inbox = Vec::new();
    }

    fn check_output(&self) -> Result<(), SessionError> {
        if self.outbox.len() > RTMP_OUTPUT_BYTES_MAX { Err(SessionError::OutputFull) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(super) fn pretend_handshake(&mut self) {
        self.phase = Phase::Open;
    }

    #[cfg(test)]
    pub(super) fn pretend_received(&mut self, bytes: u64) {
        self.ack.start_at(bytes);
    }
}

impl std::fmt::Debug for ServerSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut session = f.debug_struct("ServerSession");
        session.field("role", &self.role()).field("closing", &self.is_closing()).field("stats", &self.stats);
        session.finish_non_exhaustive()
    }
}
