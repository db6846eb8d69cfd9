//! Listening sockets: one per shard and port, spread by the kernel (SO_REUSEPORT).
use std::io;
pub(crate) use std::net::TcpListener as Bound;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Type};

use super::runtime::Driver;
use super::socket::{Reader, Socket};

/// Connections that wait to be accepted, per shard.
const BACKLOG: i32 = 4096;

/// How long a port that is taken is tried again. A ring lets go of its sockets some time after its process is gone (a second, with
/// thousands of viewers): a server that is started anew at once would find its own port taken.
const TAKEN_PATIENCE: Duration = Duration::from_secs(3);
const TAKEN_PAUSE: Duration = Duration::from_millis(50);

/// A shard's listening socket.
pub(crate) struct Listener {
    socket: StdListener,
    poll: Reader,
    driver: Driver,
}

/// Binds `count` sockets to one address. Port 0 picks a port, the same for all.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<StdListener>)> {
    // Without SO_REUSEPORT first: with it, a second server on this port would be let in beside a first one of the same user.
    drop(bind_alone(address)?);
    let first = bind_one(address, true)?;
    let actual = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(bind_one(actual, true)?);
    }
    Ok((actual, listeners))
}

fn bind_alone(address: SocketAddr) -> io::Result<StdListener> {
    let start = Instant::now();
    let mut said = false;
    loop {
        match bind_one(address, false) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < TAKEN_PATIENCE => {
                if !std::mem::replace(&mut said, true) {
                    let most_s = TAKEN_PATIENCE.as_secs();
                    tracing::warn!(%address, most_s, "waiting for an address that is in use");
                }
                std::thread::sleep(TAKEN_PAUSE);
            }
            result => return result,
        }
    }
}

fn bind_one(address: SocketAddr, reuse_port: bool) -> io::Result<StdListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != std::net::Ipv6Addr::UNSPECIFIED)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Listener {
    /// Takes a bound socket into this shard's runtime.
    pub(crate) fn new(listener: StdListener, driver: Driver) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        // The runtime's own listener takes one connection per turn of its loop: with thousands of sends a turn, a crowd would wait for
        // seconds. It has no way to wait for a listener alone, but its stream type polls any descriptor.
        let poll = Socket::from_fd(OwnedFd::from(listener.try_clone()?))?.reader;
        Ok(Self { socket: listener, poll, driver })
    }

    /// Waits until there are connections to accept.
    pub(crate) async fn ready(&self) -> io::Result<()> {
        self.poll.readable().await
    }

    /// A connection that waits, if one does.
    pub(crate) fn accept(&self) -> io::Result<Option<(Socket, SocketAddr)>> {
        match self.socket.accept() {
            Ok((stream, address)) => {
                // epoll needs it non-blocking; io_uring answers EAGAIN at once where it is, instead of waiting.
                stream.set_nonblocking(self.driver == Driver::Epoll)?;
                Ok(Some((Socket::from_fd(OwnedFd::from(stream))?, address)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
