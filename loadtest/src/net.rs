//! What is asked of the kernel: polls, a precise timer, connections, reads that keep, time or throw away what came. No unsafe code: the
//! crates `nix` and `socket2` hold it.
use std::io::{self, ErrorKind, IoSliceMut, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use millstream_proto::time::Time;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, Usage, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike as _};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::Clock;
use crate::server::schedule;

/// Events taken from a poll at once.
const EVENTS: usize = 256;
/// What the timer of a poll reports as.
const TIMER: u64 = u64::MAX;

/// Something that a poll reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    /// A read will give something: bytes, the end, or an error.
    pub(crate) readable: bool,
    /// A write will go on.
    pub(crate) writable: bool,
    /// The peer has ended its side or the connection is broken.
    pub(crate) closed: bool,
}

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Interest {
    /// Bytes.
    Read,
    /// Bytes, and room for some that wait here (or the end of connecting).
    ReadWrite,
    /// Only the end of the connection.
    Close,
}

/// An edge-triggered poll with a timer that is as precise as the kernel.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: Epoll,
    timer: TimerFd,
    events: Vec<EpollEvent>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, TIMER))?;
        Ok(Self { epoll, timer, events: vec![EpollEvent::empty(); EVENTS] })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(fd, event(token, interest))?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut event(token, interest))?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(fd)?)
    }

    /// What is ready within that time, appended to `ready`. Returns whether more may be.
    pub(crate) fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> io::Result<bool> {
        let wait = if timeout.is_zero() {
            EpollTimeout::ZERO
        } else {
            // Milliseconds, epoll's own unit, would make every planned time up to one of them late.
            self.timer.set(Expiration::OneShot(TimeSpec::from_duration(timeout)), TimerSetTimeFlags::empty())?;
            EpollTimeout::NONE
        };
        let count = match self.epoll.wait(&mut self.events, wait) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let events = self.events.iter().take(count).filter(|event| event.data() != TIMER);
        ready.extend(events.map(|event| {
            let flags = event.events();
            let closed = flags.intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            Ready {
                token: event.data(),
                readable: closed || flags.contains(EpollFlags::EPOLLIN),
                writable: flags.contains(EpollFlags::EPOLLOUT),
                closed,
            }
        }));
        Ok(count == self.events.len())
    }
}

fn event(token: u64, interest: Interest) -> EpollEvent {
    let base = EpollFlags::EPOLLET | EpollFlags::EPOLLRDHUP;
    let flags = match interest {
        Interest::Read => base | EpollFlags::EPOLLIN,
        Interest::ReadWrite => base | EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        Interest::Close => base,
    };
    EpollEvent::new(flags, token)
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    /// Bytes, and when the last of them reached this machine's TCP.
    Bytes(usize, Time),
    /// Nothing for now.
    Nothing,
    /// The peer has ended its side.
    End,
}

/// A connection that does not block.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    /// Bytes that the kernel did not take yet.
    waiting: Vec<u8>,
}

impl Connection {
    /// Begins to connect. `receive_bytes`: a bound for what the kernel holds for a slow reader.
    pub(crate) fn begin(address: SocketAddr, receive_bytes: Option<usize>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        // Arrivals are timed by the kernel: the harness may look later.
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { socket, waiting: Vec::new() })
    }

    /// Whether connecting has succeeded, once the poll says that it has ended.
    pub(crate) fn connected(&self) -> io::Result<()> {
        match self.socket.take_error()? {
            Some(error) => Err(error),
            None => self.socket.peer_addr().map(drop),
        }
    }

    /// Sends what waits and then `bytes`; keeps what the kernel does not take. Returns how many wait.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < self.waiting.len() {
            match write(&self.socket, &self.waiting[sent..])? {
                0 => break,
                count => sent += count,
            }
        }
        self.waiting.drain(..sent);
        let mut rest = bytes;
        while self.waiting.is_empty() && !rest.is_empty() {
            match write(&self.socket, rest)? {
                0 => break,
                count => rest = &rest[count..],
            }
        }
        self.waiting.extend_from_slice(rest);
        if self.waiting.is_empty() && self.waiting.capacity() > 4096 {
            self.waiting = Vec::new();
        }
        Ok(self.waiting.len())
    }

    /// Reads into `buffer`, with the time of arrival.
    pub(crate) fn read(&self, now: Time, buffer: &mut [u8]) -> io::Result<Got> {
        let mut control = [0_u8; 64];
        let mut slices = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let message = match recvmsg::<()>(fd, &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
            Ok(message) => message,
            Err(error) => return nothing_or(error),
        };
        if message.bytes == 0 {
            return Ok(Got::End);
        }
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp.num_microseconds()),
            _ => None,
        });
        let arrived = match stamp.map(u64::try_from) {
            Some(Ok(stamp_us)) => Clock::place(now, Clock::wall_us(), stamp_us),
            _ => now,
        };
        Ok(Got::Bytes(message.bytes, arrived))
    }

    /// Throws away up to `most.len()` bytes without copying them: TCP's `MSG_TRUNC`. `most` lends its length only.
    pub(crate) fn discard(&self, now: Time, most: &mut [u8]) -> io::Result<Got> {
        match recv(self.socket.as_raw_fd(), most, MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count, now)),
            Err(error) => nothing_or(error),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn nothing_or(error: Errno) -> io::Result<Got> {
    match error {
        Errno::EAGAIN | Errno::EINTR => Ok(Got::Nothing),
        error => Err(error.into()),
    }
}

/// Zero where the kernel has no room.
fn write(mut socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}

/// User and system time.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Cpu {
    /// Of the thread that asks.
    pub(crate) thread: Duration,
    /// Of the whole process.
    pub(crate) process: Duration,
    /// How long the thread that asks could have run and had no core.
    pub(crate) waited: Duration,
}

impl Cpu {
    pub(crate) fn now() -> Self {
        let spent = |who| getrusage(who).map_or(Duration::ZERO, |usage| total(&usage));
        let waited = schedule(Path::new("/proc/thread-self/schedstat")).map_or(Duration::ZERO, |(_, waited)| waited);
        Self { thread: spent(UsageWho::RUSAGE_THREAD), process: spent(UsageWho::RUSAGE_SELF), waited }
    }
}

fn total(usage: &Usage) -> Duration {
    let micros = |time: TimeVal| Duration::from_micros(time.num_microseconds().max(0) as u64);
    micros(usage.user_time()) + micros(usage.system_time())
}

/// Raises the soft limit of open descriptors as far as it goes; returns it.
pub(crate) fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn bytes_are_discarded_timed_and_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clock = Clock::start();
        let connection = Connection::begin(listener.local_addr().unwrap(), None).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.add(&connection, 7, Interest::Read).unwrap();
        let mut buffer = vec![0xAA; 1 << 20];
        assert_eq!(connection.discard(clock.now(), &mut buffer).unwrap(), Got::Nothing);
        peer.write_all(&vec![1; 50_000]).unwrap();
        let mut ready = Vec::new();
        poll.wait(Duration::from_secs(5), &mut ready).unwrap();
        assert!(ready.iter().any(|r| r.token == 7 && r.readable && !r.closed));
        assert!(matches!(connection.discard(clock.now(), &mut buffer).unwrap(), Got::Bytes(50_000, _)));
        assert!(buffer.iter().all(|&byte| byte == 0xAA), "nothing was copied");
        // The kernel begins to stamp packets a moment after the first socket of the machine asks for it.
        let stamped = (0..40).any(|_| {
            let before = clock.now();
            peer.write_all(b"timed").unwrap();
            std::thread::sleep(Duration::from_millis(50));
            let Got::Bytes(5, at) = connection.read(clock.now(), &mut buffer).unwrap() else { panic!() };
            at.since(before) < Duration::from_millis(40)
        });
        assert!(stamped, "the kernel's time, not that of the late read");
        drop(peer);
        ready.clear();
        poll.wait(Duration::from_secs(5), &mut ready).unwrap();
        assert!(ready.iter().any(|r| r.closed));
        assert_eq!(connection.read(clock.now(), &mut buffer).unwrap(), Got::End);
    }

    #[test]
    fn the_timer_does_not_round_to_milliseconds() {
        let (mut poll, start) = (Poll::new().unwrap(), std::time::Instant::now());
        for _ in 0..20 {
            poll.wait(Duration::from_micros(100), &mut Vec::new()).unwrap();
        }
        assert!(start.elapsed() >= Duration::from_millis(2));
    }
}
