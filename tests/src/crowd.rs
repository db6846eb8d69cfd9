//! Many HTTP-FLV viewers in one thread: each one's body is taken apart and summed as it comes, and nothing of it is kept.
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mio::{Events, Interest, Poll, Token};

use crate::flv::{Sum, Summer};
use crate::http::Dechunker;
use crate::seconds;

/// The viewers and what wakes them.
#[derive(Debug)]
pub struct Crowd {
    poll: Poll,
    members: Vec<Member>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Member {
    stream: mio::net::TcpStream,
    head: Vec<u8>,
    in_body: bool,
    dechunker: Dechunker,
    summer: Summer,
    ended: bool,
    /// Bytes that came over the wire.
    pub wire_bytes: u64,
}

impl Member {
    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.wire_bytes += bytes.len() as u64;
        if !self.in_body {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|w| w == b"\r\n\r\n") else {
                ensure!(self.head.len() < 16 << 10, "an endless response head");
                return Ok(());
            };
            let text = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
            ensure!(text.starts_with("http/1.1 200 "), "a viewer was answered {text:?}");
            ensure!(text.contains("transfer-encoding: chunked"), "a viewer's body is not chunked: {text:?}");
            bytes = &bytes[end + 4 - before..];
            self.in_body = true;
            self.head = Vec::new();
        }
        let summer = &mut self.summer;
        self.dechunker.feed(bytes, |b| summer.feed(b))?;
        self.ended |= self.dechunker.ended();
        Ok(())
    }

    /// Sums of the frames that came, in order; script data and codec configurations are left out.
    pub fn frames(&self) -> Vec<Sum> {
        self.summer.sums().iter().filter(|s| s.frame).copied().collect()
    }

    /// Whether it got a frame yet.
    pub fn started(&self) -> bool {
        self.summer.sums().iter().any(|s| s.frame)
    }

    /// Whether the server ended it.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

impl Crowd {
    /// Connects `n` viewers of a path.
    pub fn open(address: SocketAddr, path: &str, n: usize) -> Result<Self> {
        let mut crowd = Self { poll: Poll::new()?, members: Vec::new(), buffer: vec![0; 512 << 10] };
        crowd.add(address, path, n)?;
        Ok(crowd)
    }

    /// Connects more, taking bytes meanwhile.
    pub fn add(&mut self, address: SocketAddr, path: &str, n: usize) -> Result<()> {
        for i in 0..n {
            let mut stream = TcpStream::connect_timeout(&address, seconds(5)).with_context(|| format!("viewer {i}"))?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            self.poll.registry().register(&mut stream, Token(self.members.len()), Interest::READABLE)?;
            self.members.push(Member {
                stream,
                head: Vec::new(),
                in_body: false,
                dechunker: Dechunker::default(),
                summer: Summer::default(),
                ended: false,
                wire_bytes: 0,
            });
            if i % 50 == 49 {
                self.turn(Duration::ZERO)?;
            }
        }
        Ok(())
    }

    /// Takes what comes for that time.
    pub fn run(&mut self, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.turn(Duration::from_millis(50))?;
            // A pause gathers what comes into fewer, larger reads: the machine's cores are for the server.
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Takes what comes until every member passes, or fails after that time.
    pub fn run_until(&mut self, what: &str, within: Duration, mut done: impl FnMut(&Member) -> bool) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let waiting = self.members.iter().filter(|m| !done(m)).count();
            if waiting == 0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{waiting} of {} viewers not within {within:?}: {what}",
                self.members.len()
            );
            self.run(Duration::from_millis(50))?;
        }
    }

    fn turn(&mut self, wait: Duration) -> Result<()> {
        let mut events = Events::with_capacity(2048);
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &events {
            let index = event.token().0;
            let member = &mut self.members[index];
            loop {
                match member.stream.read(&mut self.buffer) {
                    Ok(0) => {
                        member.ended = true;
                        break;
                    }
                    Ok(n) => {
                        member.take(&self.buffer[..n]).with_context(|| format!("viewer {index}"))?;
                        // A read that does not fill the buffer has emptied the socket (epoll(7)).
                        if n < self.buffer.len() {
                            break;
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => {
                        member.ended = true;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Bytes that all got together.
    pub fn wire_bytes(&self) -> u64 {
        self.members.iter().map(|m| m.wire_bytes).sum()
    }

    /// Checks that from the first frame two viewers have in common on, all have the same frames, and returns how many the
    /// viewer with the fewest shares with the first one.
    pub fn same_frames(&self) -> Result<usize> {
        let reference = self.members.first().context("no viewers")?.frames();
        let places: HashMap<Sum, usize> = reference.iter().enumerate().map(|(i, sum)| (*sum, i)).collect();
        let mut fewest = reference.len();
        for (index, member) in self.members.iter().enumerate().skip(1) {
            let frames = member.frames();
            let (mine, theirs) = frames
                .iter()
                .enumerate()
                .find_map(|(i, sum)| places.get(sum).map(|&at| (i, at)))
                .with_context(|| format!("viewer {index} ({} frames) shares none with the first", frames.len()))?;
            // One of the two began earlier; frames before the common one must all be older than the other's first.
            ensure!(mine == 0 || theirs == 0, "viewer {index} got other frames before a common one");
            let mut common = 0;
            for (a, b) in frames[mine..].iter().zip(&reference[theirs..]) {
                ensure!(a == b, "viewer {index} got {a:?} where the first got {b:?}, after {common} common frames");
                common += 1;
            }
            fewest = fewest.min(common);
        }
        Ok(fewest)
    }
}

/// Checks that a track's timestamps go on without a hole: no step above `step_ms`.
pub fn continuous(frames: &[Sum], kind: u8, step_ms: u32) -> Result<()> {
    let times: Vec<u32> = frames.iter().filter(|s| s.kind == kind).map(|s| s.timestamp).collect();
    ensure!(!times.is_empty(), "no frames of kind {kind}");
    for pair in times.windows(2) {
        ensure!(pair[1] >= pair[0] && pair[1] - pair[0] <= step_ms, "from {} ms to {} ms", pair[0], pair[1]);
    }
    Ok(())
}
