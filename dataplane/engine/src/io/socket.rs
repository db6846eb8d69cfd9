//! A connection over the runtime, as the engine has it: both its directions, on this shard or on its way to another one. Before it: [`super::listen`]; after it:
//! [`crate::ingest`] and [`crate::egress`]. Its parts: [`connection`] (what both directions share), [`reader`], [`writer`], and [`load`] (what a send carries).
mod connection;
mod load;
mod reader;
mod writer;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use millstream_proto::time::Time;
use millstream_tls::Session;
use monoio::net::TcpStream;

use self::connection::Shared;
use super::budget::{Budget, READS};
use super::sys;
use super::tls::Tls;

pub(crate) use self::load::LoadPool;
pub(crate) use self::reader::{Closer, Reader};
pub(crate) use self::writer::Writer;

/// Unsent bytes that the kernel takes before it says "full" (HOT_PATH, rule 6): without it a stalled viewer holds megabytes.
const NOTSENT_LOWAT_BYTES: libc::c_int = 128 << 10;

/// Both directions of a connection.
pub(crate) struct Socket {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let shared = Shared(Rc::new(stream));
        let fd = shared.fd();
        Self {
            reader: Reader { shared: shared.clone(), tls: None, stream: None, budget: Budget::new(&READS, Time::ZERO) },
            writer: Writer { shared, tls: None, stream: None, fd },
        }
    }

    /// Takes over a descriptor that another shard let go.
    pub(crate) fn from_fd(descriptor: impl Into<Descriptor>) -> io::Result<Self> {
        let Descriptor { fd, tls } = descriptor.into();
        let socket = TcpStream::from_std(std::net::TcpStream::from(fd)).map(Self::new)?;
        Ok(if let Some(tls) = tls { socket.with(*tls) } else { socket })
    }

    /// What is read and sent from here on is this session's, whose handshake is over; `plain` came behind it.
    pub(crate) fn secure(self, session: Session, plain: Vec<u8>) -> Self {
        self.with(Tls::new(session, plain))
    }

    fn with(self, tls: Tls) -> Self {
        let (Self { mut reader, mut writer }, tls) = (self, Rc::new(tls));
        (reader.tls, writer.tls) = (Some(Rc::clone(&tls)), Some(tls));
        Self { reader, writer }
    }

    /// Whether it is encrypted by us.
    pub(crate) fn is_secure(&self) -> bool {
        self.reader.tls.is_some()
    }

    /// A local connection: the end here, and the other for a shard.
    pub(crate) fn pair() -> io::Result<(Self, Descriptor)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Self::from_fd(OwnedFd::from(ours))?, OwnedFd::from(theirs).into()))
    }

    /// Lets the descriptor go, for another shard; `None` where somebody else still refers to it.
    pub(crate) fn into_fd(self) -> Option<Descriptor> {
        let Self { reader, writer } = self;
        drop(writer);
        let fd = reader.shared.into_fd()?;
        let tls = reader.tls.map(|tls| Rc::into_inner(tls).map(Box::new).ok_or(())).transpose().ok()?;
        Some(Descriptor { fd, tls })
    }

    /// Settings of every connection: no Nagle, a bound on unsent bytes, and an end for peers that have vanished, also while data
    /// is unsent, where keepalive does not fire.
    pub(crate) fn tune(&self, vanished_after: Duration) {
        let fd = self.reader.shared.fd();
        let millis = libc::c_int::try_from(vanished_after.as_millis()).unwrap_or(libc::c_int::MAX);
        sys::set_tcp(fd, libc::TCP_NODELAY, 1);
        sys::set_tcp(fd, libc::TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES);
        sys::set_tcp(fd, libc::TCP_USER_TIMEOUT, millis);
        // A socket that is gone already says so at its first read.
        let _ = self.reader.shared.0.set_tcp_keepalive(
            Some(Duration::from_secs(15)),
            Some(Duration::from_secs(5)),
            Some(3),
        );
    }
}

/// A connection on its way to another shard.
pub(crate) struct Descriptor {
    fd: OwnedFd,
    tls: Option<Box<Tls>>,
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, tls: None }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io::{Read as _, Write as _};

    use bytes::Bytes;

    use super::super::runtime::{Driver, run};
    use super::super::slot::WriterSlot;
    use super::*;
    use crate::shard::wait::{Either, select};

    /// More than a socket takes at once.
    const MANY_BYTES: usize = if cfg!(miri) { 300_000 } else { 4 << 20 };

    fn pair() -> (Socket, Socket) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let socket = |stream: UnixStream| {
            // By `fcntl`, which Miri knows.
            socket2::SockRef::from(&stream).set_nonblocking(true).unwrap();
            Socket::from_fd(OwnedFd::from(stream)).unwrap()
        };
        (socket(ours), socket(theirs))
    }

    /// The three senders and a reader of a connection while it is under way, each in more than one step.
    #[test]
    fn both_directions_are_under_way_at_once_and_the_descriptor_goes_on() {
        // Miri has no io_uring.
        let drivers = if cfg!(miri) { &[Driver::Epoll][..] } else { &[Driver::Uring, Driver::Epoll] };
        for driver in drivers {
            run(*driver, both_directions()).unwrap();
        }
    }

    async fn both_directions() {
        let (mut socket, mut peer) = pair();
        let closer = socket.reader.closer();
        let Socket { reader, writer } = &mut socket;
        let reads = async {
            reader.readable().await.unwrap();
            reader.recv(Vec::with_capacity(8)).await
        };
        let sends = async {
            writer.send_all(Bytes::from(vec![1; MANY_BYTES])).await.unwrap();
            writer.send_file(vec![Bytes::from(vec![2; MANY_BYTES]), Bytes::from_static(b"end")], |_| {}).await.unwrap();
            pending::<()>().await;
        };
        let peers = async {
            let (mut count, mut buf) = (0, Vec::with_capacity(64 << 10));
            while count < 2 * MANY_BYTES + 3 {
                buf.clear();
                let (result, back) = peer.reader.recv(buf).await;
                (count, buf) = (count + result.unwrap(), back);
            }
            assert!(buf.ends_with(b"end"));
            peer.writer.send_all(Bytes::from_static(b"thanks")).await.unwrap();
            pending::<()>().await;
        };
        let Either::A((result, got)) = select(reads, select(sends, peers)).await else { panic!("they do not end") };
        assert_eq!((result.unwrap(), &got[..]), (6, &b"thanks"[..]));
        drop(closer);
        // Moved to a sender for many and back.
        let Socket { reader, writer } = socket;
        let slot = WriterSlot::default();
        slot.put(writer);
        let mut writer = slot.take().unwrap();
        assert!(slot.is_empty());
        assert_eq!(writer.send_now(&[io::IoSlice::new(b"a"), io::IoSlice::new(b"b")]), 2);
        let mut ours = UnixStream::from(Socket { reader, writer }.into_fd().unwrap().fd);
        let mut theirs = UnixStream::from(peer.into_fd().unwrap().fd);
        let mut got = [0; 2];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ab");
        theirs.write_all(b"!").unwrap();
        ours.read_exact(&mut got[..1]).unwrap();
        // Somebody who may still end a connection keeps it here.
        let (socket, _peer) = pair();
        let _closer = socket.reader.closer();
        assert!(socket.into_fd().is_none());
    }
}
