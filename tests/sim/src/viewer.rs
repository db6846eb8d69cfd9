//! A viewer as a task: HTTP-FLV, WebSocket or RTMP, at the pace of its plan. What it gets is checked as it comes.
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use h2::RecvStream;
use millstream_engine_simulated::io::{self, Port};
use millstream_hub::package::block::Format;
use millstream_hub::viewer::Start;
use millstream_proto::amf0::{Value, encode};
use millstream_proto::rtmp::chunk_write::{CSID_COMMAND, MESSAGE_STREAM, write_message};
use millstream_proto::rtmp::message::kind::COMMAND;
use millstream_proto::rtmp::{ClientConfig, ClientEvent, ClientRole, ClientSession};
use millstream_proto::secret::Secret;
use millstream_proto::time::Time;
use millstream_test_support::random::Random;

use crate::decode::{Got, HttpFlv};
use crate::http2;
use crate::plan::{Leave, PeerPlan, Role, ViewerPlan, address, forwarded, introduction};
use crate::published::Watched;
use crate::secured::{self, Secured};
use crate::walk::{Walk, by, sleep_ms};

/// The chunk size of clients that have set none.
const CHUNK_BYTES: usize = 128;
/// Streams of a connection at most.
const STREAMS_MAX: u64 = 3;
/// What makes a request one for a WebSocket.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

struct Viewer<'a> {
    walk: &'a Walk,
    plan: &'a PeerPlan,
    http: Option<HttpFlv>,
    rtmp: Option<ClientSession>,
    watched: Watched,
    is_ready: bool,
    /// Since when the stream is not to be played so, as it asked.
    flv_off: Option<Time>,
    out: BytesMut,
}

pub(crate) async fn run(walk: &Rc<Walk>, number: usize, plan: &PeerPlan) {
    let Role::Viewer(habits) = plan.role else { return };
    if http2::is_spoken(number) && matches!(habits.format, Format::FlvChunked | Format::FlvPlain) {
        return several(walk, number, plan, &habits).await;
    }
    let port = if habits.format == Format::Rtmp { Port::Rtmp } else { Port::Http };
    let Ok(stream) = secured::open(number, port, address(number), plan.line()).await else { return };
    let mut viewer = Viewer::new(walk, plan);
    viewer.ask(&habits, number, port);
    let mut random = Random::new(io::draw(u64::MAX));
    let end = viewer.watch(&stream, &habits, &mut random).await;
    viewer.is_over();
    walk.saw("TLS", u64::from(viewer.is_ready && stream.has_shaken_hands()));
    if end == End::Left && plan.leave == Leave::Cut {
        stream.cut();
    }
}

/// Watches by some streams of one HTTP/2 connection.
async fn several(walk: &Rc<Walk>, number: usize, plan: &PeerPlan, habits: &ViewerPlan) {
    let window = [700, 9_000, 65_535, 1 << 20][io::draw(4) as usize];
    let Some(client) = http2::Client::open(address(number), plan.line(), window).await else { return };
    let count = 1 + io::draw(STREAMS_MAX);
    join_all((0..count).map(|_| one_of(walk, number, plan, habits, &client))).await;
}

/// One of these streams. Where it cuts the line, the others do not hear of it.
async fn one_of(walk: &Walk, number: usize, plan: &PeerPlan, habits: &ViewerPlan, client: &http2::Client) {
    // They do not begin at once, and leave each for itself.
    sleep_ms(io::draw(700)).await;
    let leaves_at = (plan.leave != Leave::Stay).then(|| plan.leaves_at() + Duration::from_millis(io::draw(2_000)));
    let mut viewer = Viewer::new(walk, plan);
    viewer.flv_off = walk.flv_off.borrow().get(plan.stream).copied();
    let start = if habits.start == Start::Next { "&start=next" } else { "" };
    let path = format!("/{}/live.flv?{}{start}", plan.stream, plan.mood.query(number, Port::Http));
    let far = io::now() + Duration::from_hours(1);
    let Some(Some(coming)) = by(leaves_at.unwrap_or(far), client.ask(&path)).await else { return };
    let mut got = Vec::new();
    viewer.http = Some(HttpFlv::of_status(coming.status, &mut got));
    for got in got {
        viewer.hears(got);
    }
    let mut random = Random::new(io::draw(u64::MAX));
    let end = viewer.watch_body(coming.body, habits, leaves_at, &mut random).await;
    viewer.is_over();
    walk.saw("HTTP/2", u64::from(viewer.is_ready && client.has_shaken_hands()));
    if end == End::Left && plan.leave == Leave::Cut {
        client.cut();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Ended,
}

impl<'a> Viewer<'a> {
    fn new(walk: &'a Walk, plan: &'a PeerPlan) -> Self {
        Self {
            walk,
            plan,
            http: None,
            rtmp: None,
            watched: Watched::default(),
            is_ready: false,
            flv_off: None,
            out: BytesMut::new(),
        }
    }

    /// What it has seen counts.
    fn is_over(&self) {
        self.walk.gaps.set(self.walk.gaps.get() + self.watched.gaps);
        self.walk.saw("frames", self.watched.frames);
        self.walk.saw("viewers", u64::from(self.is_ready));
    }

    /// Takes the body of a stream of HTTP/2 at the pace of its plan: what it has not taken fills the window.
    async fn watch_body(
        &mut self,
        mut body: RecvStream,
        habits: &ViewerPlan,
        leaves_at: Option<Time>,
        random: &mut Random,
    ) -> End {
        let slow_until = self.slow_until();
        loop {
            let now = io::now();
            if leaves_at.is_some_and(|at| at <= now) {
                return End::Left;
            }
            if habits.every_ms > 0 && self.is_ready && now < slow_until {
                let more_ms = if random.chance(habits.sleepy) { random.below(8_000) } else { 0 };
                sleep_ms(habits.every_ms + more_ms).await;
            }
            let poll = io::now() + Duration::from_secs(1);
            match by(leaves_at.map_or(poll, |at| at.min(poll)), body.data()).await {
                None => {}
                // It was reset, or the connection is gone.
                Some(Some(Err(_))) => return End::Ended,
                Some(Some(Ok(bytes))) => {
                    // Of what is left of the connection nothing is expected.
                    let _ = body.flow_control().release_capacity(bytes.len());
                    self.gets(&bytes);
                }
                Some(None) => {
                    if self.is_ready {
                        self.hears(Got::LastChunk);
                    }
                    return End::Ended;
                }
            }
        }
    }

    /// Who trickles is let to finish, and the walk would take hours: in the end it reads all there is.
    fn slow_until(&self) -> Time {
        Time::from_millis(self.plan.at.as_micros() / 1_000 + 12_000)
    }

    fn ask(&mut self, habits: &ViewerPlan, number: usize, port: Port) {
        let (stream, query) = (self.plan.stream, self.plan.mood.query(number, port));
        self.out.extend_from_slice(introduction(number).as_bytes());
        if habits.format == Format::Rtmp {
            self.rtmp = Some(ClientSession::new(
                io::now(),
                ClientConfig {
                    app: "stream".to_owned(),
                    tc_url: Secret::new("rtmp://h/stream"),
                    stream: Secret::new(format!("{stream}?{query}")),
                    role: ClientRole::Play,
                    chunk_size: CHUNK_BYTES,
                },
            ));
            return;
        }
        let start = if habits.start == Start::Next { "&start=next" } else { "" };
        let version = u8::from(habits.format != Format::FlvPlain);
        let upgrade = if habits.format == Format::FlvWebSocket { UPGRADE } else { "" };
        self.flv_off = self.walk.flv_off.borrow().get(stream).copied();
        let more = forwarded(number);
        let head = format!("GET /{stream}/live.flv?{query}{start} HTTP/1.{version}\r\nHost: h\r\n{more}{upgrade}\r\n");
        self.out.extend_from_slice(head.as_bytes());
        self.http = Some(HttpFlv::new(habits.format));
    }

    async fn watch(&mut self, stream: &Secured, habits: &ViewerPlan, random: &mut Random) -> End {
        let mut is_paused = false;
        let slow_until = self.slow_until();
        loop {
            while let Some(bytes) = self.rtmp.as_mut().and_then(ClientSession::poll_output) {
                self.out.extend_from_slice(&bytes);
            }
            while !self.out.is_empty() {
                match stream.write_now(&self.out) {
                    Ok(0) => break,
                    Ok(count) => drop(self.out.split_to(count)),
                    Err(_) => return End::Ended,
                }
            }
            let now = io::now();
            let leaves_at = (self.plan.leave != Leave::Stay).then(|| self.plan.leaves_at());
            if leaves_at.is_some_and(|at| at <= now) {
                return End::Left;
            }
            let is_slow = habits.every_ms > 0 && self.is_ready && now < slow_until;
            let read = if is_slow {
                let mut wait_ms = habits.every_ms;
                if random.chance(habits.sleepy) {
                    wait_ms += random.below(8_000);
                }
                sleep_ms(wait_ms).await;
                if habits.pauses && self.rtmp.is_some() && random.chance(100) {
                    is_paused = !is_paused;
                    self.pause(is_paused);
                }
                stream.read_now(habits.bytes_max)
            } else {
                if std::mem::take(&mut is_paused) {
                    self.pause(false);
                }
                let poll = now + Duration::from_millis(if self.out.is_empty() { 1_000 } else { 3 });
                match by(leaves_at.map_or(poll, |at| at.min(poll)), stream.read(64 << 10)).await {
                    None => Ok(None),
                    Some(read) => read.map(Some),
                }
            };
            match read {
                Err(_) => return End::Ended,
                Ok(None) => {}
                Ok(Some(bytes)) if bytes.is_empty() => return End::Ended,
                Ok(Some(bytes)) => self.gets(&bytes),
            }
        }
    }

    fn pause(&mut self, is_paused: bool) {
        self.walk.resumes.set(self.walk.resumes.get() + 1);
        let values = [Value::string("pause"), Value::Number(0.0), Value::Null, Value::Boolean(is_paused)];
        write_message(&mut self.out, CSID_COMMAND, 0, COMMAND, MESSAGE_STREAM, &encode(&values), CHUNK_BYTES);
    }

    fn gets(&mut self, bytes: &Bytes) {
        let mut got = Vec::new();
        if let Some(http) = &mut self.http {
            http.push(bytes, &mut got);
        } else if let Some(rtmp) = &mut self.rtmp {
            rtmp.handle_input(io::now(), bytes).unwrap_or_else(|error| panic!("a torn tag: {error}"));
            assert_eq!(rtmp.stats().messages_restarted, 0, "a torn tag");
            while let Some(event) = rtmp.poll_event() {
                match event {
                    ClientEvent::Ready => got.push(Got::Status(200)),
                    ClientEvent::Message { kind, timestamp, body } => got.push(Got::Tag(kind, timestamp, body)),
                    ClientEvent::Refused { .. } => got.push(Got::Status(403)),
                    ClientEvent::Ended { .. } => got.push(Got::LastChunk),
                    _ => {}
                }
            }
        }
        for got in got {
            self.hears(got);
        }
    }

    fn hears(&mut self, got: Got) {
        match got {
            Got::Status(101 | 200) => {
                assert!(self.plan.mood.admits(), "a viewer is let in against the door's will");
                let off = self.flv_off.filter(|since| self.walk.flv_off.borrow().get(self.plan.stream) == Some(since));
                assert_eq!(off, None, "FLV is played of a stream that has none");
                self.is_ready = true;
            }
            Got::Status(_) => {
                assert!(!self.is_ready, "refused after it was accepted");
                self.walk.saw("refused", 1);
            }
            Got::LastChunk => {
                self.http.iter().for_each(HttpFlv::check_end);
                self.walk.saw("ended", 1);
                self.walk.of_stream(self.plan.stream, |of| self.watched.ended(of));
            }
            Got::Tag(_, _, body) if body.starts_with(b"\x02\x00\x11|RtmpSampleAccess") => {}
            Got::Tag(tag, stamp_ms, body) => {
                assert!(self.is_ready, "media before the start");
                io::note_bytes(&body);
                self.walk.of_stream(self.plan.stream, |of| self.watched.tag(of, tag, stamp_ms, &body));
            }
        }
    }
}
