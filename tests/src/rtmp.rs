//! A publisher and a player over RTMP whose every byte and moment the test controls, on an independent implementation (`rml_rtmp`).
use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent as Event, ClientSessionResult, PublishRequestType,
    StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;

use crate::clip::Clip;
use crate::flv::{AUDIO, Tag, VIDEO};
use crate::seconds;

pub struct Client {
    stream: TcpStream,
    session: ClientSession,
    events: VecDeque<Event>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Connects and shakes hands; gives what the server has said behind its handshake, too.
pub(crate) fn shake_hands(address: SocketAddr) -> Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, seconds(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(seconds(5)))?;
    stream.set_write_timeout(Some(seconds(10)))?;
    let mut handshake = Handshake::new(PeerType::Client);
    let hello = handshake.generate_outbound_p0_and_p1().map_err(|e| anyhow!("handshake: {e}"))?;
    stream.write_all(&hello)?;
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer)?;
        ensure!(n > 0, "the server closed during the handshake");
        match handshake.process_bytes(&buffer[..n]).map_err(|e| anyhow!("handshake: {e}"))? {
            HandshakeProcessResult::InProgress { response_bytes } => stream.write_all(&response_bytes)?,
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                stream.write_all(&response_bytes)?;
                return Ok((stream, remaining_bytes));
            }
        }
    }
}

impl Client {
    /// Connects, shakes hands and sends `connect` for an application.
    pub fn connect(address: SocketAddr, app: &str) -> Result<Self> {
        let (stream, rest) = shake_hands(address)?;
        let mut config = ClientSessionConfig::new();
        config.tc_url = Some(format!("rtmp://{address}/{app}"));
        let (session, first) = ClientSession::new(config).map_err(|e| anyhow!("session: {e}"))?;
        let mut client = Self { stream, session, events: VecDeque::new() };
        client.apply(first)?;
        client.input(&rest)?;
        let request = client.session.request_connection(app.to_owned()).map_err(|e| anyhow!("connect: {e}"))?;
        client.apply(vec![request])?;
        client.expect("the answer to connect", |event| match event {
            Event::ConnectionRequestAccepted => Some(Ok(())),
            Event::ConnectionRequestRejected { description } => Some(Err(anyhow!("connect refused: {description}"))),
            _ => None,
        })??;
        Ok(client)
    }

    fn apply(&mut self, results: Vec<ClientSessionResult>) -> Result<()> {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => self.stream.write_all(&packet.bytes)?,
                ClientSessionResult::RaisedEvent(event) => self.events.push_back(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(())
    }

    fn input(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let results = self.session.handle_input(bytes).map_err(|e| anyhow!("from the server: {e}"))?;
        self.apply(results)
    }

    fn next_event(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let mut buffer = vec![0; 64 << 10];
            let n = self.stream.read(&mut buffer)?;
            ensure!(n > 0, "the server closed the connection");
            self.input(&buffer[..n])?;
        }
    }

    fn expect<T>(&mut self, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> Result<T> {
        loop {
            let event = self.next_event().with_context(|| format!("waiting for {what}"))?;
            if let Some(found) = wanted(event) {
                return Ok(found);
            }
        }
    }

    /// Takes what the server has sent, without waiting: acknowledgements and pings.
    fn pump(&mut self) -> Result<()> {
        let mut buffer = [0; 16 << 10];
        self.stream.set_nonblocking(true)?;
        let read = self.stream.read(&mut buffer);
        self.stream.set_nonblocking(false)?;
        match read {
            Ok(0) => bail!("the server closed the connection"),
            Ok(n) => self.input(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A publisher that was admitted.
#[derive(Debug)]
pub struct Publisher {
    client: Client,
}

impl Publisher {
    /// Publishes; a refusal is an error that names the status code.
    pub fn start(address: SocketAddr, app: &str, key: &str) -> Result<Self> {
        let mut client = Client::connect(address, app)?;
        let request = client
            .session
            .request_publishing(key.to_owned(), PublishRequestType::Live)
            .map_err(|e| anyhow!("publish: {e}"))?;
        client.apply(vec![request])?;
        client.expect("the answer to publish", |event| match event {
            Event::PublishRequestAccepted => Some(Ok(())),
            Event::UnhandleableOnStatusCode { code } => Some(Err(anyhow!("refused: {code}"))),
            _ => None,
        })??;
        let mut publisher = Self { client };
        let mut metadata = StreamMetadata::new();
        metadata.encoder = Some("millstream-tests".to_owned());
        let packet = publisher.client.session.publish_metadata(&metadata).map_err(|e| anyhow!("metadata: {e}"))?;
        publisher.client.apply(vec![packet])?;
        Ok(publisher)
    }

    /// Pushes a clip again and again in real time on a thread.
    pub fn repeat(self, clip: Clip) -> Pushing {
        self.repeat_from(clip, 0)
    }

    /// Like [`Publisher::repeat`], with timestamps that start elsewhere.
    pub fn repeat_from(self, clip: Clip, first: u32) -> Pushing {
        Pushing::start(self, clip, first)
    }

    /// Sends one tag as a message with its own timestamp.
    pub fn send(&mut self, tag: &Tag) -> Result<()> {
        let (data, timestamp) = (Bytes::from(tag.data.clone()), RtmpTimestamp::new(tag.timestamp));
        let packet = match tag.kind {
            VIDEO => self.client.session.publish_video_data(data, timestamp, false),
            AUDIO => self.client.session.publish_audio_data(data, timestamp, false),
            other => bail!("kind of tag {other}"),
        };
        let packet = packet.map_err(|e| anyhow!("media: {e}"))?;
        self.client.apply(vec![packet])?;
        self.client.pump()
    }

    /// Says goodbye as an encoder does, then closes.
    pub fn finish(mut self) -> Result<()> {
        let packets = self.client.session.stop_publishing().map_err(|e| anyhow!("stop: {e}"))?;
        self.client.apply(packets)?;
        self.client.stream.shutdown(Shutdown::Both)?;
        Ok(())
    }
}

/// What takes tags: an admitted publisher of either kind.
pub trait Sink: Sized + Send + 'static {
    /// Sends one tag as a message with its own timestamp.
    fn send(&mut self, tag: &Tag) -> Result<()>;

    /// Says goodbye as an encoder does, then closes.
    fn finish(self) -> Result<()>;
}

impl Sink for Publisher {
    fn send(&mut self, tag: &Tag) -> Result<()> {
        self.send(tag)
    }

    fn finish(self) -> Result<()> {
        self.finish()
    }
}

/// Sends a clip again and again in real time, until it is told to stop.
fn push(
    sink: &mut impl Sink,
    clip: &Clip,
    first: u32,
    inbox: &Receiver<Order>,
    log: &Mutex<Vec<(Tag, Instant)>>,
) -> Result<Order> {
    for tag in &clip.configuration {
        sink.send(&Tag { timestamp: first, ..tag.clone() })?;
    }
    let mut start = Instant::now();
    for round in 0u32.. {
        for tag in &clip.frames {
            let offset = round * clip.period + tag.timestamp;
            let due = start + Duration::from_millis(u64::from(offset));
            loop {
                match inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return Ok(Order::Cut),
                    Ok(Order::Silence) => {
                        let since = Instant::now();
                        // Holds the connection and sends nothing, as a network that went away looks to the server.
                        match inbox.recv() {
                            Ok(Order::Resume) => start += since.elapsed(),
                            Ok(order) => return Ok(order),
                            Err(_) => return Ok(Order::Cut),
                        }
                    }
                    Ok(Order::Resume) => {}
                    Ok(order) => return Ok(order),
                }
            }
            let tag = Tag { timestamp: first.wrapping_add(offset), ..tag.clone() };
            // Before it goes out: a viewer may have it before the send returns.
            log.lock().unwrap_or_else(PoisonError::into_inner).push((tag.clone(), Instant::now()));
            sink.send(&tag)?;
        }
    }
    Ok(Order::Cut)
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Silence,
    Resume,
    Finish,
    Cut,
}

/// A publisher that a thread drives. Dropping it cuts the connection.
#[derive(Debug)]
pub struct Pushing {
    sent: Arc<Mutex<Vec<(Tag, Instant)>>>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Pushing {
    pub fn start(mut sink: impl Sink, clip: Clip, first: u32) -> Self {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (orders, inbox) = mpsc::channel();
        let log = Arc::clone(&sent);
        let thread = std::thread::spawn(move || {
            let stopped = push(&mut sink, &clip, first, &inbox, &log)?;
            if matches!(stopped, Order::Finish) { sink.finish() } else { Ok(()) }
        });
        Self { sent, orders, thread: Some(thread) }
    }

    /// Frames sent so far, and the one that is on its way, each with the moment before it went out.
    pub fn sent(&self) -> Vec<(Tag, Instant)> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes silent without closing.
    pub fn silence(&self) {
        let _ = self.orders.send(Order::Silence);
    }

    /// Goes on after a silence.
    pub fn resume(&self) {
        let _ = self.orders.send(Order::Resume);
    }

    /// Whether the server still takes what is sent.
    pub fn alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    pub fn finish(mut self) -> Result<()> {
        let _ = self.orders.send(Order::Finish);
        self.thread.take().map_or(Ok(()), |thread| thread.join().expect("no panic"))
    }

    /// Closes without a goodbye.
    pub fn cut(mut self) {
        let _ = self.orders.send(Order::Cut);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Pushing {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Cut);
        if let Some(thread) = self.thread.take()
            && let Ok(Err(error)) = thread.join()
        {
            eprintln!("the publisher had ended: {error:#}");
        }
    }
}

/// A player over RTMP.
#[derive(Debug)]
pub struct Player {
    client: Client,
}

impl Player {
    /// Asks to play; a refusal is an error.
    pub fn start(address: SocketAddr, app: &str, key: &str) -> Result<Self> {
        let mut client = Client::connect(address, app)?;
        let request = client.session.request_playback(key.to_owned()).map_err(|e| anyhow!("play: {e}"))?;
        client.apply(vec![request])?;
        client.expect("the answer to play", |event| match event {
            Event::PlaybackRequestAccepted => Some(Ok(())),
            Event::UnhandleableOnStatusCode { code } if !code.starts_with("NetStream.Play.Reset") => {
                Some(Err(anyhow!("refused: {code}")))
            }
            _ => None,
        })??;
        Ok(Self { client })
    }

    /// The next audio or video message as a tag.
    pub fn next_tag(&mut self, within: Duration) -> Result<Tag> {
        self.client.stream.set_read_timeout(Some(within))?;
        self.client.expect("media", |event| match event {
            Event::VideoDataReceived { timestamp, data } => {
                Some(Tag { kind: VIDEO, timestamp: timestamp.value, data: data.to_vec() })
            }
            Event::AudioDataReceived { timestamp, data } => {
                Some(Tag { kind: AUDIO, timestamp: timestamp.value, data: data.to_vec() })
            }
            _ => None,
        })
    }

    /// The next message that `wanted` accepts.
    pub fn find(&mut self, within: Duration, mut wanted: impl FnMut(&Tag) -> bool) -> Result<Tag> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let tag = self.next_tag(left)?;
            if wanted(&tag) {
                return Ok(tag);
            }
        }
    }
}
