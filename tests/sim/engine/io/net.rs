//! Connections: two pipes each, with a delay and a bound, that take and give as much as chance has it, and can die without saying so.
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};

use super::runtime::sleep;
use super::world::{Timer, World, maybe, world};

/// Keepalive: a peer that has vanished is known to have after so long.
const VANISHED_AFTER: Duration = Duration::from_secs(30);
/// Of a thousand waits for input, those that end without any.
const SPURIOUS: u64 = 20;
/// Of a thousand reads and writes, those that are short.
const SHORT: u64 = 150;

/// What a connection runs over.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// From one end to the other, microseconds.
    pub latency_us: u64,
    /// Bytes that are under way in one direction at most.
    pub room: usize,
}

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// Encoders push here.
    Rtmp,
    /// Viewers play here.
    Http,
    /// Encoders push here over TLS.
    Rtmps,
    /// Viewers play here over TLS.
    Https,
}

/// One direction.
struct Pipe {
    line: Line,
    /// Written and not yet read, each with its time of arrival.
    parts: VecDeque<(u64, Bytes)>,
    held: usize,
    newest_ns: u64,
    /// The writer has ended it, and the reader hears of it then.
    end_ns: Option<u64>,
    /// It was reset, and the reader hears of it then.
    reset_ns: Option<u64>,
    /// The reader wants no more.
    unread: bool,
    /// The reader has closed.
    reader_gone: bool,
    /// Nothing arrives any more.
    dead: bool,
    readers: Vec<Waker>,
    writers: Vec<Waker>,
}

impl Pipe {
    fn new(line: Line) -> Self {
        Self {
            line,
            parts: VecDeque::new(),
            held: 0,
            newest_ns: 0,
            end_ns: None,
            reset_ns: None,
            unread: false,
            reader_gone: false,
            dead: false,
            readers: Vec::new(),
            writers: Vec::new(),
        }
    }

    /// When what is written now is there, in order.
    fn arrival(&mut self, now_ns: u64) -> u64 {
        self.newest_ns = self.newest_ns.max(now_ns + self.line.latency_us * 1_000);
        self.newest_ns
    }

    /// What a reader would find now: `None`: nothing yet.
    fn found(&self, now_ns: u64) -> Option<io::Result<usize>> {
        if let Some((at_ns, part)) = self.parts.front()
            && *at_ns <= now_ns
            && !self.dead
        {
            return Some(Ok(part.len()));
        }
        if self.reset_ns.is_some_and(|at_ns| at_ns <= now_ns) {
            return Some(Err(ErrorKind::ConnectionReset.into()));
        }
        let ended = !self.dead && self.parts.is_empty() && self.end_ns.is_some_and(|at_ns| at_ns <= now_ns);
        (self.unread || ended).then_some(Ok(0))
    }
}

struct Connection {
    /// What the end of that number reads.
    pipes: [Pipe; 2],
    /// Whether the end of that number holds one of the server's descriptors.
    counts: [bool; 2],
}

/// A listening port of one shard.
pub(super) struct Listening {
    address: SocketAddr,
    waiting: VecDeque<(usize, SocketAddr)>,
    wakers: Vec<Waker>,
    open: bool,
}

#[derive(Default)]
pub(super) struct Net {
    connections: Vec<Option<Connection>>,
    pub(super) listening: Vec<Listening>,
    pub(super) descriptors: usize,
}

/// The end of a connection that is closed when it is dropped. The server's is 0.
#[derive(Debug)]
pub(crate) struct End {
    connection: usize,
    side: usize,
}

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

impl World {
    fn pipe(&mut self, connection: usize, side: usize) -> &mut Pipe {
        let connection = self.net.connections.get_mut(connection).and_then(Option::as_mut).expect("it is open");
        &mut connection.pipes[side]
    }

    /// The readers of a pipe look again once what was said now has arrived.
    fn wake_readers_at(&mut self, connection: usize, side: usize, at_ns: u64) {
        let readers = std::mem::take(&mut self.pipe(connection, side).readers);
        for reader in readers {
            self.set(at_ns, Timer::Wake(reader));
        }
    }

    fn open(&mut self, line: Line, counts: [bool; 2]) -> usize {
        self.net.descriptors += counts.iter().filter(|counts| **counts).count();
        self.net.connections.push(Some(Connection { pipes: [Pipe::new(line), Pipe::new(line)], counts }));
        self.net.connections.len() - 1
    }
}

impl End {
    /// Two ends of a connection within the server.
    pub(super) fn pair() -> (Self, Self) {
        let line = Line { latency_us: 0, room: 1 << 17 };
        let connection = world(|world| world.open(line, [true, true]));
        (Self { connection, side: 0 }, Self { connection, side: 1 })
    }

    /// Waits until there is something to read, mostly.
    pub(super) async fn readable(&self) {
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        world(|world| {
            let (now_ns, spurious) = (world.now_ns, world.random.chance(SPURIOUS));
            let pipe = world.pipe(self.connection, self.side);
            if spurious || pipe.found(now_ns).is_some() {
                return Poll::Ready(());
            }
            if !pipe.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
                pipe.readers.push(cx.waker().clone());
            }
            // What is under way already.
            let coming = [pipe.parts.front().map(|part| part.0).filter(|_| !pipe.dead), pipe.end_ns, pipe.reset_ns];
            if let Some(at_ns) = coming.into_iter().flatten().filter(|at_ns| *at_ns > now_ns).min() {
                world.set(at_ns, Timer::Wake(cx.waker().clone()));
            }
            Poll::Pending
        })
    }

    /// Reads what is there: `None` where nothing is, no bytes at the end.
    pub(super) fn read(&self, bytes_max: usize) -> io::Result<Option<Bytes>> {
        let (result, writers) = world(|world| {
            let now_ns = world.now_ns;
            let short = world.random.chance(SHORT).then(|| world.random.below(bytes_max as u64) as usize + 1);
            let pipe = world.pipe(self.connection, self.side);
            match pipe.found(now_ns) {
                None => (Ok(None), Vec::new()),
                Some(Err(error)) => (Err(error), Vec::new()),
                Some(Ok(0)) => (Ok(Some(Bytes::new())), Vec::new()),
                Some(Ok(count)) => {
                    let count = count.min(bytes_max).min(short.unwrap_or(usize::MAX));
                    let part = &mut pipe.parts[0].1;
                    let bytes = part.split_to(count);
                    if !part.has_remaining() {
                        pipe.parts.pop_front();
                    }
                    pipe.held -= count;
                    let writers = std::mem::take(&mut pipe.writers);
                    world.mix(count as u64);
                    (Ok(Some(bytes)), writers)
                }
            }
        });
        wake(writers);
        result
    }

    /// Writes what there is room for: 0 where there is none.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        world(|world| {
            let now_ns = world.now_ns;
            let own = world.pipe(self.connection, self.side);
            if own.reset_ns.is_some_and(|at_ns| at_ns <= now_ns) {
                return Err(ErrorKind::ConnectionReset.into());
            }
            let short = world.random.chance(SHORT).then(|| world.random.below(bytes.len() as u64) as usize + 1);
            let pipe = world.pipe(self.connection, 1 - self.side);
            if pipe.end_ns.is_some() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            if pipe.reader_gone {
                // Nobody is there to take it: that comes back as a reset.
                let latency_ns = pipe.line.latency_us * 1_000;
                let own = world.pipe(self.connection, self.side);
                own.reset_ns.get_or_insert(now_ns + latency_ns);
                world.wake_readers_at(self.connection, self.side, now_ns + latency_ns);
                return Ok(bytes.len());
            }
            let room = pipe.line.room.saturating_sub(pipe.held);
            let count = room.min(bytes.len()).min(short.unwrap_or(usize::MAX));
            if count == 0 {
                return Ok(0);
            }
            let at_ns = pipe.arrival(now_ns);
            pipe.held += count;
            pipe.parts.push_back((at_ns, Bytes::copy_from_slice(&bytes[..count])));
            if !pipe.dead {
                world.wake_readers_at(self.connection, 1 - self.side, at_ns);
            }
            // Not the bytes: those of an RTMP handshake come from the system's chance.
            world.mix(count as u64);
            Ok(count)
        })
    }

    /// Writes some of it, once there is room.
    pub(super) async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| match self.write(bytes) {
            Ok(0) if !bytes.is_empty() => {
                world(|world| {
                    world.pipe(self.connection, 1 - self.side).writers.push(cx.waker().clone());
                    // A reset ends the wait, too.
                    world.pipe(self.connection, self.side).writers.push(cx.waker().clone());
                });
                Poll::Pending
            }
            result => Poll::Ready(result),
        })
        .await
    }

    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write_some(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Ends the direction that it writes: the peer finds the end behind what was written.
    pub(super) fn finish(&self) {
        let writers = world(|world| {
            let now_ns = world.now_ns;
            let pipe = world.pipe(self.connection, 1 - self.side);
            if pipe.end_ns.is_some() {
                return Vec::new();
            }
            let at_ns = pipe.arrival(now_ns);
            pipe.end_ns = Some(at_ns);
            let writers = std::mem::take(&mut pipe.writers);
            if !pipe.dead {
                world.wake_readers_at(self.connection, 1 - self.side, at_ns);
            }
            writers
        });
        wake(writers);
    }

    /// Ends the direction that it reads, once what has come is read.
    pub(super) fn stop_reading(&self) {
        let readers = world(|world| {
            let pipe = world.pipe(self.connection, self.side);
            pipe.unread = true;
            std::mem::take(&mut pipe.readers)
        });
        wake(readers);
    }

    /// The line is cut: nothing arrives any more in either direction, and nobody is told.
    fn cut(&self) {
        world(|world| {
            world.pipe(self.connection, 0).dead = true;
            world.pipe(self.connection, 1).dead = true;
            let at_ns = world.now_ns + VANISHED_AFTER.as_nanos() as u64;
            world.set(at_ns, Timer::Vanished(self.connection));
        });
    }

    /// Whether the peer of the end of that side is still there.
    fn close(&self, world: &mut World) -> Vec<Waker> {
        let Self { connection, side } = *self;
        let now_ns = world.now_ns;
        let Some(Some(open)) = world.net.connections.get_mut(connection) else { return Vec::new() };
        if std::mem::take(&mut open.counts[side]) {
            world.net.descriptors -= 1;
        }
        let [reads, writes] = [side, 1 - side];
        let is_alone = open.pipes[writes].reader_gone;
        if is_alone {
            let gone = world.net.connections[connection].take();
            return gone
                .into_iter()
                .flat_map(|gone| gone.pipes)
                .flat_map(|pipe| [pipe.readers, pipe.writers].concat())
                .collect();
        }
        let own = &mut open.pipes[reads];
        // Closed over what has not been read, it is reset, and what is under way to the peer is lost with it.
        let is_reset = !own.parts.is_empty() || own.reset_ns.is_some();
        own.reader_gone = true;
        own.parts.clear();
        own.held = 0;
        let mut wakers = std::mem::take(&mut own.writers);
        let pipe = &mut open.pipes[writes];
        wakers.append(&mut pipe.writers);
        if is_reset {
            pipe.parts.retain(|part| part.0 <= now_ns);
            pipe.held = pipe.parts.iter().map(|part| part.1.len()).sum();
            let at_ns = pipe.arrival(now_ns);
            pipe.reset_ns.get_or_insert(at_ns);
            world.wake_readers_at(connection, writes, at_ns);
        } else if pipe.end_ns.is_none() {
            let at_ns = pipe.arrival(now_ns);
            pipe.end_ns = Some(at_ns);
            if !pipe.dead {
                world.wake_readers_at(connection, writes, at_ns);
            }
        }
        wakers
    }
}

impl Drop for End {
    fn drop(&mut self) {
        wake(maybe(|world| self.close(world)).unwrap_or_default());
    }
}

/// Keepalive has found that nobody is there any more.
pub(super) fn vanished(connection: usize) {
    let wakers = world(|world| {
        let now_ns = world.now_ns;
        let Some(Some(open)) = world.net.connections.get_mut(connection) else { return Vec::new() };
        let reset = |pipe: &mut Pipe| {
            pipe.reset_ns = Some(now_ns);
            [std::mem::take(&mut pipe.readers), std::mem::take(&mut pipe.writers)].concat()
        };
        open.pipes.iter_mut().flat_map(reset).collect()
    });
    wake(wakers);
}

/// Listens at an address, for one shard.
pub(super) fn listen(address: SocketAddr) -> usize {
    world(|world| {
        world.net.listening.push(Listening { address, waiting: VecDeque::new(), wakers: Vec::new(), open: true });
        world.net.listening.len() - 1
    })
}

impl World {
    fn listening(&mut self, listener: usize) -> &mut Listening {
        self.net.listening.get_mut(listener).expect("it listens")
    }
}

/// Waits until somebody waits to be accepted.
pub(super) async fn acceptable(listener: usize) {
    poll_fn(|cx| {
        world(|world| {
            let listening = world.listening(listener);
            if !listening.waiting.is_empty() {
                return Poll::Ready(());
            }
            listening.wakers.push(cx.waker().clone());
            Poll::Pending
        })
    })
    .await;
}

/// Accepts one, if there is one and there is a descriptor for it.
pub(super) fn accept(listener: usize) -> io::Result<Option<(End, SocketAddr)>> {
    world(|world| {
        if world.listening(listener).waiting.is_empty() {
            return Ok(None);
        }
        if world.net.descriptors >= world.weather.descriptors_max {
            return Err(io::Error::from_raw_os_error(24));
        }
        let Some((connection, peer)) = world.listening(listener).waiting.pop_front() else { return Ok(None) };
        if let Some(Some(open)) = world.net.connections.get_mut(connection) {
            open.counts[0] = true;
            world.net.descriptors += 1;
        }
        Ok(Some((End { connection, side: 0 }, peer)))
    })
}

/// Nobody listens any more: those who wait are reset.
pub(super) fn stop_listening(listener: usize) {
    let waiting = maybe(|world| {
        let listening = world.listening(listener);
        listening.open = false;
        std::mem::take(&mut listening.waiting)
    });
    for (connection, _) in waiting.into_iter().flatten() {
        drop(End { connection, side: 0 });
    }
}

/// A peer's end of a connection.
#[derive(Debug)]
pub struct Stream(End);

/// Connects from an address to any shard that listens on the port.
pub async fn connect(port: Port, from: IpAddr, line: Line) -> io::Result<Stream> {
    sleep(Duration::from_micros(2 * line.latency_us)).await;
    let (stream, wakers) = world(|world| {
        let number = match port {
            Port::Rtmp => 1935,
            Port::Http => 8080,
            Port::Rtmps => 1938,
            Port::Https => 8443,
        };
        let listening = world.net.listening.iter().enumerate();
        let open: Vec<usize> =
            listening.filter(|(_, of)| of.open && of.address.port() == number).map(|(index, _)| index).collect();
        if open.is_empty() {
            return (Err(io::Error::from(ErrorKind::ConnectionRefused)), Vec::new());
        }
        let listener = open[world.random.below(open.len() as u64) as usize];
        let connection = world.open(line, [false, false]);
        let peer = SocketAddr::new(from, 1_024 + connection as u16);
        let listening = world.listening(listener);
        listening.waiting.push_back((connection, peer));
        (Ok(Stream(End { connection, side: 1 })), std::mem::take(&mut listening.wakers))
    });
    wake(wakers);
    stream
}

impl Stream {
    /// Waits for something, and reads at most so much of it; no bytes at the end.
    pub async fn read(&self, bytes_max: usize) -> io::Result<Bytes> {
        loop {
            self.0.readable().await;
            if let Some(bytes) = self.0.read(bytes_max)? {
                return Ok(bytes);
            }
        }
    }

    /// Reads what is there; `None` where nothing is.
    pub fn read_now(&self, bytes_max: usize) -> io::Result<Option<Bytes>> {
        self.0.read(bytes_max)
    }

    /// Writes what there is room for.
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    /// Writes all of it.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Says that nothing more comes.
    pub fn finish(&self) {
        self.0.finish();
    }

    /// Cuts the line, which nobody is told of.
    pub fn cut(self) {
        self.sever();
        // The end stays: nobody closes it.
        std::mem::forget(self);
    }

    /// The same, where others hold it, too: who calls it sees to it that it is never dropped.
    pub fn sever(&self) {
        self.0.cut();
    }

    /// The port that the server sees.
    pub fn port(&self) -> u16 {
        1_024 + self.0.connection as u16
    }
}
