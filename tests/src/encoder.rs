//! An encoder whose every word the test chooses, for what `rml_rtmp`'s client session does not say: Enhanced RTMP's `connect`, metadata of
//! any kind or none, AMF3's wrappers, aggregates. Chunks and AMF0 are still those of `rml_rtmp`.
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use rml_rtmp::chunk_io::{ChunkDeserializer, ChunkSerializer};
use rml_rtmp::messages::{MessagePayload, RtmpMessage};
use rml_rtmp::time::RtmpTimestamp;

pub use rml_amf0::Amf0Value as Value;

use crate::clip::Clip;
use crate::flv::Tag;
use crate::rtmp::{Pushing, Sink, shake_hands};
use crate::seconds;

/// Message type: a command in AMF3's wrapper.
pub const COMMAND_AMF3: u8 = 17;
/// Message type: data in AMF3's wrapper.
pub const DATA_AMF3: u8 = 15;
/// Message type: FLV tags, one after another.
pub const AGGREGATE: u8 = 22;
/// Type of a command message.
pub const COMMAND: u8 = 20;
const CHUNK_SIZE: u32 = 4096;

/// What the server said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `_result`, `onStatus`...
    pub name: String,
    pub stream: u32,
    pub object: Value,
    pub information: Value,
}

impl Answer {
    /// The code of a status.
    pub fn code(&self) -> &str {
        match property(&self.information, "code") {
            Some(Value::Utf8String(code)) => code,
            _ => "",
        }
    }
}

/// A property of an object.
pub fn property<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    match object {
        Value::Object(properties) => properties.get(name),
        _ => None,
    }
}

pub fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    Value::Object(properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub fn text(text: &str) -> Value {
    Value::Utf8String(text.to_owned())
}

/// Values one after another.
pub fn amf0(values: &[Value]) -> Vec<u8> {
    rml_amf0::serialize(&values.to_vec()).expect("values that AMF0 has")
}

/// `@setDataFrame` with `onMetaData` and this value.
pub fn metadata(value: Value) -> Vec<u8> {
    amf0(&[text("@setDataFrame"), text("onMetaData"), value])
}

pub struct Encoder {
    stream: TcpStream,
    reader: ChunkDeserializer,
    writer: ChunkSerializer,
    unread: Vec<u8>,
    /// The message stream that media goes on.
    used: u32,
    /// The answer to `connect`.
    pub connected: Option<Answer>,
    /// What else the server said, oldest first.
    pub heard: Vec<Answer>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("stream", &self.stream).field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Connects to the application `stream`, with these properties beside the usual ones.
    pub fn connect<const N: usize>(address: SocketAddr, properties: [(&str, Value); N]) -> Result<Self> {
        let (stream, unread) = shake_hands(address)?;
        let (reader, writer) = (ChunkDeserializer::new(), ChunkSerializer::new());
        let mut encoder = Self { stream, reader, writer, unread, used: 1, connected: None, heard: Vec::new() };
        let size = encoder.writer.set_max_chunk_size(CHUNK_SIZE, RtmpTimestamp::new(0)).map_err(|e| anyhow!("{e}"))?;
        encoder.stream.write_all(&size.bytes)?;
        let url = format!("rtmp://{address}/stream");
        let mut command: HashMap<String, Value> = [
            ("app", text("stream")),
            ("type", text("nonprivate")),
            ("flashVer", text("FMLE/3.0")),
            ("tcUrl", text(&url)),
        ]
        .into_iter()
        .chain(properties)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        command.insert("swfUrl".to_owned(), text(&url));
        encoder.message(COMMAND, 0, 0, amf0(&[text("connect"), Value::Number(1.0), Value::Object(command)]))?;
        encoder.connected = Some(encoder.hear("_result to connect", seconds(5), |answer| answer.name == "_result")?);
        Ok(encoder)
    }

    /// Publishes; a refusal is an error that names the status code.
    pub fn publish(&mut self, key: &str) -> Result<()> {
        self.publish_as(COMMAND, &[], key)
    }

    /// Publishes on a message stream of its own choice, as encoders do that do not look at what createStream answers.
    pub fn publish_on(&mut self, stream: u32, key: &str) -> Result<()> {
        self.ask_on(stream, key)?;
        // The end of a stream before it may be told only now.
        let about = |answer: &Answer| answer.name == "onStatus" && answer.code() != "NetStream.Unpublish.Success";
        let status = self.hear("the answer to publish", seconds(5), about)?;
        ensure!(status.code() == "NetStream.Publish.Start", "refused: {}", status.code());
        self.used = stream;
        Ok(())
    }

    /// Asks to publish on a message stream, and does not wait for the answer.
    pub fn ask_on(&mut self, stream: u32, key: &str) -> Result<()> {
        let publish = [text("publish"), Value::Number(5.0), Value::Null, text(key), text("live")];
        self.message(COMMAND, stream, 0, amf0(&publish))
    }

    /// Ends what is published, by a command of that name; the connection goes on.
    pub fn goodbye(&mut self, command: &str) -> Result<()> {
        let id = Value::Number(f64::from(self.used));
        self.message(COMMAND, self.used, 0, amf0(&[text(command), Value::Number(0.0), Value::Null, id]))
    }

    /// Ends the stream of one message stream; the others go on.
    pub fn end_one(&mut self, stream: u32) -> Result<()> {
        let id = Value::Number(f64::from(stream));
        self.message(COMMAND, 0, 0, amf0(&[text("deleteStream"), Value::Number(0.0), Value::Null, id]))
    }

    /// Publishes by a command of another type, with something in front of its values.
    pub fn publish_as(&mut self, type_id: u8, prefix: &[u8], key: &str) -> Result<()> {
        let values = [
            vec![text("createStream"), Value::Number(4.0), Value::Null],
            vec![text("publish"), Value::Number(5.0), Value::Null, text(key), text("live")],
        ];
        for (stream, values) in (0..).zip(values) {
            self.message(type_id, stream, 0, [prefix, &amf0(&values)].concat())?;
        }
        self.hear("the answer to createStream", seconds(5), |answer| answer.name == "_result")?;
        // The end of a stream before it may be told only now.
        let about = |answer: &Answer| answer.name == "onStatus" && answer.code() != "NetStream.Unpublish.Success";
        let status = self.hear("the answer to publish", seconds(5), about)?;
        ensure!(status.code() == "NetStream.Publish.Start", "refused: {}", status.code());
        Ok(())
    }

    /// Sends a message as it is given.
    pub fn message(&mut self, type_id: u8, stream: u32, timestamp: u32, data: Vec<u8>) -> Result<()> {
        let timestamp = RtmpTimestamp::new(timestamp);
        let message = MessagePayload { timestamp, type_id, message_stream_id: stream, data: Bytes::from(data) };
        let packet = self.writer.serialize(&message, false, false).map_err(|e| anyhow!("chunks: {e}"))?;
        Ok(self.stream.write_all(&packet.bytes)?)
    }

    /// Takes what the server has sent, without waiting.
    pub fn pump(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        self.stream.set_nonblocking(true)?;
        let read = self.stream.read(&mut buffer);
        self.stream.set_nonblocking(false)?;
        match read {
            Ok(0) => bail!("the server closed the connection"),
            Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        self.read()
    }

    /// Waits for an answer that `wanted` accepts, which is taken out of what was heard.
    pub fn hear(&mut self, what: &str, within: Duration, wanted: impl Fn(&Answer) -> bool) -> Result<Answer> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(at) = self.heard.iter().position(&wanted) {
                return Ok(self.heard.remove(at));
            }
            ensure!(Instant::now() < deadline, "not within {within:?}: {what}; heard {:?}", self.heard);
            self.pump().with_context(|| format!("waiting for {what}; heard {:?}", self.heard))?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn read(&mut self) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.unread);
        loop {
            let message = self.reader.get_next_message(&bytes).map_err(|e| anyhow!("from the server: {e}"))?;
            // The reader keeps what it was given.
            bytes.clear();
            let Some(message) = message else { return Ok(()) };
            match message.to_rtmp_message() {
                Ok(RtmpMessage::SetChunkSize { size }) => {
                    self.reader.set_max_chunk_size(size as usize).map_err(|e| anyhow!("chunk size: {e}"))?;
                }
                Ok(RtmpMessage::Amf0Command { command_name, command_object, additional_arguments, .. }) => {
                    let information = additional_arguments.into_iter().next().unwrap_or(Value::Null);
                    let stream = message.message_stream_id;
                    self.heard.push(Answer { name: command_name, stream, object: command_object, information });
                }
                _ => {}
            }
        }
    }

    /// Pushes a clip again and again in real time on a thread.
    pub fn repeat(self, clip: Clip) -> Pushing {
        Pushing::start(self, clip, 0)
    }
}

impl Sink for Encoder {
    fn send(&mut self, tag: &Tag) -> Result<()> {
        self.message(tag.kind, self.used, tag.timestamp, tag.data.clone())?;
        self.pump()
    }

    fn finish(mut self) -> Result<()> {
        let goodbye = [text("deleteStream"), Value::Number(0.0), Value::Null, Value::Number(f64::from(self.used))];
        self.message(COMMAND, 0, 0, amf0(&goodbye))?;
        Ok(self.stream.shutdown(Shutdown::Both)?)
    }
}
