//! What the tests share: an engine, RTMP peers over `proto`'s client session, an HTTP-FLV viewer, frames that can be told apart.
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millstream_engine::config::{Config, IoChoice};
use millstream_engine::{Addresses, Engine};
use millstream_policy::{Chain, DecisionContext, Grant, Policy, Request, Stance, Step, shared};
use millstream_proto::flv;
use millstream_proto::id::Id;
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::{
    ClientConfig, ClientEvent, ClientRole, ClientSession, Event, ServerConfig, ServerSession,
};
use millstream_proto::secret::Secret;
use millstream_proto::time::Time;

/// Longest wait for anything that should happen soon: generous, because the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Both kernel interfaces.
pub(crate) const BOTH: [IoChoice; 2] = [IoChoice::Uring, IoChoice::Epoll];

/// A configuration with free ports, which ends quickly.
pub(crate) fn config(io: IoChoice, shards: usize) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        shards,
        io,
        control: Some(any),
        drain: Duration::from_millis(100),
        chunk_size: 60_000,
        ..Config::at(any, any)
    }
}

/// A policy for tests: streams whose name starts with `wait` are pending, with their ticket told to the test; `boom` panics;
/// everything else is allowed.
struct Scripted(Sender<u64>, Sender<SocketAddr>);

impl Policy for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        let name = request.name.as_str();
        assert!(name != "boom", "a policy that panics, on purpose");
        // Nobody listens where the test has ended.
        let _ = self.1.send(request.client.address);
        if name.starts_with("wait") {
            self.0.send(context.ticket).unwrap();
            return Step::Pending;
        }
        Step::Allow(Grant::default())
    }

    /// As far as caches are concerned, anybody may play.
    fn stance(&self, _name: &Id) -> Stance {
        Stance::Admits
    }
}

/// Asked after a pending step that answers "next".
struct Last;

impl Policy for Last {
    fn name(&self) -> &'static str {
        "last"
    }

    fn decide(&self, request: &Request, _context: DecisionContext<'_>) -> Step {
        assert!(request.name.as_str() != "wait-boom", "a later policy that panics, on purpose");
        Step::Allow(Grant::default())
    }
}

/// A running engine; ends, and is asked whether it ended well, when dropped.
pub(crate) struct Server {
    engine: Option<Engine>,
    pub(crate) at: Addresses,
    /// Tickets of pending requests.
    pub(crate) tickets: Receiver<u64>,
    /// The address of each request, as admission was told.
    pub(crate) asked_by: Receiver<SocketAddr>,
}

impl Server {
    pub(crate) fn start(config: Config) -> Self {
        let (sender, tickets) = channel();
        let (asking, asked_by) = channel();
        let steps = vec![shared(Scripted(sender, asking)), shared(Last)];
        let mut server = Self::start_with(config, Chain::new(steps.clone(), steps));
        (server.tickets, server.asked_by) = (tickets, asked_by);
        server
    }

    /// With a chain of the test's own.
    pub(crate) fn start_with(config: Config, chain: Chain) -> Self {
        let engine = millstream_engine::start(config, chain).unwrap();
        Self { at: *engine.addresses(), engine: Some(engine), tickets: channel().1, asked_by: channel().1 }
    }

    pub(crate) fn control(&self) -> SocketAddr {
        self.at.control.expect("the engine serves its metrics itself here")
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Answers the next pending request from another thread.
    pub(crate) fn answer(&self, ticket: u64, step: Step) {
        let remote = self.engine().remote();
        std::thread::spawn(move || remote.answer(ticket, step)).join().unwrap();
    }

    pub(crate) fn ticket(&self) -> u64 {
        self.tickets.recv_timeout(SOON).expect("nothing was asked")
    }

    /// Waits for the end of a drain that has begun.
    pub(crate) fn wait(mut self) {
        self.engine.take().unwrap().wait().unwrap();
    }

    /// The sum of the samples of a metric of whole numbers whose labels contain `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> u64 {
        let text = Answer::get(self.control(), "/metrics").text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(labels);
        text.lines().filter(of_name).map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub(crate) fn publish(&self, stream: &str) -> Rtmp {
        let mut rtmp = Rtmp::connect(self.at.rtmp, stream, ClientRole::Publish);
        rtmp.ready();
        rtmp
    }

    /// A publisher that has sent its codec configurations.
    pub(crate) fn encoder(&self, stream: &str) -> Rtmp {
        let mut rtmp = self.publish(stream);
        rtmp.send(head());
        rtmp
    }

    pub(crate) fn play(&self, stream: &str) -> Rtmp {
        let mut rtmp = Rtmp::connect(self.at.rtmp, stream, ClientRole::Play);
        rtmp.ready();
        rtmp
    }

    pub(crate) fn flv(&self, stream: &str) -> Flv {
        Flv::open(self.at.http, stream, 1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.shutdown();
            let ended = engine.wait();
            assert!(std::thread::panicking() || ended.is_ok(), "{ended:?}");
        }
    }
}

/// Waits until it is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < until, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One media tag as a viewer sees it.
pub(crate) type Tag = (TagKind, u32, Vec<u8>);

/// The configurations that come before frames.
pub(crate) fn head() -> Vec<Tag> {
    // A record with an SPS and a PPS: one without would be looked for in the key frames.
    let record = [1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x64, 0, 0x1f, 1, 0, 1, 0x68];
    let avc = [&[0x17, 0, 0, 0, 0][..], &record].concat();
    vec![(TagKind::Video, 0, avc), (TagKind::Audio, 0, vec![0xaf, 0, 0x12, 0x10])]
}

/// Set in what stands in a frame for its number: small ones are start codes, and lengths of NAL units.
const NUMBER_BIT: u32 = 1 << 30;

/// Frame `n`: every other one audio, every twentieth a keyframe, 20 ms apart; the number is in its body.
pub(crate) fn frame(n: u32) -> Tag {
    let (kind, start): (_, &[u8]) = match n % 20 {
        0 => (TagKind::Video, &[0x17, 1, 0, 0, 0]),
        even if even % 2 == 0 => (TagKind::Video, &[0x27, 1, 0, 0, 0]),
        _ => (TagKind::Audio, &[0xaf, 1]),
    };
    let filler = vec![n as u8; if n.is_multiple_of(20) { 20_000 } else { 300 }];
    (kind, n * 20, [start, &(n | NUMBER_BIT).to_be_bytes(), &filler].concat())
}

/// The number in a frame's body; `None` for configurations and metadata.
pub(crate) fn number((kind, _, body): &Tag) -> Option<u32> {
    let at = match (kind, body.get(1)) {
        (TagKind::Video, Some(1)) => 5,
        (TagKind::Audio, Some(1)) => 2,
        _ => return None,
    };
    Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().unwrap()) & !NUMBER_BIT)
}

/// Bytes that wait at the socket, `None` at its end; empty where none came within a moment.
fn receive(socket: &mut TcpStream) -> Option<Vec<u8>> {
    let mut buf = vec![0; 64 << 10];
    match socket.read(&mut buf) {
        Ok(0) => None,
        Ok(count) => Some(buf[..count].to_vec()),
        // Interrupted: the kernel cleans up after the ring that the engine tried out on this thread.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
            Some(Vec::new())
        }
        Err(_) => None,
    }
}

pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    socket.set_write_timeout(Some(SOON)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Everything that comes within this time; true: the connection has ended.
pub(crate) fn read_for(socket: &mut TcpStream, time: Duration) -> (Vec<u8>, bool) {
    read_until(socket, time, |_| false)
}

/// What comes until it is enough, or time is up; true: the connection has ended.
pub(crate) fn read_until(socket: &mut TcpStream, time: Duration, enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, bool) {
    let (mut all, until) = (Vec::new(), Instant::now() + time);
    while Instant::now() < until && !enough(&all) {
        match receive(socket) {
            Some(bytes) => all.extend(bytes),
            None => return (all, true),
        }
    }
    (all, false)
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

pub(crate) struct Rtmp {
    pub(crate) socket: TcpStream,
    session: ClientSession,
    /// The server has closed.
    pub(crate) closed: bool,
    pub(crate) tags: Vec<Tag>,
    /// What else came, oldest first.
    pub(crate) events: Vec<ClientEvent>,
}

fn client_config(stream: &str, role: ClientRole) -> ClientConfig {
    ClientConfig {
        app: "stream".to_owned(),
        tc_url: Secret::new("rtmp://localhost/stream"),
        stream: Secret::new(stream),
        role,
        chunk_size: 4096,
    }
}

impl Rtmp {
    pub(crate) fn connect(to: SocketAddr, stream: &str, role: ClientRole) -> Self {
        Self::over(connect(to), stream, role)
    }

    /// With the application, or whatever else stands where it belongs.
    pub(crate) fn connect_as(to: SocketAddr, app: &str, stream: &str, role: ClientRole) -> Self {
        Self::with(connect(to), ClientConfig { app: app.to_owned(), ..client_config(stream, role) })
    }

    /// On a connection on which something may have been said already.
    pub(crate) fn over(socket: TcpStream, stream: &str, role: ClientRole) -> Self {
        Self::with(socket, client_config(stream, role))
    }

    fn with(socket: TcpStream, config: ClientConfig) -> Self {
        let session = ClientSession::new(Time::ZERO, config);
        let mut rtmp = Self { socket, session, closed: false, tags: Vec::new(), events: Vec::new() };
        rtmp.flush();
        rtmp
    }

    fn flush(&mut self) {
        while let Some(bytes) = self.session.poll_output() {
            self.closed |= self.socket.write_all(&bytes).is_err();
        }
    }

    /// Takes what has come.
    pub(crate) fn turn(&mut self) {
        match receive(&mut self.socket) {
            Some(bytes) => self.session.handle_input(Time::ZERO, &bytes).unwrap(),
            None => self.closed = true,
        }
        self.flush();
        while let Some(event) = self.session.poll_event() {
            match event {
                ClientEvent::Message { kind, timestamp, body } => self.tags.push((kind, timestamp, body.to_vec())),
                other => self.events.push(other),
            }
        }
    }

    /// Goes on until it is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + SOON;
        while !is_so(self) {
            assert!(Instant::now() < until, "{what}: {:?}, closed: {}", self.events, self.closed);
            self.turn();
        }
    }

    pub(crate) fn ready(&mut self) {
        self.until("ready", |rtmp| !rtmp.events.is_empty() || rtmp.closed);
        assert_eq!(self.events, [ClientEvent::Ready], "closed: {}", self.closed);
    }

    /// Waits for the refusal, and for the end of the connection; gives code and description.
    pub(crate) fn refused(&mut self) -> (String, String) {
        self.until("refused and closed", |rtmp| rtmp.closed);
        match self.events.as_slice() {
            [ClientEvent::Refused { code, description }] => (code.clone(), description.clone()),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, tags: impl IntoIterator<Item = Tag>) {
        for (kind, timestamp, body) in tags {
            self.session.send(kind, timestamp, &body).unwrap();
        }
        self.flush();
    }

    /// Sends frames at something like a live pace.
    pub(crate) fn send_live(&mut self, numbers: std::ops::Range<u32>) {
        for n in numbers {
            self.send([frame(n)]);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Goes on sending from a thread of its own, a frame every 50 ms, until it is closed or the guard is dropped.
    pub(crate) fn go_on(mut self, from: u32) -> OnAir {
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            for n in from.. {
                self.send([frame(n)]);
                self.turn();
                if self.closed || stopped.recv_timeout(Duration::from_millis(50)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        OnAir { stop: Some(stop), thread: Some(thread) }
    }

    /// Ends as encoders do.
    pub(crate) fn finish(mut self) {
        self.session.finish();
        self.flush();
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    pub(crate) fn until_frame(&mut self, n: u32) {
        self.until("frame", |rtmp| rtmp.tags.iter().any(|tag| number(tag) == Some(n)));
    }
}

/// A publisher that is heard for as long as this is held.
pub(crate) struct OnAir {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OnAir {
    /// The server has closed it.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for OnAir {
    fn drop(&mut self) {
        self.stop = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || !matches!(ended, Some(Err(_))), "the publisher's thread failed");
    }
}

/// Everything a publisher has to say, handshake to media, as the bytes of one write: recorded from a client that talks to a session
/// in memory.
pub(crate) fn publish_in_one_write(stream: &str, tags: &[Tag]) -> Vec<u8> {
    let mut client = ClientSession::new(Time::ZERO, client_config(stream, ClientRole::Publish));
    let mut server = ServerSession::new(Time::ZERO, ServerConfig::default());
    let mut said = Vec::new();
    loop {
        while let Some(bytes) = client.poll_output() {
            said.extend_from_slice(&bytes);
            server.handle_input(Time::ZERO, &bytes).unwrap();
        }
        if matches!(server.poll_event(), Some(Event::PublishRequested(_))) {
            server.accept(Time::ZERO).unwrap();
        }
        while let Some(bytes) = server.poll_output() {
            client.handle_input(Time::ZERO, &bytes).unwrap();
        }
        if client.poll_event() == Some(ClientEvent::Ready) {
            for (kind, timestamp, body) in tags {
                client.send(*kind, *timestamp, body).unwrap();
            }
            said.extend_from_slice(&client.poll_output().unwrap_or_default());
            return said;
        }
    }
}

pub(crate) struct Flv {
    socket: TcpStream,
    unread: Vec<u8>,
    head: String,
    chunked: bool,
    reader: flv::Reader,
    pub(crate) tags: Vec<Tag>,
    /// The last chunk came.
    pub(crate) ended: bool,
    /// The server has closed.
    pub(crate) closed: bool,
}

impl Flv {
    /// Asks, and waits for nothing.
    pub(crate) fn ask(to: SocketAddr, stream: &str, minor_version: u8) -> Self {
        Self::over(connect(to), stream, minor_version, "")
    }

    /// Asks on a connection on which something may have been said already, with more header lines (each with its line end).
    pub(crate) fn over(mut socket: TcpStream, stream: &str, minor_version: u8, more: &str) -> Self {
        // A server that refuses the connection may have closed it already: that is for the test to see.
        let _ = write!(socket, "GET /{stream}/live.flv HTTP/1.{minor_version}\r\nHost: test\r\n{more}\r\n");
        Self {
            socket,
            unread: Vec::new(),
            head: String::new(),
            chunked: false,
            reader: flv::Reader::new(),
            tags: Vec::new(),
            ended: false,
            closed: false,
        }
    }

    pub(crate) fn open(to: SocketAddr, stream: &str, minor_version: u8) -> Self {
        let mut viewer = Self::ask(to, stream, minor_version);
        viewer.until("an answer", |viewer| !viewer.head.is_empty());
        assert!(viewer.head.starts_with("HTTP/1.1 200 "), "{}", viewer.head);
        viewer
    }

    /// The answer's head, once it has come.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    pub(crate) fn turn(&mut self) {
        match receive(&mut self.socket) {
            Some(bytes) => self.unread.extend(bytes),
            None => self.closed = true,
        }
        if self.head.is_empty() {
            let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") else { return };
            self.head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
            self.chunked = self.head.contains("Transfer-Encoding: chunked");
        }
        if self.head.starts_with("HTTP/1.1 200 ") {
            while let Some(data) = self.chunk() {
                self.reader.push(&data).unwrap();
                while let Some(item) = self.reader.poll().unwrap() {
                    if let flv::Item::Tag { kind, timestamp_ms, body } = item {
                        self.tags.push((kind, timestamp_ms, body.to_vec()));
                    }
                }
            }
        }
    }

    fn chunk(&mut self) -> Option<Vec<u8>> {
        if !self.chunked {
            return (!self.unread.is_empty()).then(|| std::mem::take(&mut self.unread));
        }
        let line = self.unread.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&self.unread[..line]).unwrap(), 16).unwrap();
        if self.unread.len() < line + 2 + size + 2 {
            return None;
        }
        let chunk: Vec<u8> = self.unread.drain(..line + 2 + size + 2).collect();
        assert!(chunk.ends_with(b"\r\n"));
        self.ended |= size == 0;
        (size > 0).then(|| chunk[line + 2..line + 2 + size].to_vec())
    }

    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + SOON;
        while !is_so(self) {
            assert!(Instant::now() < until, "{what}: {} tags, closed: {}, {}", self.tags.len(), self.closed, self.head);
            self.turn();
        }
    }

    pub(crate) fn until_frame(&mut self, n: u32) {
        self.until("frame", |viewer| viewer.tags.iter().any(|tag| number(tag) == Some(n)));
    }
}

/// The frames of what a viewer got, from number `from` on.
pub(crate) fn frames(tags: &[Tag], from: u32) -> Vec<&Tag> {
    tags.iter().filter(|tag| number(tag).is_some_and(|n| n >= from)).collect()
}

/// Checks that viewers got the same: each from a keyframe on, without gaps, with the same stamps.
pub(crate) fn assert_same(viewers: &[&[Tag]], last: u32) {
    let start = |tags: &[Tag]| tags.iter().find_map(number).unwrap();
    let from = viewers.iter().map(|tags| start(tags)).max().unwrap();
    for tags in viewers {
        assert_eq!(start(tags) % 20, 0, "starts at a keyframe");
        let numbers: Vec<u32> = tags.iter().filter_map(number).collect();
        assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
        let until_last = |tags| frames(tags, from).into_iter().take_while(|tag| number(tag) <= Some(last)).collect();
        let (got, expected): (Vec<_>, Vec<_>) = (until_last(tags), until_last(viewers[0]));
        assert_eq!(got.len() as u32, last - from + 1);
        assert!(got == expected, "different stamps or bytes");
    }
}

pub(crate) struct Answer(pub(crate) Vec<u8>);

impl Answer {
    /// On a connection of its own.
    pub(crate) fn get(to: SocketAddr, path: &str) -> Self {
        let mut socket = connect(to);
        // A server that turns connections away does so without waiting for what they ask.
        let _ = write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: test\r\nAccept: application/openmetrics-text, */*\r\nConnection: close\r\n\r\n"
        );
        let (bytes, ended) = read_for(&mut socket, SOON);
        assert!(ended, "not closed: {}", String::from_utf8_lossy(&bytes));
        Self(bytes)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.clone()).unwrap()
    }

    pub(crate) fn status(&self) -> u16 {
        self.head().split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default()
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        let end = self.0.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(self.0.len(), |at| at + 4);
        self.0.split_at(end)
    }

    /// Status and headers.
    pub(crate) fn head(&self) -> String {
        String::from_utf8_lossy(self.parts().0).into_owned()
    }

    /// What follows them.
    pub(crate) fn body(&self) -> &[u8] {
        self.parts().1
    }
}
