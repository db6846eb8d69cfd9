//! The other ends of the connections: encoders and viewers, with their sockets. What a viewer gets is checked as it comes.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_hub::package::block::Format;
use millstream_hub::viewer::CloseReason;
use millstream_proto::amf0::{Value, encode};
use millstream_proto::rtmp::chunk_write::{CSID_COMMAND, MESSAGE_STREAM, write_message};
use millstream_proto::rtmp::message::kind::COMMAND;
use millstream_proto::rtmp::{ClientConfig, ClientEvent, ClientRole, ClientSession, ServerConfig, ServerSession};
use millstream_proto::secret::Secret;

use crate::decode::{Got, HttpFlv};
use crate::encoder::Encoder;
use crate::net::{Pipe, Read};
use crate::plan::{Leave, PeerPlan, Role, ViewerPlan};
use crate::reference::Watched;
use crate::shell::conn::Conn;
use crate::shell::egress::{Done, Play};
use crate::shell::requests::HANDSHAKE_TIMEOUT;
use crate::world::{Event, Link, World};

/// The chunk size of clients that have set none.
const CHUNK_BYTES_INITIAL: usize = 128;

pub(crate) struct Peer {
    pub(crate) plan: PeerPlan,
    pub(crate) out: BytesMut,
    pub(crate) open: bool,
    /// Heard that its request was accepted.
    pub(crate) ready: bool,
    pub(crate) rtmp: Option<ClientSession>,
    http: Option<HttpFlv>,
    pub(crate) encoder: Option<Encoder>,
    watched: Watched,
    ticking: bool,
    /// Asked the server to pause.
    paused: bool,
}

/// What makes a request one for a WebSocket.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Peer {
    pub(crate) fn plan(&self) -> &PeerPlan {
        &self.plan
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }
}

impl World {
    /// `Shard::admit`, and the peer's connect.
    pub(crate) fn connect(&mut self, plan: usize) {
        let plan = self.plans[plan].clone();
        let shard = self.random.below(self.settings.shards as u64) as usize;
        let http = match &plan.role {
            Role::Viewer(ViewerPlan { format: Format::Rtmp, .. }) | Role::Encoder(_) => None,
            Role::Viewer(viewer) => Some(viewer.format),
        };
        // A draining server has closed its RTMP port, and a dead one all.
        if self.over || (http.is_none() && self.shards[shard].draining) {
            return;
        }
        let link = self.links.len();
        self.trace.say(self.now, "connects", link, &plan);
        let number = self.number(shard);
        let mut out = BytesMut::new();
        let (mut client, mut server) = (None, None);
        if let Some(format) = http {
            let Role::Viewer(viewer) = &plan.role else { panic!("an encoder over HTTP") };
            let start = if viewer.start == millstream_hub::viewer::Start::Next { "&start=next" } else { "" };
            let (version, query) = (u8::from(format != Format::FlvPlain), plan.mood.query());
            let upgrade = if format == Format::FlvWebSocket { UPGRADE } else { "" };
            let head =
                format!("GET /{}/live.flv?{query}{start} HTTP/1.{version}\r\nHost: h\r\n{upgrade}\r\n", plan.stream);
            out.extend_from_slice(head.as_bytes());
        } else {
            let role = if matches!(plan.role, Role::Encoder(_)) { ClientRole::Publish } else { ClientRole::Play };
            client = Some(ClientSession::new(
                self.now,
                ClientConfig {
                    app: "stream".to_owned(),
                    tc_url: Secret::new("rtmp://h/stream"),
                    stream: Secret::new(format!("{}?{}", plan.stream, plan.mood.query())),
                    role,
                    chunk_size: if role == ClientRole::Publish { 4_096 } else { CHUNK_BYTES_INITIAL },
                },
            ));
            let config = ServerConfig { chunk_size: self.settings.chunk_size, ..ServerConfig::default() };
            server = Some(Box::new(ServerSession::new(self.now, config)));
        }
        let encoder = if let Role::Encoder(encoder) = &plan.role { Some(Encoder::new(encoder, link)) } else { None };
        let conn = Conn::new(shard, number, server, self.now + HANDSHAKE_TIMEOUT);
        let pipe = || Pipe::new(plan.room, plan.latency_us);
        let (up, down, life) = (pipe(), pipe(), Duration::from_millis(plan.life_ms));
        let leave = plan.leave;
        let peer = Peer {
            plan,
            out,
            open: true,
            ready: false,
            rtmp: client,
            http: http.map(HttpFlv::new),
            encoder,
            watched: Watched::default(),
            ticking: false,
            paused: false,
        };
        self.links.push(Link { conn, peer, up, down });
        if leave != Leave::Stay {
            self.after(life, Event::Leave(link));
        }
        self.peer_sends(link);
        self.wake(link);
    }

    /// Sends what the peer has to say, as far as there is room.
    pub(crate) fn peer_sends(&mut self, link: usize) {
        let peer = &mut self.links[link].peer;
        while let Some(bytes) = peer.rtmp.as_mut().and_then(ClientSession::poll_output) {
            if let Some(encoder) = &mut peer.encoder {
                encoder.has_asked |= bytes.windows(10).any(|ten| ten == b"\x02\x00\x07publish");
            }
            peer.out.extend_from_slice(&bytes);
        }
        if peer.out.is_empty() || self.links[link].up.is_finished() {
            return;
        }
        if self.links[link].up.reader_gone {
            // What a reset tells; what has arrived before is still read.
            return self.links[link].peer.out.clear();
        }
        let bytes: Bytes = self.links[link].peer.out.split().freeze();
        let count = self.write(link, true, &bytes);
        if count < bytes.len() {
            self.links[link].peer.out = BytesMut::from(&bytes[count..]);
            self.links[link].up.writer_waits = true;
            if self.links[link].up.room() > 0 {
                self.after(Duration::from_millis(1), Event::Down(link));
            }
        }
    }

    /// Something is there to read, or room to write.
    pub(crate) fn peer_readable(&mut self, link: usize) {
        if !self.links[link].peer.open {
            return;
        }
        self.peer_sends(link);
        if let Role::Viewer(ViewerPlan { every_ms, .. }) = self.links[link].peer.plan.role
            && every_ms > 0
            && self.links[link].peer.ready
            && !self.is_ending(link)
        {
            if !std::mem::replace(&mut self.links[link].peer.ticking, true) {
                self.after(Duration::from_millis(every_ms), Event::Tick(link));
            }
            return;
        }
        while self.peer_reads(link, usize::MAX) {}
    }

    /// What is left of a play that is over is read at once: a viewer that trickles is let to finish, and the walk would take hours.
    fn is_ending(&self, link: usize) -> bool {
        let Link { conn, down, .. } = &self.links[link];
        let ended = |play: &Play| self.channels[play.channel].log.ended().is_some();
        down.is_finished() || conn.play.as_ref().is_some_and(ended)
    }

    /// Reads once. False: there is nothing more now.
    fn peer_reads(&mut self, link: usize, bytes_max: usize) -> bool {
        match self.links[link].down.read(self.now, bytes_max) {
            Read::Wait => false,
            Read::Eof => {
                self.peer_hears_end(link);
                false
            }
            Read::Data(bytes) => {
                if std::mem::take(&mut self.links[link].down.writer_waits) {
                    let playing = self.links[link].conn.play.as_ref().is_some_and(|play| play.done.is_none());
                    let event = if playing { Event::Sent(link) } else { Event::Wake(link) };
                    self.at(self.now, event);
                }
                self.peer_gets(link, &bytes);
                self.links[link].peer.open
            }
        }
    }

    fn peer_gets(&mut self, link: usize, bytes: &Bytes) {
        let now = self.now;
        let peer = &mut self.links[link].peer;
        let mut got = Vec::new();
        if let Some(http) = &mut peer.http {
            http.push(bytes, &mut got);
        } else if let Some(rtmp) = &mut peer.rtmp {
            rtmp.handle_input(now, bytes).unwrap_or_else(|error| panic!("a torn tag: {error}"));
            assert_eq!(rtmp.stats().messages_restarted, 0, "a torn tag");
            while let Some(event) = rtmp.poll_event() {
                match event {
                    ClientEvent::Ready => got.push(Got::Status(200)),
                    ClientEvent::Message { kind, timestamp, body } => got.push(Got::Tag(kind, timestamp, body)),
                    ClientEvent::Refused { .. } => got.push(Got::Status(403)),
                    _ => {}
                }
            }
        }
        for got in got {
            self.peer_hears(link, got);
        }
        self.peer_sends(link);
        self.begin_encoding(link);
    }

    fn peer_hears(&mut self, link: usize, got: Got) {
        let Link { conn, peer, .. } = &mut self.links[link];
        match got {
            Got::Status(101 | 200) => {
                assert!(conn.admitted, "link {link} hears that it may start before the verdict");
                assert!(peer.plan.mood.admits(), "link {link} is let in against the door's will");
                peer.ready = true;
                self.begin_encoding(link);
            }
            Got::Status(_) => assert!(!peer.ready, "refused after it was accepted"),
            Got::LastChunk => {}
            Got::Tag(kind, stamp_ms, body) => {
                assert!(peer.ready, "media before the start");
                let play = conn.play.as_ref().expect("only players get media");
                if body.starts_with(b"\x02\x00\x11|RtmpSampleAccess") {
                    return;
                }
                let reference = self.channels[play.channel].reference.expect("a mirror is fed by an owner");
                let before = peer.watched.frames;
                peer.watched.tag(&mut self.references[reference], kind, stamp_ms, &body);
                self.totals.frames += peer.watched.frames - before;
                self.trace.mix_bytes(&body);
            }
        }
    }

    /// The server has closed: what came must be whole, if it had the time.
    fn peer_hears_end(&mut self, link: usize) {
        let Link { conn, peer, .. } = &self.links[link];
        if let Some(play) = &conn.play {
            peer.watched.check_losses(play.counted());
            if let Some(Done::Closed(reason)) = play.done
                && conn.ending.is_none()
                && !self.over
            {
                peer.http.iter().for_each(HttpFlv::check_end);
                let reference = self.channels[play.channel].reference;
                let gone = CloseReason::Ended(millstream_hub::log::EndReason::PublisherGone);
                if let Some(reference) = reference.filter(|_| reason == gone && !play.paused) {
                    let counted = play.counted() + self.channels[play.channel].tail_jumps();
                    peer.watched.check_complete(&self.references[reference], counted);
                }
            }
        }
        self.peer_closes(link);
    }

    pub(crate) fn peer_closes(&mut self, link: usize) {
        self.trace.note(self.now, "peer closes", link, self.links[link].peer.watched.frames);
        self.links[link].peer.open = false;
        self.links[link].down.reader_gone = true;
        self.close(link, true);
        if std::mem::take(&mut self.links[link].down.writer_waits) {
            self.at(self.now, Event::Sent(link));
            self.wake(link);
        }
    }

    /// The peer has had enough.
    pub(crate) fn peer_leaves(&mut self, link: usize) {
        if !self.links[link].peer.open {
            return;
        }
        match self.links[link].peer.plan.leave {
            Leave::Stay => {}
            Leave::Polite => {
                if let Some(rtmp) = &mut self.links[link].peer.rtmp {
                    rtmp.finish();
                }
                self.peer_sends(link);
                self.peer_closes(link);
            }
            Leave::Close => self.peer_closes(link),
            Leave::Cut => {
                self.trace.note(self.now, "cut", link, 0);
                let Link { peer, up, down, .. } = &mut self.links[link];
                peer.open = false;
                (up.dead, down.dead) = (true, true);
            }
        }
    }

    /// What the peer does now and then.
    pub(crate) fn tick(&mut self, link: usize) {
        if !self.links[link].peer.open {
            return;
        }
        if self.links[link].peer.encoder.is_some() {
            return self.encode(link);
        }
        let Role::Viewer(plan) = self.links[link].peer.plan.role else { return };
        self.links[link].peer.ticking = false;
        if self.is_ending(link) {
            return self.peer_readable(link);
        }
        let mut more = self.peer_reads(link, plan.bytes_max);
        if plan.pauses && self.random.chance(100) {
            self.pause(link);
        }
        let mut wait_ms = plan.every_ms;
        if self.random.chance(plan.sleepy) {
            wait_ms += self.random.below(8_000);
            more = true;
        }
        if more && self.links[link].peer.open && !self.links[link].peer.ticking {
            self.links[link].peer.ticking = true;
            self.after(Duration::from_millis(wait_ms), Event::Tick(link));
        }
    }

    /// A player's `pause`, which proto's client does not know.
    fn pause(&mut self, link: usize) {
        let peer = &mut self.links[link].peer;
        if peer.rtmp.is_none() || !peer.ready {
            return;
        }
        peer.paused = !peer.paused;
        let values = [Value::string("pause"), Value::Number(0.0), Value::Null, Value::Boolean(peer.paused)];
        let payload = encode(&values);
        write_message(&mut peer.out, CSID_COMMAND, 0, COMMAND, MESSAGE_STREAM, &payload, CHUNK_BYTES_INITIAL);
        self.peer_sends(link);
    }

    /// At the end of the walk: viewers that left or were cut have lost nothing that was not counted, either.
    pub(crate) fn finish(&mut self) {
        for Link { conn, peer, .. } in &self.links {
            if let Some(play) = &conn.play {
                peer.watched.check_losses(play.counted());
            }
            assert!(!peer.ready || peer.plan.mood.admits());
        }
        self.trace.mix(&[self.totals.events, self.totals.frames]);
    }
}
