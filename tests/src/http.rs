//! A small HTTP client whose every byte the tests control, and a viewer of HTTP-FLV on top of it.
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::flv::{self, Tag};
use crate::{eventually, seconds};

/// The status line and headers of a response.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: u16,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub version: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name (in lower case), or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// Whether the body comes in chunks.
    pub fn chunked(&self) -> bool {
        self.header("transfer-encoding").eq_ignore_ascii_case("chunked")
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text.split("\r\n");
        let mut status = lines.next().unwrap_or_default().splitn(3, ' ');
        let version = status.next().unwrap_or_default().to_owned();
        ensure!(version.starts_with("HTTP/1."), "not a status line in {text:?}");
        let status = status.next().context("no status")?.parse()?;
        let headers = lines
            .filter(|l| !l.is_empty())
            .map(|l| l.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())))
            .collect::<Option<_>>()
            .with_context(|| format!("a header without a colon in {text:?}"))?;
        Ok(Self { status, version, headers })
    }
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// The rest of its head.
    pub head: Head,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl std::ops::Deref for Response {
    type Target = Head;
    fn deref(&self) -> &Head {
        &self.head
    }
}

/// Takes the chunk framing off a body that comes in pieces.
#[derive(Debug, Default)]
pub struct Dechunker {
    at: ChunkAt,
    left: usize,
    digits: usize,
    ended: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum ChunkAt {
    #[default]
    Size,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// After the last chunk: only `\r\n` follows, for this server sends no trailers.
    Last,
}

impl Dechunker {
    /// Gives the body bytes in `bytes` to `sink`.
    pub fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while let [first, rest @ ..] = bytes {
            match self.at {
                ChunkAt::Data => {
                    let n = self.left.min(bytes.len());
                    sink(&bytes[..n])?;
                    bytes = &bytes[n..];
                    self.left -= n;
                    if self.left == 0 {
                        self.at = ChunkAt::DataCr;
                    }
                    continue;
                }
                ChunkAt::Size => match (char::from(*first).to_digit(16), first) {
                    (Some(digit), _) => {
                        ensure!(self.digits < 8, "a chunk size of more than eight digits");
                        self.left = self.left * 16 + digit as usize;
                        self.digits += 1;
                    }
                    (None, b'\r') if self.digits > 0 => self.at = ChunkAt::SizeEnd,
                    _ => bail!("byte {first:#x} in a chunk size"),
                },
                ChunkAt::SizeEnd => {
                    ensure!(*first == b'\n', "byte {first:#x} after a chunk size");
                    self.digits = 0;
                    self.at = if self.left == 0 { ChunkAt::Last } else { ChunkAt::Data };
                }
                ChunkAt::DataCr => {
                    ensure!(*first == b'\r', "byte {first:#x} after a chunk");
                    self.at = ChunkAt::DataLf;
                }
                ChunkAt::DataLf => {
                    ensure!(*first == b'\n', "byte {first:#x} after a chunk");
                    self.at = ChunkAt::Size;
                }
                ChunkAt::Last => {
                    ensure!(matches!(first, b'\r' | b'\n'), "byte {first:#x} after the last chunk");
                    self.ended = *first == b'\n';
                }
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Whether the last chunk has come.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    pending: Vec<u8>,
}

impl Connection {
    /// Connects; reads give up after ten seconds.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, seconds(5))?;
        stream.set_read_timeout(Some(seconds(10)))?;
        stream.set_write_timeout(Some(seconds(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// On a socket that is connected.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(seconds(10)))?;
        stream.set_write_timeout(Some(seconds(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, pending: Vec::new() })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads a response head.
    pub fn head(&mut self) -> Result<Head> {
        loop {
            if let Some(end) = self.pending.windows(4).position(|w| w == b"\r\n\r\n") {
                let text = String::from_utf8(self.pending[..end].to_vec())?;
                self.pending.drain(..end + 4);
                return Head::parse(&text);
            }
            ensure!(self.pending.len() < 64 << 10, "an endless response head");
            ensure!(self.more()? > 0, "the connection ended before a whole response head: {:?}", self.pending);
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 64 << 10];
        let n = self.stream.read(&mut buffer)?;
        self.pending.extend_from_slice(&buffer[..n]);
        Ok(n)
    }

    /// Reads a whole response; `head_only` when the request was HEAD.
    pub fn response(&mut self, head_only: bool) -> Result<Response> {
        let head = self.head()?;
        let mut body = Vec::new();
        if head_only || head.status == 204 || head.status == 304 {
        } else if head.chunked() {
            let mut dechunker = Dechunker::default();
            while !dechunker.ended() {
                let bytes = std::mem::take(&mut self.pending);
                dechunker.feed(&bytes, |b| {
                    body.extend_from_slice(b);
                    Ok(())
                })?;
                ensure!(dechunker.ended() || self.more()? > 0, "the connection ended inside a chunked body");
            }
        } else if head.header("content-length").is_empty() {
            while self.more()? > 0 {}
            body = std::mem::take(&mut self.pending);
        } else {
            let len: usize = head.header("content-length").parse()?;
            while self.pending.len() < len {
                ensure!(self.more()? > 0, "the connection ended after {} of {len} bytes", self.pending.len());
            }
            body.extend(self.pending.drain(..len));
        }
        Ok(Response { status: head.status, head, body })
    }
}

/// Sends raw request bytes on a new connection and reads one response.
pub fn raw(address: SocketAddr, request: &[u8]) -> Result<Response> {
    let mut connection = Connection::open(address)?;
    connection.send(request)?;
    connection.response(request.starts_with(b"HEAD "))
}

/// A request of one line on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Result<Response> {
    raw(address, format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
}

pub fn try_get(address: SocketAddr, path: &str) -> Result<Response> {
    request(address, "GET", path)
}

/// GET, where failing to get any answer fails the test.
pub fn get(address: SocketAddr, path: &str) -> Response {
    try_get(address, path).unwrap_or_else(|error| panic!("GET {path}: {error:#}"))
}

/// How a viewer's stream ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum End {
    /// The last chunk came, or an HTTP/1.0 body ended between two tags.
    Clean,
    /// The connection was cut inside the body.
    Cut,
}

/// A viewer of HTTP-FLV that keeps whole tags.
#[derive(Debug)]
pub struct Viewer {
    connection: Connection,
    pub head: Head,
    dechunker: Option<Dechunker>,
    reader: flv::Reader,
    /// Set once the stream has ended.
    pub end: Option<End>,
    /// Bytes that came over the wire, body framing included.
    pub wire_bytes: u64,
    /// When the last bytes came.
    pub last_bytes: Instant,
}

impl Viewer {
    /// Asks for a stream and reads the response's head; the error holds the head when it is not 200.
    pub fn open(address: SocketAddr, path: &str, version: &str) -> Result<Result<Self, Head>> {
        let mut connection = Connection::open(address)?;
        connection.send(format!("GET {path} {version}\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let head = connection.head()?;
        if head.status != 200 {
            return Ok(Err(head));
        }
        let dechunker = head.chunked().then(Dechunker::default);
        let mut viewer = Self {
            connection,
            head,
            dechunker,
            reader: flv::Reader::default(),
            end: None,
            wire_bytes: 0,
            last_bytes: Instant::now(),
        };
        let bytes = std::mem::take(&mut viewer.connection.pending);
        viewer.take(&bytes)?;
        Ok(Ok(viewer))
    }

    /// Watches `/<id>/live.flv`, retrying for some seconds while it is not on air, as a player does.
    pub fn watch(address: SocketAddr, id: &str) -> Self {
        let path = format!("/{id}/live.flv");
        eventually(&format!("{path} is on air"), seconds(10), || {
            Self::open(address, &path, "HTTP/1.1").expect("the server answers").ok()
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire_bytes += bytes.len() as u64;
        self.last_bytes = Instant::now();
        let reader = &mut self.reader;
        match &mut self.dechunker {
            Some(dechunker) => {
                dechunker.feed(bytes, |b| reader.feed(b))?;
                if dechunker.ended() {
                    self.end = Some(End::Clean);
                }
            }
            None => reader.feed(bytes)?,
        }
        Ok(())
    }

    /// The next tag, or `None` when the stream has ended or nothing came in time ([`Viewer::end`] tells which).
    pub fn next_tag(&mut self, within: Duration) -> Option<Tag> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(tag) = self.reader.next_tag() {
                return Some(tag);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.end.is_some() || left.is_zero() {
                return None;
            }
            self.connection.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("a timeout");
            let mut buffer = vec![0; 64 << 10];
            match self.connection.stream.read(&mut buffer) {
                Ok(0) => {
                    let clean = self.dechunker.is_none() && self.reader.at_boundary();
                    self.end = Some(if clean { End::Clean } else { End::Cut });
                }
                Ok(n) => {
                    self.take(&buffer[..n]).unwrap_or_else(|error| panic!("what a viewer got is broken: {error:#}"));
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(_) => self.end = Some(End::Cut),
            }
        }
    }

    /// The next tag that `wanted` accepts; panics when none comes in time.
    pub fn find(&mut self, what: &str, within: Duration, mut wanted: impl FnMut(&Tag) -> bool) -> Tag {
        let deadline = Instant::now() + within;
        loop {
            match self.next_tag(deadline.saturating_duration_since(Instant::now())) {
                Some(tag) if wanted(&tag) => return tag,
                Some(_) => {}
                None => panic!("no {what} within {within:?} (end of stream: {:?})", self.end),
            }
        }
    }

    /// All tags that come in that time.
    pub fn tags_for(&mut self, time: Duration) -> Vec<Tag> {
        let deadline = Instant::now() + time;
        let next = |left: Duration| self.next_tag(left);
        std::iter::repeat_with({
            let mut next = next;
            move || next(deadline.saturating_duration_since(Instant::now()))
        })
        .map_while(|tag| tag)
        .collect()
    }

    /// The flags of the FLV header.
    pub fn flags(&self) -> Option<u8> {
        self.reader.flags()
    }

    /// This end of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.connection.stream.local_addr().expect("connected")
    }

    /// Frames of the stream in order, timestamps never falling within a track; panics otherwise.
    pub fn assert_monotonic(tags: &[Tag]) {
        for kind in [flv::AUDIO, flv::VIDEO] {
            let mut last = 0;
            for tag in tags.iter().filter(|t| t.kind == kind && t.is_frame()) {
                assert!(tag.timestamp >= last, "track {kind} goes back from {last} ms to {} ms", tag.timestamp);
                last = tag.timestamp;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_in_pieces_of_any_size() {
        let wire = b"5\r\nhello\r\n00A\r\n, worlds!!\r\n0\r\n\r\n";
        for piece in 1..wire.len() {
            let (mut dechunker, mut body) = (Dechunker::default(), Vec::new());
            for bytes in wire.chunks(piece) {
                dechunker
                    .feed(bytes, |b| {
                        body.extend_from_slice(b);
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(body, b"hello, worlds!!");
            assert!(dechunker.ended());
        }
        assert!(Dechunker::default().feed(b"5\r\nhelloX", |_| Ok(())).is_err());
    }
}
