//! What tests of this crate share: a stream with its log and a clock, viewers whose kernel takes few bytes, and readers of what they
//! got. Used by the `tests` modules and [`crate::random_walk`].
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::flv::{Item, Reader};
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, TagKind, Track};
use millstream_proto::rtmp::chunk::ChunkReader;
use millstream_proto::rtmp::chunk_write::write_message;
use millstream_proto::time::Time;

use crate::config::{FlushPolicy, StreamConfig};
use crate::log::{Log, LogLimits};
use crate::package::block::Format;
use crate::stream::{Pushed, Stream};
use crate::viewer::{CloseReason, Fill, Piece, SEND_BYTES_MAX, SEND_PIECES_MAX, Start, Viewer};

pub(crate) const CHUNK_BYTES: usize = 500;
pub(crate) const FORMATS: [Format; 4] = [Format::FlvChunked, Format::FlvPlain, Format::FlvWebSocket, Format::Rtmp];

/// Marsaglia's xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// A tag as a viewer got it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Got {
    pub(crate) kind: TagKind,
    pub(crate) ms: u32,
    pub(crate) body: Bytes,
}

impl Got {
    /// Short, for comparisons: `K`ey, `p`icture, `a`udio, configuration `V` and `A` with its number, `s`cript.
    pub(crate) fn name(&self) -> String {
        match (self.kind, &self.body[..]) {
            (TagKind::Video, [0x17, 0, .., n]) => format!("V{n}"),
            (TagKind::Video, [0x17, ..]) => format!("K{}", self.ms),
            (TagKind::Video, _) => format!("p{}", self.ms),
            (TagKind::Audio, [0xAF, 0, n]) => format!("A{n}"),
            (TagKind::Audio, _) => format!("a{}", self.ms),
            (TagKind::Script, _) => "s".to_owned(),
        }
    }
}

pub(crate) fn names(tags: &[Got]) -> String {
    tags.iter().map(Got::name).collect::<Vec<_>>().join(" ")
}

pub(crate) fn config(track: Track, number: u8) -> MediaEvent {
    let (codec, head): (_, &[u8]) = match track {
        Track::Video => (Codec::Avc, &[0x17, 0, 0, 0, 0]),
        Track::Audio => (Codec::Aac, &[0xAF, 0]),
    };
    let body = [head, &[number]].concat();
    MediaEvent::Config(CodecConfig { track, codec, body: body.into(), record_at: head.len() })
}

pub(crate) fn metadata(text: &str) -> MediaEvent {
    MediaEvent::Metadata([b"\x02\x00\x0aonMetaData", text.as_bytes()].concat().into())
}

/// A frame whose body ends with `mark`, so that no two are equal.
pub(crate) fn frame(track: Track, keyframe: bool, dts_ms: i64, bytes: usize, mark: u32) -> MediaEvent {
    let (codec, head): (_, &[u8]) = match track {
        Track::Video => (Codec::Avc, &[if keyframe { 0x17 } else { 0x27 }, 1, 0, 0, 0]),
        Track::Audio => (Codec::Aac, &[0xAF, 1]),
    };
    let body = [head, &vec![0x55; bytes], &mark.to_be_bytes()].concat();
    MediaEvent::Frame(Frame { track, codec, dts_ms, cts_ms: 0, keyframe, body: body.into(), data_at: head.len() })
}

pub(crate) fn key(dts_ms: i64) -> MediaEvent {
    frame(Track::Video, true, dts_ms, 200, 0)
}

pub(crate) fn picture(dts_ms: i64) -> MediaEvent {
    frame(Track::Video, false, dts_ms, 50, 0)
}

pub(crate) fn sound(dts_ms: i64) -> MediaEvent {
    frame(Track::Audio, true, dts_ms, 20, 0)
}

/// A stream, its log, and the time.
pub(crate) struct StreamFixture {
    pub(crate) stream: Stream,
    pub(crate) log: Log,
    pub(crate) config: StreamConfig,
    pub(crate) now: Time,
}

impl StreamFixture {
    /// Published by session 1, flushed at once.
    pub(crate) fn new(config: StreamConfig) -> Self {
        let config = StreamConfig { flush: FlushPolicy::Low, ..config };
        let now = Time::from_millis(1_000);
        let mut stream = Stream::new(config, now);
        stream.publish(1, false, now).unwrap();
        Self { stream, log: log_of(&config), config, now }
    }

    /// One that has begun with both configurations.
    pub(crate) fn av() -> Self {
        let mut fixture = Self::new(StreamConfig::default());
        fixture.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
        fixture
    }

    /// One read of the publisher's socket.
    pub(crate) fn read(&mut self, events: &[MediaEvent]) -> Vec<Pushed> {
        let pushed = events.iter().map(|event| self.stream.push(event.clone(), self.now, &mut self.log)).collect();
        self.stream.after_read(self.now, &mut self.log);
        pushed
    }

    /// Each its own read, at the time it is stamped with.
    pub(crate) fn play(&mut self, events: &[MediaEvent]) {
        let start = self.now;
        let first = events.iter().find_map(stamp).unwrap_or_default();
        for event in events {
            let at = start + Duration::from_millis(stamp(event).unwrap_or(first).saturating_sub(first).unsigned_abs());
            self.wait_until(at);
            self.stream.heard(1, self.now);
            self.read(std::slice::from_ref(event));
        }
    }

    /// Lets time pass, with the timer honoured; gives the times at which something went out.
    pub(crate) fn wait_until(&mut self, end: Time) -> Vec<Time> {
        let mut woken = Vec::new();
        while self.stream.poll_timeout() <= end && self.log.ended().is_none() {
            self.now = self.now.max(self.stream.poll_timeout());
            if self.stream.handle_timeout(self.now, &mut self.log) {
                woken.push(self.now);
            }
        }
        self.now = self.now.max(end);
        woken
    }

    pub(crate) fn wait_ms(&mut self, ms: u64) -> Vec<Time> {
        self.wait_until(self.now + Duration::from_millis(ms))
    }

    pub(crate) fn join(&self, format: Format, start: Start) -> Client {
        Client::new(Viewer::new(format, start, &self.log, self.now), format)
    }

    /// All that a client which takes everything gets now.
    pub(crate) fn drain(&self, client: &mut Client) -> Fill {
        client.drain(&self.log, &self.config, self.now, usize::MAX)
    }

    /// The tags that a viewer which joins now gets.
    pub(crate) fn joined(&self, format: Format) -> String {
        let mut client = self.join(format, Start::Newest);
        self.drain(&mut client);
        names(&client.tags())
    }
}

fn stamp(event: &MediaEvent) -> Option<i64> {
    if let MediaEvent::Frame(frame) = event { Some(frame.dts_ms) } else { None }
}

pub(crate) fn log_of(config: &StreamConfig) -> Log {
    Log::new(LogLimits {
        bytes_max: config.log_bytes_max,
        time_max: config.log_time_max,
        rtmp_chunk_bytes: CHUNK_BYTES,
    })
}

/// A viewer, and what its peer got.
pub(crate) struct Client {
    pub(crate) viewer: Viewer,
    pub(crate) format: Format,
    pub(crate) got: Vec<u8>,
    /// The send under way.
    pub(crate) load: Vec<Piece>,
}

impl Client {
    pub(crate) fn new(viewer: Viewer, format: Format) -> Self {
        Self { viewer, format, got: Vec::new(), load: Vec::new() }
    }

    /// Begins a send.
    pub(crate) fn fill(&mut self, log: &Log, config: &StreamConfig, now: Time) -> Fill {
        assert!(self.load.is_empty(), "one send at a time");
        let fill = self.viewer.fill(log, config, now, &mut self.load);
        let bytes: usize = self.load.iter().map(|piece| piece.len()).sum();
        assert_eq!(fill == Fill::Send, bytes > 0);
        assert!(bytes <= SEND_BYTES_MAX && self.load.len() <= SEND_PIECES_MAX);
        fill
    }

    /// The kernel took at most that many bytes.
    pub(crate) fn take(&mut self, bytes_max: usize) {
        let mut count = 0;
        for piece in &self.load {
            let taken = piece.len().min(bytes_max - count);
            self.got.extend_from_slice(&piece[..taken]);
            count += taken;
        }
        self.viewer.sent(&self.load, count);
        self.load.clear();
    }

    /// Sends until there is nothing to send, at most `bytes_max` at a time.
    pub(crate) fn drain(&mut self, log: &Log, config: &StreamConfig, now: Time, bytes_max: usize) -> Fill {
        loop {
            match self.fill(log, config, now) {
                Fill::Send => self.take(bytes_max),
                fill => return fill,
            }
        }
    }

    /// The tags got so far; fails where they do not end with a whole tag.
    pub(crate) fn tags(&self) -> Vec<Got> {
        self.read().1
    }

    /// The file header's flags (audio, video), and the tags.
    pub(crate) fn read(&self) -> ((bool, bool), Vec<Got>) {
        match self.format {
            Format::Rtmp => ((false, false), read_rtmp(&self.got)),
            Format::FlvPlain | Format::Framed(_) => read_flv(&self.got),
            Format::FlvChunked => read_flv(&dechunk(&self.got)),
            Format::FlvWebSocket => read_flv(&messages(&self.got)),
        }
    }
}

/// Takes the chunked coding off; all chunks must be whole, and none may be the last one.
pub(crate) fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let line = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a size line");
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).expect("a size");
        assert!(size > 0, "a chunk of no bytes ends the response");
        out.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        assert_eq!(&bytes[line + 2 + size..line + 4 + size], b"\r\n");
        bytes = &bytes[line + 4 + size..];
    }
    out
}

/// What is in binary WebSocket messages; all must be whole.
pub(crate) fn messages(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let pong = bytes[0] == 0x8A;
        assert!(pong || bytes[0] == 0x82, "a whole message: {:x}", bytes[0]);
        let (length, head) = match bytes[1] {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (usize::try_from(u64::from_be_bytes(bytes[2..10].try_into().unwrap())).unwrap(), 10),
            short => (usize::from(short), 2),
        };
        assert!(length > 0, "a message of no bytes says nothing");
        if !pong {
            out.extend_from_slice(&bytes[head..head + length]);
        }
        bytes = &bytes[head + length..];
    }
    out
}

fn read_flv(bytes: &[u8]) -> ((bool, bool), Vec<Got>) {
    let (mut reader, mut flags, mut tags, mut used) = (Reader::new(), (false, false), Vec::new(), 0);
    for part in bytes.chunks(1 << 20) {
        reader.push(part).unwrap();
        while let Some(item) = reader.poll().unwrap() {
            match item {
                Item::Header { audio, video } => (flags, used) = ((audio, video), 13),
                Item::Tag { kind, timestamp_ms: ms, body } => {
                    used += 15 + body.len();
                    tags.push(Got { kind, ms, body });
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(used, bytes.len(), "whole tags");
    (flags, tags)
}

fn read_rtmp(bytes: &[u8]) -> Vec<Got> {
    let mut reader = ChunkReader::new();
    reader.admit();
    let mut head = bytes::BytesMut::new();
    write_message(&mut head, 2, 0, 1, 0, &(CHUNK_BYTES as u32).to_be_bytes(), 128);
    assert!(reader.read(&mut &head[..]).unwrap().is_none());
    let (mut rest, mut tags) = (bytes, Vec::new());
    while let Some(message) = reader.read(&mut rest).unwrap() {
        // Control messages of the tests are acknowledgements.
        if message.type_id != 3 {
            assert_eq!(message.stream_id, 1);
            let kind = TagKind::from_byte(message.type_id).expect("media");
            tags.push(Got { kind, ms: message.timestamp, body: message.payload });
        }
    }
    assert!(rest.is_empty() && reader.assembly_bytes() == 0 && reader.restarted() == 0, "whole messages");
    tags
}

/// A control message, as a session says it in between.
pub(crate) fn control() -> Bytes {
    let mut out = bytes::BytesMut::new();
    write_message(&mut out, 2, 0, 3, 0, &7_u32.to_be_bytes(), 128);
    out.freeze()
}

pub(crate) const LAGGING: Fill = Fill::Close(CloseReason::Lagging);
