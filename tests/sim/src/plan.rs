//! What is to happen in a walk, drawn from its seed before it begins: settings, encoders and viewers with their habits.
use std::net::IpAddr;
use std::time::Duration;

use millstream_engine_simulated::io::{Line, Port};
use millstream_hub::config::{FlushPolicy, HlsConfig, OnUnpublish, StreamConfig, Takeover};
use millstream_hub::package::block::Format;
use millstream_hub::viewer::Start;
use millstream_proto::time::Time;
use millstream_test_support::random::Random;

use crate::media::{Coding, codings};

/// How long things are started, milliseconds.
const ACTIVE_MS: u64 = 18_000;

/// The streams of a walk, or some of them.
pub(crate) const STREAMS: [&str; 2] = ["camera", "door-7"];

/// Settings of a walk.
pub(crate) struct Settings {
    pub(crate) shards: usize,
    pub(crate) stream: StreamConfig,
    pub(crate) chunk_size: usize,
    pub(crate) mailbox_max: usize,
    pub(crate) streams_max: usize,
    /// Mail takes up to this long, microseconds, and now and then a hundred times that.
    pub(crate) mail_us: u64,
    pub(crate) drain_at: Option<Time>,
    pub(crate) drain: Duration,
    /// When the last peer has come.
    pub(crate) quiet_after: Time,
    pub(crate) hls: HlsConfig,
    /// Players of playlists: when, and of which stream.
    pub(crate) playlist_asks: Vec<(Time, usize)>,
}

/// What a door step says to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gate {
    Allow,
    Deny,
    Next,
    Never,
    LaterAllow,
    LaterDeny,
    LaterNext,
}

const GATES: [(Gate, char); 7] = [
    (Gate::Allow, 'a'),
    (Gate::Deny, 'd'),
    (Gate::Next, 'n'),
    (Gate::Never, 'v'),
    (Gate::LaterAllow, 'A'),
    (Gate::LaterDeny, 'D'),
    (Gate::LaterNext, 'N'),
];

impl Gate {
    pub(crate) fn from_letter(letter: char) -> Self {
        GATES.iter().find(|(_, of)| *of == letter).expect("a gate's letter").0
    }

    fn letter(self) -> char {
        GATES.iter().find(|(gate, _)| *gate == self).expect("a letter").1
    }
}

/// How admission treats one peer: two steps, and how long those that answer later take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mood {
    pub(crate) gates: [Gate; 2],
    pub(crate) later_ms: u64,
}

impl Mood {
    fn draw(random: &mut Random) -> Self {
        let gate = |random: &mut Random| match random.below(20) {
            0 => Gate::Deny,
            1 => Gate::Never,
            2 | 3 => Gate::LaterAllow,
            4 => Gate::LaterDeny,
            5 | 6 => Gate::LaterNext,
            7..10 => Gate::Next,
            _ => Gate::Allow,
        };
        Self { gates: [gate(random), gate(random)], later_ms: random.pick(&[1, 40, 600, 4_000, 5_500]) }
    }

    /// As query parameters: they go the way that a signature would. Admission is also to see whom it decides about.
    pub(crate) fn query(self, number: usize, port: Port) -> String {
        let [first, second] = self.gates.map(Gate::letter);
        format!("door={first}{second}&later={}&from={}", self.later_ms, client(number, port))
    }

    /// Whether admission lets it in, given time.
    pub(crate) fn admits(self) -> bool {
        let in_time = self.later_ms < 5_000;
        for gate in self.gates {
            match gate {
                Gate::Allow => return true,
                Gate::LaterAllow => return in_time,
                Gate::Deny | Gate::Never | Gate::LaterDeny => return false,
                Gate::LaterNext if !in_time => return false,
                Gate::Next | Gate::LaterNext => {}
            }
        }
        false
    }
}

/// How a connection ends from the peer's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leave {
    /// Says goodbye, then closes.
    Polite,
    Close,
    /// Is cut off: nothing arrives any more, in either direction, and nobody is told.
    Cut,
    /// Stays until the server ends it.
    Stay,
}

#[derive(Clone, Debug)]
pub(crate) struct EncoderPlan {
    pub(crate) video: Option<Coding>,
    pub(crate) audio: Option<Coding>,
    pub(crate) first_stamp_ms: u32,
    pub(crate) pace_ms: u64,
    pub(crate) gop: u64,
    /// Sends media right behind its request, without waiting for the answer.
    pub(crate) eager: bool,
    pub(crate) wild: bool,
    /// The other track begins this much later.
    pub(crate) late_ms: u64,
    /// Publishes this stream, too, over the same connection.
    pub(crate) further: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ViewerPlan {
    pub(crate) format: Format,
    pub(crate) start: Start,
    /// Reads this often, this many bytes; at once and everything where that is 0.
    pub(crate) every_ms: u64,
    pub(crate) bytes_max: usize,
    /// Of a thousand reads, those after which it sleeps.
    pub(crate) sleepy: u64,
    pub(crate) pauses: bool,
}

/// How a peer reaches the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Direct,
    /// Through a proxy that says first whose connection it is (PROXY protocol).
    Introduced,
    /// Through a proxy that says of each HTTP request whose it is.
    Forwarded,
}

impl Way {
    pub(crate) fn of(number: usize) -> Self {
        match number % 7 {
            5 => Self::Introduced,
            6 => Self::Forwarded,
            _ => Self::Direct,
        }
    }

    /// The proxy's address.
    pub(crate) fn address(self) -> IpAddr {
        IpAddr::from([10, 0, 0, if self == Self::Introduced { 6 } else { 7 }])
    }
}

/// Where a peer's connections come from: a few addresses, so that several share one.
pub(crate) fn address(number: usize) -> IpAddr {
    match Way::of(number) {
        Way::Direct => IpAddr::from([10, 0, 0, 1 + (number % 7) as u8]),
        way => way.address(),
    }
}

/// The address that the server is to take for the peer's own. What is not HTTP, a proxy cannot forward as somebody's.
fn client(number: usize, port: Port) -> IpAddr {
    match (Way::of(number), port) {
        (Way::Direct, _) | (Way::Forwarded, Port::Rtmp) => address(number),
        _ => IpAddr::from([192, 0, 2, 1 + number as u8]),
    }
}

/// What goes before the first byte of a connection.
pub(crate) fn introduction(number: usize) -> String {
    if Way::of(number) != Way::Introduced {
        return String::new();
    }
    format!("PROXY TCP4 {} 198.51.100.1 4000 80\r\n", client(number, Port::Rtmp))
}

/// What goes into the head of each request.
pub(crate) fn forwarded(number: usize) -> String {
    if Way::of(number) != Way::Forwarded {
        return String::new();
    }
    // What the client claims itself, what the first proxy saw, and what the second one did.
    format!("X-Forwarded-For: 203.0.113.1, {}, {}\r\n", client(number, Port::Http), Way::Forwarded.address())
}

/// What a peer is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Encoder(EncoderPlan),
    Viewer(ViewerPlan),
}

/// A peer that will connect.
#[derive(Clone, Debug)]
pub(crate) struct PeerPlan {
    pub(crate) at: Time,
    pub(crate) stream: &'static str,
    pub(crate) mood: Mood,
    pub(crate) life_ms: u64,
    pub(crate) leave: Leave,
    pub(crate) role: Role,
    pub(crate) latency_us: u64,
    pub(crate) room: usize,
}

impl PeerPlan {
    pub(crate) fn line(&self) -> Line {
        Line { latency_us: self.latency_us, room: self.room }
    }

    pub(crate) fn leaves_at(&self) -> Time {
        self.at + Duration::from_millis(self.life_ms)
    }
}

pub(crate) fn draw(random: &mut Random) -> (Settings, Vec<PeerPlan>) {
    let millis = Duration::from_millis;
    let stream = StreamConfig {
        flush: random.pick(&[FlushPolicy::Low, FlushPolicy::Balanced, FlushPolicy::Balanced, FlushPolicy::Dense]),
        log_bytes_max: random.pick(&[6_000, 12_000, 40_000, 400_000]),
        log_time_max: millis(random.pick(&[700, 3_000, 12_000])),
        publisher_wait: millis(random.pick(&[0, 300, 2_000, 6_000])),
        on_unpublish: random.pick(&[OnUnpublish::Wait, OnUnpublish::Wait, OnUnpublish::End, OnUnpublish::Slate]),
        slate_max: millis(random.pick(&[1_000, 4_000])),
        takeover: random.pick(&[Takeover::Refuse, Takeover::Replace]),
        joiner_wait: millis(random.pick(&[1_000, 4_000, 10_000])),
        lag_skips: random.pick(&[2, 3, 1_000]),
        lag_window: millis(random.pick(&[3_000, 30_000])),
        stall_close: millis(random.pick(&[1_500, 4_000, 10_000])),
    };
    let draining = random.chance(200);
    let mut settings = Settings {
        shards: random.pick(&[1, 2, 2, 3]),
        stream,
        chunk_size: random.pick(&[128, 500, 4_096, 60_000]),
        mailbox_max: random.pick(&[1, 2, 4, 64]),
        streams_max: random.pick(&[1, 2, 8]),
        mail_us: random.pick(&[10, 500, 8_000]),
        drain_at: draining.then(|| Time::from_millis(random.within(2_000, ACTIVE_MS))),
        drain: millis(random.pick(&[0, 500, 3_000])),
        quiet_after: Time::from_millis(ACTIVE_MS),
        hls: HlsConfig::default(),
        playlist_asks: Vec::new(),
    };
    let mut plans = Vec::new();
    for stream in STREAMS.into_iter().take(random.within(1, 3) as usize) {
        let mut at_ms = random.below(300);
        while at_ms < ACTIVE_MS {
            let life_ms = random.within(200, 9_000);
            plans.push(encoder(random, stream, at_ms, life_ms));
            // Before the last one has gone, at once, or after a while; sometimes long enough for it to be silent.
            at_ms += match random.below(4) {
                0 => life_ms.saturating_sub(random.below(400)),
                1 => life_ms + random.below(50),
                2 => random.within(300, life_ms + 500),
                _ => life_ms + random.below(7_000),
            };
        }
        for _ in 0..random.within(3, 8) {
            plans.push(viewer(random, stream));
        }
    }
    settings.hls = HlsConfig {
        segment: millis(random.pick(&[500, 1_000, 2_000])),
        part: millis(random.pick(&[100, 200])),
        window: random.pick(&[3, 6, 20]),
        bytes_max: random.pick(&[20_000, 100_000, 1 << 20]),
    };
    for _ in 0..random.below(12) {
        let at = Time::from_millis(random.within(100, ACTIVE_MS));
        settings.playlist_asks.push((at, random.below(STREAMS.len() as u64) as usize));
    }
    (settings, plans)
}

fn encoder(random: &mut Random, stream: &'static str, at_ms: u64, life_ms: u64) -> PeerPlan {
    let (video, audio) = codings(random);
    let role = Role::Encoder(EncoderPlan {
        video,
        audio,
        first_stamp_ms: random.pick(&[0, 77_000, 0x7FFF_FC00, 0xFFFF_F800, 0xFFFF_FF00]),
        pace_ms: random.pick(&[20, 50, 120]),
        gop: random.pick(&[3, 8, 30]),
        eager: random.chance(300),
        wild: random.chance(150),
        late_ms: if random.chance(200) { random.within(50, 1_500) } else { 0 },
        further: random.chance(80).then_some(STREAMS[usize::from(stream == STREAMS[0])]),
    });
    let leave = random.pick(&[Leave::Polite, Leave::Close, Leave::Cut]);
    let mut mood = Mood::draw(random);
    // Most encoders get in, or there would be nothing to see.
    if random.chance(700) {
        mood.gates = [Gate::Allow, Gate::Deny];
    }
    peer(random, stream, at_ms, life_ms, (mood, leave, role))
}

fn viewer(random: &mut Random, stream: &'static str) -> PeerPlan {
    let every_ms = random.pick(&[0, 0, 0, 5, 60, 400]);
    let role = Role::Viewer(ViewerPlan {
        format: random.pick(&[Format::FlvChunked, Format::FlvPlain, Format::FlvWebSocket, Format::Rtmp]),
        start: random.pick(&[Start::Newest, Start::Newest, Start::Next]),
        every_ms,
        bytes_max: random.pick(&[40, 700, 9_000]),
        sleepy: random.pick(&[0, 5, 30]),
        pauses: random.chance(250),
    });
    let at_ms = random.within(100, ACTIVE_MS);
    let leave = random.pick(&[Leave::Stay, Leave::Stay, Leave::Stay, Leave::Close, Leave::Cut]);
    let mut mood = Mood::draw(random);
    if random.chance(600) {
        mood.gates[0] = Gate::Allow;
    }
    let life_ms = random.within(100, 10_000);
    peer(random, stream, at_ms, life_ms, (mood, leave, role))
}

fn peer(
    random: &mut Random,
    stream: &'static str,
    at_ms: u64,
    life_ms: u64,
    (mood, leave, role): (Mood, Leave, Role),
) -> PeerPlan {
    let latency_us = random.pick(&[50, 2_000, 40_000]);
    let room = random.pick(&[1_000, 8_000, 128_000]);
    PeerPlan { at: Time::from_millis(at_ms), stream, mood, life_ms, leave, role, latency_us, room }
}
