//! The client's side of a connection: publishes to a server, or plays from one. Used by relays, workers, the load test and
//! tests. It knows no more of the server than the protocol says, so it is also a check of [`super::server`].
use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use super::ack::Acknowledger;
use super::chunk::ChunkReader;
use super::command::Command;
use super::error::SessionError;
use super::handshake::{Handshake, Side};
use super::message::{Message, UserControl, kind, parse_u32};
use super::outbox::Outbox;
use super::stats::SessionStats;
use crate::amf0::{self, Value};
use crate::limits::{RTMP_CLIENT_OUTPUT_BYTES_MAX, RTMP_WINDOW_BYTES};
use crate::media::TagKind;
use crate::secret::Secret;
use crate::time::Time;

/// What a client calls itself: servers look for the names of encoders.
const NAME: &str = "FMLE/3.0 (compatible; Millstream)";

const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const ASK: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;
/// How much a player says that it buffers, milliseconds.
const BUFFER_MS: u32 = 1000;

/// What to do once connected.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientRole {
    /// Send media.
    Publish,
    /// Receive it.
    Play,
}

/// Whom to ask for what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// Application.
    pub app: String,
    /// `rtmp://HOST/APP`, with a query if the server wants it there.
    pub tc_url: Secret,
    /// Stream key: name with its query.
    pub stream: Secret,
    /// Publish or play.
    pub role: ClientRole,
    /// Chunk size of what is sent, bytes.
    pub chunk_size: usize,
}

/// What the server did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The request was accepted.
    Ready,
    /// The request was refused; the session is of no use any more.
    Refused {
        /// Status code, as `NetStream.Publish.BadName`.
        code: String,
        /// The server's words.
        description: String,
    },
    /// A media or data message as it came. `body` is without AMF3's wrapper.
    Message {
        /// Its kind.
        kind: TagKind,
        /// Milliseconds, modulo 2^32.
        timestamp: u32,
        /// The payload.
        body: Bytes,
    },
    /// The server ended what had been accepted.
    Ended {
        /// Status code.
        code: String,
        /// The server's words.
        description: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Connecting,
    Asked,
    Running,
    Over,
}

/// One connection from us. `Debug` leaves its bytes out: they hold keys.
pub struct ClientSession {
    config: ClientConfig,
    name: Cow<'static, str>,
    handshake: Option<Box<Handshake>>,
    reader: ChunkReader,
    ack: Acknowledger,
    outbox: Outbox,
    events: VecDeque<ClientEvent>,
    state: State,
    stream_id: u32,
    stats: SessionStats,
}

impl ClientSession {
    /// A connection that was just made; the first packet is there to be sent.
    pub fn new(_now: Time, config: ClientConfig) -> Self {
        let (handshake, first_packet) = Handshake::new(Side::Client);
        let mut outbox = Outbox::new();
        outbox.raw(&first_packet);
        let mut reader = ChunkReader::new();
        // The server was chosen by us: its media may be as large as any.
        reader.admit();
        Self {
            config,
            name: Cow::Borrowed(NAME),
            handshake: Some(Box::new(handshake)),
            reader,
            ack: Acknowledger::new(RTMP_WINDOW_BYTES),
            outbox,
            events: VecDeque::new(),
            state: State::Connecting,
            stream_id: 1,
            stats: SessionStats::default(),
        }
    }

    /// Calls itself so (`flashVer`) when it connects.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.name = Cow::Owned(name);
        self
    }

    /// Takes all of `bytes`.
    pub fn handle_input(&mut self, _now: Time, bytes: &[u8]) -> Result<(), SessionError> {
        self.stats.bytes_in += bytes.len() as u64;
        let acknowledgement = self.ack.receive(bytes.len());
        let mut bytes = bytes;
        if let Some(handshake) = &mut self.handshake {
            let progress = handshake.handle_input(bytes)?;
            self.outbox.raw(&progress.response);
            bytes = bytes.get(progress.taken..).unwrap_or_default();
            let Some(echo_right) = progress.done else { return Ok(()) };
            self.stats.c2_mismatches += u64::from(!echo_right);
            self.handshake = None;
            self.connect();
        }
        if let Some(total) = acknowledgement {
            self.outbox.number(kind::ACKNOWLEDGEMENT, total);
        }
        while let Some(message) = self.reader.read(&mut bytes)? {
            self.stats.messages_in += 1;
            self.handle_message(&message);
            self.check_output()?;
        }
        self.stats.messages_restarted = self.reader.restarted();
        Ok(())
    }

    /// The next thing that the server did.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Bytes for the server, all that wait.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.outbox.take()
    }

    /// Sends media; before [`ClientEvent::Ready`] and after the end it is dropped. An error says that the server does not
    /// take what it is sent.
    pub fn send(&mut self, kind: TagKind, timestamp: u32, body: &[u8]) -> Result<(), SessionError> {
        if self.state == State::Running && self.config.role == ClientRole::Publish {
            self.outbox.media(kind, self.stream_id, timestamp, body);
        }
        self.check_output()
    }

    /// Sends `@setDataFrame` with `onMetaData` and these properties.
    pub fn send_metadata(&mut self, properties: Vec<(String, Value)>) -> Result<(), SessionError> {
        let values = [Value::string("@setDataFrame"), Value::string("onMetaData"), Value::EcmaArray(properties)];
        self.send(TagKind::Script, 0, &amf0::encode(&values))
    }

    /// Says goodbye; drain the output, then close.
    pub fn finish(&mut self) {
        if self.state == State::Running {
            if self.config.role == ClientRole::Publish {
                self.call("FCUnpublish", FC_UNPUBLISH, 0, &[Value::string(self.config.stream.expose())]);
            }
            self.call("deleteStream", 0.0, 0, &[Value::Number(f64::from(self.stream_id))]);
        }
        self.state = State::Over;
    }

    /// What was counted so far.
    pub fn stats(&self) -> &SessionStats {
        &self.stats
    }

    fn connect(&mut self) {
        self.outbox.set_chunk_size(self.config.chunk_size);
        let properties = Value::object([
            ("app", Value::string(self.config.app.as_str())),
            ("type", Value::string("nonprivate")),
            ("flashVer", Value::string(&*self.name)),
            ("tcUrl", Value::string(self.config.tc_url.expose())),
        ]);
        self.outbox.command(0, &[Value::string("connect"), Value::Number(CONNECT), properties]);
    }

    fn call(&mut self, name: &str, transaction: f64, stream_id: u32, args: &[Value]) {
        let head = [Value::string(name), Value::Number(transaction), Value::Null];
        self.outbox.command(stream_id, &[&head, args].concat());
    }

    fn handle_message(&mut self, message: &Message) {
        let tag = match message.type_id {
            kind::AUDIO => TagKind::Audio,
            kind::VIDEO => TagKind::Video,
            kind::DATA | kind::DATA_AMF3 => TagKind::Script,
            kind::COMMAND | kind::COMMAND_AMF3 => return self.command(message),
            kind::WINDOW_ACK_SIZE => {
                if let Some(bytes) = parse_u32(&message.payload) {
                    self.ack.set_window(bytes);
                }
                return;
            }
            // Section 5.4.5: answered with our own window.
            kind::SET_PEER_BANDWIDTH => return self.outbox.number(kind::WINDOW_ACK_SIZE, RTMP_WINDOW_BYTES),
            kind::USER_CONTROL => return self.user_control(&message.payload),
            kind::ACKNOWLEDGEMENT => return,
            _ => {
                self.stats.messages_unknown += 1;
                return;
            }
        };
        let body = super::command::unwrap_amf3(message.type_id, &message.payload);
        let body = message.payload.slice_ref(body);
        self.events.push_back(ClientEvent::Message { kind: tag, timestamp: message.timestamp, body });
    }

    fn user_control(&mut self, payload: &[u8]) {
        match UserControl::parse(payload) {
            Some(UserControl::PingRequest(stamp)) => self.outbox.user_control(UserControl::PingResponse(stamp)),
            Some(UserControl::StreamEof(_)) => self.over(String::new(), String::new()),
            _ => {}
        }
    }

    fn command(&mut self, message: &Message) {
        let Some(command) = Command::parse(message) else {
            self.stats.commands_malformed += 1;
            return;
        };
        // Exact comparison is right: transaction ids are small whole numbers that come back as they were sent.
        let is = |transaction: f64| command.transaction.total_cmp(&transaction).is_eq();
        match command.name.as_str() {
            "_result" if is(CONNECT) && self.state == State::Connecting => self.create_stream(),
            "_result" if is(CREATE_STREAM) && self.state == State::Connecting => {
                let stream_id = command.args.first().and_then(Value::as_number);
                self.ask(stream_id.map_or(1, |id| id as u32));
            }
            "_error" if is(CONNECT) || is(CREATE_STREAM) || is(ASK) => self.over_by(&command),
            "onStatus" => self.status(&command),
            "_result" | "_error" | "onFCPublish" | "onFCUnpublish" | "onFCSubscribe" | "onBWDone" => {}
            "close" => self.over(String::new(), String::new()),
            _ => self.stats.commands_unknown += 1,
        }
    }

    fn create_stream(&mut self) {
        if self.config.role == ClientRole::Publish {
            let name = [Value::string(self.config.stream.expose())];
            self.call("releaseStream", RELEASE_STREAM, 0, &name);
            self.call("FCPublish", FC_PUBLISH, 0, &name);
        } else {
            self.outbox.number(kind::WINDOW_ACK_SIZE, RTMP_WINDOW_BYTES);
        }
        self.call("createStream", CREATE_STREAM, 0, &[]);
    }

    fn ask(&mut self, stream_id: u32) {
        (self.stream_id, self.state) = (stream_id, State::Asked);
        let name = Value::string(self.config.stream.expose());
        match self.config.role {
            ClientRole::Publish => self.call("publish", ASK, stream_id, &[name, Value::string("live")]),
            ClientRole::Play => {
                self.call("play", ASK, stream_id, &[name, Value::Number(-2000.0)]);
                self.outbox.user_control(UserControl::SetBufferLength { stream_id, length_ms: BUFFER_MS });
            }
        }
    }

    fn status(&mut self, command: &Command) {
        let code = command.info("code");
        let begun = matches!(code, "NetStream.Publish.Start" | "NetStream.Play.Start");
        let ended =
            matches!(code, "NetStream.Play.Stop" | "NetStream.Play.UnpublishNotify" | "NetStream.Unpublish.Success");
        if begun && self.state == State::Asked {
            self.state = State::Running;
            self.events.push_back(ClientEvent::Ready);
        } else if ended || command.info("level") == "error" {
            self.over_by(command);
        }
    }

    fn over_by(&mut self, command: &Command) {
        self.over(command.info("code").to_owned(), command.info("description").to_owned());
    }

    /// Reports the end, once.
    fn over(&mut self, code: String, description: String) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Connecting | State::Asked => self.events.push_back(ClientEvent::Refused { code, description }),
            State::Running => self.events.push_back(ClientEvent::Ended { code, description }),
            State::Over => {}
        }
    }

    fn check_output(&self) -> Result<(), SessionError> {
        if self.outbox.len() > RTMP_CLIENT_OUTPUT_BYTES_MAX { Err(SessionError::OutputFull) } else { Ok(()) }
    }
}

impl std::fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut session = f.debug_struct("ClientSession");
        session.field("config", &self.config).field("state", &self.state).field("stats", &self.stats);
        session.finish_non_exhaustive()
    }
}
