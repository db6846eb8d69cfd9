//! What tests of this crate share: a stream that is on air, with its log.
use std::time::Duration;

use millstream_hub::config::{FlushPolicy, StreamConfig};
use millstream_hub::log::{Log, LogLimits};
use millstream_hub::package::window::Window;
use millstream_hub::stream::Stream;
use millstream_hub::subscriber::View;
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, Track};
use millstream_proto::time::Time;

/// Between two frames, and how many there are from one keyframe to the next.
const FRAME_MS: u64 = 40;
pub(super) const GOP_FRAMES: u64 = 10;
/// What its log reaches back, milliseconds.
const LOG_MS: u64 = 2_000;
pub(super) const LOG_FRAMES: u64 = LOG_MS / FRAME_MS;

/// A record of H.264 with short parameter sets.
const AVCC: &[u8] = b"\x01\x42\xC0\x1E\xFF\xE1\0\x04\x67\x42\xC0\x1E\x01\0\x02\x68\xCE";
/// Where the number of a frame is in its body: behind FLV's head, the length of the slice and its first byte.
const NUMBER_AT: usize = 10;

/// A stream of pictures, each of which is a block of its log.
pub(super) struct OnAir {
    stream: Stream,
    log: Log,
    window: Window,
    frames: u64,
    frame_bytes: usize,
}

impl OnAir {
    /// One with frames of that size.
    pub(super) fn new(frame_bytes: usize) -> Self {
        let mut stream =
            Stream::new(StreamConfig { flush: FlushPolicy::Low, ..StreamConfig::default() }, Time::from_millis(0));
        let limits =
            LogLimits { bytes_max: 64 << 20, time_max: Duration::from_millis(LOG_MS), rtmp_chunk_bytes: 4_096 };
        let mut log = Log::new(limits);
        stream.publish(1, false, Time::from_millis(0)).unwrap();
        let body = [b"\x17\0\0\0\0", AVCC].concat().into();
        let config = CodecConfig { track: Track::Video, codec: Codec::Avc, body, record_at: 5 };
        stream.push(MediaEvent::Config(config), Time::from_millis(0), &mut log);
        Self { stream, log, window: Window::new(), frames: 0, frame_bytes }
    }

    /// The next frame: its number is where its slice begins.
    pub(super) fn frame(&mut self) {
        let (number, at_ms) = (self.frames, self.frames * FRAME_MS);
        let keyframe = number.is_multiple_of(GOP_FRAMES);
        let (head, slice) = if keyframe { (b"\x17\x01\0\0\0", 0x65) } else { (b"\x27\x01\0\0\0", 0x41) };
        let unit = [&[slice][..], &number.to_be_bytes(), &vec![0x55; self.frame_bytes]].concat();
        let body = [&head[..], &(unit.len() as u32).to_be_bytes(), &unit].concat().into();
        let (track, codec, dts_ms, data_at) = (Track::Video, Codec::Avc, at_ms.cast_signed(), head.len());
        let frame = Frame { track, codec, dts_ms, cts_ms: 0, keyframe, body, data_at };
        let now = Time::from_millis(at_ms);
        self.stream.heard(1, now);
        self.stream.push(MediaEvent::Frame(frame), now, &mut self.log);
        self.stream.after_read(now, &mut self.log);
        self.frames += 1;
    }

    /// As its shard shows it.
    pub(super) fn view(&self) -> View<'_> {
        View { log: &self.log, window: &self.window, encoder: Some("an encoder") }
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }
}

/// The number of a frame whose body this is.
pub(super) fn number(body: &[u8]) -> u64 {
    u64::from_be_bytes(body[NUMBER_AT..NUMBER_AT + 8].try_into().unwrap())
}
