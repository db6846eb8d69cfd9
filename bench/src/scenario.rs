//! The steps that are measured. Each does the same work every time it is run, so that instructions can be compared between builds.
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_hub::config::{FlushPolicy, StreamConfig};
use millstream_hub::log::{Log, LogLimits};
use millstream_hub::package::block::{Entry, EntryRef, Form, Format};
use millstream_hub::stream::Stream;
use millstream_hub::viewer::{Fill, Start, Viewer};
use millstream_proto::limits::RTMP_CHUNK_SIZE_OUT;
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, TagKind, Track};
use millstream_proto::rtmp::chunk::ChunkReader;
use millstream_proto::rtmp::chunk_write::write_message;
use millstream_proto::rtmp::message::{Message, kind};
use millstream_proto::time::Time;
use millstream_proto::{amf0, flv};

use crate::playlists::{Asked, Playlists};

/// A publisher's connection after its handshake; see `data/README.md`.
pub const RECORDED: &[u8] = include_bytes!("../data/publish.rtmp");

/// Bytes of one read of a publisher's socket.
const READ_BYTES: usize = 64 << 10;
/// The smallest chunks that are in use.
const SMALL_CHUNK_BYTES: usize = 128;
const KEYFRAME_BYTES: usize = 60 << 10;
const PICTURE_BYTES: usize = 9_009;
const AUDIO_BYTES: usize = 372;
const FRAME_MS: u64 = 33;
const GOP_FRAMES: u64 = 60;

/// One step of the pipeline, set up and warm.
pub trait Scenario {
    /// Does it once.
    fn run(&mut self);
}

/// A scenario's name, and what sets it up.
pub type Named = (&'static str, fn() -> Box<dyn Scenario>);

/// All of them. A name stands in the baseline: a scenario that changes what it does gets a new one.
pub const SCENARIOS: &[Named] = &[
    ("rtmp_parse_recorded", || Box::new(Parse { bytes: RECORDED.into() })),
    ("rtmp_parse_chunks_of_128", || Box::new(Parse { bytes: rechunked(SMALL_CHUNK_BYTES) })),
    ("amf0_decode_publish", || Box::new(Amf0 { payloads: commands() })),
    ("flv_write_gop", || Box::new(FlvWrite { tags: gop(), out: BytesMut::with_capacity(1 << 20) })),
    ("rtmp_serialise_block", || Box::new(RtmpForm::new(RTMP_CHUNK_SIZE_OUT))),
    ("rtmp_serialise_block_chunks_of_128", || Box::new(RtmpForm::new(SMALL_CHUNK_BYTES))),
    ("fan_out_1", || Box::new(FanOut::new(1, Format::FlvChunked))),
    ("fan_out_1000", || Box::new(FanOut::new(1_000, Format::FlvChunked))),
    ("fan_out_10000", || Box::new(FanOut::new(10_000, Format::FlvChunked))),
    ("playlist_live", || Box::new(Playlists::new(Asked::Live))),
    ("playlist_back_4_h_delta", || Box::new(Playlists::new(Asked::Delta))),
    ("playlist_back_4_h", || Box::new(Playlists::new(Asked::Whole))),
    ("fan_out_rtmp_1000", || Box::new(FanOut::new(1_000, Format::Rtmp))),
];

/// Messages out of a publisher's bytes.
struct Parse {
    bytes: Vec<u8>,
}

impl Scenario for Parse {
    fn run(&mut self) {
        let mut messages = 0;
        read_all(&self.bytes, |message| {
            black_box(&message);
            messages += 1;
        });
        assert!(messages > 100, "the recording holds {messages} messages only");
    }
}

fn read_all(bytes: &[u8], mut each: impl FnMut(Message)) {
    let mut reader = ChunkReader::new();
    reader.admit();
    for mut read in bytes.chunks(READ_BYTES) {
        while let Some(message) = reader.read(&mut read).expect("the recording is RTMP") {
            each(message);
        }
    }
}

/// The recording's messages in chunks of another size.
fn rechunked(chunk_size: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    read_all(RECORDED, |message| {
        // Any chunk stream will do, as long as it is the type's own.
        let csid = 3 + u32::from(message.type_id);
        write_message(
            &mut out,
            csid,
            message.timestamp,
            message.type_id,
            message.stream_id,
            &message.payload,
            chunk_size,
        );
    });
    // The reader starts at 128, and SetChunkSize is not among the messages that it gives.
    assert_eq!(chunk_size, SMALL_CHUNK_BYTES);
    out.to_vec()
}

/// The recording's commands and metadata.
fn commands() -> Vec<Bytes> {
    let mut payloads = Vec::new();
    read_all(RECORDED, |message| {
        if matches!(message.type_id, kind::COMMAND | kind::DATA) {
            payloads.push(message.payload);
        }
    });
    assert!(payloads.len() > 4, "the recording holds {} commands only", payloads.len());
    payloads
}

struct Amf0 {
    payloads: Vec<Bytes>,
}

impl Scenario for Amf0 {
    fn run(&mut self) {
        for payload in &self.payloads {
            let values = amf0::decode(payload).expect("ffmpeg's AMF0 is right");
            black_box(&values);
        }
    }
}

/// Two seconds of a stream of 2.5 Mbit/s, as tag bodies.
fn gop() -> Vec<(TagKind, u32, Vec<u8>)> {
    let mut tags = Vec::new();
    for n in 0..GOP_FRAMES {
        let bytes = if n == 0 { KEYFRAME_BYTES } else { PICTURE_BYTES };
        tags.push((TagKind::Video, (n * FRAME_MS) as u32, vec![0x55; bytes]));
        tags.push((TagKind::Audio, (n * FRAME_MS) as u32, vec![0xAA; AUDIO_BYTES]));
    }
    tags
}

struct FlvWrite {
    tags: Vec<(TagKind, u32, Vec<u8>)>,
    out: BytesMut,
}

impl Scenario for FlvWrite {
    fn run(&mut self) {
        self.out.clear();
        for (kind, ms, body) in &self.tags {
            flv::write_tag(&mut self.out, *kind, *ms, body).expect("it fits");
        }
        black_box(&self.out);
    }
}

/// A stream with its log, and a clock.
struct StreamFixture {
    stream: Stream,
    log: Log,
    config: StreamConfig,
    now: Time,
    frames: u64,
    key: Bytes,
    picture: Bytes,
    sound: Bytes,
}

impl StreamFixture {
    fn new(rtmp_chunk_bytes: usize) -> Self {
        let config = StreamConfig { flush: FlushPolicy::Balanced, ..StreamConfig::default() };
        let now = Time::from_millis(1_000);
        let limits = LogLimits { bytes_max: config.log_bytes_max, time_max: config.log_time_max, rtmp_chunk_bytes };
        let body = |head: &[u8], bytes| Bytes::from([head, &vec![0x55; bytes]].concat());
        let mut fixture = Self {
            stream: Stream::new(config, now),
            log: Log::new(limits),
            config,
            now,
            frames: 0,
            key: body(&[0x17, 1, 0, 0, 0], KEYFRAME_BYTES),
            picture: body(&[0x27, 1, 0, 0, 0], PICTURE_BYTES),
            sound: body(&[0xAF, 1], AUDIO_BYTES),
        };
        fixture.stream.publish(1, false, now).expect("nobody else publishes");
        for (track, codec, head) in
            [(Track::Video, Codec::Avc, &[0x17, 0, 0, 0, 0][..]), (Track::Audio, Codec::Aac, &[0xAF, 0])]
        {
            let body = Bytes::from([head, &[1; 30]].concat());
            fixture.push(MediaEvent::Config(CodecConfig { track, codec, body, record_at: head.len() }));
        }
        // The log at its bounds, so that an append also trims.
        while fixture.log.first() == 0 {
            fixture.flush();
        }
        fixture
    }

    fn push(&mut self, event: MediaEvent) {
        self.stream.push(event, self.now, &mut self.log);
    }

    /// A picture and a audio come in, and go out as one block.
    fn flush(&mut self) {
        self.now = self.now + Duration::from_millis(FRAME_MS);
        let dts_ms = (self.frames * FRAME_MS).cast_signed();
        let keyframe = self.frames.is_multiple_of(GOP_FRAMES);
        self.frames += 1;
        let body = if keyframe { self.key.clone() } else { self.picture.clone() };
        let (track, codec) = (Track::Audio, Codec::Aac);
        let sound = Frame { track, codec, dts_ms, cts_ms: 0, keyframe: true, body: self.sound.clone(), data_at: 2 };
        let (track, codec) = (Track::Video, Codec::Avc);
        self.push(MediaEvent::Frame(sound));
        self.push(MediaEvent::Frame(Frame { track, codec, dts_ms, cts_ms: 0, keyframe, body, data_at: 5 }));
        assert!(self.stream.after_read(self.now, &mut self.log), "a picture flushes");
    }
}

/// The RTMP form of a block with a picture and a audio.
struct RtmpForm {
    block: EntryRef,
    chunk_size: usize,
}

impl RtmpForm {
    fn new(chunk_size: usize) -> Self {
        let mut fixture = StreamFixture::new(chunk_size);
        fixture.flush();
        let newest = fixture.log.get(fixture.log.head() - 1).expect("a block was appended");
        Self { block: Rc::clone(newest), chunk_size }
    }
}

impl Scenario for RtmpForm {
    fn run(&mut self) {
        let entry = Entry::new(Arc::clone(&self.block.block));
        entry.make(Form::Rtmp, self.chunk_size);
        black_box(entry.made(Form::Rtmp));
    }
}

/// A flush: frames in, a block appended, and each viewer's cursor over it.
struct FanOut {
    fixture: StreamFixture,
    viewers: Vec<Viewer>,
}

impl FanOut {
    fn new(viewers: usize, format: Format) -> Self {
        let fixture = StreamFixture::new(RTMP_CHUNK_SIZE_OUT);
        let viewers = (0..viewers).map(|_| Viewer::new(format, Start::Newest, &fixture.log, fixture.now)).collect();
        let mut fan_out = Self { fixture, viewers };
        // Who joins gets the whole group of frames first.
        while fan_out.send() {}
        while !fan_out.fixture.frames.is_multiple_of(GOP_FRAMES) {
            fan_out.run();
        }
        // Runs begin right after a keyframe, which is measured with the frames or not at all.
        fan_out.run();
        fan_out
    }

    /// One send per viewer. False: nobody had anything to send.
    fn send(&mut self) -> bool {
        let StreamFixture { log, config, now, .. } = &self.fixture;
        let mut pieces = Vec::new();
        let mut any = false;
        for viewer in &mut self.viewers {
            let fill = viewer.fill(log, config, *now, &mut pieces);
            any |= fill == Fill::Send;
            let bytes = pieces.iter().map(|piece| piece.len()).sum();
            viewer.sent(&pieces, bytes);
            pieces.clear();
        }
        any
    }
}

impl Scenario for FanOut {
    fn run(&mut self) {
        self.fixture.flush();
        assert!(self.send(), "there was a block to send");
    }
}
