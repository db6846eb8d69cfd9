//! A connection over the runtime: readiness without a buffer, reads into owned buffers, sends of shared pieces.
#![allow(unsafe_code)]
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
pub(crate) use std::os::fd::OwnedFd as Descriptor;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::viewer::Piece;
use millstream_proto::time::Time;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use super::budget::{Budget, READS};
use super::buf::{BatchBuf, FileBuf, PieceBuf};
use super::runtime::on_epoll;
use super::sys;

/// Unsent bytes that the kernel takes before it says "full" (HOT_PATH, rule 6): without it a stalled viewer holds megabytes.
const NOTSENT_LOWAT_BYTES: libc::c_int = 128 << 10;

/// Both directions of a connection.
pub(crate) struct Socket {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// The connection that both directions share. Not monoio's own halves: its writing half shuts the socket down when it is
/// dropped, and a publisher's socket goes on at another shard.
#[derive(Clone)]
struct Shared(Rc<TcpStream>);

impl Shared {
    fn operation(&self) -> Operation<'_, TcpStream> {
        // SAFETY: a `TcpStream` is an `Rc` to the descriptor, the descriptor's number, and a cache of addresses (monoio 0.2.4: `TcpStream`,
        // `StreamMeta`; the version is pinned). The runtime's operation, which may outlive the value, clones the `Rc`.
        unsafe { Operation::on(&self.0) }
    }

    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A shared value for one operation. The runtime borrows a connection mutably for as long as an operation lasts, and there are two at a time, one
/// that reads and one that writes: each gets a value of its own, so that no reference to the shared one is kept across a wait.
struct Operation<'a, T>(ManuallyDrop<T>, PhantomData<&'a T>);

impl<'a, T> Operation<'a, T> {
    /// # Safety
    /// A copy of a `T`, bit by bit, that is never dropped may be used beside the original, and owns no memory that the original does, too, but
    /// by counts of references.
    unsafe fn on(shared: &'a Rc<T>) -> Self {
        // SAFETY: the pointer is of a live value, which outlives the copy by its lifetime. That the copy is one is up to the caller.
        Self(ManuallyDrop::new(unsafe { std::ptr::read(Rc::as_ptr(shared)) }), PhantomData)
    }
}

impl<T> Deref for Operation<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Operation<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

pub(crate) struct Reader {
    shared: Shared,
    /// For operations that end without a wait.
    budget: Budget,
}

/// The sending direction. It is one value, which whoever sends owns: the session's task, or a sender for many ([`WriterSlot`]).
pub(crate) struct Writer {
    shared: Shared,
    /// The same as the shared one's, which is a visit to memory away.
    fd: RawFd,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let shared = Shared(Rc::new(stream));
        let fd = shared.fd();
        Self {
            reader: Reader { shared: shared.clone(), budget: Budget::new(&READS, Time::ZERO) },
            writer: Writer { shared, fd },
        }
    }

    /// Takes over a descriptor that another shard let go.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        TcpStream::from_std(std::net::TcpStream::from(fd)).map(Self::new)
    }

    /// A local connection: the end here, and the other for a shard.
    pub(crate) fn pair() -> io::Result<(Self, Descriptor)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Self::from_fd(ours.into())?, theirs.into()))
    }

    /// Lets the descriptor go, for another shard; `None` where somebody else still refers to it.
    pub(crate) fn into_fd(self) -> Option<OwnedFd> {
        let Self { reader, writer } = self;
        drop(writer);
        let stream = Rc::into_inner(reader.shared.0)?;
        // SAFETY: `into_raw_fd` gives up ownership, which is taken here.
        Some(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })
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

impl Reader {
    /// Waits until there is something to read, without holding a buffer for it.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        fairly(&self.budget, self.shared.0.readable(false)).await
    }

    /// Reads what is there: `None` where nothing is, `Some(0)` at the end.
    pub(crate) fn recv_now(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        sys::recv_now(self.shared.fd(), buf)
    }

    /// Reads into an owned buffer; 0 at the end. For peers that send all the time: one operation instead of two.
    pub(crate) async fn recv(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        fairly(&self.budget, self.shared.operation().read(buf)).await
    }

    /// Ends the connection from our side without cutting off what was just said: a socket that is closed over unread bytes is
    /// reset, and a peer that is reset may never see the last answer. Waits for the peer's end; whoever calls bounds the wait.
    pub(crate) async fn linger(&mut self, scratch: &RefCell<Box<[u8]>>) {
        sys::shutdown(self.shared.fd(), libc::SHUT_WR);
        while self.readable().await.is_ok() {
            if !matches!(self.recv_now(&mut scratch.borrow_mut()), Ok(None | Some(1..))) {
                return;
            }
        }
    }

    /// A handle for elsewhere on this shard.
    pub(crate) fn closer(&self) -> Closer {
        Closer(self.shared.clone())
    }
}

/// Does the operation; lets others run when too many before it did not have to wait.
async fn fairly<F: Future>(budget: &Budget, operation: F) -> F::Output {
    let mut operation = pin!(operation);
    let mut waits = false;
    let output = poll_fn(|cx| {
        let polled = operation.as_mut().poll(cx);
        waits |= polled.is_pending();
        polled
    })
    .await;
    if waits {
        budget.renew(Time::ZERO);
        return output;
    }
    budget.spend();
    if budget.spent(Time::ZERO) {
        budget.renew(Time::ZERO);
        // Boxed: it is rare.
        Box::pin(on_epoll()).await;
    }
    output
}

/// Ends a connection whose task waits for something else.
pub(crate) struct Closer(Shared);

impl Closer {
    /// Ends both directions: whatever waits completes.
    pub(crate) fn close(&self) {
        sys::shutdown(self.0.fd(), libc::SHUT_RDWR);
    }

    /// Ends the receiving direction: a read that waits completes, and goodbye can still be said.
    pub(crate) fn close_read(&self) {
        sys::shutdown(self.0.fd(), libc::SHUT_RD);
    }
}

impl Writer {
    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Sends what fits of these, without waiting: how many bytes.
    pub(crate) fn send_now(&mut self, pieces: &[io::IoSlice<'_>]) -> usize {
        sys::send_pieces_now(self.fd, pieces)
    }

    /// Ends the sending direction: the peer finds the end behind what was sent.
    pub(crate) fn finish(&self) {
        sys::shutdown(self.fd, libc::SHUT_WR);
    }

    /// Sends all of it.
    pub(crate) async fn send_all(&mut self, bytes: Bytes) -> io::Result<()> {
        self.shared.operation().write_all(bytes).await.0.map(drop)
    }

    /// Sends all of an answer whose bytes lie in several places; `progress` hears of each step, with its bytes.
    pub(crate) async fn send_file(&mut self, pieces: Vec<Bytes>, progress: impl Fn(usize)) -> io::Result<()> {
        let mut buf = FileBuf::new(pieces);
        while !buf.is_empty() {
            let (result, back) = self.shared.operation().writev(buf).await;
            buf = back;
            match result? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => {
                    buf.sent(count);
                    progress(count);
                }
            }
        }
        Ok(())
    }

    /// Sends what fits, as one operation, and gives the load back with the bytes that were taken.
    pub(crate) async fn send(&mut self, load: Load) -> (io::Result<usize>, Load) {
        match load {
            Load::One(piece) => {
                let (result, PieceBuf(piece)) = self.shared.operation().write(PieceBuf(piece)).await;
                (result, Load::One(piece))
            }
            Load::Many(batch) => {
                let (result, batch) = self.shared.operation().writev(batch).await;
                (result, Load::Many(batch))
            }
        }
    }
}

/// What one send carries.
pub(crate) enum Load {
    /// The usual case: one block.
    One(Piece),
    Many(BatchBuf),
}

impl Load {
    /// The pieces, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(batch) => &batch.pieces,
        }
    }
}

/// Vectors for sends of several pieces, reused within a shard.
#[derive(Default)]
pub(crate) struct LoadPool {
    free: RefCell<Vec<BatchBuf>>,
}

/// Vectors kept for reuse: they are in use only while viewers catch up.
const BATCHES_KEPT_MAX: usize = 256;

impl LoadPool {
    /// Takes all pieces out of `pieces`, of which there is at least one.
    pub(crate) fn load(&self, pieces: &mut Vec<Piece>) -> Load {
        if pieces.len() == 1
            && let Some(piece) = pieces.pop()
        {
            return Load::One(piece);
        }
        let mut batch = self.free.borrow_mut().pop().unwrap_or_else(BatchBuf::new);
        batch.pieces.append(pieces);
        batch.aim();
        Load::Many(batch)
    }

    /// Takes a load back, once it was sent: what it referred to is let go.
    pub(crate) fn unload(&self, load: Load) {
        if let Load::Many(mut batch) = load {
            batch.clear();
            let mut free = self.free.borrow_mut();
            if free.len() < BATCHES_KEPT_MAX {
                free.push(batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, UnsafeCell};
    use std::future::pending;
    use std::io::{Read as _, Write as _};
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

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
            Socket::from_fd(stream.into()).unwrap()
        };
        (socket(ours), socket(theirs))
    }

    /// What a `TcpStream` is made of, with operations that use their reference again after each wait.
    #[derive(Default)]
    struct Model {
        descriptor: Rc<Cell<u32>>,
        addresses: UnsafeCell<[u64; 8]>,
    }

    impl Model {
        async fn operate(&mut self) {
            for _ in 0..3 {
                let held = Rc::clone(&self.descriptor);
                held.set(held.get() + 1);
                self.addresses.get_mut()[0] += 1;
                yields().await;
            }
        }

        async fn readable(&self) {
            for _ in 0..3 {
                yields().await;
                self.descriptor.set(self.descriptor.get() + 1);
            }
        }
    }

    async fn yields() {
        let mut polled = false;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// For Miri: monoio's driver itself breaks the rules of aliasing that it checks, so that the test below says nothing of ours.
    #[test]
    fn operations_that_overlap_keep_to_the_rules_of_aliasing() {
        let shared = Rc::new(Model::default());
        // SAFETY: a `Model` holds a count of references and plain numbers.
        let (mut reads, mut writes) = unsafe { (Operation::on(&shared), Operation::on(&shared)) };
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> =
            vec![Box::pin(reads.operate()), Box::pin(writes.operate()), Box::pin(shared.readable())];
        let mut cx = Context::from_waker(Waker::noop());
        while !all.is_empty() {
            all.retain_mut(|one| one.as_mut().poll(&mut cx).is_pending());
        }
        drop(all);
        assert_eq!((shared.descriptor.get(), Rc::strong_count(&shared.descriptor)), (9, 1));
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
        let mut ours = UnixStream::from(Socket { reader, writer }.into_fd().unwrap());
        let mut theirs = UnixStream::from(peer.into_fd().unwrap());
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
