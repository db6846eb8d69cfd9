//! An encoder, a way to the server, and the hub's stream behind it, looked at once a second: what tests of this crate share.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millstream_control_protocol::diagnosis::Condition;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::live::{Audio, DroppedTrack, Live, Publisher, Video, ViewerCount, Watching};
use millstream_diagnosis::{Judge, Sample};
use millstream_hub::config::{StreamConfig, Takeover};
use millstream_hub::log::{Log, LogLimits};
use millstream_hub::stream::{Place, Stream};
use millstream_proto::amf0::{self, Value};
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, Track};
use millstream_proto::time::Time;

/// When everything begins, Unix milliseconds.
pub(crate) const BEGIN_MS: u64 = 1_800_000_000_000;
/// Where the hub's clock is then, milliseconds.
const CLOCK_MS: u64 = 5_000;

/// Marsaglia's xorshift64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

/// What an encoder is set to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoder {
    pub(crate) fps: u32,
    pub(crate) gop_ms: u32,
    pub(crate) audio: bool,
    pub(crate) announces_audio: bool,
    /// B-frames between two others.
    pub(crate) b_frames: u32,
    pub(crate) kbit_s: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { fps: 30, gop_ms: 2_000, audio: true, announces_audio: true, b_frames: 0, kbit_s: 3_000 }
    }
}

/// A frame, and when it arrives, milliseconds from the begin.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at_ms: u64,
    pub(crate) frame: Frame,
}

/// AAC's packets at 48 kHz, microseconds.
const PACKET_US: u64 = 21_333;

impl Encoder {
    /// What it sends in so many seconds, each frame arriving as it is stamped.
    pub(crate) fn frames(&self, seconds: u64) -> Vec<Arrival> {
        let step_us = 1_000_000 / u64::from(self.fps);
        let group = u64::from(self.b_frames) + 1;
        let per_gop = (u64::from(self.gop_ms) * u64::from(self.fps) / 1_000 / group).max(1) * group;
        let bytes = self.kbit_s as usize * 125 / self.fps as usize;
        let mut frames = Vec::new();
        for n in 0..seconds * u64::from(self.fps) {
            // In the order of decoding: the one that others refer to, then those that are shown before it.
            let ahead = if n % group == 0 && group > 1 { group } else { 0 };
            let (at_ms, cts_ms) = (n * step_us / 1_000, ahead * step_us / 1_000);
            frames.push(arrival(Track::Video, at_ms, cts_ms as i32, n % per_gop == 0, bytes));
        }
        if self.audio {
            let packets = (0..seconds * 1_000_000 / PACKET_US).map(|n| n * PACKET_US / 1_000);
            frames.extend(packets.map(|at_ms| arrival(Track::Audio, at_ms, 0, true, 250)));
        }
        frames.sort_by_key(|arrival| arrival.at_ms);
        frames
    }
}

fn arrival(track: Track, at_ms: u64, cts_ms: i32, keyframe: bool, bytes: usize) -> Arrival {
    let codec = if track == Track::Video { Codec::Avc } else { Codec::Aac };
    let body = Bytes::from(vec![0x55; bytes]);
    Arrival { at_ms, frame: Frame { track, codec, dts_ms: at_ms.cast_signed(), cts_ms, keyframe, body, data_at: 0 } }
}

/// The hub's clock so many milliseconds after the begin.
fn clock(at_ms: u64) -> Time {
    Time::from_millis(CLOCK_MS + at_ms)
}

/// A stream and its judge.
pub(crate) struct World {
    stream: Stream,
    log: Log,
    pub(crate) judge: Judge,
    session: u64,
    peer: String,
    published_ms: u64,
    pub(crate) now_ms: u64,
    pub(crate) look_every_ms: u64,
    /// Tracks that the server leaves out.
    pub(crate) dropped: Vec<&'static str>,
    pub(crate) viewers: Vec<(&'static str, u64)>,
    pub(crate) watching: Vec<Watching>,
    pub(crate) shed: Vec<String>,
}

impl World {
    /// Whose encoder begins now.
    pub(crate) fn new(encoder: &Encoder) -> Self {
        let limits = LogLimits { bytes_max: 16 << 20, time_max: Duration::from_secs(12), rtmp_chunk_bytes: 4096 };
        let mut world = Self {
            stream: Stream::new(
                StreamConfig { takeover: Takeover::Replace, ..StreamConfig::default() },
                Time::from_millis(CLOCK_MS),
            ),
            log: Log::new(limits),
            judge: Judge::default(),
            session: 0,
            peer: String::new(),
            dropped: Vec::new(),
            published_ms: 0,
            now_ms: 0,
            look_every_ms: 1_000,
            viewers: vec![("http-flv", 3)],
            watching: Vec::new(),
            shed: Vec::new(),
        };
        world.publish(encoder, "192.0.2.7:40000");
        world
    }

    /// An encoder publishes from there.
    pub(crate) fn publish(&mut self, encoder: &Encoder, peer: &str) {
        self.session += 1;
        self.published_ms = self.now_ms;
        let now = clock(self.now_ms);
        let replaced_heard_ago_ms = match self.stream.place() {
            Place::OnAir { heard, .. } => Some(now.since(heard).as_millis() as u64),
            Place::Vacant { .. } => None,
        };
        self.stream.publish(self.session, true, now).unwrap();
        self.tell(self.session, peer, What::Publish { encoder: "test".to_owned(), replaced_heard_ago_ms });
        peer.clone_into(&mut self.peer);
        let audio = if encoder.announces_audio { 10.0 } else { 0.0 };
        let properties = [("videocodecid", 7.0), ("audiocodecid", audio)];
        let properties = properties.map(|(name, value)| (name.to_owned(), Value::Number(value)));
        let metadata = amf0::encode(&[Value::string("onMetaData"), Value::EcmaArray(properties.to_vec())]);
        self.stream.push(MediaEvent::Metadata(metadata.into()), now, &mut self.log);
    }

    /// The encoder sends AAC's configuration.
    pub(crate) fn configure_audio(&mut self) {
        let body = Bytes::from_static(&[0xAF, 0x00, 0x12, 0x10]);
        let config = CodecConfig { track: Track::Audio, codec: Codec::Aac, body, record_at: 2 };
        self.stream.push(MediaEvent::Config(config), clock(self.now_ms), &mut self.log);
    }

    /// The session of now ends.
    pub(crate) fn leave(&mut self, why: &str) {
        let (session, now) = (self.session, clock(self.now_ms));
        self.stream.leave(session, false, now, &mut self.log);
        self.tell(session, "192.0.2.7:40000", unpublish(why));
    }

    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    pub(crate) fn tell(&mut self, session: u64, peer: &str, what: What) {
        let (at_unix_ms, peer) = (BEGIN_MS + self.now_ms, peer.to_owned());
        self.judge.event(&Event { at_unix_ms, session, peer, stream: "cam".to_owned(), what, ..Event::default() });
    }

    /// Takes what arrives until then, counted from the begin, and looks once a second. Gives the conditions at each look.
    pub(crate) fn run(&mut self, frames: &[Arrival], until_ms: u64, mut look: impl FnMut(&mut Self)) -> Vec<Told> {
        let mut told = Vec::new();
        let start_ms = self.now_ms;
        let mut rest = frames.iter().filter(|arrival| arrival.at_ms >= start_ms).peekable();
        for n in 1..=(until_ms - start_ms) / self.look_every_ms {
            let at_ms = start_ms + n * self.look_every_ms;
            while let Some(arrival) = rest.next_if(|arrival| arrival.at_ms < at_ms) {
                let now = clock(arrival.at_ms);
                self.stream.heard(self.session, now);
                self.stream.push(MediaEvent::Frame(arrival.frame.clone()), now, &mut self.log);
                self.stream.after_read(now, &mut self.log);
            }
            self.now_ms = at_ms;
            look(self);
            told.push(self.look());
        }
        told
    }

    pub(crate) fn look(&mut self) -> Told {
        let (at_ms, live) = (self.now_ms, self.live());
        let sample = Sample { live: Some(&live), watching: &self.watching, shed: &self.shed };
        self.judge.look(&sample, BEGIN_MS + at_ms);
        let conditions = self.judge.conditions();
        Told { at_ms, conditions }
    }

    /// As the engine shows it.
    fn live(&self) -> Live {
        let now = clock(self.now_ms);
        let reading = self.stream.publisher_stats().read(now);
        let timeline = self.stream.timeline();
        let video = reading.video.is_some().then(|| Video {
            frames: reading.video_frames,
            gop_ms: reading.gop_ms,
            reordered_frames: reading.reordered_frames,
            ..Video::default()
        });
        let audio = reading.audio.is_some().then(|| Audio { frames: reading.audio_frames, ..Audio::default() });
        let on_air = matches!(self.stream.place(), Place::OnAir { .. });
        let publisher = on_air.then(|| Publisher {
            session: self.session,
            peer: self.peer.clone(),
            // Counted back from now, by two clocks.
            since_unix_ms: BEGIN_MS + self.published_ms + self.now_ms / 1_000 % 2,
            received_bytes: reading.bytes,
            heard_ago_ms: reading.heard_ago.as_millis() as u64,
            timestamp_jumps: timeline.rebases(),
            arrival_lag_ms: timeline.arrival_lag_ms(),
            audio_ahead_ms: timeline.audio_ahead_ms(),
            announces_audio: self.stream.announced().audio,
            video,
            audio,
            dropped_tracks: self.dropped.iter().map(|track| dropped(track)).collect(),
            ..Publisher::default()
        });
        let viewers = self.viewers.iter().map(|(protocol, count)| ViewerCount {
            protocol: (*protocol).to_owned(),
            count: *count,
            estimated: *protocol == "hls",
        });
        Live { id: "cam".to_owned(), publisher, viewers: viewers.collect(), ..Live::default() }
    }

    /// Bytes received of the publisher.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.stream.publisher_stats().bytes()
    }
}

fn dropped(track: &str) -> DroppedTrack {
    DroppedTrack { track: track.to_owned(), codec: "Speex".to_owned(), ..DroppedTrack::default() }
}

/// A session's end.
pub(crate) fn unpublish(why: &str) -> What {
    What::Unpublish { why: why.to_owned(), lasted_ms: 0, received_bytes: 0, viewers: Vec::new() }
}

/// What is told at one look.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at_ms: u64,
    pub(crate) conditions: Vec<Condition>,
}

impl Told {
    pub(crate) fn get(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// A stretch of time in which a condition is told, seconds of the first and the last look.
pub(crate) fn stretches(told: &[Told]) -> BTreeMap<String, Vec<(u64, u64)>> {
    let mut all: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for look in told {
        let second = look.at_ms / 1_000;
        for condition in &look.conditions {
            let of_kind = all.entry(condition.kind.clone()).or_default();
            match of_kind.last_mut() {
                Some((_, last)) if *last + 1 == second => *last = second,
                _ => of_kind.push((second, second)),
            }
        }
    }
    all
}

/// The condition is told once, from a second within the first range to one within the second, and nothing else is.
#[track_caller]
pub(crate) fn only(told: &[Told], kind: &str, from: std::ops::RangeInclusive<u64>, to: std::ops::RangeInclusive<u64>) {
    let all = stretches(told);
    let of_kind = all.get(kind).cloned().unwrap_or_default();
    assert!(all.len() <= 1, "others, too: {all:?}");
    assert!(
        matches!(of_kind.as_slice(), [(first, last)] if from.contains(first) && to.contains(last)),
        "{kind} is told in {of_kind:?}"
    );
}
