//! Sessions against each other over in-memory bytes with a fake clock; the parts are in the files below.
use bytes::Bytes;

use super::*;
use crate::amf0::{self, Value};
use crate::media::{MediaEvent, TagKind};
use crate::secret::Secret;
use crate::testkit::{AAC_CONFIG, avc_config};
use crate::time::Time;

mod chunks;
mod commands;
mod mutations;
mod peers;
mod sessions;

/// The tag body of a keyframe with as many bytes of data.
fn keyframe(bytes: usize) -> Vec<u8> {
    let mut body = b"\x17\x01\0\0\0".to_vec();
    body.extend((0..bytes).map(|i| (i * 7) as u8));
    body
}

fn client_config(role: ClientRole, chunk_size: usize) -> ClientConfig {
    ClientConfig {
        app: "stream".into(),
        tc_url: Secret::new("rtmp://host/stream"),
        stream: Secret::new("id?sign=1-ab"),
        role,
        chunk_size,
    }
}

/// A client and a server joined by memory: what one has to say reaches the other in reads of at most `split` bytes.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    now: Time,
    split: usize,
    events: Vec<Event>,
    client_events: Vec<ClientEvent>,
    /// All that the client sent.
    recorded: Vec<u8>,
}

impl Pair {
    fn new(role: ClientRole, split: usize) -> Self {
        let now = Time::from_millis(1);
        Self {
            client: ClientSession::new(now, client_config(role, 4096)),
            server: ServerSession::new(now, ServerConfig::default()),
            now,
            split,
            events: Vec::new(),
            client_events: Vec::new(),
            recorded: Vec::new(),
        }
    }

    /// Carries bytes both ways until neither side has anything to say.
    fn drive(&mut self) {
        loop {
            let (up, down) = (self.client.poll_output(), self.server.poll_output());
            for bytes in up.iter().flat_map(|bytes| bytes.chunks(self.split)) {
                self.recorded.extend_from_slice(bytes);
                self.server.handle_input(self.now, bytes).unwrap();
            }
            for bytes in down.iter().flat_map(|bytes| bytes.chunks(self.split)) {
                self.client.handle_input(self.now, bytes).unwrap();
            }
            self.events.extend(std::iter::from_fn(|| self.server.poll_event()));
            self.client_events.extend(std::iter::from_fn(|| self.client.poll_event()));
            if up.is_none() && down.is_none() {
                return;
            }
        }
    }

    /// Drives up to the request, accepts it, drives on.
    fn started(role: ClientRole, split: usize) -> Self {
        let mut pair = Self::new(role, split);
        pair.drive();
        assert!(!pair.server.wants_input());
        pair.server.accept(pair.now).unwrap();
        pair.drive();
        assert_eq!(pair.client_events[0], ClientEvent::Ready);
        pair
    }

    fn names(&self) -> Vec<String> {
        self.events.iter().map(name).collect()
    }
}

/// An event in a word or two.
fn name(event: &Event) -> String {
    match event {
        Event::PublishRequested(request) => format!("publish {}/{}", request.app, request.name),
        Event::PlayRequested(request) => format!("play {}/{}", request.app, request.name),
        Event::Media(MediaEvent::Config(config)) => format!("config {:?}", config.codec),
        Event::Media(MediaEvent::Frame(frame)) => format!("frame {:?} {}", frame.codec, frame.dts_ms),
        Event::Media(MediaEvent::Metadata(_)) => "metadata".into(),
        Event::Media(MediaEvent::LeftOut(left_out)) => format!("left out {}", left_out.codec()),
        other => format!("{other:?}"),
    }
}

/// A server session past its handshake, and everything a raw client needs to talk to it.
struct Raw {
    server: ServerSession,
    reader: chunk::ChunkReader,
    now: Time,
}

impl Raw {
    fn new() -> Self {
        let now = Time::from_millis(1);
        let mut server = ServerSession::new(now, ServerConfig::default());
        server.handle_input(now, &simple_handshake()).unwrap();
        let first = server.poll_output().unwrap();
        assert_eq!(first.len(), 1 + 2 * 1536);
        let mut reader = chunk::ChunkReader::new();
        reader.admit();
        Self { server, reader, now }
    }

    fn connected() -> Self {
        let mut raw = Self::new();
        raw.command(0, &connect("stream"));
        let answer = raw.answers();
        assert_eq!(answer.last().unwrap().name, "_result");
        raw
    }

    fn publishing() -> Self {
        let mut raw = Self::connected();
        raw.command(1, &publish("id"));
        raw.server.poll_event().unwrap();
        raw.server.accept(raw.now).unwrap();
        raw.answers();
        raw
    }

    /// Publishing, with the configurations of both tracks sent.
    fn configured() -> Self {
        let mut raw = Self::publishing();
        raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
        raw.input(&message_bytes(5, 0, 8, 1, AAC_CONFIG));
        assert_eq!(raw.names(), ["config Avc", "config Aac"]);
        raw
    }

    fn input(&mut self, bytes: &[u8]) {
        self.server.handle_input(self.now, bytes).unwrap();
    }

    fn command(&mut self, stream_id: u32, values: &[Value]) {
        self.input(&command_bytes(stream_id, values));
    }

    /// Messages that the server sent.
    fn messages(&mut self) -> Vec<message::Message> {
        let output = self.server.poll_output().unwrap_or_default();
        let mut input = &output[..];
        std::iter::from_fn(|| self.reader.read(&mut input).unwrap()).collect()
    }

    /// Commands that the server sent.
    fn answers(&mut self) -> Vec<command::Command> {
        let commands = self.messages().into_iter().filter(|message| message.type_id == message::kind::COMMAND);
        commands.map(|message| command::Command::parse(&message).unwrap()).collect()
    }

    /// Status codes that the server sent.
    fn codes(&mut self) -> Vec<String> {
        let code = |command: command::Command| Some(command.args.first()?.get("code")?.as_str()?.to_owned());
        self.answers().into_iter().filter_map(code).collect()
    }

    fn names(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.server.poll_event()).map(|event| name(&event)).collect()
    }
}

/// C0, C1 and a C2 that does not answer S1: a simple client's bytes, all at once.
fn simple_handshake() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.resize(1 + 2 * 1536, 9);
    bytes
}

fn connect(app: &str) -> [Value; 3] {
    [Value::string("connect"), Value::Number(1.0), Value::object([("app", Value::string(app))])]
}

fn call(name: &str, transaction: f64, args: &[Value]) -> Vec<Value> {
    [&[Value::string(name), Value::Number(transaction), Value::Null], args].concat()
}

fn publish(name: &str) -> Vec<Value> {
    call("publish", 5.0, &[Value::string(name), Value::string("live")])
}

fn command_bytes(stream_id: u32, values: &[Value]) -> Vec<u8> {
    message_bytes(3, 0, message::kind::COMMAND, stream_id, &amf0::encode(values))
}

/// One message in chunks of the initial size.
fn message_bytes(csid: u32, timestamp: u32, type_id: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    chunk_write::write_message(&mut out, csid, timestamp, type_id, stream_id, payload, 128);
    out.to_vec()
}
